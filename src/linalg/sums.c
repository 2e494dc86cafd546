/* SPDX-License-Identifier: Apache-2.0 */
/* Sums that several add to: see struct linalg_sum. */
#include <assert.h>

#include "linalg/tiles.h"

static struct place sum_place(const struct linalg_sum *s, int64_t tile) {
    if (s->triangle)
        return linalg_triangle_place(s->n, linalg_triangle_tile(s->n), tile);
    const struct tiling t = linalg_tiling(s->m, s->n);
    const struct product shape = {.m = s->m, .n = s->n};
    return linalg_tile_place(&shape, &t, tile);
}

int64_t linalg_sum_tiles(const struct linalg_sum *s) {
    if (!s->triangle)
        return s->m > 0 && s->n > 0 ? linalg_tiling(s->m, s->n).count : 0;
    const int64_t edge = linalg_triangle_tile(s->n), edges = (s->n + edge - 1) / edge;
    return edges * (edges + 1) / 2;
}

int64_t linalg_sum_floats(const struct linalg_sum *s, int64_t tile) {
    const struct place at = sum_place(s, tile);
    return at.high * at.wide;
}

static void form_tile(const struct linalg_sum *s, const struct linalg_term *term, int64_t tile,
                      float *P) {
    const struct place at = sum_place(s, tile);
    const struct rank_update u = {.rows = term->rows, .k = s->n, .X = term->A, .ldx = term->lda};
    const struct product p = {.transA = CblasTrans,
                              .transB = CblasNoTrans,
                              .m = s->m,
                              .n = s->n,
                              .k = term->rows,
                              .alpha = 1,
                              .A = term->A,
                              .lda = term->lda,
                              .B = term->B,
                              .ldb = term->ldb};
    if (s->triangle)
        linalg_rank_update_form(&u, &at, P);
    else
        linalg_product_tile(&p, &at, P, at.wide);
}

void linalg_sum_form(const struct linalg_sum *s, const struct linalg_term *term,
                     const struct linalg_tile *list, int64_t count) {
    assert(term->rows > 0 && term->rows <= LINALG_SUM_ROWS);
#pragma omp parallel default(none) shared(s, term, list, count)
    {
        linalg_blas_single();
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; i++)
            form_tile(s, term, list[i].tile, list[i].at);
    }
}

void linalg_sum_add(const struct linalg_sum *s, int64_t tile, const float *P, double *C) {
    const struct place at = sum_place(s, tile);
    if (s->triangle)
        linalg_add_upper_tile(&at, P, C, s->n);
    else
        linalg_add_tile(&at, P, C + at.row * s->n + at.col, s->n);
}

/* Row r of a tile: where it lies in C, and the first of its numbers that is one of C. */
static int64_t sum_row(const struct linalg_sum *s, const struct place *at, int64_t r,
                       int64_t *first) {
    *first = s->triangle && at->row == at->col ? r : 0;
    return s->triangle ? linalg_upper(s->n, at->row + r, at->col) : (at->row + r) * s->n + at->col;
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
