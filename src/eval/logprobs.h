/* SPDX-License-Identifier: Apache-2.0 */
/* Log-probabilities of every token of a corpus, and their mean. Layer-major as hidden.h. */
#ifndef LLMQ_EVAL_LOGPROBS_H
#define LLMQ_EVAL_LOGPROBS_H

#include <stdint.h>

#include "eval/hidden.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "text/corpus.h"

/* logprobs [tokens_used]: entry t is log p(ids[t+1] | the window up to t); the entry of a window's
 * last token is 0. When `logits` is not NULL it receives [tokens_used, vocab]. Of the job,
 * name and steps are set here. LLMQ_E_NUMERIC when an activation overflowed. */
LLMQ_NODISCARD enum llmq_status eval_logprobs(const struct eval_job *job, double *logprobs,
                                              const struct acts *logits, llmq_error *err);

/* Mean NLL over the tokens that count (nats per token), its standard error (0 for one window), and
 * their number. */
struct eval_mean {
    double nll, standard_error;
    int64_t tokens;
};

/* GPTQ: every token but a window's first counts. LLAMACPP: the second half of each window. */
enum eval_convention { EVAL_GPTQ, EVAL_LLAMACPP };

/* The entries of a window of `length` tokens that count are [eval_first_scored, length - 1): entry
 * t scores token t + 1. */
int64_t eval_first_scored(int64_t length, enum eval_convention convention);

/* How many tokens of a corpus count. */
int64_t eval_scored_tokens(const struct corpus *corpus, enum eval_convention convention);

/* The windows are the sampling unit: S_w the NLL of window w over n_w tokens, nll = sum S / sum n,
 * standard error from the spread of S_w - nll n_w (ratio estimator). */
struct eval_mean eval_mean_nll(const struct corpus *corpus, const double *logprobs,
                               enum eval_convention convention);

#endif
