/* SPDX-License-Identifier: Apache-2.0 */
/* Coordinate descent on e = d M d^T, M = H + damping I, d = w - s level: see descent.h.
 *
 * With the gradient g = d M, moving the dequantized weight of column c by x changes the error by
 *     -2 g_c x + M_cc x^2,      least at x = g_c / M_cc:
 * the best code is the one nearest to level + g_c / (s M_cc). Moving a group's scale by x, its
 * levels being l, changes it by
 *     -2 (l . g) x + (l M_gg l^T) x^2,   least at x = (l . g) / (l M_gg l^T).
 *
 * Rows are taken in panels, stored transposed as in gptq_solve.c. A block of columns, one group or
 * several small ones, first gets its gradient from the errors of all columns in one matrix product;
 * then its groups are done in turn, codes before the scale, and what a group changed is passed on
 * to the rest of the block. Within a group the columns are halved again and again as in
 * gptq_solve.c. So a pass costs about n k^2 multiplications, nearly all of them in long products.
 */
#include "quant/descent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "quant/grid.h"
#include "quant/panels.h"

/* Columns whose gradient is computed together, if groups are smaller; columns done one by one
 * between matrix products; rows of a panel. */
#define BLOCK_COLUMNS  128
#define LEAF           32
#define PANEL_ROWS_MAX 256

/* A code changes when another is nearer by this part of a step, a scale when the error falls by
 * this part: less than that may be rounding. */
#define MARGIN 1e-3F

struct panel {
    const struct quant_grid *grid;
    const struct metric *metric;
    const struct descent *descent;
    const struct qlinear *q;
    int64_t at, rows; /* the rows of q */
    int64_t block;    /* columns of a block, a multiple of the group */
    float *d;         /* [k, rows] w - dequantized */
    float *scales;    /* [groups, rows] */
    float *zeros;     /* [groups, rows] */
    /* A block: */
    float *levels; /* [block, rows] that codes stand for */
    float *g;      /* [block, rows] gradient; current up to the column being done */
    float *moves;  /* [block, rows] change of d since the block's gradient was computed */
    float *start;  /* [group, rows] a group's gradient before it was touched */
    float *curve;  /* [group, rows] M_gg levels */
    double *sums;  /* [2, rows] */
    float *search; /* scratch of group_search */
};

/* --- codes ------------------------------------------------------------------------------------ */

/* Re-choose the codes of column c, the i-th of its block. Returns how many change. */
static int64_t choose_column(const struct panel *p, int64_t c, int64_t i) {
    int64_t rows = p->rows, group = c / p->q->group, changed = 0;
    float h = p->metric->H[c * p->q->k + c], top = grid_max_code(p->grid);
    float inverse = h > 0 ? (float)(1 / ((double)h + p->metric->damping)) : 0;
    const float *restrict scales = p->scales + group * rows, *restrict g = p->g + i * rows;
    const float *restrict zeros = p->zeros + group * rows;
    float *restrict levels = p->levels + i * rows, *restrict moves = p->moves + i * rows;
    float *restrict d = p->d + c * rows;
    for (int64_t r = 0; r < rows; r++) {
        float step = g[r] * inverse / scales[r]; /* how far the best is, in levels */
        float wanted = grid_level(levels[r] + step, 1, zeros[r], top);
        float level = fabsf(step) > 0.5F + MARGIN ? wanted : levels[r];
        moves[r] = (levels[r] - level) * scales[r];
        changed += level != levels[r];
        levels[r] = level;
        d[r] += moves[r];
    }
    return changed;
}

/* The same for floats, whose steps are not all alike. */
static int64_t choose_floats(const struct panel *p, int64_t c, int64_t i) {
    const struct number_form *form = grid_form(p->grid);
    int64_t rows = p->rows, group = c / p->q->group, changed = 0;
    float h = p->metric->H[c * p->q->k + c];
    float inverse = h > 0 ? (float)(1 / ((double)h + p->metric->damping)) : 0;
    const float *restrict scales = p->scales + group * rows, *restrict g = p->g + i * rows;
    float *restrict levels = p->levels + i * rows, *restrict moves = p->moves + i * rows;
    float *restrict d = p->d + c * rows;
    for (int64_t r = 0; r < rows; r++) {
        float step = g[r] * inverse / scales[r];
        float wanted = number_nearest(form, levels[r] + step);
        float middle = fabsf(wanted - levels[r]) / 2; /* from where on it is nearer */
        float level = fabsf(step) > middle * (1 + 2 * MARGIN) ? wanted : levels[r];
        moves[r] = (levels[r] - level) * scales[r];
        changed += level != levels[r];
        levels[r] = level;
        d[r] += moves[r];
    }
    return changed;
}

