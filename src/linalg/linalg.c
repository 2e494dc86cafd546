/* SPDX-License-Identifier: Apache-2.0 */
/* Tiled linear algebra on single-threaded BLAS: see linalg.h.
 *
 * OpenBLAS divides a product among its threads in shapes that depend on their number, and the
 * rounding of the result follows. Here the result is cut into tiles by its shape alone, each tile
 * is one BLAS call on one thread, and OpenMP decides only who computes which tile. Tiles share
 * nothing, so the factorisations too are the same bits for any number of threads.
 *
 * The factorisations are the textbook blocked ones (Golub & Van Loan, Matrix Computations, 4.2.9):
 * LAPACK on a diagonal block, BLAS on the tiles below and to the right of it. A row-major lower
 * triangle is what LAPACK, which counts columns first, calls upper: hence 'U' below. */
#include "linalg/linalg.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cblas.h>
#include <lapacke.h>
#include <omp.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"
#include "linalg/tiles.h"

/* Edge of the diagonal blocks of the factorisations: their serial part grows with it, the speed of
 * the products between blocks too. Rows of the panel below one that are solved together. */
#define FACTOR_BLOCK 256
#define PANEL_ROWS   64

void linalg_blas_single(void) {
    omp_set_num_threads(1);
}

void linalg_init(void) {
    int threads = omp_get_max_threads();
    openblas_set_num_threads(1); /* binds OpenBLAS on pthreads; changes OpenMP's setting too */
    omp_set_num_threads(threads);
}

const char *linalg_backend(void) {
    return openblas_get_config();
}

/* --- products --------------------------------------------------------------------------------- */

struct tiling linalg_tiling(int64_t m, int64_t n) {
    struct tiling t = {.rows = TILE_MAX, .cols = TILE_MAX};
    for (;;) {
        t.across = ceil_div(n, t.cols);
        t.count = ceil_div(m, t.rows) * t.across;
        int64_t high = min_i64(t.rows, m), wide = min_i64(t.cols, n);
        if (t.count >= TILES_WANTED || (high <= TILE_MIN && wide <= TILE_MIN))
            return t;
        if (wide >= high)
            t.cols /= 2;
        else
            t.rows /= 2;
    }
}

/* A caller inside a parallel region has divided the work already (a region of one thread counts: it
 * is the place in the program that matters, not the number of threads). */
static struct tiling tiling_for(int64_t m, int64_t n) {
    if (omp_get_level() > 0) /* one of many: cutting it further would only copy more */
        return (struct tiling){.rows = m, .cols = n, .across = 1, .count = m > 0 && n > 0};
    return linalg_tiling(m, n);
}

struct place linalg_tile_place(const struct tiling *t, int64_t m, int64_t n, int64_t tile) {
    const int64_t i = tile / t->across * t->rows, j = tile % t->across * t->cols;
    return (struct place){i, j, min_i64(t->rows, m - i), min_i64(t->cols, n - j)};
}

void linalg_triangle_at(int64_t index, int64_t edges, int64_t *row, int64_t *col) {
    int64_t r = 0;
    while (index >= edges - r) {
        index -= edges - r;
        r++;
    }
    *row = r;
    *col = r + index;
}

/* The operands of a product, so that one tile loop serves every orientation. */
struct product {
    CBLAS_TRANSPOSE transA, transB;
    int64_t m, n, k;
    float alpha;
    const float *A;
    int64_t lda;
    const float *B;
    int64_t ldb;
    float beta;
    float *C;
    int64_t ldc;
};

static void product_tile(const struct product *p, const struct place *at, float *C) {
    const float *A = p->transA == CblasTrans ? p->A + at->row : p->A + at->row * p->lda;
    const float *B = p->transB == CblasTrans ? p->B + at->col * p->ldb : p->B + at->col;
    cblas_sgemm(CblasRowMajor, p->transA, p->transB, blas_int(at->high), blas_int(at->wide),
                blas_int(p->k), p->alpha, A, blas_int(p->lda), B, blas_int(p->ldb), p->beta, C,
                blas_int(p->ldc));
}

static void product_run(const struct product *p) {
    assert(p->m >= 0 && p->n >= 0 && p->k >= 0);
    struct tiling t = tiling_for(p->m, p->n);
    bool wide = t.count > 1 && p->m * p->n >= PARALLEL_MIN / (p->k + 1);
#pragma omp parallel default(none) shared(p, t) if (wide)
    {
        linalg_blas_single();
#pragma omp for schedule(dynamic)
        for (int64_t tile = 0; tile < t.count; tile++) {
            const struct place at = linalg_tile_place(&t, p->m, p->n, tile);
            product_tile(p, &at, p->C + at.row * p->ldc + at.col);
        }
    }
}

