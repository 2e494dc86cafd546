/* SPDX-License-Identifier: Apache-2.0 */
/* Round-to-nearest: each group's range sets its grid, each weight goes to the nearest code. The
 * cheapest method, and the one every other is compared with. */
#include <stdbool.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"
#include "kernels/kernels.h"
#include "quant/grid.h"
#include "quant/panels.h"
#include "quant/quant.h"
#include "quant/range_estimate.h"
#include "quant/shared_scales.h"

/* Rows whose ranges are searched together, and where. */
struct strip {
    const struct quant_grid *grid;
    const struct llmq_kernels *kernels;
    const float *importance; /* [k] or NULL */
    int64_t rows;            /* at most RANGE_ROWS */
    const float *W;          /* [rows, k] */
    const struct qlinear *q;
    int64_t at;     /* row of q that is the strip's first */
    float *columns; /* [group, RANGE_ROWS] transposed weights of a group; NULL: no search */
};

/* Better ranges than the extremes for group g. */
static void search_group(const struct strip *s, int64_t g, float *scale, float *zero) {
    int64_t group = s->q->group, k = s->q->k;
    for (int64_t r = 0; r < RANGE_ROWS; r++) {
        const float *w = s->W + min_i64(r, s->rows - 1) * k + g * group;
        for (int64_t c = 0; c < group; c++)
            s->columns[c * RANGE_ROWS + r] = w[c];
    }
    const struct range_group searched = {group, s->columns,
                                         s->importance ? s->importance + g * group : NULL};
    range_choose(s->grid, &searched, scale, zero);
}

/* Scale and zero point of the extremes of group g. False: there is a weight that is not finite. */
static bool extremes_grid(const struct strip *s, int64_t r, int64_t g, float *scale, float *zero) {
    float lo = 0, hi = 0;
    bool finite = s->kernels->range(s->W + r * s->q->k + g * s->q->group, s->q->group, &lo, &hi);
    grid_params(s->grid, lo, hi, scale, zero);
    return finite;
}

static void round_group(const struct strip *s, int64_t r, int64_t g, float scale, float zero) {
    int64_t begin = r * s->q->k + g * s->q->group, at = (s->at + r) * s->q->groups + g;
    grid_codes(s->grid, s->W + begin, s->q->group, scale, zero,
               s->q->codes + s->at * s->q->k + begin);
    s->q->scales[at] = scale;
    s->q->zeros[at] = (uint8_t)(int)zero;
}

/* Without a search, in the order of memory. False: there is a weight that is not finite. */
static bool quantize_rows(const struct strip *s) {
    bool finite = true;
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t g = 0; g < s->q->groups; g++) {
            float scale = 0, zero = 0;
            finite &= extremes_grid(s, r, g, &scale, &zero);
            round_group(s, r, g, scale, zero);
        }
    return finite;
}

/* With a search, group by group. False: there is a weight that is not finite. */
static bool search_rows(const struct strip *s) {
    for (int64_t g = 0; g < s->q->groups; g++) {
        float scale[RANGE_ROWS], zero[RANGE_ROWS];
        bool finite = true;
        for (int64_t r = 0; r < RANGE_ROWS; r++) /* rows beyond the last are copies of it */
            finite &= extremes_grid(s, min_i64(r, s->rows - 1), g, scale + r, zero + r);
        if (!finite)
            return false;
        search_group(s, g, scale, zero);
        for (int64_t r = 0; r < s->rows; r++)
            round_group(s, r, g, scale[r], zero[r]);
    }
    return true;
}

/* Each thread has columns of its own. */
static enum llmq_status quantize_strips(const struct quant_grid *grid, const float *W,
                                        const float *importance, const struct qlinear *q,
                                        llmq_error *err) {
    size_t bytes = 0;
    int failed = 0, unfit = 0; /* threads that found no memory; strips not all finite */
    if (!checked_mul_size((size_t)q->group, RANGE_ROWS * sizeof *W, &bytes))
        return error_memory(err, "the search for ranges");
#pragma omp parallel default(none) shared(grid, W, importance, q, bytes)                           \
    reduction(+ : failed, unfit)
    {
        struct strip s = {.grid = grid, .kernels = kernels_get(), .importance = importance, .q = q};
        if (grid->search != RANGE_MINMAX) {
            s.columns = malloc(bytes);
            failed = !s.columns;
        }
#pragma omp for schedule(static)
        for (int64_t at = 0; at < q->n; at += RANGE_ROWS) {
            s.rows = min_i64(RANGE_ROWS, q->n - at);
            s.W = W + at * q->k;
            s.at = at;
            if (!failed)
                unfit += !(s.columns ? search_rows(&s) : quantize_rows(&s));
        }
        free(s.columns);
    }
    if (failed)
        return error_memory(err, "the search for ranges");
    return unfit ? grid_check_weights(W, q->n, q->k, err) : LLMQ_OK;
}

/* With scales that rows share. */
static enum llmq_status quantize_shared(const struct quant_grid *grid, const float *W,
                                        const float *importance, const struct qlinear *q,
                                        llmq_error *err) {
    const enum llmq_status status = shared_scales_fit(grid, W, importance, q, err);
    if (status != LLMQ_OK)
        return status;
#pragma omp parallel for schedule(static) default(none) shared(grid, W, q)
    for (int64_t row = 0; row < q->n; row++)
        for (int64_t g = 0; g < q->groups; g++) {
            const int64_t at = row * q->k + g * q->group;
            grid_codes(grid, W + at, min_i64(q->group, q->k - g * q->group),
                       q->scales[row * q->groups + g], 0, q->codes + at);
        }
    return LLMQ_OK;
}

enum llmq_status rtn_quantize(const struct quant_grid *grid, const float *W,
                              const float *importance, int64_t n, int64_t k, struct qlinear *q,
                              llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *q = (struct qlinear){0};
    LLMQ_TRY(grid_check(grid, k, err));
    const struct quant_grid own = range_prepare(grid, W, n, k);
    LLMQ_TRY(qlinear_alloc(n, k, grid->bits, grid_group(grid, k), q, err));
    q->sym = grid->sym;
    q->number = grid->number;
    q->unit = grid->unit;
    q->whole = grid->whole;
    importance = grid->search == RANGE_WEIGHTED ? importance : NULL;
    LLMQ_TRY((grid->rows > 1 ? quantize_shared : quantize_strips)(&own, W, importance, q, err));
cleanup:
    if (status != LLMQ_OK)
        qlinear_free(q);
    return status;
}
