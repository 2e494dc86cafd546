/* SPDX-License-Identifier: Apache-2.0 */
/* The check of BLAS against a BLAS that is wrong: everything that the check has BLAS compute gets
 * one bad entry, one call at a time, and each time BLAS has to be refused. Against memory that runs
 * out: that is no fault of BLAS.
 *
 * Linked with --wrap, so that the code under test calls BLAS through the functions below. */
#include <cblas.h>
#include <check.h>
#include <lapacke.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "setup/blas_check.h"
#include "support.h"

/* Order of the product that is timed and not looked at. */
enum { TIMED = 256 };

/* What BLAS does for the products, moments, the factorisation in blocks and the inverse of the
 * factor. */
enum kind {
    PRODUCT,
    PRODUCT_OF_TRANSPOSED,
    PRODUCT_WITH_TRANSPOSED,
    PRODUCT_WITH_TRIANGLE,
    PRODUCT_WITH_TRANSPOSED_TRIANGLE,
    MOMENT,
    FACTOR_BLOCK,
    FACTOR_PANEL,
    FACTOR_UPDATE,
    INVERSE_BLOCK,
    INVERSE_PRODUCT,
    INVERSE_SOLUTION,
    KINDS
};

enum fault { WRONG, NOT_A_NUMBER };

/* The call that goes wrong. */
struct bad_call {
    enum kind kind;
    int call;
    enum fault fault;
};

static const struct bad_call none = {.kind = KINDS};
static struct bad_call bad;
static int calls[KINDS]; /* in this check so far */

/* One call was made, whose result has this entry. */
static void called_at(enum kind kind, float *entry) {
    if (bad.kind == kind && bad.call == calls[kind])
        *entry = bad.fault == NOT_A_NUMBER ? NAN : 2 * *entry;
    calls[kind]++;
}

/* The same with a result of `rows` rows: its last begins with the entry that is spoiled, which is
 * part of a lower triangle too. */
static void called(enum kind kind, int rows, float *result, int stride) {
    called_at(kind, result + (ptrdiff_t)(rows - 1) * stride);
}

/* --- BLAS, as linalg.c calls it --------------------------------------------------------------- */

void __real_cblas_sgemm(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE transA,
                        enum CBLAS_TRANSPOSE transB, int m, int n, int k, float alpha,
                        const float *A, int lda, const float *B, int ldb, float beta, float *C,
                        int ldc);
void __wrap_cblas_sgemm(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE transA,
                        enum CBLAS_TRANSPOSE transB, int m, int n, int k, float alpha,
                        const float *A, int lda, const float *B, int ldb, float beta, float *C,
                        int ldc);
void __real_cblas_ssyrk(enum CBLAS_ORDER order, enum CBLAS_UPLO uplo, enum CBLAS_TRANSPOSE trans,
                        int n, int k, float alpha, const float *A, int lda, float beta, float *C,
                        int ldc);
void __wrap_cblas_ssyrk(enum CBLAS_ORDER order, enum CBLAS_UPLO uplo, enum CBLAS_TRANSPOSE trans,
                        int n, int k, float alpha, const float *A, int lda, float beta, float *C,
                        int ldc);
void __real_cblas_strmm(enum CBLAS_ORDER order, enum CBLAS_SIDE side, enum CBLAS_UPLO uplo,
                        enum CBLAS_TRANSPOSE trans, enum CBLAS_DIAG diag, int m, int n, float alpha,
                        const float *A, int lda, float *B, int ldb);
void __wrap_cblas_strmm(enum CBLAS_ORDER order, enum CBLAS_SIDE side, enum CBLAS_UPLO uplo,
                        enum CBLAS_TRANSPOSE trans, enum CBLAS_DIAG diag, int m, int n, float alpha,
                        const float *A, int lda, float *B, int ldb);
void __real_cblas_strsm(enum CBLAS_ORDER order, enum CBLAS_SIDE side, enum CBLAS_UPLO uplo,
                        enum CBLAS_TRANSPOSE trans, enum CBLAS_DIAG diag, int m, int n, float alpha,
                        const float *A, int lda, float *B, int ldb);
void __wrap_cblas_strsm(enum CBLAS_ORDER order, enum CBLAS_SIDE side, enum CBLAS_UPLO uplo,
                        enum CBLAS_TRANSPOSE trans, enum CBLAS_DIAG diag, int m, int n, float alpha,
                        const float *A, int lda, float *B, int ldb);
lapack_int __real_LAPACKE_spotrf_work(int layout, char uplo, lapack_int n, float *A,
                                      lapack_int lda);
lapack_int __wrap_LAPACKE_spotrf_work(int layout, char uplo, lapack_int n, float *A,
                                      lapack_int lda);
lapack_int __real_LAPACKE_strtri_work(int layout, char uplo, char diag, lapack_int n, float *A,
                                      lapack_int lda);
lapack_int __wrap_LAPACKE_strtri_work(int layout, char uplo, char diag, lapack_int n, float *A,
                                      lapack_int lda);

