/* SPDX-License-Identifier: Apache-2.0 */
/* A loss of a model's predictions and its gradient towards what the output head reads. Some tokens
 * at a time, as many as leave their logits within LOSS_LOGITS: a walk over panels of the vocabulary
 * makes those and finds the log of the sum of exponentials of every token, a second one turns them
 * into the gradient. Two products with the head in all. */
#ifndef LLMQ_GRAPH_LOSS_H
#define LLMQ_GRAPH_LOSS_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/head_panel.h"
#include "graph/model.h"
#include "llmq/error.h"

/* Columns of a panel and tokens that are worked on at a time, at most; logits that are kept of
 * these, unless LOSS_TILE_LEAST of the tokens have more. */
enum { LOSS_PANEL = 4096, LOSS_TILE = 256, LOSS_TILE_LEAST = 32, LOSS_LOGITS = 1 << 23 };

/* Columns [first, first + columns) of the vocabulary, for tokens [begin, begin + rows), at most
 * LOSS_TILE. */
struct loss_panel {
    int64_t begin, rows, first, columns;
};

struct loss {
    /* -log of the probability of the token that follows; of one that is drawn from the model's own
     * predictions (by `seed` and the token's place alone), whose gradients have as their second
     * moments the Fisher information (Martens, arXiv:1412.1193, section 5); or the Kullback-Leibler
     * divergence from a teacher's predictions to the model's. */
    enum loss_kind { LOSS_LABELS, LOSS_DRAWN, LOSS_TEACHER } kind;
    uint64_t seed;
    /* TEACHER: logprobs [rows, columns] of a panel. Panels of the same tokens come in order of the
     * columns. */
    void *c;
    enum llmq_status (*teacher)(void *c, const struct loss_panel *at, float *logprobs,
                                llmq_error *err);
};

struct loss_head {
    const struct model *m;
    const struct loss *loss;
    struct arena *arena;
    struct head_panel panel;
    int64_t tile;        /* rows at a time */
    float *logits;       /* [vocab, tile] theirs, a panel [rows, columns] behind the other */
    float *teacher;      /* [tile, columns] of a panel */
    double *lse, *below; /* [max_rows]; probability of the panels before */
    int32_t *drawn;      /* [max_rows]; -1: not yet */
};

/* `loss` and the model must outlive the result. Release with loss_free. */
LLMQ_NODISCARD enum llmq_status loss_create(const struct model *m, const struct loss *loss,
                                            int64_t max_rows, struct loss_head *out,
                                            llmq_error *err);
void loss_free(struct loss_head *h); /* accepts a zeroed struct */

/* Bytes that loss_create allocates. */
uint64_t loss_bytes(const struct model *m, int64_t max_rows);

/* Some tokens, from `begin` in the corpus on. */
struct loss_rows {
    int64_t begin, rows;
    const int32_t
        *label;     /* [rows]: the token that follows; -1: none does, the token counts nothing */
    const float *x; /* [rows, hidden] behind the last norm */
    float *dx;      /* set; NULL: the loss alone is wanted */
    double *loss;   /* [rows], set */
};
LLMQ_NODISCARD enum llmq_status loss_back(struct loss_head *h, const struct loss_rows *r,
                                          llmq_error *err);

#endif
