/* SPDX-License-Identifier: Apache-2.0 */
/* GPTQ's promises: never worse than rounding, never stuck on a bad Hessian or odd weights, the same
 * bytes for any number of threads. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/gptq.h"
#include "support.h"

#define SEED 22101977U

/* --- Hessians as they come -------------------------------------------------------------------- */

static void expect_same(const struct qlinear *a, const struct qlinear *b) {
    ck_assert_int_eq(a->n, b->n);
    for (int64_t row = 0; row < a->n; row++)
        ck_assert_msg(same_row(a, b, row), "row %lld differs", (long long)row);
}

static void set_identity(struct problem *p) {
    memset(p->H, 0, (size_t)(p->k * p->k) * sizeof *p->H);
    for (int64_t i = 0; i < p->k; i++)
        p->H[i * p->k + i] = 1;
}

START_TEST(test_uncorrelated_inputs_give_round_to_nearest) {
    struct problem p = problem_create(20, 96);
    set_identity(&p);
    struct quant_grid grid = grid_of(4, 32, false, SCALE_DUAL);
    for (enum act_order order = ACT_ORDER_NONE; order <= ACT_ORDER_GROUP_AWARE; order++) {
        struct quant_outcome outcome = {0};
        struct qlinear q = quantize(&p, &grid, order, &outcome), rtn = {0};
        ck_assert_int_eq(rtn_quantize(&grid, p.W, NULL, p.n, p.k, &rtn, NULL), LLMQ_OK);
        expect_same(&q, &rtn);
        ck_assert_double_eq_tol(outcome.loss, outcome.rtn_loss, 1e-5 * outcome.rtn_loss);
        qlinear_free(&q);
        qlinear_free(&rtn);
    }
    problem_free(&p);
}
END_TEST

/* Smallest eigenvalue -0.07 where the mean of the diagonal is 1. */
static void set_indefinite(struct problem *p) {
    set_identity(p);
    p->H[p->k + 2] = p->H[2 * p->k + 1] = 1.07F;
}

START_TEST(test_damping_climbs_until_a_factor_exists) {
    struct problem p = problem_create(8, 32);
    set_indefinite(&p);
    static const double start[] = {0, 0.01, 0.03, 0.1, 0.3};
    static const double reached[] = {0.1, 0.1, 0.1, 0.1, 0.3};
    static const int retries[] = {4, 3, 2, 0, 0};
    struct quant_grid grid = grid_of(4, 16, true, SCALE_DUAL);
    for (int i = 0; i < 5; i++) {
        struct quant_options options = {.act_order = ACT_ORDER_NONE, .damp = start[i]};
        struct quant_outcome outcome = {0};
        struct gptq_factor *f = NULL;
        struct qlinear q = {0};
        ck_assert_int_eq(gptq_factor_create(p.H, p.k, 16, &options, &f, NULL), LLMQ_OK);
        ck_assert(gptq_factor_usable(f));
        ck_assert_int_eq(gptq_quantize(&grid, f, p.W, p.H, p.n, &q, &outcome, NULL), LLMQ_OK);
        ck_assert(outcome.damp == reached[i]);
        ck_assert_int_eq(outcome.damp_retries, retries[i]);
        ck_assert(!outcome.fell_back);
        qlinear_free(&q);
        gptq_factor_free(&f);
    }
    problem_free(&p);
}
END_TEST

START_TEST(test_falls_back_to_rtn_when_no_damping_helps) {
    static const float diagonal[] = {-1, NAN, INFINITY};
    struct problem p = problem_create(8, 32);
    struct quant_grid grid = grid_of(3, 16, false, SCALE_DUAL);
    for (int i = 0; i < 3; i++) {
        set_identity(&p);
        p.H[5 * p.k + 5] = diagonal[i] * (float)p.k;
        struct quant_options options = {.act_order = ACT_ORDER_STATIC, .damp = 0.01};
        struct quant_outcome outcome = {0};
        struct gptq_factor *f = NULL;
        struct qlinear q = {0}, rtn = {0};
        ck_assert_int_eq(gptq_factor_create(p.H, p.k, 16, &options, &f, NULL), LLMQ_OK);
        ck_assert(!gptq_factor_usable(f));
        ck_assert_int_eq(gptq_quantize(&grid, f, p.W, p.H, p.n, &q, &outcome, NULL), LLMQ_OK);
        ck_assert_int_eq(rtn_quantize(&grid, p.W, NULL, p.n, p.k, &rtn, NULL), LLMQ_OK);
        expect_same(&q, &rtn);
        ck_assert(outcome.fell_back && outcome.damp == 0);
        ck_assert_int_eq(outcome.damp_retries, 5);
        ck_assert_str_eq(outcome.method, "rtn");
        qlinear_free(&q);
        qlinear_free(&rtn);
        gptq_factor_free(&f);
    }
    problem_free(&p);
}
END_TEST