/* `count` columns from c, the i-th of the block, with their gradient current.
 * NOLINTNEXTLINE(misc-no-recursion) */
static int64_t choose_columns(const struct panel *p, int64_t c, int64_t i, int64_t count) {
    int64_t rows = p->rows, k = p->q->k, changed = 0;
    if (count > LEAF) {
        int64_t left = count / 2;
        changed += choose_columns(p, c, i, left);
        linalg_gemm_nn(count - left, rows, left, 1, p->metric->H + (c + left) * k + c, k,
                       p->moves + i * rows, rows, 1, p->g + (i + left) * rows, rows);
        return changed + choose_columns(p, c + left, i + left, count - left);
    }
    const struct llmq_kernels *kernels = kernels_get();
    for (int64_t j = 0; j < count; j++) {
        const float *h = p->metric->H + (c + j) * k + c;
        int64_t these = p->grid->number == NUMBER_INT ? choose_column(p, c + j, i + j)
                                                      : choose_floats(p, c + j, i + j);
        for (int64_t l = j + 1; these > 0 && l < count; l++)
            kernels->add_scaled(rows, h[l], p->moves + (i + j) * rows, p->g + (i + l) * rows);
        changed += these;
    }
    return changed;
}

/* --- scales ----------------------------------------------------------------------------------- */

/* y += damping x: the part of M beside H. */
static void add_damping(const struct panel *p, int64_t count, const float *restrict x,
                        float *restrict y) {
    float damping = (float)p->metric->damping;
    for (int64_t i = 0; i < count * p->rows; i++)
        y[i] += damping * x[i];
}

/* slope = l . g and curvature = l M_gg l^T of the group at column c, the i-th of the block, for
 * each row: g is the gradient at the start and M_gg moves. */
static void group_sums(const struct panel *p, int64_t c, int64_t i, double *slope,
                       double *curvature) {
    int64_t rows = p->rows, k = p->q->k, group = p->q->group;
    const float *levels = p->levels + i * rows, *moves = p->moves + i * rows;
    linalg_gemm_nn(group, rows, group, 1, p->metric->H + c * k + c, k, levels, rows, 0, p->curve,
                   rows);
    add_damping(p, group, levels, p->curve);
    memset(slope, 0, (size_t)rows * sizeof *slope);
    memset(curvature, 0, (size_t)rows * sizeof *curvature);
    for (int64_t j = 0; j < group; j++)
        for (int64_t r = 0; r < rows; r++) {
            int64_t at = j * rows + r;
            slope[r] += (double)levels[at] * (double)p->start[at] +
                        (double)moves[at] * (double)p->curve[at];
            curvature[r] += (double)levels[at] * (double)p->curve[at];
        }
}

/* The stored scale next to the one of least error, or the old one when that is no farther. */
static float best_scale(const struct quant_grid *grid, float scale, double slope,
                        double curvature) {
    double best = slope / curvature, wanted = (double)scale + best;
    if (!(curvature > 0) || !(wanted > 0) || !isfinite(wanted))
        return scale;
    float stored = grid_stored_scale(grid, (float)wanted);
    double gap = fabs((double)stored - wanted);
    return gap < (1 - (double)MARGIN) * fabs(best) ? stored : scale;
}

