/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of a quantized module on its inputs, by their second moment or the inputs themselves,
 * against double loops. */
#include <check.h>
#include <stdlib.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "support.h"

/* More rows than are multiplied at a time, and not a multiple of them. */
START_TEST(on_rows_they_match_double_loops) {
    enum { COUNT = 2 * QUANT_FORM_COLUMNS + 7 };
    struct problem p = problem_create(20, 48);
    struct quant_grid grid = grid_of(4, 24, false, SCALE_DUAL);
    float *X = malloc((size_t)(COUNT * p.k) * sizeof *X), d[48];
    double errors[20], norms[20], relative = 0, sums[2] = {0};
    struct qlinear q = {0};
    ck_assert_ptr_nonnull(X);
    for (int64_t i = 0; i < COUNT * p.k; i++)
        X[i] = normal();
    const struct quant_inputs inputs = {.X = X, .count = COUNT};
    ck_assert_int_eq(rtn_quantize(&grid, p.W, NULL, p.n, p.k, &q, NULL), LLMQ_OK);
    ck_assert_int_eq(quant_row_errors(p.W, &q, &inputs, errors, norms, NULL), LLMQ_OK);
    ck_assert_int_eq(quant_error(p.W, &q, &inputs, &relative, NULL), LLMQ_OK);
    for (int64_t row = 0; row < p.n; row++) {
        double error = 0, norm = 0;
        qlinear_dequantize(&q, row, row + 1, d);
        for (int64_t t = 0; t < COUNT; t++) {
            double lost = 0, kept = 0;
            for (int64_t i = 0; i < p.k; i++) {
                lost += (double)(p.W[row * p.k + i] - d[i]) * (double)X[t * p.k + i];
                kept += (double)p.W[row * p.k + i] * (double)X[t * p.k + i];
            }
            error += lost * lost;
            norm += kept * kept;
        }
        ck_assert_double_eq_tol(errors[row], error, 1e-5 * error);
        ck_assert_double_eq_tol(norms[row], norm, 1e-5 * norm);
        sums[0] += error;
        sums[1] += norm;
    }
    ck_assert_double_eq_tol(relative, sums[0] / sums[1], 1e-5 * relative);
    free(X);
    qlinear_free(&q);
    problem_free(&p);
}
END_TEST

START_TEST(by_a_moment_they_match_double_loops) {
    int64_t n = 5, k = 1100;
    struct problem p = problem_create(n, 100);
    struct problem big = {n, k, malloc((size_t)(n * k) * sizeof *p.W),
                          malloc((size_t)(k * k) * sizeof *p.H), NULL};
    ck_assert(big.W && big.H);
    for (int64_t i = 0; i < n * k; i++)
        big.W[i] = normal();
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++)
            big.H[i * k + j] = p.H[i % 100 * 100 + j % 100];
    struct quant_grid grid = grid_of(4, 110, false, SCALE_DUAL);
    struct qlinear q = {0};
    double errors[5], norms[5];
    ck_assert_int_eq(rtn_quantize(&grid, big.W, NULL, n, k, &q, NULL), LLMQ_OK);
    for (int mapped = 0; mapped < 2; mapped++) {
        float *d = malloc((size_t)k * sizeof *d);
        ck_assert_ptr_nonnull(d);
        ck_assert_int_eq(
            quant_row_errors(big.W, &q, &(struct quant_inputs){.H = big.H}, errors, norms, NULL),
            LLMQ_OK);
        for (int64_t row = 0; row < n; row++) {
            double error = 0, norm = 0;
            const float *w = big.W + row * k;
            qlinear_dequantize(&q, row, row + 1, d);
            for (int64_t i = 0; i < k; i++)
                for (int64_t j = 0; j < k; j++) {
                    double h = (double)big.H[i * k + j];
                    error += h * (double)(w[i] - d[i]) * (double)(w[j] - d[j]);
                    norm += h * (double)w[i] * (double)w[j];
                }
            ck_assert_double_eq_tol(errors[row], error, 5e-5 * error);
            ck_assert_double_eq_tol(norms[row], norm, 5e-5 * norm);
        }
        free(d);
        if (mapped == 0) { /* the same again with columns assigned to groups the other way round */
            q.group_of = malloc((size_t)k * sizeof *q.group_of);
            ck_assert_ptr_nonnull(q.group_of);
            for (int64_t c = 0; c < k; c++)
                q.group_of[c] = (int32_t)((k - 1 - c) / 110);
        }
    }
    qlinear_free(&q);
    problem_free(&big);
    problem_free(&p);
}
END_TEST

START_TEST(without_inputs_they_are_of_the_weights) {
    struct problem p = problem_create(5, 96);
    struct quant_grid grid = grid_of(3, 32, true, SCALE_DUAL);
    struct qlinear q = {0};
    double errors[5], norms[5], relative = 0, error = 0, norm = 0;
    ck_assert_int_eq(rtn_quantize(&grid, p.W, NULL, p.n, p.k, &q, NULL), LLMQ_OK);
    ck_assert_int_eq(quant_row_errors(p.W, &q, &(struct quant_inputs){0}, errors, norms, NULL),
                     LLMQ_OK);
    ck_assert_int_eq(quant_error(p.W, &q, &(struct quant_inputs){0}, &relative, NULL), LLMQ_OK);
    for (int64_t row = 0; row < p.n; row++) {
        float d[96];
        double sum = 0;
        qlinear_dequantize(&q, row, row + 1, d);
        for (int64_t c = 0; c < p.k; c++)
            sum += pow((double)(p.W[row * p.k + c] - d[c]), 2);
        ck_assert_double_eq_tol(errors[row], sum, 1e-9 * sum);
        error += errors[row];
        norm += norms[row];
    }
    ck_assert_double_eq_tol(relative, error / norm, 1e-12);
    qlinear_free(&q);
    problem_free(&p);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quant_row_errors");
    TCase *t = tcase_create("row_errors");
    linalg_init();
    problem_seed(22101977U);
    tcase_add_test(t, by_a_moment_they_match_double_loops);
    tcase_add_test(t, on_rows_they_match_double_loops);
    tcase_add_test(t, without_inputs_they_are_of_the_weights);
    suite_add_tcase(s, t);
    return run_suite(s);
}