START_TEST(test_inputs_that_were_never_active_get_zero_weights) {
    static const int64_t dead[] = {0, 17, 95};
    struct problem p = problem_create(20, 96);
    for (int d = 0; d < 3; d++)
        for (int64_t i = 0; i < p.k; i++)
            p.H[i * p.k + dead[d]] = p.H[dead[d] * p.k + i] = 0;
    struct quant_grid grid = grid_of(4, 32, false, SCALE_DUAL);
    for (enum act_order order = ACT_ORDER_NONE; order <= ACT_ORDER_GROUP_AWARE; order++) {
        struct quant_outcome outcome = {0};
        struct qlinear q = quantize(&p, &grid, order, &outcome);
        ck_assert_int_eq(outcome.dead_columns, 3);
        ck_assert(outcome.loss < outcome.rtn_loss);
        for (int64_t row = 0; row < p.n; row++)
            for (int d = 0; d < 3; d++)
                ck_assert_int_eq(q.codes[row * p.k + dead[d]],
                                 q.zeros[row * q.groups + dead[d] / 32]);
        qlinear_free(&q);
    }
    problem_free(&p);
}
END_TEST

START_TEST(test_a_module_without_any_active_input_is_zero) {
    struct problem p = problem_create(4, 32);
    memset(p.H, 0, (size_t)(p.k * p.k) * sizeof *p.H);
    struct quant_grid grid = grid_of(4, 32, true, SCALE_DUAL);
    struct quant_outcome outcome = {0};
    struct qlinear q = quantize(&p, &grid, ACT_ORDER_NONE, &outcome);
    ck_assert(outcome.loss == 0 && outcome.rtn_loss == 0);
    ck_assert_int_eq(outcome.dead_columns, 32);
    for (int64_t i = 0; i < p.n * p.k; i++)
        ck_assert_int_eq(q.codes[i], 8);
    qlinear_free(&q);
    problem_free(&p);
}
END_TEST

/* --- weights as they come --------------------------------------------------------------------- */

static void expect_exact_zeros(const struct qlinear *q, const float *W) {
    for (int64_t i = 0; i < q->n * q->k; i++)
        if (W[i] == 0)
            ck_assert_int_eq(q->codes[i], q->zeros[i / q->k * q->groups + i % q->k / q->group]);
}

START_TEST(test_zero_rows_and_groups_stay_zero) {
    struct problem p = problem_create(8, 96);
    memset(p.W + 2 * p.k, 0, (size_t)p.k * sizeof *p.W); /* a row */
    memset(p.W + 5 * p.k, 0, 32 * sizeof *p.W);          /* a row's first group */
    for (int sym = 0; sym < 2; sym++) {
        struct quant_grid grid = grid_of(4, 32, sym, SCALE_DUAL);
        struct quant_outcome outcome = {0};
        struct qlinear q = quantize(&p, &grid, ACT_ORDER_NONE, &outcome);
        ck_assert(isfinite(outcome.loss));
        expect_exact_zeros(&q, p.W);
        qlinear_free(&q);
    }
    memset(p.W, 0, (size_t)(p.n * p.k) * sizeof *p.W);
    struct quant_grid grid = grid_of(4, 32, false, SCALE_DUAL);
    struct quant_outcome outcome = {0};
    struct qlinear q = quantize(&p, &grid, ACT_ORDER_STATIC, &outcome);
    ck_assert(outcome.loss == 0 && outcome.rtn_loss == 0);
    expect_exact_zeros(&q, p.W);
    qlinear_free(&q);
    problem_free(&p);
}
END_TEST

