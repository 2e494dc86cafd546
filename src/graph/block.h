/* SPDX-License-Identifier: Apache-2.0 */
/* One decoder block's weights, by the nodes of its graph. */
#ifndef LLMQ_GRAPH_BLOCK_H
#define LLMQ_GRAPH_BLOCK_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/model.h"
#include "llmq/error.h"
#include "llmq/matmul.h"
#include "models/graph.h"

/* y = x W^T + bias. Either `w` or `packed` is set, or neither when weights were not asked for. */
struct linear {
    int64_t n, k;
    float *w;                          /* [n, k]; see block_load and block_need */
    llmq_qmat *packed;                 /* owned by the block */
    enum llmq_activations activations; /* in products with `packed` */
    float *bias;                       /* [n] or NULL; in the block's arena */
};

/* What a node takes from the checkpoint; which of them, its operation says. */
struct params {
    struct linear linear;
    /* In the block's arena, as stored; NULL: the node has none. */
    float *weight, *bias; /* of a norm: of one of its groups, or of all ([groups, width]); of a
                           * convolution: [width, tokens] and [width] */
    float *choice_bias;   /* of a router */
    float *sinks;         /* of attention, [heads] */
    float *vector[NODE_VECTORS]; /* of others: graph_params.c has them in this order */
};

/* PLAIN expands packed weights to float32; PACKED keeps them for llmq_qmat_matmul; so does
 * PACKED_INT8, which has them multiplied with activations rounded to 8 bits. */
enum load_mode { LOAD_PLAIN, LOAD_PACKED, LOAD_PACKED_INT8 };

struct block {
    const struct model *model; /* where its weights, and those of its experts, are from */
    int64_t index;
    int64_t expert;            /* -1: the block itself; else one of its experts */
    const struct graph *graph; /* the model's; of an expert its body */
    enum load_mode mode;
    struct arena *arena; /* the caller's */
    uint64_t vectors;    /* nodes, as bits, of which all but the weight is there, ... */
    uint64_t owned;      /* ... and whose weight has memory of its own */
    struct params node[GRAPH_NODES];
};

/* Load block `index`, but for its experts, into `arena` (which the caller resets between blocks).
 * Call block_release before the arena is reset. */
LLMQ_NODISCARD enum llmq_status block_load(const struct model *m, int64_t index,
                                           enum load_mode mode, struct arena *arena,
                                           struct block *out, llmq_error *err);
void block_release(struct block *b); /* accepts a zeroed struct */

/* The same block piece by piece: nothing is loaded yet. */
void block_open(const struct model *m, int64_t index, enum load_mode mode, struct arena *arena,
                struct block *out);

/* Load what the nodes, given as bits, take and what is not there yet: weights into memory of their
 * own, vectors into the arena. */
LLMQ_NODISCARD enum llmq_status block_need(struct block *b, uint64_t nodes, llmq_error *err);

/* Give back the weights that block_need loaded, but for those of `nodes`. */
void block_keep(struct block *b, uint64_t nodes);

/* Load one expert of block `index` the same way: there may be more of them than fit. */
LLMQ_NODISCARD enum llmq_status expert_load(const struct model *m, int64_t index, int64_t expert,
                                            enum load_mode mode, struct arena *arena,
                                            struct block *out, llmq_error *err);

/* Multiply the columns of what reads the expert's input by scales [k]; NULL: by 1. */
void expert_scale(struct block *expert, const float *scales);

/* Bytes of a block's weights in memory when loaded PLAIN, or of one expert by its body; and of some
 * of its nodes. */
uint64_t block_bytes(const struct graph *g);
uint64_t block_bytes_of(const struct graph *g, uint64_t nodes);

#endif
