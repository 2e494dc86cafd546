/* SPDX-License-Identifier: Apache-2.0 */
/* Tiled linear algebra against plain double-precision loops, and against itself on other numbers
 * of threads. Matrices sit in rows longer than themselves, padded with NaN: what must not be read
 * would show. */
#include <check.h>
#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "support.h"

#define SEED 20221031U

static uint32_t rng_state;

static float uniform(void) {
    rng_state = rng_state * 1664525U + 1013904223U;
    return (float)(rng_state >> 8) / (float)(1 << 23) - 1.0F;
}

static float *matrix_nan(int64_t rows, int64_t stride) {
    float *A = malloc((size_t)(rows * stride) * sizeof *A + 1);
    ck_assert_ptr_nonnull(A);
    for (int64_t i = 0; i < rows * stride; i++)
        A[i] = NAN;
    return A;
}

static float *matrix_random(int64_t rows, int64_t cols, int64_t stride) {
    float *A = matrix_nan(rows, stride);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            A[i * stride + j] = uniform();
    return A;
}

static float *matrix_copy(const float *A, int64_t count) {
    float *B = malloc((size_t)count * sizeof *B + 1);
    ck_assert_ptr_nonnull(B);
    memcpy(B, A, (size_t)count * sizeof *B);
    return B;
}

/* Symmetric positive definite, lower triangle stored: X X^T / n + I / 10. */
static float *matrix_spd(int64_t n, int64_t stride) {
    float *A = matrix_nan(n, stride), *X = matrix_random(n, n, n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = i == j ? 0.1 * (double)n : 0;
            for (int64_t l = 0; l < n; l++)
                sum += (double)X[i * n + l] * (double)X[j * n + l];
            A[i * stride + j] = (float)(sum / (double)n);
        }
    free(X);
    return A;
}

/* Worst violation seen in a loop: asserting each element would take longer than computing it. */
static double worst;

/* Is `found` within `tolerance` of `expected`? NaN is not. */
static void compare(double found, double expected, double tolerance) {
    double excess = fabs(found - expected) / tolerance;
    if (!(excess <= worst))
        worst = isnan(excess) ? HUGE_VAL : excess;
}

/* Padding and the other triangle must still be NaN. */
static void untouched(double found) {
    if (!isnan(found))
        worst = HUGE_VAL;
}

static void expect_all_compared_equal(void) {
    ck_assert_msg(worst <= 1, "worst element is off by %g of its tolerance", worst);
    worst = 0;
}

/* --- products --------------------------------------------------------------------------------- */

enum product { NN, NT, TN };

static const float *at(const float *A, int64_t lda, bool transposed, int64_t i, int64_t j) {
    return transposed ? A + j * lda + i : A + i * lda + j;
}

/* Every element of C against its sum in double precision; its padding must still be NaN. */
static void check_gemm(enum product kind, const int64_t *size, float beta) {
    int64_t m = size[0], n = size[1], k = size[2], ldc = n + 2;
    int64_t lda = (kind == TN ? m : k) + 3, ldb = (kind == NT ? k : n) + 1;
    float *A = kind == TN ? matrix_random(k, m, lda) : matrix_random(m, k, lda);
    float *B = kind == NT ? matrix_random(n, k, ldb) : matrix_random(k, n, ldb);
    float *C = matrix_random(m, n, ldc), *before = matrix_copy(C, m * ldc);
    static void (*const gemm[])(int64_t, int64_t, int64_t, float, const float *, int64_t,
                                const float *, int64_t, float, float *,
                                int64_t) = {linalg_gemm_nn, linalg_gemm_nt, linalg_gemm_tn};
    gemm[kind](m, n, k, 0.5F, A, lda, B, ldb, beta, C, ldc);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < ldc; j++) {
            if (j >= n) {
                untouched((double)C[i * ldc + j]);
                continue;
            }
            double sum = 0, scale = 1;
            for (int64_t l = 0; l < k; l++) {
                double term =
                    (double)*at(A, lda, kind == TN, i, l) * (double)*at(B, ldb, kind == NT, l, j);
                sum += term;
                scale += fabs(term);
            }
            double expected = 0.5 * sum + (double)beta * (double)before[i * ldc + j];
            compare((double)C[i * ldc + j], expected, 1e-6 * scale);
        }
    expect_all_compared_equal();
    free(A);
    free(B);
    free(C);
    free(before);
}