START_TEST(test_extreme_weights_give_finite_results) {
    static const float sizes[] = {1e-45F, 1e-38F, 1e-10F, 1e5F, 1e18F, 3e38F};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int config = 0; config < 6; config++) {
            struct problem p = problem_create(4, 64);
            for (int64_t j = 0; j < p.n * p.k; j++)
                p.W[j] = j / p.k == 1 ? sizes[i] : sizes[i] * uniform();
            struct quant_grid grid = grid_of(4, 32, config & 1, (enum scale_storage)(config / 2));
            struct quant_options options = {.act_order = ACT_ORDER_NONE, .damp = 0.01};
            struct quant_outcome outcome = {0};
            struct gptq_factor *f = NULL;
            struct qlinear q = {0};
            ck_assert_int_eq(gptq_factor_create(p.H, p.k, 32, &options, &f, NULL), LLMQ_OK);
            ck_assert_int_eq(gptq_quantize(&grid, f, p.W, p.H, p.n, &q, &outcome, NULL), LLMQ_OK);
            ck_assert_int_eq(qlinear_check(&q, NULL), LLMQ_OK);
            for (int64_t j = 0; j < q.n * q.groups; j++)
                ck_assert(q.scales[j] > 0 && isfinite(q.scales[j]));
            qlinear_free(&q);
            gptq_factor_free(&f);
            problem_free(&p);
        }
}
END_TEST

START_TEST(test_weights_that_are_not_finite_are_named) {
    struct problem p = problem_create(8, 64);
    p.W[3 * p.k + 41] = NAN;
    p.W[5 * p.k + 2] = INFINITY;
    struct quant_grid grid = grid_of(4, 32, true, SCALE_DUAL);
    struct quant_options options = {.act_order = ACT_ORDER_NONE, .damp = 0.01};
    struct quant_outcome outcome = {0};
    struct gptq_factor *f = NULL;
    struct qlinear q = {0};
    llmq_error err = {0};
    ck_assert_int_eq(gptq_factor_create(p.H, p.k, 32, &options, &f, NULL), LLMQ_OK);
    ck_assert_int_eq(gptq_quantize(&grid, f, p.W, p.H, p.n, &q, &outcome, &err), LLMQ_E_NUMERIC);
    ck_assert_ptr_nonnull(strstr(err.message, "row 3, column 41"));
    ck_assert_ptr_null(q.codes);
    gptq_factor_free(&f);
    problem_free(&p);
}
END_TEST

/* --- promises --------------------------------------------------------------------------------- */

/* H of `tokens` inputs only: singular when tokens < k. */
static void set_rank(struct problem *p, int64_t tokens) {
    memset(p->H, 0, (size_t)(p->k * p->k) * sizeof *p->H);
    float *x = malloc((size_t)p->k * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t c = 0; c < p->k; c++)
            x[c] = normal();
        for (int64_t i = 0; i < p->k; i++)
            for (int64_t j = 0; j < p->k; j++)
                p->H[i * p->k + j] += x[i] * x[j];
    }
    free(x);
}

START_TEST(test_no_row_is_worse_than_round_to_nearest) {
    static const int64_t tokens[] = {1, 5, 60, 200};
    double ours[32], theirs[32];
    for (int i = 0; i < 4; i++)
        for (enum act_order order = ACT_ORDER_NONE; order <= ACT_ORDER_GROUP_AWARE; order++) {
            struct problem p = problem_create(32, 96);
            set_rank(&p, tokens[i]);
            struct quant_grid grid = grid_of(2 + i % 3, 48, i & 1, SCALE_DUAL);
            struct quant_outcome outcome = {0};
            struct qlinear q = quantize(&p, &grid, order, &outcome), rtn = {0};
            ck_assert_int_eq(rtn_quantize(&grid, p.W, NULL, p.n, p.k, &rtn, NULL), LLMQ_OK);
            problem_losses(&p, &q, 0.01, ours);
            problem_losses(&p, &rtn, 0.01, theirs);
            for (int64_t row = 0; row < p.n; row++)
                ck_assert(ours[row] <= theirs[row] * (1 + ROUNDING));
            qlinear_free(&q);
            qlinear_free(&rtn);
            problem_free(&p);
        }
}
END_TEST

