/* SPDX-License-Identifier: Apache-2.0 */
/* Every row kernel of every table this machine can run against double precision: odd
 * sizes, extreme data, unaligned arrays between guards. Error bounds are those kernels.h states. */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_check.h"
#include "quant/grid.h"
#include "support.h"

#define ULP 0x1p-24 /* largest relative error of one rounding */

static const int64_t sizes[] = {0,  1,  2,  3,   5,   7,   8,   15,  16,  17,  31,  32,   33,  47,
                                63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 513, 1000, 1023};
enum { SIZES = sizeof sizes / sizeof sizes[0], SIZE_MAX_TESTED = 1023 };

static const struct llmq_kernels *tables[CPU_LEVELS];
static int table_count;

/* One case: a table, a size, a kind of data, and how far arrays are off alignment. */
struct run {
    const struct llmq_kernels *table;
    int64_t n;
    enum fill fill;
    int shift;
};

static int run_count(void) {
    return table_count * SIZES * FILL_COUNT;
}

static struct run run_at(int index) {
    struct run r = {.table = tables[index / (SIZES * FILL_COUNT)],
                    .n = sizes[index / FILL_COUNT % SIZES],
                    .fill = (enum fill)(index % FILL_COUNT)};
    r.shift = index % 5;
    return r;
}

/* A passing ck_assert writes a record, far slower than the kernel: element checks abort instead. */
#define RUN_FMT       "%s, n %lld, fill %d, shift %d"
#define RUN_ARG(r)    (r).table->name, (long long)(r).n, (int)(r).fill, (r).shift
#define RUN_OK(r, ok) ck_assert_msg(ok, RUN_FMT, RUN_ARG(r))
#define RUN_NEAR(r, got, want, bound)                                                              \
    do {                                                                                           \
        double got_ = (double)(got), want_ = (double)(want), bound_ = (bound);                     \
        if (!(fabs(got_ - want_) <= bound_))                                                       \
            ck_abort_msg(RUN_FMT ": %.17g, expected %.17g +- %g", RUN_ARG(r), got_, want_,         \
                         bound_);                                                                  \
    } while (0)

static double row_max(const float *x, int64_t n) {
    double max = -(double)INFINITY;
    for (int64_t i = 0; i < n; i++)
        max = (double)x[i] > max ? (double)x[i] : max;
    return max;
}

static long double row_sum_exp(const float *x, int64_t n, double max) {
    long double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += expl((long double)x[i] - (long double)max);
    return sum;
}

START_TEST(softmax_is_within_its_bound_for_any_range_of_scores) {
    uint64_t state = check_seed();
    static const float limits[] = {1e-3F, 1, 10, 60, 1e4F};
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        struct guarded x = guarded_create(r.n, r.shift);
        float before[SIZE_MAX_TESTED + 1];
        fill_floats(r.fill, limits[i % 7 % 5], &state, x.data, r.n);
        memcpy(before, x.data, (size_t)r.n * sizeof *before);
        r.table->softmax_row(x.data, r.n);
        double max = row_max(before, r.n), sum = (double)row_sum_exp(before, r.n, max);
        for (int64_t j = 0; j < r.n; j++) {
            double d = (double)before[j] - max, want = exp(d) / sum;
            RUN_NEAR(r, x.data[j], want, want * (4e-7 + ULP * fabs(d)) + 0x1p-148);
        }
        RUN_OK(r, guarded_intact(&x));
        guarded_free(&x);
    }
}
END_TEST

/* softmax of {x, 0} is exp(x) / (1 + exp(x)): for negative x a look at exp itself. */
START_TEST(exponential_is_accurate_over_its_whole_range) {
    for (int t = 0; t < table_count; t++)
        for (int i = -104 * 512; i < 0; i++) {
            float row[2] = {(float)i / 512, 0};
            double at = (double)row[0], want = exp(at) / (1 + exp(at));
            tables[t]->softmax_row(row, 2);
            ck_assert_msg(fabs((double)row[0] - want) <= 2.5e-7 * want + 0x1p-149,
                          "%s: exp(%g) -> %.9g, expected %.9g", tables[t]->name, at, (double)row[0],
                          want);
        }
}
END_TEST

