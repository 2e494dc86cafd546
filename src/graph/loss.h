/* SPDX-License-Identifier: Apache-2.0 */
/* A loss of a model's predictions and its gradient towards what the output head reads, by panels of
 * the vocabulary: a row of logits is never whole in memory. The first walk over the panels finds
 * the log of the sum of exponentials of every token, the second makes the logits again and with
 * them the gradient: three products with the head in all. */
#ifndef LLMQ_GRAPH_LOSS_H
#define LLMQ_GRAPH_LOSS_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/head_panel.h"
#include "graph/model.h"
#include "llmq/error.h"

/* Columns of a panel and tokens of it that are worked on at a time, at most. */
enum { LOSS_PANEL = 4096, LOSS_TILE = 256 };

/* Columns [first, first + columns) of the vocabulary, for tokens [begin, begin + rows). */
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
    /* TEACHER: logprobs [rows, columns] of a panel. Panels come in order of the columns. */
    void *c;
    enum llmq_status (*teacher)(void *c, const struct loss_panel *at, float *logprobs,
                                llmq_error *err);
};

struct loss_head {
    const struct model *m;
    const struct loss *loss;
    struct arena *arena;
    struct head_panel panel;
    float *logits, *teacher; /* of some rows and a panel */
    double *lse, *below;     /* [max_rows]; probability of the panels before */
    int32_t *drawn;          /* [max_rows]; -1: not yet */
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