static const int64_t gemm_sizes[][3] = {{1, 1, 1},    {1, 700, 65},  {3, 5, 7},
                                        {64, 64, 64}, {65, 129, 33}, {130, 63, 200},
                                        {513, 40, 9}, {37, 1100, 17}};

START_TEST(test_gemm_matches_double_loops) {
    for (enum product kind = NN; kind <= TN; kind++) {
        check_gemm(kind, gemm_sizes[_i], 0);
        check_gemm(kind, gemm_sizes[_i], -1.5F);
    }
}
END_TEST

START_TEST(test_gemm_beta_zero_overwrites_nan) {
    float A[2] = {1, 2}, B[2] = {3, 4}, C[1] = {NAN};
    linalg_gemm_nt(1, 1, 2, 1, A, 2, B, 2, 0, C, 1);
    ck_assert(C[0] == 11);
}
END_TEST

START_TEST(test_gemm_accepts_empty_shapes) {
    float A[2] = {1, 2}, C[4] = {1, 2, 3, 4};
    linalg_gemm_nt(0, 2, 1, 1, A, 1, A, 1, 0, C, 2);
    linalg_gemm_nt(2, 0, 1, 1, A, 1, A, 1, 0, C, 2);
    ck_assert(C[0] == 1 && C[3] == 4);
    linalg_gemm_nt(2, 2, 0, 1, A, 1, A, 1, 2, C, 2);
    ck_assert(C[0] == 2 && C[3] == 8);
}
END_TEST

/* --- rank-k update ---------------------------------------------------------------------------- */

static float *tile_scratch(void) {
    float *tiles = malloc(linalg_accumulate_floats() * sizeof *tiles);
    ck_assert_ptr_nonnull(tiles);
    for (size_t i = 0; i < linalg_accumulate_floats(); i++)
        tiles[i] = NAN;
    return tiles;
}

static void check_syrk(int64_t rows, int64_t k) {
    int64_t ldx = k + 5;
    float *X = matrix_random(rows, k, ldx), *partial = tile_scratch();
    double *C = malloc((size_t)(k * (k + 1) / 2) * sizeof *C);
    ck_assert_ptr_nonnull(C);
    for (int64_t i = 0; i < k * (k + 1) / 2; i++)
        C[i] = (double)i;
    linalg_syrk_accumulate(rows, k, X, ldx, C, partial);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i; j < k; j++) {
            double sum = (double)linalg_upper(k, i, j);
            for (int64_t r = 0; r < rows; r++)
                sum += (double)X[r * ldx + i] * (double)X[r * ldx + j];
            compare(C[linalg_upper(k, i, j)], sum, 1e-6 * (double)(rows + 10));
        }
    expect_all_compared_equal();
    free(X);
    free(partial);
    free(C);
}

START_TEST(test_syrk_adds_upper_triangle_only) {
    check_syrk(1, 1);
    check_syrk(7, 3);
    check_syrk(50, 64);
    check_syrk(33, 131);
    check_syrk(20, 700);
    check_syrk(600, 150);
}
END_TEST

START_TEST(test_syrk_folds_long_inputs_in_double) {
    /* One column of ones with a small value behind 2^24 of them: float32 alone would lose it. */
    int64_t rows = 5000;
    float *X = malloc((size_t)rows * sizeof *X);
    ck_assert_ptr_nonnull(X);
    for (int64_t i = 0; i < rows; i++)
        X[i] = i < 4096 ? 4096.0F : 1.0F;
    double C = 0;
    float *partial = tile_scratch();
    linalg_syrk_accumulate(rows, 1, X, 1, &C, partial);
    free(partial);
    ck_assert(C == 4096.0 * 4096.0 * 4096.0 + 904.0);
    free(X);
}
END_TEST

/* --- accumulated and triangular products ------------------------------------------------------ */