START_TEST(softmax_gives_masked_scores_zero_and_passes_nan_on) {
    for (int t = 0; t < table_count; t++)
        for (int64_t n = 2; n < 70; n++) {
            float row[70], nan_row[70];
            for (int64_t i = 0; i < n; i++)
                row[i] = nan_row[i] = i % 2 ? -INFINITY : (float)i;
            nan_row[n / 2] = NAN;
            tables[t]->softmax_row(row, n);
            tables[t]->softmax_row(nan_row, n);
            double sum = 0;
            for (int64_t i = 0; i < n; i++) {
                sum += (double)row[i];
                ck_assert_msg(i % 2 == 0 || row[i] == 0, "%s", tables[t]->name);
                ck_assert_msg(isnan(nan_row[i]), "%s, n %lld", tables[t]->name, (long long)n);
            }
            ck_assert_double_eq_tol(sum, 1, 1e-6);
        }
}
END_TEST

START_TEST(softmax_of_nothing_but_masked_scores_is_nan) {
    for (int t = 0; t < table_count; t++)
        for (int64_t n = 1; n < 40; n++) {
            float row[40];
            for (int64_t i = 0; i < n; i++)
                row[i] = -INFINITY;
            tables[t]->softmax_row(row, n);
            for (int64_t i = 0; i < n; i++)
                ck_assert_msg(isnan(row[i]), "%s, n %lld", tables[t]->name, (long long)n);
        }
}
END_TEST

START_TEST(logsumexp_is_accurate_enough_for_likelihoods) {
    uint64_t state = check_seed();
    static const float limits[] = {1e-3F, 1, 12, 60, 1e4F};
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        if (r.n == 0)
            continue;
        struct guarded x = guarded_create(r.n, r.shift);
        fill_floats(r.fill, limits[i % 7 % 5], &state, x.data, r.n);
        double max = row_max(x.data, r.n);
        double want = max + (double)logl(row_sum_exp(x.data, r.n, max));
        RUN_NEAR(r, r.table->logsumexp_row(x.data, r.n), want, 1.5e-7 + 1e-15 * fabs(want));
        RUN_OK(r, guarded_intact(&x));
        guarded_free(&x);
    }
}
END_TEST

START_TEST(logsumexp_passes_over_masked_scores) {
    for (int t = 0; t < table_count; t++)
        for (int64_t n = 1; n < 70; n++) {
            float x[70];
            for (int64_t i = 0; i < n; i++)
                x[i] = i % 3 ? -INFINITY : (float)i / 16;
            double want = log((double)row_sum_exp(x, n, 0));
            double got = tables[t]->logsumexp_row(x, n);
            ck_assert_msg(fabs(got - want) <= 1.5e-7 + 1e-15 * fabs(want),
                          "%s, n %lld: %.9g, expected %.9g", tables[t]->name, (long long)n, got,
                          want);
        }
}
END_TEST

START_TEST(logsumexp_of_a_large_vocabulary_is_accurate_to_1e_7) {
    enum { N = 151936 };
    uint64_t state = check_seed();
    float *x = malloc(N * sizeof *x);
    ck_assert_ptr_nonnull(x);
    fill_floats(FILL_RANDOM, 15, &state, x, N);
    double max = row_max(x, N), want = max + (double)logl(row_sum_exp(x, N, max));
    for (int t = 0; t < table_count; t++)
        ck_assert_double_eq_tol(tables[t]->logsumexp_row(x, N), want, 1e-7 * fabs(want));
    x[N / 2] = NAN;
    for (int t = 0; t < table_count; t++)
        ck_assert_msg(isnan(tables[t]->logsumexp_row(x, N)), "%s", tables[t]->name);
    free(x);
}
END_TEST

