/* SPDX-License-Identifier: Apache-2.0 */
/* The range search against its measure in double precision, and against trying everything. */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/grid.h"
#include "quant/quant.h"
#include "quant/range_search.h"
#include "support.h"
#include "tensor/dtype.h"

#define SEED      5251977U
#define MAX_COUNT 640

/* Float32 sums of errors, relative. */
#define ROUNDING 1e-5

static float weights[MAX_COUNT * RANGE_ROWS], importance[MAX_COUNT];
static float scale[RANGE_ROWS], zero[RANGE_ROWS], first_scale[RANGE_ROWS], first_zero[RANGE_ROWS];

static const float *column(int64_t c) {
    return weights + c * RANGE_ROWS;
}

/* Error of a row on a grid of that scale and zero point. */
static double error_of(const struct quant_grid *grid, const struct range_group *g, int row,
                       double s, double z) {
    double sum = 0, top = (1 << grid->bits) - 1;
    for (int64_t c = 0; c < g->count; c++) {
        double w = (double)column(c)[row], level = fmin(fmax(rint(w / s), -z), top - z);
        sum += (g->importance ? (double)g->importance[c] : 1) * (w - level * s) * (w - level * s);
    }
    return sum;
}

/* Fill in what grid_params says of every row, then search. */
static void search(const struct quant_grid *grid, const struct range_group *g) {
    for (int row = 0; row < RANGE_ROWS; row++) {
        float lo = 0, hi = 0;
        for (int64_t c = 0; c < g->count; c++) {
            lo = fminf(lo, column(c)[row]);
            hi = fmaxf(hi, column(c)[row]);
        }
        grid_params(grid, lo, hi, scale + row, zero + row);
    }
    memcpy(first_scale, scale, sizeof scale);
    memcpy(first_zero, zero, sizeof zero);
    range_search(grid, g, scale, zero);
}

/* Weights of any size and importance over six orders of magnitude, some 0. */
static struct range_group random_group(int64_t count, float size, bool weighted) {
    for (int64_t i = 0; i < count * RANGE_ROWS; i++)
        weights[i] = size * normal() * (i % 37 == 0 ? 3 : 1);
    for (int64_t c = 0; c < count; c++)
        importance[c] = c % 11 == 5 ? 0 : powf(10, 3 * uniform());
    return (struct range_group){count, weights, weighted ? importance : NULL};
}

static void for_each_grid(void (*check)(const struct quant_grid *grid)) {
    static const int bits[] = {2, 3, 4, 8};
    for (int i = 0; i < 4 * 2 * 3 * 2; i++) {
        struct quant_grid grid =
            grid_of(bits[i % 4], -1, i / 4 % 2, (enum scale_storage)(i / 8 % 3));
        grid.zmin = i / 24; /* 0, then 1 */
        grid.zmax -= i / 24;
        check(&grid);
    }
}

/* --- promises --------------------------------------------------------------------------------- */

static void check_never_worse(const struct quant_grid *grid) {
    static const int64_t counts[] = {1, 2, 17, 64, 65, 128, 640};
    static const float sizes[] = {0.02F, 3e-5F, 1e4F};
    for (int i = 0; i < 7 * 3 * 2; i++) {
        struct range_group g = random_group(counts[i % 7], sizes[i / 7 % 3], i / 21);
        search(grid, &g);
        for (int row = 0; row < RANGE_ROWS; row++) {
            double before =
                error_of(grid, &g, row, (double)first_scale[row], (double)first_zero[row]);
            double after = error_of(grid, &g, row, (double)scale[row], (double)zero[row]);
            ck_assert_msg(after <= before * (1 + ROUNDING), "bits %d sym %d count %lld: %g, was %g",
                          grid->bits, grid->sym, (long long)g.count, after, before);
        }
    }
}

START_TEST(test_no_range_is_worse_than_the_extremes) {
    for_each_grid(check_never_worse);
}
END_TEST