/* Refit the scales of the group at column c, the i-th of the block. Returns how many change. */
static int64_t refit_group(const struct panel *p, int64_t c, int64_t i) {
    int64_t rows = p->rows, group = p->q->group, changed = 0;
    double *slope = p->sums, *curvature = p->sums + rows;
    float *scales = p->scales + c / group * rows, *x = p->start; /* done with */
    group_sums(p, c, i, slope, curvature);
    for (int64_t r = 0; r < rows; r++) {
        float scale = best_scale(p->grid, scales[r], slope[r], curvature[r]);
        x[r] = scale - scales[r];
        changed += scale != scales[r];
        scales[r] = scale;
    }
    for (int64_t j = 0; changed > 0 && j < group; j++)
        for (int64_t r = 0; r < rows; r++) {
            float move = -x[r] * p->levels[(i + j) * rows + r];
            p->moves[(i + j) * rows + r] += move;
            p->d[(c + j) * rows + r] += move;
        }
    return changed;
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* Inputs that were never active ask for nothing. */
static int64_t search_group(const struct panel *p, int64_t c, int64_t i, int64_t group) {
    const int64_t rows = p->rows, k = p->q->k, index = c / group;
    const struct group_rows in = {.rows = rows,
                                  .g = p->g + i * rows,
                                  .levels = p->levels + i * rows,
                                  .scales = p->scales + index * rows,
                                  .zeros = p->zeros + index * rows,
                                  .moves = p->moves + i * rows};
    for (int64_t j = 0; j < group; j++)
        if (!(p->metric->H[(c + j) * (k + 1)] > 0))
            memset(p->g + (i + j) * rows, 0, (size_t)rows * sizeof *p->g);
    const int64_t changed = group_search(p->grid, p->descent->search, index, &in, p->search);
    for (int64_t j = 0; changed > 0 && j < group * rows; j++)
        p->d[c * rows + j] += in.moves[j];
    return changed;
}

static int64_t descend_group(const struct panel *p, int64_t c, int64_t i, int64_t group) {
    int64_t rows = p->rows, changed = 0;
    size_t bytes = (size_t)(group * rows) * sizeof *p->g;
    if (p->descent->search)
        return search_group(p, c, i, group);
    if (p->descent->scales)
        memcpy(p->start, p->g + i * rows, bytes);
    if (p->descent->codes)
        changed += choose_columns(p, c, i, group);
    else
        memset(p->moves + i * rows, 0, bytes);
    if (p->descent->scales)
        changed += refit_group(p, c, i);
    return changed;
}

/* Where the columns of one group end that are transposed together, from the i-th of a block on. */
static int64_t strip_end(const struct panel *p, int64_t i, int64_t count) {
    const int64_t next = (i / p->q->group + 1) * p->q->group;
    return min_i64(min_i64(i + PANEL_STREAMS, next), count);
}

/* Levels of `count` columns from `begin`, from q or to it. */
static void load_levels(const struct panel *p, int64_t begin, int64_t count) {
    const struct qlinear_levels levels = qlinear_levels(p->q);
    const int64_t rows = p->rows, k = p->q->k;
    for (int64_t i = 0, end = 0; i < count; i = end) {
        const float *zeros = p->zeros + (begin + i) / p->q->group * rows;
        end = strip_end(p, i, count);
        for (int64_t r = 0; r < rows; r++) {
            const uint8_t *codes = p->q->codes + (p->at + r) * k + begin;
            for (int64_t j = i; j < end; j++)
                p->levels[j * rows + r] =
                    levels.floats ? levels.values[codes[j]] : (float)codes[j] - zeros[r];
        }
    }
}

static void store_levels(const struct panel *p, int64_t begin, int64_t count) {
    const struct number_form *form = grid_form(p->grid);
    const int64_t rows = p->rows, k = p->q->k;
    for (int64_t i = 0, end = 0; i < count; i = end) {
        const float *zeros = p->zeros + (begin + i) / p->q->group * rows;
        end = strip_end(p, i, count);
        for (int64_t r = 0; r < rows; r++) {
            uint8_t *codes = p->q->codes + (p->at + r) * k + begin;
            for (int64_t j = i; j < end; j++) {
                const float level = p->levels[j * rows + r];
                codes[j] = form ? number_code(form, level) : (uint8_t)(int)(level + zeros[r]);
            }
        }
    }
}

/* Columns [begin, end). Returns how many codes and scales change. */
static int64_t descend_block(const struct panel *p, int64_t begin, int64_t end) {
    int64_t rows = p->rows, k = p->q->k, group = p->q->group, changed = 0;
    const float *H = p->metric->H;
    load_levels(p, begin, end - begin);
    linalg_gemm_nn(end - begin, rows, k, 1, H + begin * k, k, p->d, rows, 0, p->g, rows);
    add_damping(p, end - begin, p->d + begin * rows, p->g);
    for (int64_t c = begin; c < end; c += group) {
        int64_t next = min_i64(c + group, end), these = descend_group(p, c, c - begin, next - c);
        if (these > 0 && next < end)
            linalg_gemm_nn(end - next, rows, group, 1, H + next * k + c, k,
                           p->moves + (c - begin) * rows, rows, 1, p->g + (next - begin) * rows,
                           rows);
        changed += these;
    }
    if (p->descent->codes || p->descent->search)
        store_levels(p, begin, end - begin);
    return changed;
}

/* --- panels ----------------------------------------------------------------------------------- */

static void panel_load(const struct panel *p, const float *W) {
    int64_t rows = p->rows, k = p->q->k, groups = p->q->groups;
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < rows; r++) {
            p->scales[g * rows + r] = p->q->scales[(p->at + r) * groups + g];
            p->zeros[g * rows + r] = p->q->zeros[(p->at + r) * groups + g];
        }
    for (int64_t c = 0; c < k; c += p->block) {
        int64_t count = min_i64(p->block, k - c);
        load_levels(p, c, count);
        for (int64_t i = 0, end = 0; i < count; i = end) {
            const float *scales = p->scales + (c + i) / p->q->group * rows;
            end = strip_end(p, i, count);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t j = i; j < end; j++)
                    p->d[(c + j) * rows + r] =
                        W[(p->at + r) * k + c + j] - p->levels[j * rows + r] * scales[r];
        }
    }
}

