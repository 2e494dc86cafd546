/* SPDX-License-Identifier: Apache-2.0 */
/* The passes that calibration makes over a block, and the room that they need. */
#ifndef LLMQ_GRAPH_PASSES_H
#define LLMQ_GRAPH_PASSES_H

#include "graph/schedule.h"
#include "models/blocks.h"

/* What a task's linears read, and what they add to, has a home for one batch where it has none for
 * all tokens: both streams must have it at hand when they are compared. */
enum { HOME_SOURCE = HOMES - 1, HOME_STREAM = HOMES };

/* From the values `kept` to the task: what must be kept before its round, what its linears read and
 * the stream that they add to. */
LLMQ_NODISCARD enum llmq_status passes_to_task(const struct graph *g, const struct graph_task *t,
                                               struct value_set kept, struct schedule *out,
                                               llmq_error *err);

/* From the values `kept` to the block's end. */
LLMQ_NODISCARD enum llmq_status passes_to_end(const struct graph *g, struct value_set kept,
                                              struct schedule *out, llmq_error *err);

/* Homes that serve the blocks of every kind, and the scratch of the widest pass. */
struct passes_needs {
    struct homes homes; /* count and widths */
    int64_t width;
};
LLMQ_NODISCARD enum llmq_status passes_measure(const struct blocks *blocks,
                                               struct passes_needs *out, llmq_error *err);

#endif
