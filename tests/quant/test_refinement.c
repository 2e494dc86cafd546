/* SPDX-License-Identifier: Apache-2.0 */
/* What follows GPTQ: descent and rounds never cost a row anything, whatever the Hessian. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/gptq.h"
#include "quant/quant.h"
#include "support.h"

#define SEED 3111977U
#define N    24

static struct qlinear refine(const struct problem *p, const struct quant_grid *grid,
                             const struct quant_options *options, struct quant_outcome *outcome) {
    struct gptq_factor *factor = NULL;
    struct qlinear q = {0};
    llmq_error err = {0};
    ck_assert_ok(gptq_factor_create(p->H, p->k, grid->group, options, &factor, &err), &err);
    ck_assert_ok(gptq_quantize(grid, factor, p->W, p->H, p->n, &q, outcome, &err), &err);
    ck_assert_ok(qlinear_check(&q, &err), &err);
    gptq_factor_free(&factor);
    return q;
}

/* H of few inputs, two of which are never active. */
static void make_deficient(struct problem *p) {
    memset(p->H, 0, (size_t)(p->k * p->k) * sizeof *p->H);
    for (int64_t t = 0; t < p->k / 3; t++) {
        float x[192] = {0};
        for (int64_t c = 0; c < p->k; c++)
            x[c] = c == 3 || c == p->k - 1 ? 0 : normal();
        for (int64_t i = 0; i < p->k * p->k; i++)
            p->H[i] += x[i / p->k] * x[i % p->k];
    }
}

/* --- promises --------------------------------------------------------------------------------- */

static void check_rows(const struct problem *p, const struct quant_grid *grid,
                       enum act_order order) {
    static const int steps[][2] = {{1, 0}, {3, 0}, {0, 2}, {2, 2}};
    struct quant_outcome plain = {0}, outcome = {0};
    double before[N], after[N];
    struct quant_options options = {order, 0.01, 0, 0};
    struct qlinear q = refine(p, grid, &options, &plain);
    ck_assert(plain.gptq_loss == plain.loss);
    problem_losses(p, &q, 0.01, before);
    qlinear_free(&q);
    for (int i = 0; i < 4; i++) {
        options.descent_passes = steps[i][0];
        options.rounds = steps[i][1];
        q = refine(p, grid, &options, &outcome);
        problem_losses(p, &q, 0.01, after);
        for (int64_t row = 0; row < p->n; row++)
            ck_assert(after[row] <= before[row] * (1 + ROUNDING));
        ck_assert(outcome.gptq_loss == plain.loss && outcome.rtn_loss == plain.rtn_loss);
        ck_assert(outcome.loss <= outcome.gptq_loss);
        ck_assert(steps[i][0] == 0 || outcome.loss < 0.99 * outcome.gptq_loss);
        qlinear_free(&q);
    }
}

START_TEST(test_no_row_is_worse_than_without_refinement) {
    static const int bits[] = {2, 3, 4, 8};
    for (int i = 0; i < 2 * 4 * 2; i++) {
        struct problem p = problem_create(N, 96);
        if (i % 2)
            make_deficient(&p);
        struct quant_grid grid = grid_of(bits[i / 2 % 4], i % 3 ? 32 : -1, i / 8, SCALE_DUAL);
        grid.search = (enum range_search)(i % 3);
        check_rows(&p, &grid, (enum act_order)(i % 3));
        problem_free(&p);
    }
}
END_TEST

START_TEST(test_inputs_that_were_never_active_keep_zero_weights) {
    struct problem p = problem_create(N, 96);
    make_deficient(&p);
    for (int sym = 0; sym < 2; sym++) {
        struct quant_grid grid = grid_of(4, 32, sym, SCALE_DUAL);
        struct quant_options options = {ACT_ORDER_STATIC, 0.01, 3, 2};
        struct quant_outcome outcome = {0};
        struct qlinear q = refine(&p, &grid, &options, &outcome);
        ck_assert_int_eq(outcome.dead_columns, 2);
        for (int64_t row = 0; row < p.n; row++) {
            ck_assert_int_eq(q.codes[row * p.k + 3], q.zeros[row * q.groups]);
            ck_assert_int_eq(q.codes[row * p.k + 95], q.zeros[row * q.groups + 2]);
        }
        qlinear_free(&q);
    }
    problem_free(&p);
}
END_TEST

START_TEST(test_extreme_weights_stay_finite) {
    static const float sizes[] = {0, 1e-45F, 1e-38F, 1e5F, 1e18F, 3e38F};
    for (int i = 0; i < 6 * 2; i++) {
        struct problem p = problem_create(4, 64);
        for (int64_t j = 0; j < p.n * p.k; j++)
            p.W[j] = sizes[i / 2] * uniform();
        struct quant_grid grid = grid_of(4, 32, i & 1, SCALE_DUAL);
        struct quant_options options = {ACT_ORDER_NONE, 0.01, 2, 1};
        struct quant_outcome outcome = {0};
        struct qlinear q = refine(&p, &grid, &options, &outcome);
        for (int64_t j = 0; j < q.n * q.groups; j++)
            ck_assert(q.scales[j] > 0 && isfinite(q.scales[j]));
        qlinear_free(&q);
        problem_free(&p);
    }
}
END_TEST

