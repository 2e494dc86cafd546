/* SPDX-License-Identifier: Apache-2.0 */
/* How results are cut into tiles, and what is done with one. Not for use outside src/linalg. */
#ifndef LLMQ_LINALG_TILES_H
#define LLMQ_LINALG_TILES_H

#include <stdint.h>

#include <cblas.h>

#include "linalg/linalg.h"

/* OpenBLAS on OpenMP takes as many threads as a parallel region started at the same place would
 * get, whatever openblas_set_num_threads was told. Called first in each region below, this makes
 * that one; the setting belongs to the region and ends with it. */
void linalg_blas_single(void);

/* How a result is cut: by its shape, and whether the caller stands inside a parallel region and has
 * divided the work already (a region of one thread counts: it is the place in the program that
 * matters, not the number of threads). */
struct tiling {
    int64_t rows, cols;    /* of a tile */
    int64_t across, count; /* tiles in a row of tiles, and in all */
};

/* By the shape alone. */
struct tiling linalg_tiling(int64_t m, int64_t n);

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

/* Where a tile of the result lies, and how large it is. */
struct place {
    int64_t row, col, high, wide;
};

struct place linalg_tile_place(const struct product *p, const struct tiling *t, int64_t tile);

void linalg_product_tile(const struct product *p, const struct place *at, float *C, int64_t ldc);

/* C [high, wide] += P */
void linalg_add_tile(const struct place *at, const float *P, double *C, int64_t ldc);

/* Edge of the square tiles of a [k, k] triangle, and where one of them lies. */
int64_t linalg_triangle_tile(int64_t k);
struct place linalg_triangle_place(int64_t k, int64_t edge, int64_t tile);

/* C += X^T X over `rows` rows, by upper tiles of [edge, edge]; C is packed. */
struct rank_update {
    int64_t rows, k;
    const float *X;
    int64_t ldx;
    float *scratch;
    double *C;
    int64_t edge;
};

/* P = what is added to the tile that lies `at`. */
void linalg_rank_update_form(const struct rank_update *u, const struct place *at, float *P);

/* The packed triangle C += P; of a tile on the diagonal its upper triangle. */
void linalg_add_upper_tile(const struct place *at, const float *P, double *C, int64_t k);

#endif