static void panel_run(const struct panel *p, const float *W) {
    int64_t rows = p->rows, k = p->q->k, groups = p->q->groups, changed = 1;
    panel_load(p, W);
    for (int pass = 0; pass < p->descent->passes && changed > 0; pass++) {
        changed = 0;
        for (int64_t c = 0; c < k; c += p->block)
            changed += descend_block(p, c, min_i64(c + p->block, k));
    }
    for (int64_t g = 0; (p->descent->scales || p->descent->search) && g < groups; g++)
        for (int64_t r = 0; r < rows; r++) {
            p->q->scales[(p->at + r) * groups + g] = p->scales[g * rows + r];
            p->q->zeros[(p->at + r) * groups + g] = (uint8_t)(int)p->zeros[g * rows + r];
        }
}

/* One allocation: d, scales and zeros, three arrays of a block, two of a group. */
static bool panel_alloc(struct panel *p, int64_t rows) {
    int64_t k = p->q->k, group = p->q->group;
    size_t count = 0, bytes = 0;
    if (!checked_mul_size((size_t)(k + 2 * p->q->groups + 3 * p->block + 2 * group), (size_t)rows,
                          &count) ||
        !checked_mul_size(count, sizeof *p->d, &bytes))
        return false;
    p->d = malloc(bytes);
    p->sums = malloc((size_t)rows * 2 * sizeof *p->sums);
    if (p->descent->search)
        p->search = malloc((size_t)group_search_floats(group) * sizeof *p->search);
    if (!p->d || !p->sums || (p->descent->search && !p->search))
        return false;
    p->scales = p->d + k * rows;
    p->zeros = p->scales + p->q->groups * rows;
    p->levels = p->zeros + p->q->groups * rows;
    p->g = p->levels + p->block * rows;
    p->moves = p->g + p->block * rows;
    p->start = p->moves + p->block * rows;
    p->curve = p->start + group * rows;
    return true;
}

static void panel_free(struct panel *p) {
    free(p->d);
    free(p->sums);
    free(p->search);
}

/* Each thread has a panel of its own. */
enum llmq_status descent_run(const struct quant_grid *grid, const struct metric *metric,
                             const struct descent *descent, const float *W, const struct qlinear *q,
                             llmq_error *err) {
    int64_t rows = panels_rows_of(q, PANEL_ROWS_MAX), n = q->n;
    int64_t block = q->group > BLOCK_COLUMNS ? q->group : BLOCK_COLUMNS / q->group * q->group;
    int failed = 0; /* threads that found no memory for a panel */
#pragma omp parallel default(none) shared(grid, metric, descent, W, q, rows, n, block)             \
    reduction(+ : failed)
    {
        struct panel p = {
            .grid = grid, .metric = metric, .descent = descent, .q = q, .block = block};
        failed = !panel_alloc(&p, rows);
#pragma omp for schedule(dynamic)
        for (int64_t at = 0; at < n; at += rows) {
            p.at = at;
            p.rows = min_i64(rows, n - at);
            if (!failed)
                panel_run(&p, W);
        }
        panel_free(&p);
    }
    return failed ? error_memory(err, "the panels of the descent") : LLMQ_OK;
}
