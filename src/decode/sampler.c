/* SPDX-License-Identifier: Apache-2.0 */
/* See sampler.h. */
#include "decode/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"

enum llmq_status sampler_create(int64_t vocab, struct sampler *out, llmq_error *err) {
    *out = (struct sampler){.top_p = 1, .room = calloc((size_t)vocab, sizeof *out->room)};
    return out->room ? LLMQ_OK : error_memory(err, "the candidates for a token");
}

void sampler_free(struct sampler *s) {
    free(s->room);
    *s = (struct sampler){0};
}

int32_t sampler_best(const float *logits, int64_t vocab) {
    int32_t best = 0;
    for (int64_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = (int32_t)i;
    return best;
}

void sampler_best_two(const float *logits, int64_t vocab, int32_t best[2]) {
    best[0] = best[1] = sampler_best(logits, vocab);
    for (int64_t i = 0; i < vocab; i++)
        if (i != best[0] && (best[1] == best[0] || logits[i] > logits[best[1]]))
            best[1] = (int32_t)i;
}

double sampler_logprob(const float *logits, int64_t vocab, int32_t id) {
    const double most = (double)logits[sampler_best(logits, vocab)];
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - most);
    return (double)logits[id] - most - log(sum);
}

/* A number in [0, 1) (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
 */
static double next_random(struct sampler *s) {
    uint64_t z = s->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* The most likely first; of equal ones that of the smaller id. */
static int by_logit(const void *left, const void *right) {
    const struct candidate *a = left, *b = right;
    if (a->logit > b->logit || a->logit < b->logit)
        return a->logit < b->logit ? 1 : -1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* How many of the candidates, sorted, are drawn from; *sum of their weights exp((l - most) / t). */
static int64_t drawn_from(const struct sampler *s, int64_t count, double *sum) {
    const double most = (double)s->room[0].logit;
    double all = 0;
    for (int64_t i = 0; i < count; i++)
        all += exp(((double)s->room[i].logit - most) / s->temperature);
    *sum = 0;
    for (int64_t i = 0; i < count; i++) {
        *sum += exp(((double)s->room[i].logit - most) / s->temperature);
        if (*sum >= s->top_p * all)
            return i + 1;
    }
    return count;
}

static int32_t draw(struct sampler *s, int64_t count) {
    const double most = (double)s->room[0].logit;
    double sum = 0;
    const int64_t kept = drawn_from(s, count, &sum);
    double left = next_random(s) * sum;
    for (int64_t i = 0; i < kept; i++) {
        left -= exp(((double)s->room[i].logit - most) / s->temperature);
        if (left < 0)
            return s->room[i].id;
    }
    return s->room[kept - 1].id;
}

enum llmq_status sampler_next(struct sampler *s, const float *logits, int64_t vocab, int32_t *id,
                              llmq_error *err) {
    for (int64_t i = 0; i < vocab; i++)
        if (!isfinite(logits[i])) {
            error_set(err, LLMQ_E_NUMERIC,
                      "the logit of token %lld is not finite: weights are not, or the model's "
                      "activations overflow",
                      (long long)i);
            error_hint(err, "llmq verify names the weights that are not finite");
            return LLMQ_E_NUMERIC;
        }
    if (!(s->temperature > 0)) {
        *id = sampler_best(logits, vocab);
        return LLMQ_OK;
    }
    for (int64_t i = 0; i < vocab; i++)
        s->room[i] = (struct candidate){(int32_t)i, logits[i]};
    qsort(s->room, (size_t)vocab, sizeof *s->room, by_logit);
    *id = draw(s, s->top_k > 0 ? min_i64(s->top_k, vocab) : vocab);
    return LLMQ_OK;
}