static void check_limits(const struct quant_grid *grid) {
    struct range_group g = random_group(64, 0.02F, true);
    for (int64_t c = 0; c < g.count; c++)
        for (int row = 0; row < RANGE_ROWS; row++) /* one-sided rows want zeros at the limits */
            weights[c * RANGE_ROWS + row] = row % 3 == 0   ? fabsf(column(c)[row])
                                            : row % 3 == 1 ? -fabsf(column(c)[row])
                                                           : column(c)[row];
    search(grid, &g);
    for (int row = 0; row < RANGE_ROWS; row++) {
        ck_assert(scale[row] == grid_stored_scale(grid, scale[row]));
        if (grid->sym)
            ck_assert(zero[row] == (float)(1 << (grid->bits - 1)));
        else
            ck_assert(zero[row] >= (float)grid->zmin && zero[row] <= (float)grid->zmax);
        ck_assert(zero[row] == rintf(zero[row]));
    }
}

START_TEST(test_scales_are_stored_ones_and_zeros_keep_to_their_limits) {
    for_each_grid(check_limits);
}
END_TEST

static void check_degenerate(const struct quant_grid *grid) {
    static const float sizes[] = {0, 1e-45F, 1e-38F, 1e18F, 3e38F};
    for (int i = 0; i < 5; i++) {
        struct range_group g = random_group(32, 1, false);
        for (int64_t j = 0; j < g.count * RANGE_ROWS; j++)
            weights[j] = sizes[i] * (j % 2 ? 1.0F : -0.5F);
        search(grid, &g);
        for (int row = 0; row < RANGE_ROWS; row++)
            ck_assert(scale[row] > 0 && isfinite(scale[row]));
        if (sizes[i] == 0) /* nothing is better than exact */
            ck_assert(memcmp(scale, first_scale, sizeof scale) == 0);
    }
    struct range_group g = random_group(32, 1, true);
    memset(importance, 0, sizeof importance); /* no column counts: every range is as good */
    search(grid, &g);
    ck_assert(memcmp(scale, first_scale, sizeof scale) == 0);
    ck_assert(memcmp(zero, first_zero, sizeof zero) == 0);
}

START_TEST(test_weights_of_any_size_keep_a_finite_scale) {
    for_each_grid(check_degenerate);
}
END_TEST

/* --- how near the best ------------------------------------------------------------------------ */

/* Least error over 2000 scales down to a tenth of the whole range's and every zero point. */
static double least_error(const struct quant_grid *grid, const struct range_group *g, int row) {
    double least = HUGE_VAL;
    int from = grid->sym ? 1 << (grid->bits - 1) : grid->zmin;
    int to = grid->sym ? from : grid->zmax;
    for (int z = from; z <= to; z++)
        for (int i = 0; i < 2000; i++) {
            double s = 1.6 * (double)first_scale[row] * (1 - 0.94 * i / 2000);
            least = fmin(least, error_of(grid, g, row, s, z));
        }
    return least;
}

/* Sums over the rows of log(error / least error). */
static void compare_with_least(int bits, bool sym, bool weighted, double most) {
    struct quant_grid grid = grid_of(bits, -1, sym, SCALE_F32);
    double found = 0, extremes = 0;
    struct range_group g = random_group(128, 0.02F, weighted);
    search(&grid, &g);
    for (int row = 0; row < RANGE_ROWS; row++) {
        double least = least_error(&grid, &g, row);
        found += log(error_of(&grid, &g, row, (double)scale[row], (double)zero[row]) / least);
        extremes += log(
            error_of(&grid, &g, row, (double)first_scale[row], (double)first_zero[row]) / least);
    }
    found = exp(found / RANGE_ROWS);
    extremes = exp(extremes / RANGE_ROWS);
    printf("range_search: %d bits %s %s: %.3f of the least error, extremes %.3f\n", bits,
           sym ? "sym " : "asym", weighted ? "weighted" : "plain   ", found, extremes);
    ck_assert_msg(found <= most, "%d bits sym %d: %g", bits, sym, found);
    ck_assert(found < extremes);
}

START_TEST(test_the_error_is_near_the_least_of_all) {
    static const int bits[] = {2, 3, 4};
    /* Where few columns count, the best scale is a narrow one among many. */
    static const double most[] = {1.02, 1.3};
    for (int i = 0; i < 3 * 4; i++)
        compare_with_least(bits[i % 3], i / 3 % 2, i / 6, most[i / 6]);
}
END_TEST

/* --- through the methods ---------------------------------------------------------------------- */

