/* SPDX-License-Identifier: Apache-2.0 */
/* See summary.h. */
#include "eval/summary.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "eval/student.h"

/* What a summary works with, an entry for each token that counts. */
struct tables {
    struct arena *arena;
    double *values; /* [tokens_used] */
    llmq_divergent_token *tokens;
    int64_t count;
};

/* --- in order of size --------------------------------------------------------------------------
 */

/* Smallest divergence first; of equal ones the later token first, so that reading from the end
 * gives the worst in order of appearance. */
static int by_kl(const void *left, const void *right) {
    const llmq_divergent_token *a = left, *b = right;
    if (a->kl != b->kl)
        return a->kl < b->kl ? -1 : 1;
    if (a->window != b->window)
        return a->window > b->window ? -1 : 1;
    return (a->position < b->position) - (a->position > b->position);
}

static int by_value(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Of values in order. Linear interpolation, as numpy.quantile does by default. */
static double quantile(const struct tables *t, double q) {
    const double at = q * (double)(t->count - 1);
    const int64_t below = (int64_t)at;
    const double low = t->values[below];
    const double high = t->values[below + 1 < t->count ? below + 1 : below];
    return low + (at - (double)below) * (high - low);
}

/* --- parts ------------------------------------------------------------------------------------ */

/* The tokens that count, and how many of them agree. */
static int64_t list_scored(const struct corpus *corpus, const struct divergence *d,
                           enum eval_convention convention, struct tables *out) {
    int64_t agree = 0;
    for (int64_t w = 0; w < corpus->count; w++) {
        int64_t begin = corpus->offsets[w], length = corpus->offsets[w + 1] - begin;
        for (int64_t t = eval_first_scored(length, convention); t < length - 1; t++) {
            out->tokens[out->count++] = (llmq_divergent_token){.window = w,
                                                               .position = t + 1,
                                                               .token = corpus->ids[begin + t + 1],
                                                               .kl = d->kl[begin + t]};
            agree += d->agree[begin + t];
        }
    }
    return agree;
}

static void fill_means(const struct corpus *corpus, const struct divergence *d,
                       enum eval_convention convention, double *scratch,
                       struct divergence_summary *out) {
    const int64_t used = corpus->tokens_used;
    out->model = eval_mean_nll(corpus, d->logprobs, convention);
    out->reference = eval_mean_nll(corpus, d->reference_logprobs, convention);
    for (int64_t t = 0; t < used; t++)
        scratch[t] = d->logprobs[t] - d->reference_logprobs[t];
    out->delta = eval_mean_nll(corpus, scratch, convention);
    for (int64_t t = 0; t < used; t++)
        scratch[t] = -d->kl[t];
    out->kl = eval_mean_nll(corpus, scratch, convention);
    for (int64_t t = 0; d->reverse && t < used; t++)
        scratch[t] = -d->reverse[t];
    if (d->reverse)
        out->reverse = eval_mean_nll(corpus, scratch, convention);
}

/* The differences of windows against none: windows are the sampling unit of the standard error,
 * too. Equal models do not differ, however few windows there are. */
static double paired_test(const struct eval_mean *delta, int64_t windows) {
    if (delta->standard_error > 0)
        return student_two_sided(delta->nll / delta->standard_error, (double)(windows - 1));
    return windows > 1 && !(fabs(delta->nll) > 0) ? 1 : (double)NAN;
}

/* Bin i > 0 begins at 10^(-6 + (i - 1) / 2). */
static void fill_histogram(const struct tables *t, int64_t *bins) {
    for (int64_t i = 0; i < t->count; i++) {
        const double kl = t->tokens[i].kl;
        const double bin = kl > 0 ? floor(2 * (log10(kl) + 6)) + 1 : 0;
        bins[bin < 0 ? 0 : (int64_t)fmin(bin, LLMQ_COMPARE_BINS - 1)]++;
    }
}

/* Equal parts of the longest window. Those of a short one are as many as it has positions. */
static void fill_stretches(const struct tables *t, int64_t longest, llmq_kl_stretch *parts) {
    const int64_t parts_used = min_i64(longest - 1, LLMQ_COMPARE_STRETCHES);
    for (int64_t p = 0; p < parts_used; p++) {
        parts[p].first = 1 + ceil_div(p * (longest - 1), parts_used);
        parts[p].last = ceil_div((p + 1) * (longest - 1), parts_used);
    }
    for (int64_t i = 0; i < t->count; i++) {
        llmq_kl_stretch *part = &parts[(t->tokens[i].position - 1) * parts_used / (longest - 1)];
        part->tokens++;
        part->kl += t->tokens[i].kl;
    }
    for (int64_t p = 0; p < parts_used; p++)
        parts[p].kl /= (double)max_i64(parts[p].tokens, 1);
}

static void fill_delta_p(const struct corpus *corpus, const struct divergence *d, struct tables *t,
                         llmq_delta_p *out) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < t->count; i++) {
        const int64_t at = corpus->offsets[t->tokens[i].window] + t->tokens[i].position - 1;
        const double change = exp(d->logprobs[at]) - exp(d->reference_logprobs[at]);
        t->values[i] = change;
        sum += change;
        squares += change * change;
    }
    qsort(t->values, (size_t)t->count, sizeof *t->values, by_value);
    *out = (llmq_delta_p){.mean = sum / (double)t->count,
                          .rms = sqrt(squares / (double)t->count),
                          .p01 = quantile(t, 0.01),
                          .p05 = quantile(t, 0.05),
                          .median = quantile(t, 0.5),
                          .p95 = quantile(t, 0.95),
                          .p99 = quantile(t, 0.99)};
}

