/* SPDX-License-Identifier: Apache-2.0 */
/* The output head by panels of the vocabulary: some of its rows in memory at a time, and the logits
 * that they give. */
#ifndef LLMQ_GRAPH_HEAD_PANEL_H
#define LLMQ_GRAPH_HEAD_PANEL_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/model.h"
#include "llmq/error.h"
#include "tensor/qlinear.h"

struct head_panel {
    const struct model *m;
    int64_t first, columns; /* the ids whose rows are loaded */
    struct qlinear packed;  /* the whole head where it is stored packed, a byte for each weight */
    float *bias;            /* [vocab] or NULL */
    float *weights;         /* [columns, hidden] */
};

/* For panels of at most `columns`. Memory comes from `arena`; release with head_panel_free, also
 * after a failure. */
LLMQ_NODISCARD enum llmq_status head_panel_create(const struct model *m, int64_t columns,
                                                  struct arena *arena, struct head_panel *out,
                                                  llmq_error *err);
void head_panel_free(struct head_panel *h); /* accepts a zeroed struct */

/* Bytes that it takes, but for a head that is stored packed. */
uint64_t head_panel_bytes(const struct model *m, int64_t columns);

/* Rows [first, first + columns) of the head. */
LLMQ_NODISCARD enum llmq_status head_panel_load(struct head_panel *h, int64_t first,
                                                int64_t columns, llmq_error *err);

/* logits [rows, columns] of x [rows, hidden], with what a model does to them: a factor, a bias, a
 * cap (Gemma 2: cap tanh(logit / cap)). */
void head_panel_logits(const struct head_panel *h, int64_t rows, const float *x, float *logits);

/* `lse`, the log of the sum of exponentials of a row's logits in the panels before, with those of
 * this one; before the first there are none. */
double head_panel_fold(const struct head_panel *h, double lse, const float *logits);

#endif
