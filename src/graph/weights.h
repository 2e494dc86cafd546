/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices that a checkpoint stores in other ways than [n, k]: turned, or stacked. */
#ifndef LLMQ_GRAPH_WEIGHTS_H
#define LLMQ_GRAPH_WEIGHTS_H

#include <stdint.h>

#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"
#include "models/blocks.h"

/* to [columns, rows] = the transpose of from [rows, columns], which does not overlap it. */
void weights_turn(const float *from, int64_t rows, int64_t columns, float *to);

/* A tensor [k, n] as out [n, k]. */
LLMQ_NODISCARD enum llmq_status weights_read_turned(const struct st_set *set,
                                                    const struct st_tensor *t, float *out,
                                                    llmq_error *err);

/* The stack that an expert's linear is in, by the table of its family; NULL: it has a tensor of its
 * own, or there is none of that shape. */
const struct st_tensor *weights_find_stack(const struct st_set *set, const struct blocks *b,
                                           struct linear_place at);

/* The expert's part of that stack as out [n, k]. */
LLMQ_NODISCARD enum llmq_status weights_read_stacked(const struct st_set *set,
                                                     const struct st_tensor *t,
                                                     const struct blocks *b, struct linear_place at,
                                                     float *out, llmq_error *err);

#endif