START_TEST(silu_mul_is_within_its_bound_also_in_place) {
    uint64_t state = check_seed();
    static const float limits[] = {1, 5, 30, 200};
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        struct guarded gate = guarded_create(r.n, r.shift), up = guarded_create(r.n, 2);
        struct guarded out = guarded_create(r.n, 1);
        fill_floats(r.fill, limits[i % 7 % 4], &state, gate.data, r.n);
        fill_floats(FILL_RANDOM, 3, &state, up.data, r.n);
        r.table->silu_mul(gate.data, up.data, out.data, r.n);
        for (int64_t j = 0; j < r.n; j++) {
            double g = (double)gate.data[j], want = g / (1 + exp(-g)) * (double)up.data[j];
            RUN_NEAR(r, out.data[j], want, 1e-6 * fabs(want) + 1e-36);
        }
        r.table->silu_mul(gate.data, up.data, gate.data, r.n);
        RUN_OK(r, memcmp(gate.data, out.data, (size_t)r.n * sizeof(float)) == 0);
        RUN_OK(r, guarded_intact(&gate) && guarded_intact(&up) && guarded_intact(&out));
        guarded_free(&gate);
        guarded_free(&up);
        guarded_free(&out);
    }
}
END_TEST

START_TEST(rmsnorm_is_within_its_bound_also_in_place) {
    uint64_t state = check_seed();
    static const float limits[] = {1e-4F, 1, 1e3F};
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        if (r.n == 0)
            continue;
        struct guarded x = guarded_create(r.n, r.shift), w = guarded_create(r.n, 2);
        struct guarded out = guarded_create(r.n, 3);
        fill_floats(r.fill, limits[i % 7 % 3], &state, x.data, r.n);
        fill_floats(FILL_RANDOM, 3, &state, w.data, r.n);
        r.table->rmsnorm_row(x.data, w.data, 1e-6, r.n, out.data);
        double squares = 0;
        for (int64_t j = 0; j < r.n; j++)
            squares += (double)x.data[j] * (double)x.data[j];
        for (int64_t j = 0; j < r.n; j++) {
            double want = (double)x.data[j] / sqrt(squares / (double)r.n + 1e-6);
            want *= (double)w.data[j];
            RUN_NEAR(r, out.data[j], want, 4e-7 * fabs(want));
        }
        r.table->rmsnorm_row(x.data, w.data, 1e-6, r.n, x.data);
        RUN_OK(r, memcmp(x.data, out.data, (size_t)r.n * sizeof(float)) == 0);
        RUN_OK(r, guarded_intact(&x) && guarded_intact(&w) && guarded_intact(&out));
        guarded_free(&x);
        guarded_free(&w);
        guarded_free(&out);
    }
}
END_TEST

/* Squares of float32 beyond 2^64 overflow float32 but not the double they are summed in. */
START_TEST(rmsnorm_does_not_overflow_on_large_activations) {
    float x[37], w[37], out[37];
    for (int i = 0; i < 37; i++) {
        x[i] = 1e30F;
        w[i] = 1;
    }
    for (int t = 0; t < table_count; t++) {
        tables[t]->rmsnorm_row(x, w, 1e-5, 37, out);
        for (int i = 0; i < 37; i++)
            ck_assert_msg(fabsf(out[i] - 1) < 1e-6F, "%s", tables[t]->name);
    }
}
END_TEST

START_TEST(nan_in_any_place_comes_out) {
    float x[41], w[41], out[41];
    for (int t = 0; t < table_count; t++)
        for (int at = 0; at < 41; at++) {
            for (int i = 0; i < 41; i++)
                x[i] = w[i] = 1;
            x[at] = NAN;
            tables[t]->silu_mul(x, w, out, 41);
            for (int i = 0; i < 41; i++)
                ck_assert(!isnan(out[i]) == (i != at));
            tables[t]->rmsnorm_row(x, w, 0, 41, out);
            for (int i = 0; i < 41; i++)
                ck_assert(isnan(out[i]));
        }
}
END_TEST

/* Same bits, the sign of zero included. */
static bool same_float(float a, float b) {
    return memcmp(&a, &b, sizeof a) == 0;
}

