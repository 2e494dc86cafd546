/* SPDX-License-Identifier: Apache-2.0 */
/* How far a model's predictions are from a reference's on the same text, token by token.
 *
 * For every token t the two models give distributions over the next one, p (reference) and q
 * (model). With logits a and b, KL(p || q) = sum p (a - b) - log sum exp a + log sum exp b: sums
 * over the vocabulary that are kept up to date tile by tile, in double, so that no row of logits
 * is ever whole in memory. A reference runs once for all models that are compared with it. */
#ifndef LLMQ_EVAL_DIVERGENCE_H
#define LLMQ_EVAL_DIVERGENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "eval/hidden.h"
#include "eval/logprobs.h"
#include "eval/outputs.h"
#include "eval/room.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"
#include "text/corpus.h"

/* Two models with the same vocabulary, and what they read. `reference` is NULL where it is kept. */
struct eval_pair {
    const struct model *model, *reference;
    const struct corpus *corpus;
    const llmq_context *ctx;
    struct eval_numbers numbers; /* of the model; the reference computes in float32 */
    const char *spill_dir;       /* as of struct eval_job */
    const char *name;            /* of the model in the progress; NULL: "model" */
    int64_t done, total;         /* steps of the whole run before this model's, and all of them; 0
                                    of 0: these two models are all of it */
    bool divided;                /* ranks share the work: see parts.h */
};

/* What remains of a reference that ran: final hidden states, and a sample of what blocks put out.
 */
struct eval_reference {
    struct acts hidden;
    struct outputs outputs;
    struct arena *arena; /* holds the sample */
};

/* Entry t [tokens_used] is about the prediction of token t + 1; a window's last entry is 0. */
struct divergence {
    double *kl;       /* KL(reference || model), nats, >= 0 */
    double *reverse;  /* KL(model || reference); NULL where it is not known (kept.h) */
    bool *agree;      /* both find the same token most likely */
    double *logprobs; /* as of eval_logprobs */
    double *reference_logprobs;
    llmq_block_drift *blocks; /* [block_count] */
    int64_t block_count;      /* 0 where the models differ in blocks or width */
    double sampling_variance; /* of the sum over `kl` where the reference is a sample (kept.h) */
    struct acts hidden;       /* what the model's head read; none from eval_divergence_of */
    struct arena *arena;      /* holds them */
};

/* Run the reference as in hidden.h, packed weights as they are. `model` of the pair may be NULL.
 * Release with eval_reference_free, also after a failure. */
LLMQ_NODISCARD enum llmq_status eval_reference_run(const struct eval_pair *pair,
                                                   struct eval_reference *out, llmq_error *err);
void eval_reference_free(struct eval_reference *r); /* accepts a zeroed struct */

/* Run the model, then both heads side by side. Release with divergence_free, also after a failure.
 * LLMQ_E_NUMERIC when an activation overflowed: the message says in which block first. */
LLMQ_NODISCARD enum llmq_status eval_divergence_from(const struct eval_pair *pair,
                                                     const struct eval_reference *reference,
                                                     struct divergence *out, llmq_error *err);

/* The reference, then the model. */
LLMQ_NODISCARD enum llmq_status eval_divergence(const struct eval_pair *pair,
                                                struct divergence *out, llmq_error *err);

/* Everything a model did, as a step of such a run. `name` is room for the text before the progress.
 */
enum { EVAL_NAME_ROOM = 64 };
struct eval_job eval_model_job(const struct eval_pair *pair, char name[EVAL_NAME_ROOM]);

/* The same of what the heads read, behind the last norms: hidden [tokens_used, hidden] of the
 * reference, then of the model. */
LLMQ_NODISCARD enum llmq_status eval_divergence_of(const struct eval_pair *pair,
                                                   const struct acts *const hidden[2],
                                                   struct divergence *out, llmq_error *err);

/* What that takes: rooms of the two models in the order in which they run, and bytes of tables with
 * an entry for each token. */
LLMQ_NODISCARD enum llmq_status eval_divergence_room(const struct eval_pair *pair,
                                                     struct eval_room rooms[2], uint64_t *tables,
                                                     llmq_error *err);
void divergence_free(struct divergence *d); /* accepts a zeroed struct */

#endif