static void check_gemm_accumulate(int64_t rows, int64_t m, int64_t n) {
    float *A = matrix_random(rows, m, m + 1), *B = matrix_random(rows, n, n + 2);
    float *partial = tile_scratch();
    double *C = malloc((size_t)(m * n) * sizeof *C);
    ck_assert_ptr_nonnull(C);
    for (int64_t i = 0; i < m * n; i++)
        C[i] = (double)i;
    linalg_gemm_tn_accumulate(rows, m, n, A, m + 1, B, n + 2, C, partial);
    for (int64_t i = 0; i < m * n; i++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += (double)A[r * (m + 1) + i / n] * (double)B[r * (n + 2) + i % n];
        compare(C[i], (double)i + sum, 1e-6 * (double)(rows + 10));
    }
    expect_all_compared_equal();
    free(A);
    free(B);
    free(partial);
    free(C);
}

START_TEST(test_gemm_accumulates) {
    check_gemm_accumulate(1, 1, 1);
    check_gemm_accumulate(33, 20, 131);
    check_gemm_accumulate(4100, 3, 5);
    check_gemm_accumulate(600, 150, 90);
}
END_TEST

/* Whoever forms them one by one, as ranks do, gets the same bits. */
START_TEST(test_tiles_add_up_to_the_same_bits) {
    enum { ROWS = 700, WIDTH = 300, SQUARE = WIDTH * WIDTH };
    float *A = matrix_random(ROWS, WIDTH, WIDTH), *B = matrix_random(ROWS, WIDTH, WIDTH);
    float *P = tile_scratch();
    double *at_once = calloc(SQUARE, sizeof *at_once),
           *one_by_one = calloc(SQUARE, sizeof *one_by_one);
    ck_assert(at_once && one_by_one);
    for (int triangle = 0; triangle < 2; triangle++) {
        const struct linalg_sum s = {WIDTH, WIDTH, triangle};
        const struct linalg_term term = {ROWS, A, triangle ? A : B, WIDTH, WIDTH};
        if (triangle)
            linalg_syrk_accumulate(ROWS, WIDTH, A, WIDTH, at_once, P);
        else
            linalg_gemm_tn_accumulate(ROWS, WIDTH, WIDTH, A, WIDTH, B, WIDTH, at_once, P);
        ck_assert_int_gt(linalg_sum_tiles(&s), 4);
        for (int64_t tile = linalg_sum_tiles(&s) - 1; tile >= 0; tile--) {
            linalg_sum_form(&s, &term, &(struct linalg_tile){tile, P}, 1);
            linalg_sum_add(&s, tile, P, one_by_one);
        }
        ck_assert_int_eq(memcmp(at_once, one_by_one, SQUARE * sizeof *at_once), 0);
    }
    free(A);
    free(B);
    free(P);
    free(at_once);
    free(one_by_one);
}
END_TEST

/* The strict lower triangle of U is NaN: whoever reads it shows. */
static void check_trmm(int64_t m, int64_t n, bool transposed) {
    int64_t ldu = n + 1, ldb = n + 3;
    float *U = matrix_random(n, n, ldu), *B = matrix_random(m, n, ldb);
    float *before = matrix_copy(B, m * ldb);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            U[i * ldu + j] = NAN;
    linalg_trmm_upper(m, n, U, ldu, transposed, B, ldb);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t c = transposed ? j : 0; c < (transposed ? n : j + 1); c++)
                sum += (double)before[i * ldb + c] *
                       (double)(transposed ? U[j * ldu + c] : U[c * ldu + j]);
            compare((double)B[i * ldb + j], sum, 1e-6 * (double)(n + 10));
        }
    expect_all_compared_equal();
    free(U);
    free(B);
    free(before);
}

START_TEST(test_trmm_reads_one_triangle) {
    for (int transposed = 0; transposed < 2; transposed++) {
        check_trmm(1, 1, transposed);
        check_trmm(5, 33, transposed);
        check_trmm(130, 70, transposed);
    }
}
END_TEST

/* --- factorisations --------------------------------------------------------------------------- */

static const int64_t factor_sizes[] = {1, 2, 5, 63, 255, 256, 257, 519};