START_TEST(ranges_are_the_extremes_and_tell_what_is_not_finite) {
    uint64_t state = check_seed();
    static const float limits[] = {1, 1e30F, 1e-40F}; /* the last are denormal */
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        struct guarded w = guarded_create(r.n, r.shift);
        float lo = NAN, hi = NAN, low = 0, high = 0;
        fill_floats(r.fill, limits[i % 7 % 3], &state, w.data, r.n);
        for (int64_t j = 0; j < r.n; j++) {
            low = w.data[j] < low ? w.data[j] : low;
            high = w.data[j] > high ? w.data[j] : high;
        }
        RUN_OK(r, r.table->range(w.data, r.n, &lo, &hi));
        RUN_OK(r, same_float(lo, low) && same_float(hi, high));
        for (int b = 0; r.n > 0 && b < 3; b++) {
            float *at = w.data + random_next(&state) % (uint64_t)r.n, kept = *at;
            *at = bad[b];
            RUN_OK(r, !r.table->range(w.data, r.n, &lo, &hi));
            RUN_OK(r, lo <= 0 && hi >= 0 && (lo == -INFINITY) == (b == 2) &&
                          (hi == INFINITY) == (b == 1));
            *at = kept;
        }
        RUN_OK(r, guarded_intact(&w));
        guarded_free(&w);
    }
}
END_TEST

/* Weights on ties of the grid, beside them, beyond its ends, and none at all. */
static void fill_ties(float scale, uint64_t *state, float *w, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float tie = ((float)(int)(random_next(state) % 601) - 300) / 2 * scale;
        switch (random_next(state) % 8) {
        case 0:
            w[i] = nextafterf(tie, INFINITY);
            break;
        case 1:
            w[i] = nextafterf(tie, -INFINITY);
            break;
        case 2:
            w[i] = 300 * scale * random_float(state);
            break;
        case 3:
            w[i] = (const float[]){NAN, INFINITY, -INFINITY, -0.0F}[random_next(state) % 4];
            break;
        default:
            w[i] = tie;
        }
    }
}

/* Codes of w, and nothing beside them written. */
static void check_codes(struct run r, const float *w, float scale, float zero, float top) {
    enum { GUARD = 64 };
    unsigned char out[SIZE_MAX_TESTED + 2 * GUARD];
    uint8_t *codes = out + GUARD + r.shift;
    memset(out, 0xee, sizeof out);
    r.table->round_codes(w, r.n, scale, zero, top, codes);
    for (int64_t j = 0; j < r.n; j++) {
        int want = (int)(grid_level(w[j], scale, zero, top) + zero);
        if (codes[j] != want)
            ck_abort_msg(RUN_FMT ": %a / %a + %g of %g: code %d, expected %d", RUN_ARG(r),
                         (double)w[j], (double)scale, (double)zero, (double)top, codes[j], want);
    }
    bool intact = true;
    for (unsigned char *p = out; p < out + sizeof out; p++)
        intact &= (p >= codes && p < codes + r.n) || *p == 0xee;
    RUN_OK(r, intact);
}

START_TEST(codes_are_those_of_the_grid_bit_for_bit) {
    uint64_t state = check_seed();
    static const float scales[] = {1, 0.37F, 0x1p-14F, 65280, 1.17549435e-38F, 3e38F, 0.01F};
    static const int bits[] = {2, 3, 4, 8};
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        struct guarded w = guarded_create(r.n, r.shift);
        for (int b = 0; b < 4; b++) {
            float scale = scales[random_next(&state) % 7], top = (float)((1 << bits[b]) - 1);
            float zero = (float)(random_next(&state) % (1U << bits[b]));
            fill_ties(scale, &state, w.data, r.n);
            check_codes(r, w.data, scale, zero, top);
            fill_floats(r.fill, scale * top, &state, w.data, r.n);
            check_codes(r, w.data, scale, b % 2 ? 0 : top, top);
        }
        RUN_OK(r, guarded_intact(&w));
        guarded_free(&w);
    }
}
END_TEST