void linalg_gemm_nt(int64_t m, int64_t n, int64_t k, float alpha, const float *A, int64_t lda,
                    const float *B, int64_t ldb, float beta, float *C, int64_t ldc) {
    product_run(
        &(struct product){CblasNoTrans, CblasTrans, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc});
}

void linalg_gemm_nn(int64_t m, int64_t n, int64_t k, float alpha, const float *A, int64_t lda,
                    const float *B, int64_t ldb, float beta, float *C, int64_t ldc) {
    product_run(&(struct product){CblasNoTrans, CblasNoTrans, m, n, k, alpha, A, lda, B, ldb, beta,
                                  C, ldc});
}

void linalg_gemm_tn(int64_t m, int64_t n, int64_t k, float alpha, const float *A, int64_t lda,
                    const float *B, int64_t ldb, float beta, float *C, int64_t ldc) {
    product_run(
        &(struct product){CblasTrans, CblasNoTrans, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc});
}

/* --- triangular product ----------------------------------------------------------------------- */

void linalg_trmm_upper(int64_t m, int64_t n, const float *U, int64_t ldu, bool transposed, float *B,
                       int64_t ldb) {
    const CBLAS_TRANSPOSE trans = transposed ? CblasTrans : CblasNoTrans;
    int64_t tiles = ceil_div(m, PANEL_ROWS);
#pragma omp parallel default(none) shared(m, n, U, ldu, trans, B, ldb, tiles)
    {
        linalg_blas_single();
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < tiles; t++)
            cblas_strmm(CblasRowMajor, CblasRight, CblasUpper, trans, CblasNonUnit,
                        blas_int(min_i64(PANEL_ROWS, m - t * PANEL_ROWS)), blas_int(n), 1.0F, U,
                        blas_int(ldu), B + t * PANEL_ROWS * ldb, blas_int(ldb));
    }
}

/* --- factorisations --------------------------------------------------------------------------- */

static enum llmq_status check_range(const char *what, int64_t n, int64_t lda, llmq_error *err) {
    assert(n >= 0 && lda >= n);
    if (lda > INT_MAX)
        return error_set(err, LLMQ_E_MEMORY, "%s of order %lld, row stride %lld: beyond BLAS' %d",
                         what, (long long)n, (long long)lda, INT_MAX);
    return LLMQ_OK;
}

/* Cholesky factor of the diagonal block at row `at`. LAPACK says where a pivot is not positive; a
 * NaN passes its test and is found on the diagonal. */
static enum llmq_status potrf_block(int64_t at, int64_t n, float *A, int64_t lda, llmq_error *err) {
    int info = 0, order = blas_int(n), ld = blas_int(lda);
#pragma omp parallel default(none) shared(info, order, ld, A) num_threads(1)
    {
        linalg_blas_single();
        info = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', order, A, ld);
    }
    assert(info >= 0);
    int64_t bad = info > 0 ? info - 1 : n;
    for (int64_t i = 0; i < bad; i++)
        if (!isfinite(A[i * lda + i]))
            bad = i;
    if (bad < n)
        return error_set(err, LLMQ_E_NUMERIC, "matrix is not positive definite at row %lld",
                         (long long)(at + bad));
    return LLMQ_OK;
}

/* A21 = A21 L11^-T: the rows of the panel below a factored block, in tiles. */
static void potrf_panel(int64_t rows, int64_t cols, const float *L11, float *A21, int64_t lda) {
    int64_t tiles = ceil_div(rows, PANEL_ROWS);
#pragma omp parallel default(none) shared(rows, cols, L11, A21, lda, tiles)
    {
        linalg_blas_single();
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < tiles; t++)
            cblas_strsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit,
                        blas_int(min_i64(PANEL_ROWS, rows - t * PANEL_ROWS)), blas_int(cols), 1.0F,
                        L11, blas_int(lda), A21 + t * PANEL_ROWS * lda, blas_int(lda));
    }
}

/* A22 -= A21 A21^T, the tile at (i, j). A22 [n, n], A21 [n, k]. */
static void potrf_tile(int64_t n, int64_t k, const float *A21, float *A22, int64_t lda,
                       int64_t tile) {
    int64_t row = 0, col = 0;
    /* Row and column change places: the lower triangle. */
    linalg_triangle_at(tile, ceil_div(n, FACTOR_BLOCK), &col, &row);
    int64_t i = row * FACTOR_BLOCK, j = col * FACTOR_BLOCK;
    int high = blas_int(min_i64(FACTOR_BLOCK, n - i)),
        wide = blas_int(min_i64(FACTOR_BLOCK, n - j));
    int depth = blas_int(k), ld = blas_int(lda);
    float *C = A22 + i * lda + j;
    if (i == j)
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, high, depth, -1.0F, A21 + i * lda, ld,
                    1.0F, C, ld);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, high, wide, depth, -1.0F,
                    A21 + i * lda, ld, A21 + j * lda, ld, 1.0F, C, ld);
}

