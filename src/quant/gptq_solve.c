/* SPDX-License-Identifier: Apache-2.0 */
/* GPTQ: columns are quantized one after the other, and what a column loses is made up for by the
 * columns still to come (Frantar et al., arXiv:2210.17323, Algorithm 1). With U^T U = H^-1:
 *
 *     for each column i:   e = (w_i - quantized w_i) / U_ii
 *                          w_j -= e U_ij   for every column j > i
 *
 * Rows do not influence each other. They are taken in panels, stored transposed: one column of all
 * rows of a panel is contiguous, so the loops run across rows and every row of a panel does the
 * same arithmetic.
 *
 * The updates are lazy: instead of the paper's blocks of 128 columns the range of columns is halved
 * again and again. When the left half is done, its errors go to the right half in one matrix
 * product; ranges of LEAF columns are done column by column. So nearly all of the work is in
 * products with long sums, and when a range begins, all updates from columns before it have
 * arrived. Cuts fall between groups as long as a range holds more than one: when a group's first
 * column is reached, the whole group is up to date, and its scale and zero point are those of the
 * weights that will actually be rounded.
 *
 * The errors of a finished column take the place of its weights, which are not needed again. What
 * they add up to is known without another look at H: row by row the loop solves e U = dw, so that
 *     sum of e_i^2 = dw U^-1 U^-T dw^T = dw (H + damping I) dw^T. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/hugemem.h"
#include "linalg/linalg.h"
#include "quant/gptq.h"
#include "quant/grid.h"
#include "quant/panels.h"
#include "quant/range_estimate.h"

/* Columns done one by one between matrix products, and the rows of a panel: a leaf of a panel
 * stays in the first-level cache, and products across 256 rows are long enough for BLAS. */
#define LEAF           32
#define PANEL_ROWS_MAX 256

struct panel {
    const struct quant_grid *grid;
    const struct gptq_factor *factor;
    int64_t group; /* columns per group */
    enum gptq_params params;
    bool fixed; /* parameters are known before the loop: given, or of the original weights */
    int64_t rows;
    float *w;       /* [k, rows] in processing order: weights, then errors */
    uint8_t *codes; /* [k, rows] in processing order */
    float *scales;  /* [groups, rows] by group of the input columns */
    float *zeros;   /* [groups, rows] */
    float *strip;   /* [group, RANGE_ROWS] weights of a group while its range is searched */
};

/* --- parameters ------------------------------------------------------------------------------- */

/* Better ranges than the extremes for group g of the rows from `at`. */
static void search_strip(const struct panel *p, int64_t g, int64_t at) {
    const struct gptq_factor *f = p->factor;
    int64_t count = min_i64(RANGE_ROWS, p->rows - at), first = g * p->group;
    float scale[RANGE_ROWS], zero[RANGE_ROWS], *params = p->scales + g * p->rows + at;
    float *zeros = p->zeros + g * p->rows + at;
    for (int64_t r = 0; r < RANGE_ROWS; r++) { /* rows beyond the last are copies of it */
        scale[r] = params[min_i64(r, count - 1)];
        zero[r] = zeros[min_i64(r, count - 1)];
    }
    for (int64_t c = 0; c < p->group; c++) {
        const float *w = p->w + f->position[first + c] * p->rows + at;
        for (int64_t r = 0; r < RANGE_ROWS; r++)
            p->strip[c * RANGE_ROWS + r] = w[min_i64(r, count - 1)];
    }
    const struct range_group group = {p->group, p->strip,
                                      p->grid->search == RANGE_WEIGHTED ? f->loss + first : NULL};
    range_choose(p->grid, &group, scale, zero);
    memcpy(params, scale, (size_t)count * sizeof *scale);
    memcpy(zeros, zero, (size_t)count * sizeof *zero);
}

/* Scales and zeros of the groups [group_begin, group_end), whose columns are at the positions
 * [begin, end), from the weights as they are now. */