/* The sums of plain C in long double, from the same differences in float. */
static void want_residual(const float *w, const struct code_row *row, double *error, double *norm) {
    long double errors = 0, norms = 0;
    for (int64_t j = 0; j < row->count; j++) {
        const int64_t g = j / row->group;
        const float stored = (float)(row->codes[j] - row->zeros[g]) * row->scales[g];
        const float d = w[j] - stored;
        errors += (long double)d * (long double)d;
        norms += (long double)w[j] * (long double)w[j];
    }
    *error = (double)errors;
    *norm = (double)norms;
}

START_TEST(residuals_are_those_of_the_codes_for_any_group) {
    uint64_t state = check_seed();
    static const int64_t groups[] = {1, 3, 16, 32, 37, 128, 5000};
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        struct guarded w = guarded_create(r.n, r.shift);
        struct guarded scales = guarded_create(r.n, 1);
        uint8_t *codes = malloc((size_t)r.n + 1), zeros[SIZE_MAX_TESTED];
        ck_assert(codes != NULL); /* of its exact size: sanitizers see what is read beyond */
        fill_floats(r.fill, 3, &state, w.data, r.n);
        fill_floats(FILL_RANDOM, 0.1F, &state, scales.data, r.n);
        for (int64_t j = 0; j < r.n; j++) {
            codes[1 + j] = (uint8_t)random_next(&state);
            zeros[j] = (uint8_t)random_next(&state);
        }
        const struct code_row row = {r.n, groups[i % 7], codes + 1, scales.data, zeros};
        double error = -1, norm = -1, want_error = 0, want_norm = 0;
        want_residual(w.data, &row, &want_error, &want_norm);
        r.table->residual(w.data, &row, &error, &norm);
        RUN_NEAR(r, error, want_error, 1e-15 * (double)r.n * want_error);
        RUN_NEAR(r, norm, want_norm, 1e-15 * (double)r.n * want_norm);
        RUN_OK(r, guarded_intact(&w) && guarded_intact(&scales));
        free(codes);
        guarded_free(&w);
        guarded_free(&scales);
    }
}
END_TEST

/* Of lane l, in the order that kernels.h names. */
static float want_range_error(const float *w, const float *importance, int64_t count,
                              const struct range_grids *g, int l) {
    float error = 0, sum = 0;
    for (int64_t c = 0; c < count; c++) {
        const float v = w[c * RANGE_LANES + l], level = nearbyintf(v * g->inverse[l]);
        const float stored = fminf(fmaxf(level, g->lowest[l]), g->highest[l]) * g->scale[l];
        const float d = v - stored, part = (importance ? importance[c] : 1) * d;
        sum += part * d;
        if (c % RANGE_SUM == RANGE_SUM - 1 || c == count - 1) {
            error += sum;
            sum = 0;
        }
    }
    return error;
}

START_TEST(range_errors_are_those_of_plain_c_bit_for_bit) {
    uint64_t state = check_seed();
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        struct guarded w = guarded_create(r.n * RANGE_LANES, r.shift);
        struct guarded importance = guarded_create(r.n, 1);
        float errors[RANGE_LANES], *by = i % 3 ? importance.data : NULL;
        struct range_grids g;
        fill_floats(r.fill, 3, &state, w.data, r.n * RANGE_LANES);
        fill_floats(FILL_RANDOM, 1, &state, importance.data, r.n);
        for (int l = 0; l < RANGE_LANES; l++) {
            g.scale[l] = 0.01F * (float)(1 + random_next(&state) % 64);
            g.inverse[l] = 1 / g.scale[l];
            g.lowest[l] = -(float)(random_next(&state) % 16);
            g.highest[l] = 15 + g.lowest[l];
        }
        r.table->range_errors(w.data, by, r.n, &g, errors);
        for (int l = 0; l < RANGE_LANES; l++)
            RUN_NEAR(r, errors[l], want_range_error(w.data, by, r.n, &g, l), 0);
        RUN_OK(r, guarded_intact(&w) && guarded_intact(&importance));
        guarded_free(&w);
        guarded_free(&importance);
    }
}
END_TEST

