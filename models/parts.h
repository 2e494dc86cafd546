/* SPDX-License-Identifier: Apache-2.0 */
/* What serving stacks do with the part of a block that makes a value, whatever the family calls its
 * module. */
#ifndef LLMQ_MODELS_PARTS_H
#define LLMQ_MODELS_PARTS_H

#include "models/blocks.h"

/* The layer that loaders merge the linear and others of its graph into, so that its members must be
 * quantized alike; NULL: it stays by itself. */
const char *part_fused(const struct graph *g, const struct graph_node *linear);

/* Do loaders merge the linear of that number (blocks_linear_at) and the next one into one layer?
 * Those that they merge are neighbours; all linears of all experts of a block are one layer. */
bool part_merged_with_next(const struct blocks *b, int64_t number);

/* What GGUF files call the module that makes `v`, within a block; of an expert, what they call
 * those of all experts together. NULL: they have none. */
const char *part_gguf(enum value v, bool of_expert);

/* Does tensor parallelism divide the linear's columns, as each device has a part of what it reads?
 * So it is where the output is added to the stream; all others have their rows divided. */
bool part_splits_columns(const struct graph *g, const struct graph_node *linear);

#endif