/* sum over columns of importance (w - dequantized)^2 of each row. */
static void weighted_errors(const struct problem *p, const struct qlinear *q, const float *weight,
                            double *errors) {
    float *row = malloc((size_t)p->k * sizeof *row);
    ck_assert_ptr_nonnull(row);
    for (int64_t r = 0; r < p->n; r++) {
        qlinear_dequantize(q, r, r + 1, row);
        errors[r] = 0;
        for (int64_t c = 0; c < p->k; c++) {
            double d = (double)p->W[r * p->k + c] - (double)row[c];
            errors[r] += (weight ? (double)weight[c] : 1) * d * d;
        }
    }
    free(row);
}

START_TEST(test_rtn_rows_are_never_worse_in_the_measure_asked_for) {
    enum { N = 21 }; /* a strip and a part of one */
    static const int64_t groups[] = {-1, 32, 8};
    struct problem p = problem_create(N, 96);
    float weight[96];
    quant_importance(p.H, p.k, weight);
    for (int i = 0; i < 3 * 2 * 2; i++) {
        struct quant_grid grid = grid_of(3, groups[i % 3], i / 3 % 2, SCALE_DUAL);
        const float *measure = i / 6 ? weight : NULL;
        double before[N], after[N], sums[2] = {0};
        struct qlinear q = {0};
        ck_assert_int_eq(rtn_quantize(&grid, p.W, weight, p.n, p.k, &q, NULL), LLMQ_OK);
        weighted_errors(&p, &q, measure, before);
        qlinear_free(&q);
        grid.search = measure ? RANGE_WEIGHTED : RANGE_PLAIN;
        ck_assert_int_eq(rtn_quantize(&grid, p.W, weight, p.n, p.k, &q, NULL), LLMQ_OK);
        ck_assert_int_eq(qlinear_check(&q, NULL), LLMQ_OK);
        weighted_errors(&p, &q, measure, after);
        qlinear_free(&q);
        for (int64_t r = 0; r < N; r++) {
            ck_assert(after[r] <= before[r] * (1 + ROUNDING));
            sums[0] += before[r];
            sums[1] += after[r];
        }
        ck_assert(sums[1] < 0.95 * sums[0]);
    }
    problem_free(&p);
}
END_TEST

START_TEST(test_importance_is_the_diagonal_where_it_is_usable) {
    const float H[] = {2, 9, 9, 9, 9, -1, 9, 9, 9, 9, NAN, 9, 9, 9, 9, INFINITY};
    float weight[4];
    quant_importance(H, 4, weight);
    ck_assert(weight[0] == 2 && weight[1] == 0 && weight[2] == 0 && weight[3] == 0);
}
END_TEST

START_TEST(test_gptq_gains_in_every_order) {
    struct problem p = problem_create(40, 192);
    for (enum act_order order = ACT_ORDER_NONE; order <= ACT_ORDER_GROUP_AWARE; order++)
        for (int sym = 0; sym < 2; sym++) {
            struct quant_grid grid = grid_of(3, 64, sym, SCALE_DUAL);
            double error[3];
            for (enum range_search s = RANGE_MINMAX; s <= RANGE_WEIGHTED; s++) {
                struct quant_outcome outcome = {0};
                grid.search = s;
                struct qlinear q = quantize(&p, &grid, order, &outcome);
                error[s] = outcome.loss;
                qlinear_free(&q);
            }
            printf("range_search: gptq order %d sym %d: %.3f plain, %.3f weighted\n", order, sym,
                   error[1] / error[0], error[2] / error[0]);
            ck_assert(error[1] < error[0] && error[2] < error[0]);
        }
    problem_free(&p);
}
END_TEST

int main(void) {
    Suite *s = suite_create("range_search");
    TCase *tc = tcase_create("range_search");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, test_no_range_is_worse_than_the_extremes);
    tcase_add_test(tc, test_scales_are_stored_ones_and_zeros_keep_to_their_limits);
    tcase_add_test(tc, test_weights_of_any_size_keep_a_finite_scale);
    tcase_add_test(tc, test_the_error_is_near_the_least_of_all);
    tcase_add_test(tc, test_rtn_rows_are_never_worse_in_the_measure_asked_for);
    tcase_add_test(tc, test_importance_is_the_diagonal_where_it_is_usable);
    tcase_add_test(tc, test_gptq_gains_in_every_order);
    suite_add_tcase(s, tc);

    linalg_init();
    problem_seed(SEED);
    printf("range_search: seed %u\n", SEED);
    return run_suite(s);
}
