/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges that clip outliers: percentiles against sorting, entropy against plain double loops. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "problem.h"
#include "quant/grid.h"
#include "quant/quant.h"
#include "quant/range_estimate.h"
#include "support.h"

#define SEED 7114251U

enum { ROWS = 19, K = 96, GROUP = 32 };

static float W[ROWS * K];

/* Few large weights among many small ones; some are 0, some equal. */
static void setup(void) {
    problem_seed(SEED);
    for (int i = 0; i < ROWS * K; i++)
        W[i] = i % 29 == 0 ? 0 : i % 31 == 0 ? 0.25F : normal() * (i % 41 == 0 ? 4 : 1);
}

static int ascending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* As numpy.quantile has it. */
static double quantile(const float *w, int count, bool magnitudes, double part) {
    float sorted[K];
    for (int i = 0; i < count; i++)
        sorted[i] = magnitudes ? fabsf(w[i]) : w[i];
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    const double at = part * (count - 1);
    const int below = (int)at, above = below + 1 < count ? below + 1 : below;
    return (double)sorted[below] + (at - below) * ((double)sorted[above] - (double)sorted[below]);
}

static struct quant_grid estimating(enum range_search search, int bits, int64_t group, bool sym) {
    struct quant_grid grid = grid_of(bits, group, sym, SCALE_F32);
    grid.search = search;
    return grid;
}

static struct qlinear round_weights(const struct quant_grid *grid) {
    struct qlinear q = {0};
    llmq_error err = {0};
    ck_assert_ok(rtn_quantize(grid, W, NULL, ROWS, K, &q, &err), &err);
    return q;
}

/* Every group has the scale of the range that `range_of` gives it. */
static void check_scales(const struct quant_grid *grid,
                         void (*range_of)(const struct quant_grid *grid, const float *w, int count,
                                          double *lo, double *hi)) {
    struct qlinear q = round_weights(grid);
    for (int64_t i = 0; i < ROWS * q.groups; i++) {
        double lo = 0, hi = 0;
        float scale = 0, zero = 0;
        range_of(grid, W + i * q.group, (int)q.group, &lo, &hi);
        grid_params(grid, (float)fmin(lo, 0), (float)fmax(hi, 0), &scale, &zero);
        ck_assert_msg(fabsf(q.scales[i] - scale) <= 1e-6F * scale && (float)q.zeros[i] == zero,
                      "group %d: scale %g, not %g; zero %d, not %g", (int)i, (double)q.scales[i],
                      (double)scale, q.zeros[i], (double)zero);
    }
    qlinear_free(&q);
}

/* --- percentiles ------------------------------------------------------------------------------ */

static void percentile_range(const struct quant_grid *grid, const float *w, int count, double *lo,
                             double *hi) {
    const double part = (double)grid->percentile / 100;
    *hi = quantile(w, count, grid->sym, part);
    *lo = grid->sym ? -*hi : quantile(w, count, false, 1 - part);
}

START_TEST(percentiles_are_those_of_the_sorted_weights) {
    static const float percentiles[] = {100, 99.9F, 97, 90, 50.5F};
    static const int64_t groups[] = {GROUP, -1, 1, 3};
    for (int i = 0; i < 5 * 4 * 2; i++) {
        struct quant_grid grid = estimating(RANGE_PERCENTILE, 4, groups[i / 5 % 4], i / 20);
        grid.percentile = percentiles[i % 5];
        check_scales(&grid, percentile_range);
    }
}
END_TEST

START_TEST(all_of_the_weights_are_their_extremes) {
    struct quant_grid all = estimating(RANGE_PERCENTILE, 3, GROUP, false), minmax = all;
    all.percentile = 100;
    minmax.search = RANGE_MINMAX;
    struct qlinear a = round_weights(&all), b = round_weights(&minmax);
    for (int64_t row = 0; row < ROWS; row++)
        ck_assert(same_row(&a, &b, row));
    qlinear_free(&a);
    qlinear_free(&b);
}
END_TEST

/* --- entropy ---------------------------------------------------------------------------------- */

static double spread_of(const float *w, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += (double)w[i] * (double)w[i];
    return sqrt(sum / count);
}

static void entropy_range(const struct quant_grid *grid, const float *w, int count, double *lo,
                          double *hi) {
    const double most = (double)range_entropy(grid, W, ROWS, K) * spread_of(w, count);
    *lo = *hi = 0;
    for (int i = 0; i < count; i++) {
        *lo = fmin(*lo, fmax((double)w[i], -most));
        *hi = fmax(*hi, fmin((double)w[i], most));
    }
}

START_TEST(extremes_are_clipped_at_the_limit_of_the_module) {
    for (int i = 0; i < 4; i++) {
        const struct quant_grid grid = estimating(RANGE_ENTROPY, i % 2 ? 3 : 4, GROUP, i / 2);
        const float limit = range_entropy(&grid, W, ROWS, K);
        ck_assert(limit > 1 && limit < 5.7F); /* a group of 32 has none above its square root */
        check_scales(&grid, entropy_range);
    }
}
END_TEST