START_TEST(sums_of_scaled_rows_are_those_of_plain_c_bit_for_bit) {
    uint64_t state = check_seed();
    for (int i = 0; i < run_count(); i++) {
        struct run r = run_at(i);
        struct guarded x = guarded_create(r.n, r.shift), y = guarded_create(r.n, 3);
        float before[SIZE_MAX_TESTED + 1];
        const float a = random_float(&state);
        fill_floats(r.fill, 3, &state, x.data, r.n);
        fill_floats(FILL_RANDOM, 2, &state, y.data, r.n);
        memcpy(before, y.data, (size_t)r.n * sizeof *before);
        r.table->add_scaled(r.n, a, x.data, y.data);
        for (int64_t j = 0; j < r.n; j++) {
            const float part = a * x.data[j];
            RUN_NEAR(r, y.data[j], before[j] + part, 0);
        }
        RUN_OK(r, guarded_intact(&x) && guarded_intact(&y));
        guarded_free(&x);
        guarded_free(&y);
    }
}
END_TEST

/* Columns of r.n rows: arrays of PLANE_COLUMNS columns, and those of one. */
enum { T, TAU, X, E, WIDE, SCALE = WIDE, ZERO, LOSS, SLOPE, CURVE, PLANE_ARRAYS };

static struct plane_columns columns_of(const struct guarded *a, const float *R, int64_t count,
                                       int64_t rows) {
    return (struct plane_columns){.count = count,
                                  .rows = rows,
                                  .R = R,
                                  .ldr = PLANE_COLUMNS + 3,
                                  .t = a[T].data,
                                  .tau = a[TAU].data,
                                  .scale = a[SCALE].data,
                                  .zero = a[ZERO].data,
                                  .top = 15,
                                  .x = a[X].data,
                                  .e = a[E].data,
                                  .stride = rows,
                                  .loss = a[LOSS].data,
                                  .slope = a[SLOPE].data,
                                  .curve = a[CURVE].data};
}

/* Row r, whose results are left where c points: each column's error is summed when its turn comes.
 */
static void want_planes(const struct plane_columns *c, int64_t r) {
    for (int64_t i = 0; i < c->count; i++) {
        const float scale = c->scale[r], zero = c->zero[r], *R = c->R + i * c->ldr;
        const float t = c->t[i * c->rows + r], tau = c->tau[i * c->rows + r];
        float *x = c->x + r, *e = c->e + i * c->stride + r, part = *e * (1 / R[i]);
        part = nearbyintf((t - part) / scale);
        part = fminf(fmaxf(part, -zero), c->top - zero) * scale;
        x[i * c->stride] = part - t;
        part = R[i] * x[i * c->stride];
        *e += part;
        part = *e * *e;
        c->loss[r] += part;
        const float y = *e + tau;
        part = y * tau;
        c->slope[r] += part;
        part = y * y;
        c->curve[r] += part;
        for (int64_t j = i + 1; j < c->count; j++) {
            part = R[j] * x[i * c->stride];
            c->e[j * c->stride + r] += part;
        }
    }
}

static void check_planes(const struct run *r, int64_t count, uint64_t *state) {
    struct guarded got[PLANE_ARRAYS], want[PLANE_ARRAYS];
    float R[PLANE_COLUMNS * (PLANE_COLUMNS + 3)];
    for (int k = 0; k < PLANE_ARRAYS; k++) {
        const int64_t floats = (k < WIDE ? count : 1) * r->n;
        got[k] = guarded_create(floats, r->shift);
        want[k] = guarded_create(floats, 0);
        fill_floats(k < WIDE ? r->fill : FILL_RANDOM, 1, state, got[k].data, floats);
        for (int64_t i = 0; i < floats && (k == SCALE || k == ZERO); i++)
            got[k].data[i] = k == SCALE ? 0.01F * (float)(1 + random_next(state) % 64)
                                        : (float)(random_next(state) % 16);
        memcpy(want[k].data, got[k].data, (size_t)floats * sizeof(float));
    }
    fill_floats(FILL_RANDOM, 1, state, R, PLANE_COLUMNS * (PLANE_COLUMNS + 3));
    for (int i = 0; i < PLANE_COLUMNS; i++)
        R[i * (PLANE_COLUMNS + 4)] = 0.5F + fabsf(R[i * (PLANE_COLUMNS + 4)]);
    const struct plane_columns c = columns_of(got, R, count, r->n);
    const struct plane_columns w = columns_of(want, R, count, r->n);
    r->table->round_planes(&c);
    for (int64_t row = 0; row < r->n; row++)
        want_planes(&w, row);
    for (int k = 0; k < PLANE_ARRAYS; k++) {
        for (int64_t i = 0; i < got[k].n; i++)
            RUN_NEAR(*r, got[k].data[i], want[k].data[i], 0);
        RUN_OK(*r, guarded_intact(&got[k]));
        guarded_free(&got[k]);
        guarded_free(&want[k]);
    }
}

