/* SPDX-License-Identifier: Apache-2.0 */
/* Judging on rows that a fit has not seen. */
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/judge.h"
#include "support.h"

enum { N = 24, K = 48, HELD = 200 };

/* A problem whose held-back rows are of the same kind as those of H, or of another. */
struct scene {
    struct problem p;
    float X[HELD * K];
    struct quant_grid grid;
    struct quant_problem problem;
};

static struct scene *scene_create(void) {
    struct scene *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    problem_seed(3);
    s->p = problem_create(N, K);
    for (int i = 0; i < HELD * K; i++)
        s->X[i] = normal();
    s->grid = grid_of(3, 24, false, SCALE_DUAL);
    s->problem = (struct quant_problem){.grid = &s->grid,
                                        .W = s->p.W,
                                        .n = N,
                                        .k = K,
                                        .H = s->p.H,
                                        .inputs = {.X = s->X, .count = HELD}};
    return s;
}

static void scene_free(struct scene *s) {
    problem_free(&s->p);
    free(s);
}

static double error_of(const struct scene *s, const struct qlinear *q) {
    double error = 0;
    ck_assert_int_eq(quant_error(s->p.W, q, &s->problem.inputs, &error, NULL), LLMQ_OK);
    return error;
}

/* H has one strong direction, which the rows held back have not: what GPTQ makes of it is worse for
 * them than rounding. */
START_TEST(what_is_worse_than_rounding_is_rounded) {
    struct scene *s = scene_create();
    struct quant_outcome outcome = {0};
    struct qlinear q, rtn;
    llmq_error err = {0};
    for (int i = 0; i < K * K; i++)
        s->p.H[i] = (i / K == i % K ? 1e-3f : 0) + 1;
    q = quantize(&s->p, &s->grid, ACT_ORDER_NONE, &outcome);
    const double fitted = error_of(s, &q);
    ck_assert_ok(quant_round(&s->problem, &rtn, &err), &err);
    const double rounded = error_of(s, &rtn);
    ck_assert_double_gt(fitted, rounded);
    ck_assert_ok(quant_judge(&s->problem, &q, &outcome, &err), &err);
    ck_assert(outcome.beaten);
    ck_assert_str_eq(outcome.method, "rtn");
    ck_assert_double_eq_tol(outcome.error, rounded, 1e-12);
    ck_assert_double_eq_tol(outcome.rtn_error, rounded, 1e-12);
    for (int64_t row = 0; row < N; row++)
        ck_assert(same_row(&q, &rtn, row));
    qlinear_free(&q);
    qlinear_free(&rtn);
    scene_free(s);
}
END_TEST

/* The rows held back are what H is of: the fit stays, and both errors are told. */
START_TEST(what_is_better_stays) {
    struct scene *s = scene_create();
    struct quant_outcome outcome = {0};
    struct qlinear q, before;
    llmq_error err = {0};
    for (int t = 0; t < HELD; t++)
        for (int i = 1; i < K; i++)
            s->X[t * K + i] = 0.9f * s->X[t * K + i - 1] + 0.3f * s->X[t * K + i];
    for (int i = 0; i < K; i++)
        for (int j = 0; j < K; j++) {
            double sum = 0;
            for (int t = 0; t < HELD; t++)
                sum += (double)s->X[t * K + i] * (double)s->X[t * K + j];
            s->p.H[i * K + j] = (float)sum;
        }
    q = quantize(&s->p, &s->grid, ACT_ORDER_NONE, &outcome);
    before = quantize(&s->p, &s->grid, ACT_ORDER_NONE, &outcome);
    ck_assert_ok(quant_judge(&s->problem, &q, &outcome, &err), &err);
    ck_assert(!outcome.beaten && outcome.norm > 0);
    ck_assert_str_eq(outcome.method, "gptq");
    ck_assert_double_eq_tol(outcome.error, error_of(s, &before), 1e-12);
    ck_assert_double_lt(outcome.error, 0.9 * outcome.rtn_error);
    for (int64_t row = 0; row < N; row++)
        ck_assert(same_row(&q, &before, row));
    qlinear_free(&q);
    qlinear_free(&before);
    scene_free(s);
}
END_TEST

/* Rounding is its own reference: nothing is rounded twice. */
START_TEST(rounding_is_as_good_as_itself) {
    struct scene *s = scene_create();
    struct quant_outcome outcome = {.method = "rtn"};
    struct qlinear q;
    llmq_error err = {0};
    s->problem.H = NULL;
    s->problem.inputs = (struct quant_inputs){0};
    ck_assert_ok(quant_round(&s->problem, &q, &err), &err);
    ck_assert_ok(quant_judge(&s->problem, &q, &outcome, &err), &err);
    ck_assert(outcome.error > 0 && outcome.error == outcome.rtn_error && !outcome.beaten);
    qlinear_free(&q);
    scene_free(s);
}
END_TEST

