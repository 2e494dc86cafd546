/* SPDX-License-Identifier: Apache-2.0 */
/* Log-probabilities and their mean: see logprobs.h. */
#include "eval/logprobs.h"

#include <math.h>

#include "base/error.h"
#include "base/log.h"
#include "eval/head.h"
#include "eval/hidden.h"

enum llmq_status eval_logprobs(const struct eval_job *given, double *logprobs,
                               const struct acts *logits, llmq_error *err) {
    const int64_t steps = given->m->config.blocks + 1;
    struct eval_job job = *given;
    struct acts hidden = {0};
    struct head head = {0};
    enum llmq_status status = LLMQ_OK;
    job.name = "";
    job.done = 0;
    job.total = steps;
    LLMQ_TRY(eval_hidden(&job, &hidden, err));
    log_progress(job.ctx, steps - 1, steps, "output head");
    LLMQ_TRY(head_create(job.m, job.corpus, &hidden, job.divided, &head, err));
    for (struct head_tile tile = {0}; head_next(&head, &tile);) {
        const struct acts_part part = {tile.begin, tile.rows, tile.first, tile.columns};
        LLMQ_TRY(interrupt_check(job.ctx, err));
        LLMQ_TRY(head_visit(&head, &tile, logprobs, err));
        if (logits)
            LLMQ_TRY(acts_store_part(logits, &part, head.logits, err));
    }
    LLMQ_TRY(head_finish(&head, logprobs, job.ctx, err));
    log_progress(job.ctx, steps, steps, "done");
cleanup:
    head_free(&head);
    acts_free(&hidden);
    return status;
}

/* --- means ------------------------------------------------------------------------------------ */

int64_t eval_first_scored(int64_t length, enum eval_convention convention) {
    return convention == EVAL_LLAMACPP ? length / 2 : 0;
}

int64_t eval_scored_tokens(const struct corpus *corpus, enum eval_convention convention) {
    int64_t tokens = 0;
    for (int64_t w = 0; w < corpus->count; w++) {
        const int64_t length = corpus->offsets[w + 1] - corpus->offsets[w];
        tokens += length - 1 - eval_first_scored(length, convention);
    }
    return tokens;
}

struct eval_mean eval_mean_nll(const struct corpus *corpus, const double *logprobs,
                               enum eval_convention convention) {
    struct eval_mean mean = {0};
    double sum = 0, spread = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t w = 0; w < corpus->count; w++) {
            int64_t begin = corpus->offsets[w], length = corpus->offsets[w + 1] - begin;
            int64_t first = eval_first_scored(length, convention), n = length - 1 - first;
            double s = 0;
            for (int64_t t = first; t < length - 1; t++)
                s -= logprobs[begin + t];
            if (pass == 0) {
                sum += s;
                mean.tokens += n;
            } else {
                double deviation = s - mean.nll * (double)n;
                spread += deviation * deviation;
            }
        }
        mean.nll = sum / (double)mean.tokens;
    }
    double windows = (double)corpus->count;
    if (corpus->count > 1)
        mean.standard_error = sqrt(spread * windows / (windows - 1.0)) / (double)mean.tokens;
    return mean;
}
