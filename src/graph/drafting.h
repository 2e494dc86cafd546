/* SPDX-License-Identifier: Apache-2.0 */
/* From a model's blocks to a layer that predicts further tokens: what its block reads. */
#ifndef LLMQ_GRAPH_DRAFTING_H
#define LLMQ_GRAPH_DRAFTING_H

#include "graph/model.h"

/* A layer's wiring, read once for all tokens. */
struct drafting;

/* For batches of at most so many rows. Release with drafting_close. */
LLMQ_NODISCARD enum llmq_status drafting_open(const struct model *m, int64_t draft, int64_t rows,
                                              struct drafting **out, llmq_error *err);
void drafting_close(struct drafting **d); /* accepts a pointer to NULL */

/* The token that layer `draft` knows besides those before it at each place of the sequences of a
 * corpus: the one draft + 1 places on, in out [offsets[count]]; behind a sequence's end 0. */
void drafting_tokens(const int32_t *ids, const int64_t *offsets, int64_t count, int64_t draft,
                     int32_t *out);

/* The embedding of these tokens, of a batch; places without one have 0, as vLLM gives 0 to the
 * first place, which it counts otherwise (deepseek_mtp.py at 03356f8c). */
LLMQ_NODISCARD enum llmq_status drafting_embed(struct drafting *d, const int32_t *tokens,
                                               const struct batch *b, llmq_error *err);

/* x [rows, stream] of the same batch, what the last block or the layer before made, becomes what
 * this layer's block reads. */
LLMQ_NODISCARD enum llmq_status drafting_rows(struct drafting *d, int64_t rows, float *x,
                                              llmq_error *err);

/* Bytes that it takes. */
uint64_t drafting_bytes(const struct model *m, int64_t rows);

#endif