START_TEST(test_potrf_reproduces_its_matrix) {
    int64_t n = factor_sizes[_i], lda = n + 3;
    float *A = matrix_spd(n, lda), *L = matrix_copy(A, n * lda);
    ck_assert_int_eq(linalg_potrf_lower(n, L, lda, NULL), LLMQ_OK);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < lda; j++) {
            if (j > i) {
                untouched((double)L[i * lda + j]);
                continue;
            }
            double sum = 0;
            for (int64_t l = 0; l <= j; l++)
                sum += (double)L[i * lda + l] * (double)L[j * lda + l];
            compare(sum, (double)A[i * lda + j], 2e-6);
        }
    expect_all_compared_equal();
    free(A);
    free(L);
}
END_TEST

START_TEST(test_trtri_inverts) {
    int64_t n = factor_sizes[_i], lda = n + 1;
    float *L = matrix_spd(n, lda);
    ck_assert_int_eq(linalg_potrf_lower(n, L, lda, NULL), LLMQ_OK);
    float *X = matrix_copy(L, n * lda);
    ck_assert_int_eq(linalg_trtri_lower(n, X, lda, NULL), LLMQ_OK);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < lda; j++) {
            if (j > i) {
                untouched((double)X[i * lda + j]);
                continue;
            }
            double sum = 0, size = 1;
            for (int64_t l = j; l <= i; l++) {
                sum += (double)L[i * lda + l] * (double)X[l * lda + j];
                size += fabs((double)L[i * lda + l] * (double)X[l * lda + j]);
            }
            compare(sum, i == j ? 1 : 0, 2e-6 * size);
        }
    expect_all_compared_equal();
    free(L);
    free(X);
}
END_TEST

START_TEST(test_potrf_names_the_row_that_fails) {
    static const int64_t bad_rows[] = {0, 100, 255, 256, 300, 518};
    static const float bad_values[] = {-1, 0, NAN, INFINITY};
    int64_t n = 519, bad = bad_rows[_i];
    for (size_t v = 0; v < sizeof bad_values / sizeof *bad_values; v++) {
        float *A = matrix_nan(n, n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++)
                A[i * n + j] = i == j ? 2 : 0;
        A[bad * n + bad] = bad_values[v];
        llmq_error err = {0};
        char row[32];
        snprintf(row, sizeof row, "at row %lld", (long long)bad);
        ck_assert_int_eq(linalg_potrf_lower(n, A, n, &err), LLMQ_E_NUMERIC);
        ck_assert_int_eq(err.code, LLMQ_E_NUMERIC);
        ck_assert_ptr_nonnull(strstr(err.message, row));
        free(A);
    }
}
END_TEST

START_TEST(test_trtri_names_a_zero_diagonal) {
    float L[9] = {1, NAN, NAN, 2, 3, NAN, 4, 5, 0};
    llmq_error err = {0};
    ck_assert_int_eq(linalg_trtri_lower(3, L, 3, &err), LLMQ_E_NUMERIC);
    ck_assert_ptr_nonnull(strstr(err.message, "row 2"));
}
END_TEST

START_TEST(test_factorisations_refuse_strides_beyond_blas) {
    float A[1] = {1};
    llmq_error err = {0};
    ck_assert_int_eq(linalg_potrf_lower(1, A, (int64_t)INT_MAX + 1, &err), LLMQ_E_MEMORY);
    ck_assert_int_eq(linalg_trtri_lower(1, A, (int64_t)INT_MAX + 1, &err), LLMQ_E_MEMORY);
    ck_assert_int_eq(err.code, LLMQ_E_MEMORY);
    ck_assert(A[0] == 1);
}
END_TEST

/* --- independence of threads ------------------------------------------------------------------ */

#define ORDER 600

/* Everything once; results one after the other. */
static float *run_all(const float *A, const float *S) {
    size_t square = (size_t)ORDER * ORDER;
    float *out = calloc(5 * square, sizeof *out), *partial = tile_scratch();
    double *C = calloc(square, sizeof *C);
    ck_assert(out && C && partial);
    linalg_gemm_nt(ORDER, ORDER, ORDER, 1, A, ORDER, S, ORDER, 0, out, ORDER);
    linalg_gemm_nn(ORDER, ORDER, ORDER, 1, A, ORDER, S, ORDER, 0, out + square, ORDER);
    linalg_syrk_accumulate(ORDER, ORDER, A, ORDER, C, partial);
    for (size_t i = 0; i < square; i++)
        out[2 * square + i] = (float)C[i];
    memcpy(out + 3 * square, S, square * sizeof *out);
    ck_assert_int_eq(linalg_potrf_lower(ORDER, out + 3 * square, ORDER, NULL), LLMQ_OK);
    memcpy(out + 4 * square, out + 3 * square, square * sizeof *out);
    ck_assert_int_eq(linalg_trtri_lower(ORDER, out + 4 * square, ORDER, NULL), LLMQ_OK);
    free(partial);
    free(C);
    return out;
}

