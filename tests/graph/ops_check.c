/* SPDX-License-Identifier: Apache-2.0 */
/* See ops_check.h. */
#include "ops_check.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

float *random_row(uint64_t seed, int64_t count, double limit) {
    float *x = malloc((size_t)(count > 0 ? count : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(limit * ((double)(random_next(&seed) >> 11) * 0x1p-52 - 1));
    return x;
}

void assert_recurrence(const struct recurrence *r, const float *out) {
    double *state = malloc((size_t)r->state * sizeof *state);
    double *want = malloc((size_t)r->width * sizeof *want);
    ck_assert(state && want);
    for (int64_t h = 0; h < r->heads; h++) {
        memset(state, 0, (size_t)r->state * sizeof *state);
        for (int64_t t = 0; t < r->length; t++) {
            r->token(r->c, t, h, state, want);
            for (int64_t i = 0; i < r->width; i++)
                ck_assert_near(out[(t * r->heads + h) * r->width + i], want[i],
                               1e-5 * (1 + fabs(want[i])));
        }
    }
    free(state);
    free(want);
}

double recurrence_loss(const struct recurrence *r, const float *dy) {
    double *state = malloc((size_t)r->state * sizeof *state), sum = 0;
    double *made = malloc((size_t)r->width * sizeof *made);
    ck_assert(state && made);
    for (int64_t h = 0; h < r->heads; h++) {
        memset(state, 0, (size_t)r->state * sizeof *state);
        for (int64_t t = 0; t < r->length; t++) {
            r->token(r->c, t, h, state, made);
            sum += products(dy + (t * r->heads + h) * r->width, made, r->width);
        }
    }
    free(state);
    free(made);
    return sum;
}

void assert_threads_change_nothing(void (*run)(void *c), void *c, const float *out, int64_t count) {
    float *first = malloc((size_t)count * sizeof *first);
    ck_assert_ptr_nonnull(first);
    run(c);
    memcpy(first, out, (size_t)count * sizeof *first);
    omp_set_num_threads(1);
    run(c);
    ck_assert_same(first, out, count);
    free(first);
}

/* --- gradients -------------------------------------------------------------------------------- */

float *grid_row(uint64_t seed, int64_t count, double limit) {
    float *x = random_row(seed, count, limit);
    to_grid(x, count);
    return x;
}

void to_grid(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        x[i] = (floorf(x[i] * 64) + 0.5F) / 64;
}

double products(const float *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* x += step times a sign for each entry, the same for the same entry; of one entry: just that. */
static void move(float *x, int64_t count, int64_t only, float step) {
    uint64_t seed = 77;
    for (int64_t i = 0; i < count && only < 0; i++)
        x[i] += random_next(&seed) >> 63 ? step : -step;
    if (only >= 0)
        x[only] += step;
}

static double loss_at(const struct slope *s, float *x, int64_t count, int64_t only, float step) {
    move(x, count, only, step);
    const double loss = s->loss(s->c);
    move(x, count, only, -step);
    return loss;
}

static double difference(const struct slope *s, float *x, int64_t count, int64_t only) {
    const float h = 1.0F / 256;
    const double wide = (loss_at(s, x, count, only, h) - loss_at(s, x, count, only, -h));
    const double near = (loss_at(s, x, count, only, h / 2) - loss_at(s, x, count, only, -h / 2));
    return (8 * near - wide) / (6 * (double)h);
}

enum { SAMPLES = 24 };
static const double tolerance = 2e-6;

void assert_gradient(const struct slope *s, float *x, const float *d, int64_t count) {
    const int64_t samples = count < SAMPLES ? count : SAMPLES;
    double want[SAMPLES], most = 0, length = 0, along = 0;
    uint64_t seed = 77;
    for (int64_t i = 0; i < samples; i++) {
        want[i] = difference(s, x, count, i * (count - 1) / (samples > 1 ? samples - 1 : 1));
        most = fmax(most, fabs(want[i]));
    }
    for (int64_t i = 0; i < samples; i++)
        ck_assert_near(d[i * (count - 1) / (samples > 1 ? samples - 1 : 1)], want[i],
                       tolerance * most + 1e-12);
    for (int64_t i = 0; i < count; i++) {
        along += random_next(&seed) >> 63 ? (double)d[i] : -(double)d[i];
        length += (double)d[i] * (double)d[i];
    }
    ck_assert_near(along, difference(s, x, count, -1), tolerance * sqrt(length) + 1e-12);
}

void assert_gradient_sums(const struct slope *s, float *x, const double *d, int64_t count) {
    float *narrow = malloc((size_t)count * sizeof *narrow);
    ck_assert_ptr_nonnull(narrow);
    for (int64_t i = 0; i < count; i++)
        narrow[i] = (float)d[i];
    assert_gradient(s, x, narrow, count);
    free(narrow);
}