static void fit_params(const struct panel *p, int64_t begin, int64_t end, int64_t group_begin,
                       int64_t group_end) {
    int64_t rows = p->rows;
    /* The two arrays hold the range first, from 0 up and down. */
    memset(p->scales + group_begin * rows, 0,
           (size_t)((group_end - group_begin) * rows) * sizeof *p->scales);
    memset(p->zeros + group_begin * rows, 0,
           (size_t)((group_end - group_begin) * rows) * sizeof *p->zeros);
    for (int64_t i = begin; i < end; i++) {
        int64_t g = p->factor->column[i] / p->group;
        float *restrict lo = p->scales + g * rows, *restrict hi = p->zeros + g * rows;
        const float *restrict w = p->w + i * rows;
        for (int64_t r = 0; r < rows; r++) {
            lo[r] = w[r] < lo[r] ? w[r] : lo[r];
            hi[r] = w[r] > hi[r] ? w[r] : hi[r];
        }
    }
    for (int64_t i = group_begin * rows; i < group_end * rows; i++)
        grid_params(p->grid, p->scales[i], p->zeros[i], p->scales + i, p->zeros + i);
    for (int64_t g = group_begin; p->strip && g < group_end; g++)
        for (int64_t at = 0; at < rows; at += RANGE_ROWS)
            search_strip(p, g, at);
}

/* --- the column loop -------------------------------------------------------------------------- */

/* The same for floats. */
static void quantize_floats(const struct panel *p, int64_t i) {
    const struct number_form *form = grid_form(p->grid);
    int64_t rows = p->rows, g = p->factor->column[i] / p->group;
    const float *restrict scales = p->scales + g * rows;
    float *restrict w = p->w + i * rows;
    uint8_t *restrict codes = p->codes + i * rows;
    float diagonal = p->factor->U[i * p->factor->k + i];
    for (int64_t r = 0; r < rows; r++) {
        float level = number_nearest(form, w[r] / scales[r]);
        codes[r] = number_code(form, level);
        w[r] = (w[r] - level * scales[r]) / diagonal;
    }
}

/* Quantize the column at position i; its errors, divided by U_ii, replace it. */
static void quantize_column(const struct panel *p, int64_t i) {
    int64_t rows = p->rows, g = p->factor->column[i] / p->group;
    const float *restrict scales = p->scales + g * rows, *restrict zeros = p->zeros + g * rows;
    float *restrict w = p->w + i * rows;
    uint8_t *restrict codes = p->codes + i * rows;
    float max_code = grid_max_code(p->grid), diagonal = p->factor->U[i * p->factor->k + i];
    for (int64_t r = 0; r < rows; r++) {
        float level = grid_level(w[r], scales[r], zeros[r], max_code);
        codes[r] = (uint8_t)(int)(level + zeros[r]);
        w[r] = (w[r] - level * scales[r]) / diagonal;
    }
}

/* w -= e * u */
static void subtract_scaled(int64_t rows, float *restrict w, const float *restrict e, float u) {
    for (int64_t r = 0; r < rows; r++)
        w[r] -= e[r] * u;
}

/* Columns at the positions [begin, end), parameters known. */
static void solve_leaf(const struct panel *p, int64_t begin, int64_t end) {
    int64_t rows = p->rows;
    for (int64_t i = begin; i < end; i++) {
        const float *U = p->factor->U + i * p->factor->k;
        if (p->grid->number == NUMBER_INT)
            quantize_column(p, i);
        else
            quantize_floats(p, i);
        for (int64_t j = i + 1; j < end; j++)
            subtract_scaled(rows, p->w + j * rows, p->w + i * rows, U[j]);
    }
}

/* Columns at the positions [begin, end), to which all updates from columns before have been
 * applied. The recursion is as deep as k has binary digits.
 * NOLINTNEXTLINE(misc-no-recursion) */
static void solve_range(const struct panel *p, int64_t begin, int64_t end) {
    int64_t count = end - begin, rows = p->rows, k = p->factor->k;
    bool whole = p->fixed || count <= p->group; /* no group begins inside */
    if (!p->fixed && count == p->group) {
        int64_t g = p->factor->column[begin] / p->group;
        fit_params(p, begin, end, g, g + 1);
    }
    if (whole && count <= LEAF) {
        solve_leaf(p, begin, end);
        return;
    }
    int64_t mid = begin + (whole ? count / 2 : count / p->group / 2 * p->group);
    solve_range(p, begin, mid);
    linalg_gemm_tn(end - mid, rows, mid - begin, -1, p->factor->U + begin * k + mid, k,
                   p->w + begin * rows, rows, 1, p->w + mid * rows, rows);
    solve_range(p, mid, end);
}

/* --- panels ----------------------------------------------------------------------------------- */

/* w = rows of W, transposed, in processing order, dead inputs 0. */
static void panel_load(const struct panel *p, const float *W) {
    int64_t rows = p->rows, k = p->factor->k;
    const int64_t *column = p->factor->column;
    for (int64_t i = 0; i < k; i += PANEL_STREAMS) {
        int64_t end = min_i64(i + PANEL_STREAMS, k);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = i; j < end; j++)
                p->w[j * rows + r] = W[r * k + column[j]];
        for (int64_t j = i; j < end; j++)
            if (p->factor->dead[column[j]])
                memset(p->w + j * rows, 0, (size_t)rows * sizeof *p->w);
    }
}

