/* SPDX-License-Identifier: Apache-2.0 */
/* What the original model predicts, for a loss that compares with it: its hidden states behind the
 * last norm are kept, and a panel of its log-probabilities is made of them when it is wanted. That
 * is exact and takes `hidden` numbers a token, where the likeliest predictions and what is left of
 * them take two for each and are not. */
#ifndef LLMQ_TUNE_TEACHER_H
#define LLMQ_TUNE_TEACHER_H

#include "base/arena.h"
#include "eval/hidden.h"
#include "graph/head_panel.h"
#include "graph/loss.h"
#include "llmq/error.h"

struct teacher {
    const struct model *m;
    struct acts hidden; /* [tokens, hidden] */
    double *lse;        /* [tokens] */
    struct head_panel panel;
    float *rows, *logits; /* of a tile: [LOSS_TILE, hidden] from a file, [LOSS_TILE, LOSS_PANEL] */
    struct arena *arena;
};

/* Run the model of `job` over its corpus. Release with teacher_free, also after a failure. */
LLMQ_NODISCARD enum llmq_status teacher_create(const struct eval_job *job, struct teacher *out,
                                               llmq_error *err);
void teacher_free(struct teacher *t); /* accepts a zeroed struct */

/* struct loss: what a panel's log-probabilities are; places are those of the corpus. */
enum llmq_status teacher_logprobs(void *teacher, const struct loss_panel *at, float *logprobs,
                                  llmq_error *err);

/* Bytes that it keeps for so many tokens: of memory, but for what may lie in a file. */
uint64_t teacher_bytes(const struct model *m, int64_t tokens);
uint64_t teacher_hidden_bytes(const struct model *m, int64_t tokens);

#endif