START_TEST(test_result_is_the_same_for_any_thread_count) {
    struct problem p = problem_create(300, 192);
    struct quant_grid grid = grid_of(4, 64, false, SCALE_DUAL);
    int threads = omp_get_max_threads();
    struct quant_outcome first = {0}, outcome = {0};
    omp_set_num_threads(1);
    struct qlinear one = quantize(&p, &grid, ACT_ORDER_STATIC, &first);
    for (int t = 2; t <= 3; t++) {
        omp_set_num_threads(t);
        struct qlinear more = quantize(&p, &grid, ACT_ORDER_STATIC, &outcome);
        expect_same(&one, &more);
        ck_assert(outcome.loss == first.loss && outcome.rtn_loss == first.rtn_loss);
        qlinear_free(&more);
    }
    omp_set_num_threads(threads);
    qlinear_free(&one);
    problem_free(&p);
}
END_TEST

START_TEST(test_a_row_does_not_depend_on_its_neighbours) {
    struct problem p = problem_create(70, 96);
    struct quant_grid grid = grid_of(4, 32, false, SCALE_F32);
    struct quant_outcome outcome = {0};
    struct qlinear all = quantize(&p, &grid, ACT_ORDER_NONE, &outcome);
    double *errors = calloc(2 * (size_t)p.n, sizeof *errors);
    ck_assert_ptr_nonnull(errors);
    ck_assert_int_eq(
        quant_row_errors(p.W, &all, &(struct quant_inputs){.H = p.H}, errors, NULL, NULL), LLMQ_OK);
    for (int64_t row = 0; row < p.n; row += 23) {
        struct problem part = {1, p.k, p.W + row * p.k, p.H, p.Hd};
        struct qlinear q = quantize(&part, &grid, ACT_ORDER_NONE, &outcome);
        double error = 0;
        ck_assert_int_eq(
            quant_row_errors(part.W, &q, &(struct quant_inputs){.H = p.H}, &error, NULL, NULL),
            LLMQ_OK);
        ck_assert_double_eq_tol(error, errors[row], 0.05 * error); /* but for a tie, the same */
        qlinear_free(&q);
    }
    free(errors);
    qlinear_free(&all);
    problem_free(&p);
}
END_TEST

/* --- losses of the column loop ---------------------------------------------------------------- */

/* One input that was never active. */
static void kill_column(struct problem *p, int64_t column) {
    for (int64_t i = 0; i < p->k; i++)
        p->H[i * p->k + column] = p->H[column * p->k + i] = 0;
}

/* dw (H + damping I) dw^T in double precision, column `dead` apart. */
static double damped_error(const struct problem *p, const struct qlinear *q, int64_t row,
                           double damping, int64_t dead) {
    double sum = 0;
    float d[96];
    ck_assert_int_le(p->k, 96);
    qlinear_dequantize(q, row, row + 1, d);
    for (int64_t i = 0; i < p->k; i++)
        d[i] = i == dead ? 0 : p->W[row * p->k + i] - d[i];
    for (int64_t i = 0; i < p->k; i++)
        for (int64_t j = 0; j < p->k; j++)
            sum +=
                ((double)p->H[i * p->k + j] + (i == j ? damping : 0)) * (double)d[i] * (double)d[j];
    return sum;
}

START_TEST(test_losses_are_errors_in_the_damped_metric) {
    enum { N = 20, DEAD = 17 };
    for (enum act_order order = ACT_ORDER_NONE; order <= ACT_ORDER_GROUP_AWARE; order++)
        for (int dead = 0; dead < 2; dead++) {
            struct problem p = problem_create(N, 96);
            struct quant_grid grid = grid_of(4, 32, dead, SCALE_DUAL);
            const struct quant_options options = {.act_order = order, .damp = 0.01};
            struct gptq_factor *f = NULL;
            struct qlinear q = {0};
            double losses[N];
            if (dead)
                kill_column(&p, DEAD);
            ck_assert_int_eq(gptq_factor_create(p.H, p.k, 32, &options, &f, NULL), LLMQ_OK);
            ck_assert_int_eq(qlinear_alloc(N, p.k, 4, 32, &q, NULL), LLMQ_OK);
            ck_assert_int_eq(gptq_solve(&grid, f, p.W, PARAMS_FITTED, &q, losses, NULL), LLMQ_OK);
            for (int64_t row = 0; row < N; row++) {
                double loss = damped_error(&p, &q, row, f->damping, dead ? DEAD : -1);
                ck_assert_double_eq_tol(losses[row], loss, 1e-4 * loss);
            }
            qlinear_free(&q);
            gptq_factor_free(&f);
            problem_free(&p);
        }
}
END_TEST

