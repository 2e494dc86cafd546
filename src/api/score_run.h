/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of a caller's token ids, run through a model: log-probabilities and, if wanted, logits.
 */
#ifndef LLMQ_API_SCORE_RUN_H
#define LLMQ_API_SCORE_RUN_H

#include "graph/acts.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/logits.h"
#include "text/corpus.h"

struct score_run {
    const llmq_context *ctx;
    struct model m;
    struct corpus corpus;
    double *logprobs; /* [tokens], see eval_logprobs */
    struct acts logits;
    char *spill_dir;
};

/* Begin: threads, BLAS, the model. Release with score_run_close, also after an error. */
LLMQ_NODISCARD enum llmq_status score_run_open(const char *model, const char *family,
                                               const llmq_context *ctx, struct score_run *run,
                                               llmq_error *err);
void score_run_close(struct score_run *run);

/* Take the windows, which are copied. LLMQ_E_USAGE: none, an empty one, an id that the vocabulary
 * lacks, one that is longer than the model reads; `name` is what the caller calls them. */
LLMQ_NODISCARD enum llmq_status score_run_take(struct score_run *run, const char *name,
                                               const llmq_token_window *windows, size_t count,
                                               llmq_error *err);

/* How they are run. */
struct score_how {
    enum llmq_activations activations;
    enum llmq_compute compute;
    bool logits; /* keep them in run->logits [tokens, vocab] */
    uint64_t max_mem;
};
LLMQ_NODISCARD enum llmq_status score_run_compute(struct score_run *run,
                                                  const struct score_how *how, llmq_error *err);

#endif
