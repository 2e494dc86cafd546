/* Log-probabilities and their mean: see logprobs.h. */
#include "eval/logprobs.h"

#include <math.h>

#include "base/error.h"
#include "base/log.h"
#include "eval/head.h"
#include "eval/hidden.h"

static void copy_tile(const struct head *h, const struct head_tile *t, float *out) {
    int64_t vocab = h->m->config.vocab;
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->columns; j++)
            out[(t->begin + i) * vocab + t->first + j] = h->logits[i * t->columns + j];
}

enum llmq_status eval_logprobs(const struct model *m, const struct corpus *corpus,
                               struct eval_numbers numbers, const llmq_context *ctx,
                               double *logprobs, float *logits, llmq_error *err) {
    int64_t steps = m->config.blocks + 1;
    struct eval_job job = {
        .m = m, .corpus = corpus, .numbers = numbers, .ctx = ctx, .name = "", .total = steps};
    struct acts hidden = {0};
    struct head head = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(eval_hidden(&job, &hidden, err));
    log_progress(ctx, steps - 1, steps, "output head");
    LLMQ_TRY(head_create(m, corpus, &hidden, &head, err));
    for (struct head_tile tile = {0}; head_next(&head, &tile);) {
        LLMQ_TRY(interrupt_check(ctx, err));
        LLMQ_TRY(head_visit(&head, &tile, logprobs, err));
        if (logits)
            copy_tile(&head, &tile, logits);
    }
    LLMQ_TRY(head_finish(&head, logprobs, err));
    log_progress(ctx, steps, steps, "done");
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