static float *spd_zero_filled(void) {
    float *S = matrix_spd(ORDER, ORDER);
    for (int64_t i = 0; i < ORDER; i++)
        for (int64_t j = i + 1; j < ORDER; j++)
            S[i * ORDER + j] = 0;
    return S;
}

START_TEST(test_results_are_the_same_bits_for_any_thread_count) {
    float *A = matrix_random(ORDER, ORDER, ORDER), *S = spd_zero_filled();
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    float *one = run_all(A, S);
    for (int t = 2; t <= 3; t++) {
        omp_set_num_threads(t);
        float *more = run_all(A, S);
        ck_assert_int_eq(memcmp(one, more, 5 * sizeof *one * ORDER * ORDER), 0);
        free(more);
    }
    omp_set_num_threads(threads);
    free(one);
    free(A);
    free(S);
}
END_TEST

START_TEST(test_works_inside_a_parallel_region) {
    float *A = matrix_random(ORDER, ORDER, ORDER), *S = spd_zero_filled();
    float *outside = run_all(A, S), *inside[3] = {NULL};
    for (int threads = 1; threads <= 2; threads++) {
#pragma omp parallel for default(none) shared(A, S, inside, threads) num_threads(threads)
        for (int t = 0; t < threads; t++)
            inside[threads - 1 + t] = run_all(A, S);
    }
    for (int t = 0; t < 3; t++) {
        ck_assert_int_eq(memcmp(inside[0], inside[t], 5 * sizeof *outside * ORDER * ORDER), 0);
        for (int64_t i = 0; i < 5 * ORDER * ORDER; i++)
            compare((double)inside[t][i], (double)outside[i],
                    1e-4 + 1e-5 * fabs((double)outside[i]));
    }
    expect_all_compared_equal();
    for (int t = 0; t < 3; t++)
        free(inside[t]);
    free(outside);
    free(A);
    free(S);
}
END_TEST

START_TEST(test_backend_is_named) {
    ck_assert_ptr_nonnull(strstr(linalg_backend(), "OpenBLAS"));
}
END_TEST

int main(void) {
    Suite *s = suite_create("linalg");
    TCase *tc = tcase_create("linalg");
    tcase_add_loop_test(tc, test_gemm_matches_double_loops, 0,
                        (int)(sizeof gemm_sizes / sizeof *gemm_sizes));
    tcase_add_test(tc, test_gemm_beta_zero_overwrites_nan);
    tcase_add_test(tc, test_gemm_accepts_empty_shapes);
    tcase_add_test(tc, test_gemm_accumulates);
    tcase_add_test(tc, test_tiles_add_up_to_the_same_bits);
    tcase_add_test(tc, test_trmm_reads_one_triangle);
    tcase_add_test(tc, test_syrk_adds_upper_triangle_only);
    tcase_add_test(tc, test_syrk_folds_long_inputs_in_double);
    int sizes = (int)(sizeof factor_sizes / sizeof *factor_sizes);
    tcase_add_loop_test(tc, test_potrf_reproduces_its_matrix, 0, sizes);
    tcase_add_loop_test(tc, test_trtri_inverts, 0, sizes);
    tcase_add_loop_test(tc, test_potrf_names_the_row_that_fails, 0, 6);
    tcase_add_test(tc, test_trtri_names_a_zero_diagonal);
    tcase_add_test(tc, test_factorisations_refuse_strides_beyond_blas);
    tcase_add_test(tc, test_results_are_the_same_bits_for_any_thread_count);
    tcase_add_test(tc, test_works_inside_a_parallel_region);
    tcase_add_test(tc, test_backend_is_named);
    suite_add_tcase(s, tc);

    linalg_init();
    rng_state = SEED;
    printf("linalg: seed %u, %s\n", SEED, linalg_backend());
    return run_suite(s);
}