static void fill_kl(struct tables *t, struct divergence_summary *out) {
    const int64_t count = t->count;
    qsort(t->tokens, (size_t)count, sizeof *t->tokens, by_kl);
    for (int64_t i = 0; i < count; i++)
        t->values[i] = t->tokens[i].kl;
    out->kl_median = quantile(t, 0.5);
    out->kl_p90 = quantile(t, 0.9);
    out->kl_p99 = quantile(t, 0.99);
    out->kl_p999 = quantile(t, 0.999);
    out->kl_max = t->values[count - 1];
    for (; out->worst_count < LLMQ_COMPARE_WORST && (int64_t)out->worst_count < count;
         out->worst_count++)
        out->worst[out->worst_count] = t->tokens[count - 1 - (int64_t)out->worst_count];
}

/* --- all -------------------------------------------------------------------------------------- */

enum llmq_status divergence_summarize(const struct corpus *corpus, const struct divergence *d,
                                      enum eval_convention convention,
                                      struct divergence_summary *out, llmq_error *err) {
    const size_t used = (size_t)corpus->tokens_used;
    struct tables t = {0};
    enum llmq_status status = LLMQ_OK;
    *out = (struct divergence_summary){0};
    LLMQ_TRY(arena_create("a comparison's summary", &t.arena, err));
    t.values = arena_alloc(t.arena, used, sizeof *t.values, err);
    t.tokens = arena_alloc(t.arena, used, sizeof *t.tokens, err);
    if (!t.values || !t.tokens) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    const int64_t agree = list_scored(corpus, d, convention, &t);
    if (t.count == 0) {
        status = error_set(err, LLMQ_E_USAGE, "no token counts: the windows are too short");
        goto cleanup;
    }
    out->top1_agreement = (double)agree / (double)t.count;
    out->kl_sampling_error = sqrt(d->sampling_variance) / (double)t.count;
    fill_means(corpus, d, convention, t.values, out);
    out->delta_p_value = paired_test(&out->delta, corpus->count);
    fill_histogram(&t, out->histogram);
    fill_stretches(&t, corpus->max_len, out->stretches);
    fill_delta_p(corpus, d, &t, &out->delta_p);
    fill_kl(&t, out);
cleanup:
    arena_free(&t.arena);
    return status;
}

/* --- window by window --------------------------------------------------------------------------
 */

void divergence_by_window(const struct corpus *corpus, const struct divergence *d,
                          enum eval_convention convention, llmq_window_divergence *out) {
    for (int64_t w = 0; w < corpus->count; w++) {
        const int64_t begin = corpus->offsets[w], length = corpus->offsets[w + 1] - begin;
        llmq_window_divergence sum = {0};
        for (int64_t t = eval_first_scored(length, convention); t < length - 1; t++) {
            sum.tokens++;
            sum.kl += d->kl[begin + t];
            sum.delta_nll += d->reference_logprobs[begin + t] - d->logprobs[begin + t];
        }
        sum.kl /= (double)max_i64(sum.tokens, 1);
        sum.delta_nll /= (double)max_i64(sum.tokens, 1);
        out[w] = sum;
    }
}

void divergence_beside(const llmq_window_divergence *first, const llmq_window_divergence *other,
                       int64_t count, double *mean, double *standard_error) {
    double tokens = 0, sum = 0, spread = 0;
    for (int64_t w = 0; w < count; w++) {
        tokens += (double)other[w].tokens;
        sum += (double)other[w].tokens * (other[w].kl - first[w].kl);
    }
    *mean = sum / tokens;
    for (int64_t w = 0; w < count; w++) {
        const double deviation = (double)other[w].tokens * (other[w].kl - first[w].kl - *mean);
        spread += deviation * deviation;
    }
    *standard_error =
        count > 1 ? sqrt(spread * (double)count / (double)(count - 1)) / tokens : (double)NAN;
}