START_TEST(planes_are_those_of_plain_c_bit_for_bit) {
    static const int64_t counts[] = {PLANE_COLUMNS, 1, 12, PLANE_COLUMNS - 1};
    uint64_t state = check_seed();
    for (int i = 0; i < run_count(); i++) {
        const struct run r = run_at(i);
        if (r.fill != FILL_WIDE) /* squares overflow */
            check_planes(&r, counts[i % 4], &state);
    }
}
END_TEST

/* What a limit measures is told by the count: it follows the rounds, and the work ends. */
START_TEST(limits_count_what_they_do) {
    enum { BYTES = 4096 };
    unsigned char bytes[BYTES];
    memset(bytes, 1, sizeof bytes);
    for (int t = 0; t < table_count; t++) {
        const struct llmq_kernels *k = tables[t];
        float sink = 0.25F;
        const int64_t fma = k->peak_fma(1, &sink), int8 = k->peak_int8(1, &sink);
        ck_assert_msg(fma > 0 && k->peak_fma(10, &sink) == 10 * fma, "%s", k->name);
        ck_assert_msg(int8 > 0 && k->peak_int8(10, &sink) == 10 * int8, "%s", k->name);
        sink = NAN;
        k->peak_read(bytes, BYTES, &sink);
        ck_assert_msg(!isnan(sink), "%s", k->name);
    }
}
END_TEST

int main(void) {
    table_count = check_tables(tables);
    for (int t = 0; t < table_count; t++)
        printf("checking %s\n", tables[t]->name);
    fflush(stdout);
    Suite *suite = suite_create("kernels");
    TCase *rows = tcase_create("rows");
    tcase_set_timeout(rows, 120);
    tcase_add_test(rows, softmax_is_within_its_bound_for_any_range_of_scores);
    tcase_add_test(rows, exponential_is_accurate_over_its_whole_range);
    tcase_add_test(rows, softmax_gives_masked_scores_zero_and_passes_nan_on);
    tcase_add_test(rows, softmax_of_nothing_but_masked_scores_is_nan);
    tcase_add_test(rows, logsumexp_is_accurate_enough_for_likelihoods);
    tcase_add_test(rows, logsumexp_passes_over_masked_scores);
    tcase_add_test(rows, logsumexp_of_a_large_vocabulary_is_accurate_to_1e_7);
    tcase_add_test(rows, silu_mul_is_within_its_bound_also_in_place);
    tcase_add_test(rows, rmsnorm_is_within_its_bound_also_in_place);
    tcase_add_test(rows, rmsnorm_does_not_overflow_on_large_activations);
    tcase_add_test(rows, nan_in_any_place_comes_out);
    tcase_add_test(rows, ranges_are_the_extremes_and_tell_what_is_not_finite);
    tcase_add_test(rows, codes_are_those_of_the_grid_bit_for_bit);
    tcase_add_test(rows, residuals_are_those_of_the_codes_for_any_group);
    tcase_add_test(rows, range_errors_are_those_of_plain_c_bit_for_bit);
    tcase_add_test(rows, sums_of_scaled_rows_are_those_of_plain_c_bit_for_bit);
    tcase_add_test(rows, planes_are_those_of_plain_c_bit_for_bit);
    tcase_add_test(rows, limits_count_what_they_do);
    suite_add_tcase(suite, rows);
    return run_suite(suite);
}
