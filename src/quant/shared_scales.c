/* SPDX-License-Identifier: Apache-2.0 */
/* See shared_scales.h. A block is to the search what a group of a row is elsewhere: RANGE_ROWS
 * blocks that lie below each other are searched side by side, each a column of its weights. */
#include "quant/shared_scales.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"
#include "quant/grid.h"
#include "quant/range_estimate.h"

/* Blocks of one group of columns, RANGE_ROWS of them at most. */
struct pile {
    const struct quant_grid *grid;
    const float *W, *importance;
    const struct qlinear *q;
    float *w;        /* [rows * group, RANGE_ROWS] their weights; NULL: no search */
    float *repeated; /* [rows * group] importance of these */
    int64_t first;   /* row of the first block */
    int64_t g, wide; /* the group and its columns */
};

static int64_t block_row(const struct pile *p, int64_t block) {
    return p->first + block * p->grid->rows;
}

/* The extremes of one block. */
static void block_range(const struct pile *p, int64_t block, float *lo, float *hi) {
    const int64_t begin = block_row(p, block), end = min_i64(begin + p->grid->rows, p->q->n);
    *lo = *hi = 0;
    for (int64_t row = begin; row < end; row++) {
        float least = 0, most = 0;
        grid_range(p->W + row * p->q->k + p->g * p->q->group, p->wide, &least, &most);
        *lo = least < *lo ? least : *lo;
        *hi = most > *hi ? most : *hi;
    }
}

/* Rows and blocks beyond the last are 0: no scale is wrong for them. */
static void search(const struct pile *p, float *scale, float *zero) {
    const int64_t rows = p->grid->rows, k = p->q->k, first = p->g * p->q->group;
    memset(p->w, 0, (size_t)(rows * p->wide * RANGE_ROWS) * sizeof *p->w);
    for (int64_t b = 0; b < RANGE_ROWS; b++)
        for (int64_t r = 0; r < rows && block_row(p, b) + r < p->q->n; r++)
            for (int64_t c = 0; c < p->wide; c++)
                p->w[(r * p->wide + c) * RANGE_ROWS + b] =
                    p->W[(block_row(p, b) + r) * k + first + c];
    for (int64_t r = 0; p->importance && r < rows; r++)
        memcpy(p->repeated + r * p->wide, p->importance + first,
               (size_t)p->wide * sizeof *p->repeated);
    const struct range_group group = {rows * p->wide, p->w, p->importance ? p->repeated : NULL};
    range_choose(p->grid, &group, scale, zero);
}

static void fit_pile(const struct pile *p) {
    const struct qlinear *q = p->q;
    float scale[RANGE_ROWS], zero[RANGE_ROWS];
    for (int64_t b = 0; b < RANGE_ROWS; b++) {
        float lo = 0, hi = 0;
        block_range(p, b, &lo, &hi);
        grid_params(p->grid, lo, hi, &scale[b], &zero[b]);
    }
    if (p->w)
        search(p, scale, zero);
    const int64_t end = min_i64(p->first + RANGE_ROWS * p->grid->rows, q->n);
    for (int64_t row = p->first; row < end; row++) {
        q->scales[row * q->groups + p->g] = scale[(row - p->first) / p->grid->rows];
        q->zeros[row * q->groups + p->g] = 0;
    }
}

static bool pile_alloc(struct pile *p) {
    size_t count = 0, bytes = 0;
    if (p->grid->search == RANGE_MINMAX)
        return true;
    if (!checked_mul_size((size_t)p->grid->rows, (size_t)p->q->group, &count) ||
        !checked_mul_size(count, (RANGE_ROWS + 1) * sizeof *p->w, &bytes))
        return false;
    p->w = malloc(bytes);
    p->repeated = p->w ? p->w + count * RANGE_ROWS : NULL;
    return p->w != NULL;
}

/* Each thread has a pile of its own. */
enum llmq_status shared_scales_fit(const struct quant_grid *grid, const float *W,
                                   const float *importance, const struct qlinear *q,
                                   llmq_error *err) {
    const int64_t tall = grid->rows * RANGE_ROWS, piles = ceil_div(q->n, tall) * q->groups;
    int failed = 0; /* threads that found no memory */
    const enum llmq_status status = grid_check_weights(W, q->n, q->k, err);
    if (status != LLMQ_OK)
        return status;
#pragma omp parallel default(none) shared(grid, W, importance, q, tall, piles) reduction(+ : failed)
    {
        struct pile p = {.grid = grid, .W = W, .importance = importance, .q = q};
        failed = !pile_alloc(&p);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < piles; i++) {
            p.first = i / q->groups * tall;
            p.g = i % q->groups;
            p.wide = min_i64(q->group, q->k - p.g * q->group);
            if (!failed)
                fit_pile(&p);
        }
        free(p.w);
    }
    return failed ? error_memory(err, "the search for ranges") : LLMQ_OK;
}