/* Parameters from the rows of q that begin at `at`. */
static void load_params(const struct panel *p, int64_t at, const struct qlinear *q) {
    int64_t rows = p->rows, groups = q->groups;
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < rows; r++) {
            p->scales[g * rows + r] = q->scales[(at + r) * groups + g];
            p->zeros[g * rows + r] = q->zeros[(at + r) * groups + g];
        }
}

/* Codes and parameters to the rows of q that begin at `at`. */
static void panel_store(const struct panel *p, int64_t at, const struct qlinear *q) {
    int64_t rows = p->rows, k = q->k, groups = q->groups;
    const int64_t *column = p->factor->column;
    for (int64_t i = 0; i < k; i += PANEL_STREAMS) {
        int64_t end = min_i64(i + PANEL_STREAMS, k);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = i; j < end; j++)
                q->codes[(at + r) * k + column[j]] = p->codes[j * rows + r];
    }
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < rows; r++) {
            q->scales[(at + r) * groups + g] = p->scales[g * rows + r];
            q->zeros[(at + r) * groups + g] = (uint8_t)(int)p->zeros[g * rows + r];
        }
}

/* losses[r] = sum of the squared errors of row r. */
static void panel_losses(const struct panel *p, double *restrict losses) {
    int64_t rows = p->rows, k = p->factor->k;
    memset(losses, 0, (size_t)rows * sizeof *losses);
    for (int64_t i = 0; i < k; i++) {
        const float *restrict e = p->w + i * rows;
        for (int64_t r = 0; r < rows; r++)
            losses[r] += (double)e[r] * (double)e[r];
    }
}

static void panel_run(const struct panel *p, const float *W, int64_t at, const struct qlinear *q,
                      double *losses) {
    panel_load(p, W + at * q->k);
    if (p->params == PARAMS_GIVEN)
        load_params(p, at, q);
    else if (p->fixed)
        fit_params(p, 0, q->k, 0, q->groups);
    solve_range(p, 0, q->k);
    if (losses)
        panel_losses(p, losses + at);
    panel_store(p, at, q);
}

static bool panel_alloc(struct panel *p, const struct qlinear *q, int64_t rows) {
    size_t count = 0, bytes = 0;
    if (!checked_mul_size((size_t)q->k, (size_t)rows, &count) ||
        !checked_mul_size(count, sizeof *p->w, &bytes))
        return false;
    const size_t params = (size_t)(q->groups * rows) * sizeof *p->scales; /* no more than bytes */
    p->w = huge_malloc(bytes);
    p->codes = malloc(count);
    p->scales = malloc(params);
    p->zeros = malloc(params);
    if (p->grid->search != RANGE_MINMAX)
        p->strip = malloc((size_t)p->group * RANGE_ROWS * sizeof *p->strip);
    return p->w && p->codes && p->scales && p->zeros &&
           (p->strip || p->grid->search == RANGE_MINMAX);
}

static void panel_free(struct panel *p) {
    free(p->w);
    free(p->codes);
    free(p->scales);
    free(p->zeros);
    free(p->strip);
}

/* Each thread has a panel of its own. */
enum llmq_status gptq_solve(const struct quant_grid *grid, const struct gptq_factor *factor,
                            const float *W, enum gptq_params params, const struct qlinear *q,
                            double *losses, llmq_error *err) {
    int64_t rows = panels_rows_of(q, PANEL_ROWS_MAX), n = q->n;
    int failed = 0; /* threads that found no memory for a panel */
    const struct quant_grid own = params == PARAMS_FITTED ? range_prepare(grid, W, n, q->k) : *grid;
#pragma omp parallel default(none) shared(own, factor, W, params, q, rows, n, losses)                   \
    reduction(+ : failed)
    {
        struct panel p = {.grid = &own,
                          .factor = factor,
                          .group = q->group,
                          .params = params,
                          .fixed = params == PARAMS_GIVEN ||
                                   factor->options.act_order == ACT_ORDER_STATIC};
        failed = !panel_alloc(&p, q, rows);
#pragma omp for schedule(dynamic)
        for (int64_t at = 0; at < n; at += rows) {
            p.rows = min_i64(rows, n - at);
            if (!failed)
                panel_run(&p, W, at, q, losses);
        }
        panel_free(&p);
    }
    return failed ? error_memory(err, "the panels of GPTQ") : LLMQ_OK;
}
