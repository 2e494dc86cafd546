/* How far a model's predictions are from a reference's on the same text, token by token.
 *
 * For every token t the two models give distributions over the next one, p (reference) and q
 * (model). With logits a and b, KL(p || q) = sum p (a - b) - log sum exp a + log sum exp b: sums
 * over the vocabulary that are kept up to date tile by tile, in double, so that no row of logits
 * is ever whole in memory. */
#ifndef LLMQ_EVAL_DIVERGENCE_H
#define LLMQ_EVAL_DIVERGENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "eval/hidden.h"
#include "eval/logprobs.h"
#include "eval/room.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"
#include "text/corpus.h"

/* Two models with the same vocabulary, and what they read. */
struct eval_pair {
    const struct model *model, *reference;
    const struct corpus *corpus;
    const llmq_context *ctx;
    struct eval_numbers numbers; /* of the model; the reference computes in float32 */
    const char *spill_dir;       /* as of struct eval_job */
};

/* Entry t [tokens_used] is about the prediction of token t + 1; a window's last entry is 0. */
struct divergence {
    double *kl;       /* KL(reference || model), nats, >= 0 */
    bool *agree;      /* both find the same token most likely */
    double *logprobs; /* as of eval_logprobs */
    double *reference_logprobs;
    llmq_block_drift *blocks; /* [block_count] */
    int64_t block_count;      /* 0 where the models differ in blocks or width */
    struct arena *arena;      /* holds them */
};

/* Both models one after the other as in hidden.h, packed weights as they are, then their heads side
 * by side. Release with divergence_free, also after a failure. LLMQ_E_NUMERIC when an activation
 * overflowed: the message says in which block first. */
LLMQ_NODISCARD enum llmq_status eval_divergence(const struct eval_pair *pair,
                                                struct divergence *out, llmq_error *err);

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

/* Of the tokens that count. */
struct divergence_summary {
    struct eval_mean model, reference; /* as of eval_mean_nll */
    struct eval_mean delta;            /* mean of the differences, model - reference */
    struct eval_mean kl;
    double kl_median, kl_p99; /* interpolated between neighbours in order of size */
    double top1_agreement;    /* fraction */
    llmq_divergent_token worst[LLMQ_COMPARE_WORST];
    size_t worst_count;
};

/* LLMQ_E_USAGE when no token counts. */
LLMQ_NODISCARD enum llmq_status divergence_summarize(const struct corpus *corpus,
                                                     const struct divergence *d,
                                                     enum eval_convention convention,
                                                     struct divergence_summary *out,
                                                     llmq_error *err);

#endif
