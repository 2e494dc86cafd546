/* SPDX-License-Identifier: Apache-2.0 */
/* How results are cut into tiles. Not for use outside src/linalg. */
#ifndef LLMQ_LINALG_TILES_H
#define LLMQ_LINALG_TILES_H

#include <assert.h>
#include <limits.h>
#include <stdint.h>

/* Edges of the tiles. 512 keeps what BLAS copies per tile at 1/256 of its multiplications; small
 * results are cut finer, down to 64, until there is work for TILES_WANTED threads. */
enum { TILE_MAX = 512, TILE_MIN = 64, TILES_WANTED = 16 };

/* Products smaller than this (multiplications) are not worth waking other threads for. */
enum { PARALLEL_MIN = 1000000 };

/* OpenBLAS on OpenMP takes as many threads as a parallel region started at the same place would
 * get, whatever openblas_set_num_threads was told. Called first in each region below, this makes
 * that one; the setting belongs to the region and ends with it. */
void linalg_blas_single(void);

/* The range check in front of every BLAS call: tiles are small, strides and the summed dimension
 * are the caller's. */
static inline int blas_int(int64_t v) {
    assert(v >= 0 && v <= INT_MAX);
    return (int)v;
}

/* How a result is cut, by its shape alone. */
struct tiling {
    int64_t rows, cols;    /* of a tile */
    int64_t across, count; /* tiles in a row of tiles, and in all */
};
struct tiling linalg_tiling(int64_t m, int64_t n);

/* Where a tile of the result lies, and how large it is. */
struct place {
    int64_t row, col, high, wide;
};
struct place linalg_tile_place(const struct tiling *t, int64_t m, int64_t n, int64_t tile);

/* Tile `index` of an upper triangle of `edges` rows of tiles, counted along these. */
void linalg_triangle_at(int64_t index, int64_t edges, int64_t *row, int64_t *col);

#endif
