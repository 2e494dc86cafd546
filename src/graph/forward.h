/* SPDX-License-Identifier: Apache-2.0 */
/* The scratch that passes over batches need (graph/pass.h). */
#ifndef LLMQ_GRAPH_FORWARD_H
#define LLMQ_GRAPH_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/tally.h"
#include "graph/batch.h"
#include "graph/rope.h"
#include "llmq/compute.h"
#include "llmq/error.h"
#include "models/blocks.h"

struct carry;

/* How large a forward pass gets. */
struct forward_size {
    int64_t max_rows;   /* of a batch */
    int64_t max_length; /* of a sequence */
    int64_t width;      /* entries of a row of scratch: the widest schedule's */
    enum llmq_compute compute;
};

/* Scratch of passes over batches up to that size. */
struct forward {
    const struct model_config *config;
    enum llmq_compute compute;
    int64_t max_rows, max_length;
    struct arena *arena;
    struct rope_table rope[2]; /* the other one: of windowed layers with T_LOCAL_ROPE */
    float *values;             /* [max_rows x width] what schedules place */
    float *scores;             /* [threads, ATTENTION_TILE, max_length + 1] */
    float *slopes;             /* [heads] of attention with T_ALIBI */
    float *norm_weight;        /* of the widest norm, see graph/norm.h */
    float *mixer;              /* of operations with a state: mixers_scratch */
    void *packed;              /* operands of a product in bfloat16, or NULL */
    const int32_t *ids;        /* tokens, from the one of row 0 of the corpus on; the caller's, of
                                * blocks that ask for them */
    const struct carry
        *carry;          /* the caller's, of the block that passes run on where they go on with
                          * a sequence (graph/carry.h); NULL: their sequences are whole */
    struct tally *tally; /* the caller's, to put times down; NULL: nobody asks */
};

/* Prepare for passes through the blocks of a model. `config` must outlive the result. BF16 takes
 * kernels that have it (kernels/bf16.h). Release with forward_free. */
LLMQ_NODISCARD enum llmq_status forward_create(const struct model_config *config,
                                               const struct blocks *blocks,
                                               const struct forward_size *size, struct forward *out,
                                               llmq_error *err);
void forward_free(struct forward *f); /* accepts a zeroed struct */

/* Bytes forward_create allocates. */
uint64_t forward_bytes(const struct model_config *config, const struct blocks *blocks,
                       const struct forward_size *size);

#endif