void __wrap_cblas_sgemm(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE transA,
                        enum CBLAS_TRANSPOSE transB, int m, int n, int k, float alpha,
                        const float *A, int lda, const float *B, int ldb, float beta, float *C,
                        int ldc) {
    __real_cblas_sgemm(order, transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
    if (k != TIMED)
        called(transA == CblasTrans   ? PRODUCT_OF_TRANSPOSED
               : transB == CblasTrans ? PRODUCT_WITH_TRANSPOSED
                                      : PRODUCT,
               m, C, ldc);
}

void __wrap_cblas_ssyrk(enum CBLAS_ORDER order, enum CBLAS_UPLO uplo, enum CBLAS_TRANSPOSE trans,
                        int n, int k, float alpha, const float *A, int lda, float beta, float *C,
                        int ldc) {
    __real_cblas_ssyrk(order, uplo, trans, n, k, alpha, A, lda, beta, C, ldc);
    if (uplo == CblasUpper)
        called_at(MOMENT, C + n - 1);
    else
        called(FACTOR_UPDATE, n, C, ldc);
}

void __wrap_cblas_strmm(enum CBLAS_ORDER order, enum CBLAS_SIDE side, enum CBLAS_UPLO uplo,
                        enum CBLAS_TRANSPOSE trans, enum CBLAS_DIAG diag, int m, int n, float alpha,
                        const float *A, int lda, float *B, int ldb) {
    __real_cblas_strmm(order, side, uplo, trans, diag, m, n, alpha, A, lda, B, ldb);
    called(uplo == CblasLower    ? INVERSE_PRODUCT
           : trans == CblasTrans ? PRODUCT_WITH_TRANSPOSED_TRIANGLE
                                 : PRODUCT_WITH_TRIANGLE,
           m, B, ldb);
}

void __wrap_cblas_strsm(enum CBLAS_ORDER order, enum CBLAS_SIDE side, enum CBLAS_UPLO uplo,
                        enum CBLAS_TRANSPOSE trans, enum CBLAS_DIAG diag, int m, int n, float alpha,
                        const float *A, int lda, float *B, int ldb) {
    __real_cblas_strsm(order, side, uplo, trans, diag, m, n, alpha, A, lda, B, ldb);
    called(side == CblasLeft ? INVERSE_SOLUTION : FACTOR_PANEL, m, B, ldb);
}

/* LAPACK counts columns first: row i begins at A[i * lda] all the same, see linalg.c. */
lapack_int __wrap_LAPACKE_spotrf_work(int layout, char uplo, lapack_int n, float *A,
                                      lapack_int lda) {
    const lapack_int info = __real_LAPACKE_spotrf_work(layout, uplo, n, A, lda);
    called(FACTOR_BLOCK, n, A, lda);
    return info;
}

lapack_int __wrap_LAPACKE_strtri_work(int layout, char uplo, char diag, lapack_int n, float *A,
                                      lapack_int lda) {
    const lapack_int info = __real_LAPACKE_strtri_work(layout, uplo, diag, n, A, lda);
    called(INVERSE_BLOCK, n, A, lda);
    return info;
}

/* --- memory ----------------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static long until_failure = -1; /* allocations that still succeed; negative: all */

void *__wrap_malloc(size_t size) {
    if (until_failure >= 0 && until_failure-- == 0)
        return NULL;
    return __real_malloc(size);
}

/* --- the check -------------------------------------------------------------------------------- */

static double efficiency(struct bad_call bad_now) {
    llmq_error err = {0};
    double value = -1;
    memset(calls, 0, sizeof calls);
    bad = bad_now;
    ck_assert_ok(blas_efficiency(&value, &err), &err);
    return value;
}

START_TEST(right_results_have_an_efficiency) {
    ck_assert_double_gt(efficiency(none), 0); /* no test says how fast */
}
END_TEST

/* _i: the kind of call. */
START_TEST(one_bad_entry_is_found) {
    static const char *const names[KINDS] = {
        [PRODUCT] = "A B",
        [PRODUCT_OF_TRANSPOSED] = "A^T B",
        [PRODUCT_WITH_TRANSPOSED] = "A B^T",
        [PRODUCT_WITH_TRIANGLE] = "A U",
        [PRODUCT_WITH_TRANSPOSED_TRIANGLE] = "A U^T",
        [MOMENT] = "A^T A",
        [FACTOR_BLOCK] = "factor of a block",
        [FACTOR_PANEL] = "panel below a block",
        [FACTOR_UPDATE] = "update of the rest",
        [INVERSE_BLOCK] = "inverse of a block",
        [INVERSE_PRODUCT] = "product with an inverse",
        [INVERSE_SOLUTION] = "solution with a block",
    };
    efficiency(none);
    const int count = calls[_i];
    ck_assert_msg(count > 0, "%s: not called", names[_i]);
    for (int call = 0; call < count; call++)
        for (enum fault fault = WRONG; fault <= NOT_A_NUMBER; fault++)
            ck_assert_msg(efficiency((struct bad_call){(enum kind)_i, call, fault}) == 0,
                          "%s: call %d of %d: %s is not found", names[_i], call, count,
                          fault == WRONG ? "a wrong entry" : "a NaN");
}
END_TEST

START_TEST(short_memory_is_not_a_wrong_blas) {
    enum llmq_status status = LLMQ_E_MEMORY;
    double value = -1;
    bad = none;
    for (long n = 0; status != LLMQ_OK; n++) {
        llmq_error err = {0};
        until_failure = n;
        status = blas_efficiency(&value, &err);
        const bool failed = until_failure < 0;
        until_failure = -1;
        ck_assert_int_eq(status, failed ? LLMQ_E_MEMORY : LLMQ_OK);
        ck_assert_int_eq(err.code, status);
        ck_assert_int_lt(n, 100);
    }
    ck_assert_double_gt(value, 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("blas_check");
    TCase *t = tcase_create("blas_check");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, right_results_have_an_efficiency);
    tcase_add_test(t, short_memory_is_not_a_wrong_blas);
    tcase_add_loop_test(t, one_bad_entry_is_found, 0, KINDS);
    suite_add_tcase(s, t);
    return run_suite(s);
}
