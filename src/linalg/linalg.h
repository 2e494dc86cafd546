/* SPDX-License-Identifier: Apache-2.0 */
/* Dense linear algebra: the only caller of BLAS and LAPACKE.
 *
 * All matrices are row-major float32. BLAS runs single-threaded on tiles whose boundaries depend
 * on the shapes alone; the tiles are spread over OpenMP threads. Therefore a result does not depend
 * on the number of threads. Inside a parallel region everything works on the calling thread, and a
 * product is one tile there. Dimensions are int64_t and range-checked before they reach BLAS. */
#ifndef LLMQ_LINALG_LINALG_H
#define LLMQ_LINALG_LINALG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

/* Make BLAS single-threaded; call once before any other function (idempotent). */
void linalg_init(void);

/* Make sure that `threads` threads (>= 1) can run, and take them for good. More calls only ask for
 * what is new. LLMQ_E_MEMORY: the system has not so many. */
LLMQ_NODISCARD enum llmq_status linalg_reserve_threads(int threads, llmq_error *err);

/* The same for the memory that BLAS needs on each of them; after linalg_init and before work.
 * LLMQ_E_MEMORY: the process may not map so much. */
LLMQ_NODISCARD enum llmq_status linalg_reserve(int threads, llmq_error *err);

/* C [m, n] = alpha * A [m, k] * B^T + beta * C, B [n, k]: the product of a linear layer,
 * activations times weights. lda, ldb, ldc: elements between rows. No overlap of C with A or B. */
void linalg_gemm_nt(int64_t m, int64_t n, int64_t k, float alpha, const float *A, int64_t lda,
                    const float *B, int64_t ldb, float beta, float *C, int64_t ldc);

/* C [m, n] = alpha * A [m, k] * B [k, n] + beta * C. */
void linalg_gemm_nn(int64_t m, int64_t n, int64_t k, float alpha, const float *A, int64_t lda,
                    const float *B, int64_t ldb, float beta, float *C, int64_t ldc);

/* C [m, n] = alpha * A^T * B + beta * C, A [k, m], B [k, n]. */
void linalg_gemm_tn(int64_t m, int64_t n, int64_t k, float alpha, const float *A, int64_t lda,
                    const float *B, int64_t ldb, float beta, float *C, int64_t ldc);

/* Where entry (i, j), i <= j, of a packed upper triangle of order k lies: its rows follow each
 * other, each from the diagonal on. */
static inline int64_t linalg_upper(int64_t k, int64_t i, int64_t j) {
    return i * k - i * (i + 1) / 2 + j;
}

/* The sum of a[i] b[i], i < count, in double and in order. */
static inline double linalg_dot(int64_t count, const float *a, const float *b) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* C += X^T X, X [rows, k], C the packed upper triangle of order k, folded into double precision:
 * the product of at most 4096 rows is formed in float32, tile by tile, and added to the double
 * master. `scratch` holds linalg_accumulate_floats() numbers, a tile for each thread. Not from
 * within a parallel region. */
size_t linalg_accumulate_floats(void);
void linalg_syrk_accumulate(int64_t rows, int64_t k, const float *X, int64_t ldx, double *C,
                            float *scratch);

/* C [m, n] += A^T B, A [rows, m], B [rows, n], folded into double precision like
 * linalg_syrk_accumulate. */
void linalg_gemm_tn_accumulate(int64_t rows, int64_t m, int64_t n, const float *A, int64_t lda,
                               const float *B, int64_t ldb, double *C, float *scratch);

/* The same sums where others add up as well: what is added is formed tile by tile, in float32, and
 * goes to whoever keeps the tile's sum. A sum is C [m, n] or, `triangle`, the packed upper triangle
 * of order m = n; it is cut as above, so that adding tiles up in the order of the calls above gives
 * the same bits. */
struct linalg_sum {
    int64_t m, n;
    bool triangle;
};

/* What is added: A^T B, A [rows, m], B [rows, n], rows at most LINALG_SUM_ROWS; of a triangle A and
 * B are the same. */
#define LINALG_SUM_ROWS 4096
struct linalg_term {
    int64_t rows;
    const float *A, *B;
    int64_t lda, ldb;
};

/* How many tiles there are, and the numbers in one of them. */
int64_t linalg_sum_tiles(const struct linalg_sum *s);
int64_t linalg_sum_floats(const struct linalg_sum *s, int64_t tile);

/* Tiles, each with the place of its numbers. */
struct linalg_tile {
    int64_t tile;
    float *at;
};

/* Form these tiles of a term that has rows. Not from within a parallel region. */
void linalg_sum_form(const struct linalg_sum *s, const struct linalg_term *term,
                     const struct linalg_tile *list, int64_t count);

/* Tile `tile` of C += P. */
void linalg_sum_add(const struct linalg_sum *s, int64_t tile, const float *P, double *C);

/* P = tile `tile` of C, each number times `factor` first; and back. */
void linalg_sum_take(const struct linalg_sum *s, int64_t tile, const double *C, double factor,
                     float *P);
void linalg_sum_put(const struct linalg_sum *s, int64_t tile, const float *P, double *C);

/* B [m, n] = B U or, with `transposed`, B U^T, in place; U [n, n] upper triangular, its strict
 * lower triangle is not referenced. */
void linalg_trmm_upper(int64_t m, int64_t n, const float *U, int64_t ldu, bool transposed, float *B,
                       int64_t ldb);

/* Cholesky factor of a symmetric positive definite matrix, blocked: A = L L^T from A's lower
 * triangle, in place; the strict upper triangle is not referenced. LLMQ_E_NUMERIC says at which
 * row A stops being positive definite (A is then destroyed). */
LLMQ_NODISCARD enum llmq_status linalg_potrf_lower(int64_t n, float *A, int64_t lda,
                                                   llmq_error *err);

/* Inverse of a lower triangular matrix, in place; the strict upper triangle is not referenced.
 * LLMQ_E_NUMERIC on a zero diagonal. */
LLMQ_NODISCARD enum llmq_status linalg_trtri_lower(int64_t n, float *L, int64_t lda,
                                                   llmq_error *err);

/* The BLAS in use, e.g. "OpenBLAS 0.3.21 SkylakeX"; static storage. */
const char *linalg_backend(void);

#endif