enum { BINS = 2048 };

/* The divergence of a limit, from the weights relative to their groups, without the histogram's
 * code: P and Q as range_estimate.h has them. */
static double divergence(const double *x, int count, double most, int half, int levels) {
    double p[BINS] = {0}, own[BINS] = {0}, sum[256] = {0}, kl = 0, inside = 0;
    int filled[256] = {0}, code[BINS];
    for (int i = 0; i < count; i++) {
        const int bin = (int)fmin(floor(x[i] / most * (BINS / 2)) + BINS / 2, BINS - 1) - BINS / 2;
        const bool kept = bin >= -half && bin < half;
        p[(kept ? bin : bin < 0 ? -half : half - 1) + half] += 1.0 / count;
        own[bin + half >= 0 && kept ? bin + half : 0] += kept;
        inside += kept;
    }
    for (int b = 0; b < 2 * half; b++) {
        const double at = ((b + 0.5) / half - 1) * (levels - 1) / 2;
        code[b] = (int)(fmin(fmax(rint(at), -levels / 2), levels / 2 - 1) + levels / 2);
        sum[code[b]] += own[b];
        filled[code[b]] += own[b] > 0;
    }
    for (int b = 0; b < 2 * half; b++)
        if (p[b] > 0)
            kl += own[b] > 0 ? p[b] * log(p[b] / (sum[code[b]] / filled[code[b]] / inside))
                             : (double)INFINITY;
    return kl;
}

START_TEST(the_limit_has_the_least_divergence_of_all) {
    static double x[ROWS * K];
    double most = 0;
    for (int at = 0; at < ROWS * K; at += K)
        for (int i = at; i < at + K; i++) {
            x[i] = (double)W[i] / spread_of(W + at, K);
            most = fmax(most, fabs(x[i]));
        }
    for (int bits = 2; bits <= 4; bits++) {
        const struct quant_grid grid = estimating(RANGE_ENTROPY, bits, -1, true);
        const double found = (double)range_entropy(&grid, W, ROWS, K) / most * (BINS / 2);
        const int half = (int)lrint(found);
        ck_assert_double_eq_tol(found, half, 1e-2);
        const double least = divergence(x, ROWS * K, most, half, 1 << bits);
        for (int other = BINS / 2; other >= 1 << bits >> 1; other -= 4)
            ck_assert_double_ge(divergence(x, ROWS * K, most, other, 1 << bits), least - 1e-6);
    }
}
END_TEST

START_TEST(nothing_is_clipped_where_there_is_nothing) {
    const struct quant_grid grid = estimating(RANGE_ENTROPY, 4, GROUP, true);
    llmq_error err = {0};
    memset(W, 0, sizeof W);
    struct qlinear q = round_weights(&grid);
    for (int64_t i = 0; i < ROWS * q.groups; i++)
        ck_assert(isfinite(q.scales[i]) && q.scales[i] > 0);
    qlinear_free(&q);
    W[5] = INFINITY;
    ck_assert_fails(rtn_quantize(&grid, W, NULL, ROWS, K, &q, &err), LLMQ_E_NUMERIC, "column 5",
                    &err);
}
END_TEST

/* --- GPTQ ------------------------------------------------------------------------------------- */

/* With the groups fixed beforehand, GPTQ's scales are those of rounding. */
START_TEST(gptq_takes_the_same_ranges) {
    static const enum range_search searches[] = {RANGE_PERCENTILE, RANGE_ENTROPY};
    struct problem p = problem_create(24, 64);
    for (int i = 0; i < 2; i++) {
        struct quant_grid grid = estimating(searches[i], 4, 16, false);
        struct quant_outcome outcome;
        struct qlinear rtn = {0};
        llmq_error err = {0};
        grid.percentile = 90;
        struct qlinear q = quantize(&p, &grid, ACT_ORDER_STATIC, &outcome);
        ck_assert_ok(rtn_quantize(&grid, p.W, NULL, p.n, p.k, &rtn, &err), &err);
        ck_assert_int_eq(memcmp(q.scales, rtn.scales, (size_t)(p.n * q.groups) * sizeof(float)), 0);
        qlinear_free(&q);
        qlinear_free(&rtn);
    }
    problem_free(&p);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quant_range_estimate");
    TCase *t = tcase_create("range_estimate");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, percentiles_are_those_of_the_sorted_weights);
    tcase_add_test(t, all_of_the_weights_are_their_extremes);
    tcase_add_test(t, extremes_are_clipped_at_the_limit_of_the_module);
    tcase_add_test(t, the_limit_has_the_least_divergence_of_all);
    tcase_add_test(t, nothing_is_clipped_where_there_is_nothing);
    tcase_add_test(t, gptq_takes_the_same_ranges);
    suite_add_tcase(s, t);
    return run_suite(s);
}
