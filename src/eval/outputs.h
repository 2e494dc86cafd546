/* SPDX-License-Identifier: Apache-2.0 */
/* What the blocks of a model put out, in figures: ranges, means, values that are none, and how far
 * one model's are from another's that read the same. */
#ifndef LLMQ_EVAL_OUTPUTS_H
#define LLMQ_EVAL_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "eval/parts.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"

/* Rows of every block's output [tokens, width] as they are seen, block by block. */
struct outputs {
    int64_t blocks, tokens, width;
    llmq_block_output *block; /* [blocks] */
    /* Some tokens' rows, evenly spread: token (2 i + 1) tokens / (2 sampled), i < sampled. They are
     * kept, or compared with those another one kept, which must be of the same shape. */
    int64_t sampled;
    float *kept; /* [blocks, sampled, width]; NULL: not kept */
    const struct outputs *against;
    double *errors; /* [blocks] sums over sampled tokens of |x - x_against|^2 / |x_against|^2 */
    /* Of the block at hand: each row's figures, each sampled row's error and which token it is;
     * those of `against` where there is one. */
    llmq_block_output *row; /* [tokens] */
    double *error;          /* [sampled] */
    int64_t *sample;        /* [sampled] */
};

/* Room for what blocks of `m` put out of so many tokens. One that is `against` another compares,
 * and is to be created without where shapes differ; else it keeps its sample. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status outputs_create(const struct model *m, int64_t tokens,
                                               const struct outputs *against, struct arena *arena,
                                               struct outputs *out, llmq_error *err);

/* Can what these two models put out be compared, block by block? */
bool outputs_comparable(const struct model *a, const struct model *b);

/* Rows [begin, begin + rows) of a block's output. Every row comes once, on the rank that has it. */
void outputs_note(struct outputs *o, int64_t block, int64_t begin, int64_t rows, const float *x);

/* After the last row of a block: figures of all rows, added in their order, become means. */
LLMQ_NODISCARD enum llmq_status outputs_finish(struct outputs *o, int64_t block,
                                               const struct parts *parts, const llmq_context *ctx,
                                               llmq_error *err);

/* Bytes of one that keeps its sample. */
uint64_t outputs_bytes(const struct model *m, int64_t tokens);

#endif
