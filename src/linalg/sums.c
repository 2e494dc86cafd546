/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of A^T B over many rows, in double precision: see linalg.h.
 *
 * BLAS copies what a tile reads of A and B before it multiplies. Where tiles are small that takes
 * as long as multiplying if the rows come from memory: 64 columns of 4096 rows, each of its own
 * page, go at half the speed. So the tiles that a thread works on take a few rows after the other,
 * which stay in a cache until all of them have seen these. A tile's steps are the same whatever
 * tiles share a thread with it: threads and ranks change no bit. */
#include <assert.h>

#include <cblas.h>
#include <omp.h>

#include "base/int64.h"
#include "linalg/linalg.h"
#include "linalg/tiles.h"

/* Rows that tiles see at a time; tiles of a thread at a time, at most. */
enum { DEPTH = 256, TOGETHER = (TILE_MAX / TILE_MIN) * (TILE_MAX / TILE_MIN) };

/* --- tiles ------------------------------------------------------------------------------------ */

/* Edge of the square tiles of a triangle of order n. */
static int64_t triangle_edge(int64_t n) {
    int64_t edge = TILE_MAX;
    while (edge > TILE_MIN && ceil_div(n, edge) * (ceil_div(n, edge) + 1) / 2 < TILES_WANTED)
        edge /= 2;
    return edge;
}

static struct place triangle_place(int64_t n, int64_t tile) {
    const int64_t edge = triangle_edge(n);
    int64_t row = 0, col = 0;
    linalg_triangle_at(tile, ceil_div(n, edge), &row, &col);
    return (struct place){row * edge, col * edge, min_i64(edge, n - row * edge),
                          min_i64(edge, n - col * edge)};
}

static struct place sum_place(const struct linalg_sum *s, int64_t tile) {
    if (s->triangle)
        return triangle_place(s->n, tile);
    const struct tiling t = linalg_tiling(s->m, s->n);
    return linalg_tile_place(&t, s->m, s->n, tile);
}

int64_t linalg_sum_tiles(const struct linalg_sum *s) {
    if (!s->triangle)
        return s->m > 0 && s->n > 0 ? linalg_tiling(s->m, s->n).count : 0;
    const int64_t edges = ceil_div(s->n, triangle_edge(s->n));
    return edges * (edges + 1) / 2;
}

int64_t linalg_sum_floats(const struct linalg_sum *s, int64_t tile) {
    const struct place at = sum_place(s, tile);
    return at.high * at.wide;
}

/* --- what is added ---------------------------------------------------------------------------- */

/* A tile += what rows from `first` on add to it, of one on the diagonal of a triangle its upper
 * triangle; of the first rows it is set. */
static void form_rows(const struct linalg_sum *s, const struct linalg_term *term, int64_t first,
                      const struct linalg_tile *tile) {
    const struct place at = sum_place(s, tile->tile);
    const int rows = blas_int(min_i64(DEPTH, term->rows - first));
    const int high = blas_int(at.high), wide = blas_int(at.wide);
    const int lda = blas_int(term->lda), ldb = blas_int(term->ldb);
    const float *A = term->A + first * term->lda + at.row;
    const float *B = term->B + first * term->ldb + at.col;
    const float beta = first > 0 ? 1 : 0;
    if (s->triangle && at.row == at.col)
        cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, high, rows, 1, A, lda, beta, tile->at,
                    wide);
    else
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, high, wide, rows, 1, A, lda, B, ldb,
                    beta, tile->at, wide);
}

static void form_tiles(const struct linalg_sum *s, const struct linalg_term *term,
                       const struct linalg_tile *list, int64_t count) {
    for (int64_t first = 0; first < term->rows; first += DEPTH)
        for (int64_t i = 0; i < count; i++)
            form_rows(s, term, first, &list[i]);
}

/* So many that each thread has some twice: the last ones even out what takes longer. */
static int64_t tiles_together(int64_t count) {
    return max_i64(1, min_i64(TOGETHER, count / (2 * omp_get_max_threads())));
}

void linalg_sum_form(const struct linalg_sum *s, const struct linalg_term *term,
                     const struct linalg_tile *list, int64_t count) {
    const int64_t together = tiles_together(count);
    assert(term->rows > 0 && term->rows <= LINALG_SUM_ROWS);
#pragma omp parallel default(none) shared(s, term, list, count, together)
    {
        linalg_blas_single();
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; i += together)
            form_tiles(s, term, list + i, min_i64(together, count - i));
    }
}

/* --- sums ------------------------------------------------------------------------------------- */