/* From damping that hardly shows to damping that is nearly all of the loss. */
START_TEST(test_reported_loss_of_gptq_is_the_measured_one) {
    static const double damps[] = {0, 0.01, 1, 100, 1e5};
    for (int i = 0; i < 5; i++)
        for (int dead = 0; dead < 2; dead++) {
            struct problem p = problem_create(40, 96);
            struct quant_grid grid = grid_of(4, 32, false, SCALE_DUAL);
            const struct quant_options options = {.damp = damps[i]};
            struct gptq_factor *f = NULL;
            struct quant_outcome outcome = {0};
            struct qlinear q = {0};
            double losses[40], loss = 0;
            if (dead)
                kill_column(&p, 40);
            ck_assert_int_eq(gptq_factor_create(p.H, p.k, 32, &options, &f, NULL), LLMQ_OK);
            ck_assert_int_eq(gptq_quantize(&grid, f, p.W, p.H, p.n, &q, &outcome, NULL), LLMQ_OK);
            problem_losses(&p, &q, damps[i], losses);
            for (int64_t row = 0; row < p.n; row++)
                loss += losses[row];
            ck_assert_double_eq_tol(outcome.gptq_loss, loss, 2e-4 * loss);
            ck_assert_double_eq_tol(outcome.loss, loss, 2e-4 * loss);
            qlinear_free(&q);
            gptq_factor_free(&f);
            problem_free(&p);
        }
}
END_TEST

/* --- misuse ----------------------------------------------------------------------------------- */

START_TEST(test_grids_that_do_not_fit_are_usage_errors) {
    struct problem p = problem_create(2, 96);
    struct quant_options options = {.act_order = ACT_ORDER_GROUP_AWARE, .damp = 0.01},
                         negative = {.act_order = ACT_ORDER_NONE, .damp = -1};
    struct gptq_factor *f = NULL;
    struct qlinear q = {0};
    struct quant_outcome outcome = {0};
    llmq_error err = {0};
    ck_assert_int_eq(gptq_factor_create(p.H, p.k, 36, &options, &f, &err), LLMQ_E_USAGE);
    ck_assert_ptr_nonnull(strstr(err.message, "36"));
    ck_assert_int_eq(gptq_factor_create(p.H, p.k, 32, &negative, &f, &err), LLMQ_E_USAGE);
    ck_assert_ptr_null(f);
    ck_assert_int_eq(gptq_factor_create(p.H, p.k, 32, &options, &f, &err), LLMQ_OK);
    struct quant_grid grids[] = {grid_of(4, 48, true, SCALE_DUAL), grid_of(5, 32, true, SCALE_DUAL),
                                 grid_of(4, 0, true, SCALE_DUAL)};
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(gptq_quantize(&grids[i], f, p.W, p.H, p.n, &q, &outcome, &err),
                         LLMQ_E_USAGE);
    gptq_factor_free(&f);
    gptq_factor_free(&f); /* accepts NULL */
    problem_free(&p);
}
END_TEST

int main(void) {
    Suite *s = suite_create("gptq_quantize");
    TCase *tc = tcase_create("gptq_quantize");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, test_uncorrelated_inputs_give_round_to_nearest);
    tcase_add_test(tc, test_damping_climbs_until_a_factor_exists);
    tcase_add_test(tc, test_falls_back_to_rtn_when_no_damping_helps);
    tcase_add_test(tc, test_inputs_that_were_never_active_get_zero_weights);
    tcase_add_test(tc, test_a_module_without_any_active_input_is_zero);
    tcase_add_test(tc, test_zero_rows_and_groups_stay_zero);
    tcase_add_test(tc, test_extreme_weights_give_finite_results);
    tcase_add_test(tc, test_weights_that_are_not_finite_are_named);
    tcase_add_test(tc, test_no_row_is_worse_than_round_to_nearest);
    tcase_add_test(tc, test_result_is_the_same_for_any_thread_count);
    tcase_add_test(tc, test_a_row_does_not_depend_on_its_neighbours);
    tcase_add_test(tc, test_losses_are_errors_in_the_damped_metric);
    tcase_add_test(tc, test_reported_loss_of_gptq_is_the_measured_one);
    tcase_add_test(tc, test_grids_that_do_not_fit_are_usage_errors);
    suite_add_tcase(s, tc);

    linalg_init();
    problem_seed(SEED);
    printf("gptq_quantize: seed %u\n", SEED);
    return run_suite(s);
}