/* X^T X of the rows held back says what they do. */
START_TEST(rows_and_their_square_agree) {
    struct scene *s = scene_create();
    float *square = calloc((size_t)(K * K), sizeof *square);
    struct qlinear q;
    llmq_error err = {0};
    for (int i = 0; i < K * K; i++) {
        double sum = 0;
        for (int r = 0; r < HELD; r++)
            sum += (double)s->X[r * K + i / K] * (double)s->X[r * K + i % K];
        square[i] = (float)sum;
    }
    ck_assert_ok(quant_round(&s->problem, &q, &err), &err);
    s->problem.inputs = quant_unseen(s->p.H, NULL, s->X, HELD);
    ck_assert(!s->problem.inputs.H && s->problem.inputs.X == s->X);
    const double by_rows = error_of(s, &q);
    s->problem.inputs = quant_unseen(s->p.H, square, s->X, HELD);
    ck_assert(s->problem.inputs.H == square && !s->problem.inputs.X);
    ck_assert_double_eq_tol(error_of(s, &q), by_rows, 1e-5 * by_rows);
    qlinear_free(&q);
    free(square);
    scene_free(s);
}
END_TEST

/* With a factor GPTQ is judged, without one rounding. */
START_TEST(solving_is_choosing_and_judging) {
    struct scene *s = scene_create();
    struct quant_outcome outcome = {0};
    const struct quant_options options = {.damp = 0.01};
    struct gptq_factor *f = NULL;
    struct qlinear q, expected;
    llmq_error err = {0};
    ck_assert_ok(gptq_factor_create(s->p.H, K, 24, &options, &f, &err), &err);
    s->problem.factor = f;
    s->problem.inputs = quant_unseen(s->p.H, NULL, s->X, 0);
    ck_assert(s->problem.inputs.H == s->p.H && !s->problem.inputs.X);
    ck_assert_ok(quant_solve(&s->problem, &q, &outcome, &err), &err);
    ck_assert_str_eq(outcome.method, "gptq");
    expected = quantize(&s->p, &s->grid, ACT_ORDER_NONE, &outcome);
    for (int64_t row = 0; row < N; row++)
        ck_assert(same_row(&q, &expected, row));
    qlinear_free(&q);
    qlinear_free(&expected);
    s->problem.factor = NULL;
    ck_assert_ok(quant_solve(&s->problem, &q, &outcome, &err), &err);
    ck_assert_str_eq(outcome.method, "rtn");
    ck_assert_ok(quant_round(&s->problem, &expected, &err), &err);
    for (int64_t row = 0; row < N; row++)
        ck_assert(same_row(&q, &expected, row));
    qlinear_free(&q);
    qlinear_free(&expected);
    gptq_factor_free(&f);
    scene_free(s);
}
END_TEST

START_TEST(outliers_are_counted_by_hand) {
    enum { SIZE = 16 };
    static float H[SIZE * SIZE];
    for (int i = 0; i < SIZE; i++)
        H[i * SIZE + i] = i == 3 ? 1e6F : i == 5 ? 0 : i == 8 ? 200 : 1;
    /* 15 are active; the geometric mean is exp((ln 1e6 + ln 200) / 15) = 3.58 */
    struct channel_outliers found = quant_outliers(H, SIZE);
    ck_assert_int_eq(found.count, 1);
    ck_assert_double_eq_tol(found.share, 1e6 / (1e6 + 200 + 13), 1e-9);
    H[8 * SIZE + 8] = 1e4F;
    H[9 * SIZE + 9] = NAN;
    found = quant_outliers(H, SIZE);
    ck_assert_int_eq(found.count, 2);
    ck_assert_double_eq_tol(found.share, (1e6 + 1e4) / (1e6 + 1e4 + 12), 1e-9);
    memset(H, 0, sizeof H);
    found = quant_outliers(H, SIZE);
    ck_assert(found.count == 0 && found.share == 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quant_judge");
    TCase *t = tcase_create("judge");
    linalg_init();
    tcase_add_test(t, what_is_worse_than_rounding_is_rounded);
    tcase_add_test(t, what_is_better_stays);
    tcase_add_test(t, rounding_is_as_good_as_itself);
    tcase_add_test(t, rows_and_their_square_agree);
    tcase_add_test(t, solving_is_choosing_and_judging);
    tcase_add_test(t, outliers_are_counted_by_hand);
    suite_add_tcase(s, t);
    return run_suite(s);
}