START_TEST(test_refinement_is_the_same_for_any_thread_count) {
    struct problem p = problem_create(300, 192);
    struct quant_grid grid = grid_of(4, 64, false, SCALE_DUAL);
    struct quant_options options = {ACT_ORDER_STATIC, 0.01, 2, 1};
    struct quant_outcome first = {0}, outcome = {0};
    int threads = omp_get_max_threads();
    grid.search = RANGE_WEIGHTED;
    omp_set_num_threads(1);
    struct qlinear one = refine(&p, &grid, &options, &first);
    omp_set_num_threads(3);
    struct qlinear more = refine(&p, &grid, &options, &outcome);
    omp_set_num_threads(threads);
    for (int64_t row = 0; row < p.n; row++)
        ck_assert(same_row(&one, &more, row));
    ck_assert(memcmp(&first.loss, &outcome.loss, sizeof first.loss) == 0);
    qlinear_free(&one);
    qlinear_free(&more);
    problem_free(&p);
}
END_TEST

/* --- given parameters ------------------------------------------------------------------------- */

START_TEST(test_given_parameters_are_used_and_stay) {
    struct problem p = problem_create(N, 96);
    struct quant_grid grid = grid_of(4, 32, false, SCALE_DUAL);
    for (enum act_order order = ACT_ORDER_NONE; order <= ACT_ORDER_GROUP_AWARE; order++) {
        struct quant_options options = {order, 0.01, 0, 0};
        struct gptq_factor *factor = NULL;
        struct qlinear fitted = {0}, given = {0};
        ck_assert_int_eq(gptq_factor_create(p.H, p.k, 32, &options, &factor, NULL), LLMQ_OK);
        ck_assert_int_eq(qlinear_alloc(p.n, p.k, 4, 32, &fitted, NULL), LLMQ_OK);
        ck_assert_int_eq(qlinear_alloc(p.n, p.k, 4, 32, &given, NULL), LLMQ_OK);
        ck_assert_int_eq(gptq_solve(&grid, factor, p.W, PARAMS_FITTED, &fitted, NULL, NULL),
                         LLMQ_OK);
        memcpy(given.scales, fitted.scales, (size_t)(p.n * 3) * sizeof *given.scales);
        memcpy(given.zeros, fitted.zeros, (size_t)(p.n * 3));
        memset(given.codes, 0, (size_t)(p.n * p.k));
        ck_assert_int_eq(gptq_solve(&grid, factor, p.W, PARAMS_GIVEN, &given, NULL, NULL), LLMQ_OK);
        /* The same parameters lead to the same codes, but for sums in another order. */
        int64_t differ = 0;
        for (int64_t i = 0; i < p.n * p.k; i++)
            differ += given.codes[i] != fitted.codes[i];
        ck_assert_int_le(differ, order == ACT_ORDER_STATIC ? 0 : p.n * p.k / 100);
        ck_assert(memcmp(given.scales, fitted.scales, (size_t)(p.n * 3) * sizeof(float)) == 0);
        ck_assert(memcmp(given.zeros, fitted.zeros, (size_t)(p.n * 3)) == 0);
        qlinear_free(&fitted);
        qlinear_free(&given);
        gptq_factor_free(&factor);
    }
    problem_free(&p);
}
END_TEST

START_TEST(test_negative_counts_are_usage_errors) {
    struct problem p = problem_create(2, 32);
    struct quant_options bad[] = {{ACT_ORDER_NONE, 0.01, -1, 0}, {ACT_ORDER_NONE, 0.01, 0, -1}};
    struct gptq_factor *factor = NULL;
    llmq_error err = {0};
    for (int i = 0; i < 2; i++)
        ck_assert_fails(gptq_factor_create(p.H, p.k, 32, &bad[i], &factor, &err), LLMQ_E_USAGE,
                        "expected counts from 0", &err);
    problem_free(&p);
}
END_TEST

int main(void) {
    Suite *s = suite_create("refinement");
    TCase *tc = tcase_create("refinement");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, test_no_row_is_worse_than_without_refinement);
    tcase_add_test(tc, test_inputs_that_were_never_active_keep_zero_weights);
    tcase_add_test(tc, test_extreme_weights_stay_finite);
    tcase_add_test(tc, test_refinement_is_the_same_for_any_thread_count);
    tcase_add_test(tc, test_given_parameters_are_used_and_stay);
    tcase_add_test(tc, test_negative_counts_are_usage_errors);
    suite_add_tcase(s, tc);

    linalg_init();
    problem_seed(SEED);
    printf("refinement: seed %u\n", SEED);
    return run_suite(s);
}