/* Row r of a tile: where it lies in C, and the first of its numbers that is one of C. */
static int64_t sum_row(const struct linalg_sum *s, const struct place *at, int64_t r,
                       int64_t *first) {
    *first = s->triangle && at->row == at->col ? r : 0;
    return s->triangle ? linalg_upper(s->n, at->row + r, at->col) : (at->row + r) * s->n + at->col;
}

void linalg_sum_add(const struct linalg_sum *s, int64_t tile, const float *P, double *C) {
    const struct place at = sum_place(s, tile);
    int64_t first = 0;
    for (int64_t r = 0; r < at.high; r++) {
        double *row = C + sum_row(s, &at, r, &first);
        for (int64_t c = first; c < at.wide; c++)
            row[c] += (double)P[r * at.wide + c];
    }
}

void linalg_sum_take(const struct linalg_sum *s, int64_t tile, const double *C, double factor,
                     float *P) {
    const struct place at = sum_place(s, tile);
    int64_t first = 0;
    for (int64_t r = 0; r < at.high; r++) {
        const int64_t row = sum_row(s, &at, r, &first);
        for (int64_t c = 0; c < at.wide; c++)
            P[r * at.wide + c] = c < first ? 0 : (float)(factor * C[row + c]);
    }
}

void linalg_sum_put(const struct linalg_sum *s, int64_t tile, const float *P, double *C) {
    const struct place at = sum_place(s, tile);
    int64_t first = 0;
    for (int64_t r = 0; r < at.high; r++) {
        const int64_t row = sum_row(s, &at, r, &first);
        for (int64_t c = first; c < at.wide; c++)
            C[row + c] = (double)P[r * at.wide + c];
    }
}

/* --- one process ------------------------------------------------------------------------------ */

size_t linalg_accumulate_floats(void) {
    return (size_t)omp_get_max_threads() * TILE_MAX * TILE_MAX;
}

/* Tiles [begin, end), in the thread's own part of `scratch`. */
static void accumulate_tiles(const struct linalg_sum *s, const struct linalg_term *term,
                             int64_t begin, int64_t end, float *scratch, double *C) {
    float *own = scratch + (size_t)omp_get_thread_num() * TILE_MAX * TILE_MAX;
    struct linalg_tile list[TOGETHER];
    for (int64_t tile = begin; tile < end; tile++) {
        list[tile - begin] = (struct linalg_tile){tile, own};
        own += linalg_sum_floats(s, tile);
    }
    form_tiles(s, term, list, end - begin);
    for (int64_t tile = begin; tile < end; tile++)
        linalg_sum_add(s, tile, list[tile - begin].at, C);
}

/* C += the term, of at most LINALG_SUM_ROWS rows. No tile is larger than the first. */
static void accumulate(const struct linalg_sum *s, const struct linalg_term *term, double *C,
                       float *scratch) {
    const int64_t tiles = linalg_sum_tiles(s);
    const int64_t fit = tiles > 0 ? TILE_MAX * TILE_MAX / linalg_sum_floats(s, 0) : 1;
    const int64_t together = min_i64(fit, tiles_together(tiles));
    const bool wide = s->m * s->n >= PARALLEL_MIN / (term->rows + 1);
#pragma omp parallel default(none) shared(s, term, C, scratch, tiles, together) if (wide)
    {
        linalg_blas_single();
#pragma omp for schedule(dynamic)
        for (int64_t at = 0; at < tiles; at += together)
            accumulate_tiles(s, term, at, min_i64(tiles, at + together), scratch, C);
    }
}

void linalg_syrk_accumulate(int64_t rows, int64_t k, const float *X, int64_t ldx, double *C,
                            float *scratch) {
    const struct linalg_sum s = {k, k, true};
    for (int64_t done = 0; done < rows; done += LINALG_SUM_ROWS) {
        const int64_t these = min_i64(LINALG_SUM_ROWS, rows - done);
        const float *from = X + done * ldx;
        accumulate(&s, &(struct linalg_term){these, from, from, ldx, ldx}, C, scratch);
    }
}

void linalg_gemm_tn_accumulate(int64_t rows, int64_t m, int64_t n, const float *A, int64_t lda,
                               const float *B, int64_t ldb, double *C, float *scratch) {
    const struct linalg_sum s = {m, n, false};
    assert(omp_get_level() == 0);
    for (int64_t done = 0; done < rows; done += LINALG_SUM_ROWS) {
        const int64_t these = min_i64(LINALG_SUM_ROWS, rows - done);
        accumulate(&s, &(struct linalg_term){these, A + done * lda, B + done * ldb, lda, ldb}, C,
                   scratch);
    }
}