static void potrf_trailing(int64_t n, int64_t k, const float *A21, float *A22, int64_t lda) {
    int64_t edges = ceil_div(n, FACTOR_BLOCK), tiles = edges * (edges + 1) / 2;
#pragma omp parallel default(none) shared(n, k, A21, A22, lda, tiles)
    {
        linalg_blas_single();
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < tiles; t++)
            potrf_tile(n, k, A21, A22, lda, t);
    }
}

enum llmq_status linalg_potrf_lower(int64_t n, float *A, int64_t lda, llmq_error *err) {
    enum llmq_status status = check_range("Cholesky factor", n, lda, err);
    for (int64_t at = 0; status == LLMQ_OK && at < n; at += FACTOR_BLOCK) {
        int64_t wide = min_i64(FACTOR_BLOCK, n - at), rest = n - at - wide;
        float *A11 = A + at * lda + at, *A21 = A11 + wide * lda;
        status = potrf_block(at, wide, A11, lda, err);
        if (status == LLMQ_OK && rest > 0) {
            potrf_panel(rest, wide, A11, A21, lda);
            potrf_trailing(rest, wide, A21, A21 + wide, lda);
        }
    }
    return status;
}

/* Block row of the inverse at row `at`: X[i, 0:i] = -L[i, i]^-1 L[i, 0:i] X[0:i, 0:i], where
 * X[0:i, 0:i], already computed, lies in L's place. */
struct inverse_row {
    int64_t at, high;
    float *L;
    int64_t lda;
    float *old; /* [high, at] copy of L[i, 0:i] */
};

/* The tile of FACTOR_BLOCK columns at column j. */
static void inverse_tile(const struct inverse_row *r, int64_t j) {
    int high = blas_int(r->high), ld = blas_int(r->lda);
    int64_t next = j + FACTOR_BLOCK;
    float *tile = r->L + r->at * r->lda + j;
    cblas_strmm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, high,
                FACTOR_BLOCK, 1.0F, r->L + j * r->lda + j, ld, tile, ld);
    if (next < r->at)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, high, FACTOR_BLOCK,
                    blas_int(r->at - next), 1.0F, r->old + next, blas_int(r->at),
                    r->L + next * r->lda + j, ld, 1.0F, tile, ld);
    cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, high,
                FACTOR_BLOCK, -1.0F, r->L + r->at * r->lda + r->at, ld, tile, ld);
}

static void inverse_row_run(const struct inverse_row *r) {
    for (int64_t i = 0; i < r->high; i++)
        memcpy(r->old + i * r->at, r->L + (r->at + i) * r->lda, (size_t)r->at * sizeof *r->old);
#pragma omp parallel default(none) shared(r) if (r->at > 0)
    {
        linalg_blas_single();
        /* Tiles to the left have the longest sums: starting with them balances the threads. */
#pragma omp for schedule(dynamic)
        for (int64_t j = 0; j < r->at; j += FACTOR_BLOCK)
            inverse_tile(r, j);
#pragma omp single
        LAPACKE_strtri_work(LAPACK_COL_MAJOR, 'U', 'N', blas_int(r->high),
                            r->L + r->at * r->lda + r->at, blas_int(r->lda));
    }
}

static enum llmq_status check_diagonal(int64_t n, const float *L, int64_t lda, llmq_error *err) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(L[i * lda + i]) || L[i * lda + i] == 0)
            return error_set(err, LLMQ_E_NUMERIC, "triangular matrix is singular at row %lld",
                             (long long)i);
    return LLMQ_OK;
}

enum llmq_status linalg_trtri_lower(int64_t n, float *L, int64_t lda, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    float *old = NULL;
    size_t bytes = 0;
    LLMQ_TRY(check_range("triangular inverse", n, lda, err));
    LLMQ_TRY(check_diagonal(n, L, lda, err));
    if (checked_mul_size((size_t)n, FACTOR_BLOCK * sizeof *old, &bytes))
        old = malloc(bytes + 1);
    if (!old)
        LLMQ_TRY(error_memory(err, "a triangular inverse"));
    for (int64_t at = 0; at < n; at += FACTOR_BLOCK)
        inverse_row_run(&(struct inverse_row){at, min_i64(FACTOR_BLOCK, n - at), L, lda, old});
cleanup:
    free(old);
    return status;
}
