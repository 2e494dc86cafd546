/* SPDX-License-Identifier: Apache-2.0 */
/* See range_estimate.h. Percentiles are order statistics, found by halving: the floats of a group
 * are compared as integers in the same order, RANGE_ROWS rows side by side. */
#include "quant/range_estimate.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/int64.h"
#include "quant/grid.h"

#define ROWS RANGE_ROWS

/* Weights of a group, [count, ROWS], or their magnitudes. */
struct sample {
    const struct range_group *group;
    bool magnitudes;
};

/* An integer that grows with the float; not for NaN. */
static inline int32_t key_of(float v) {
    int32_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    return bits >= 0 ? bits : bits ^ INT32_MAX;
}

static float value_of(int32_t key) {
    const int32_t bits = key >= 0 ? key : key ^ INT32_MAX;
    float v = 0;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* counts [ROWS] = weights of each row up to its limit. */
static void count_up_to(const struct sample *s, const int32_t *limits, int32_t *counts) {
    memset(counts, 0, ROWS * sizeof *counts);
    for (int64_t i = 0; i < s->group->count; i++) {
        const float *w = s->group->w + i * ROWS;
        for (int l = 0; l < ROWS; l++) {
            const int32_t key = key_of(s->magnitudes ? fabsf(w[l]) : w[l]);
            counts[l] += key <= limits[l] ? 1 : 0;
        }
    }
}

/* out [ROWS] = the weight of each row that `rank` others do not exceed. */
static void order_statistic(const struct sample *s, int64_t rank, float *out) {
    int32_t low[ROWS], high[ROWS], middle[ROWS], counts[ROWS];
    for (int l = 0; l < ROWS; l++) {
        low[l] = INT32_MIN;
        high[l] = INT32_MAX;
    }
    for (int bit = 0; bit < 32; bit++) {
        for (int l = 0; l < ROWS; l++) /* rounded down */
            middle[l] = (int32_t)(((int64_t)low[l] + high[l]) >> 1);
        count_up_to(s, middle, counts);
        for (int l = 0; l < ROWS; l++) {
            const bool enough = counts[l] > rank;
            high[l] = enough ? middle[l] : high[l];
            low[l] = enough || low[l] == high[l] ? low[l] : middle[l] + 1;
        }
    }
    for (int l = 0; l < ROWS; l++)
        out[l] = value_of(high[l]);
}

/* out [ROWS] = the quantile `part` of each row, interpolated between its neighbours. */
static void quantile(const struct sample *s, double part, float *out) {
    const double at = part * (double)(s->group->count - 1);
    const int64_t below = (int64_t)at;
    const double share = at - (double)below;
    float above[ROWS];
    order_statistic(s, below, out);
    if (!(share > 0))
        return;
    order_statistic(s, below + 1, above);
    for (int l = 0; l < ROWS; l++)
        out[l] = (float)((double)out[l] + share * ((double)above[l] - (double)out[l]));
}

static void clip_outliers(const struct quant_grid *grid, const struct range_group *group,
                          float *scale, float *zero) {
    const struct sample s = {group, grid->sym};
    const double part = (double)grid->percentile / 100;
    float lo[ROWS], hi[ROWS];
    quantile(&s, part, hi);
    if (!grid->sym)
        quantile(&s, 1 - part, lo);
    for (int l = 0; l < ROWS; l++) {
        lo[l] = grid->sym ? -hi[l] : fminf(lo[l], 0);
        grid_params(grid, lo[l], fmaxf(hi[l], 0), &scale[l], &zero[l]);
    }
}

/* Extremes within `clip` root mean squares. */
static void clip_by_spread(const struct quant_grid *grid, const struct range_group *group,
                           float *scale, float *zero) {
    float lo[ROWS] = {0}, hi[ROWS] = {0}, square[ROWS] = {0};
    for (int64_t i = 0; i < group->count; i++) {
        const float *w = group->w + i * ROWS;
        for (int l = 0; l < ROWS; l++) {
            lo[l] = w[l] < lo[l] ? w[l] : lo[l];
            hi[l] = w[l] > hi[l] ? w[l] : hi[l];
            square[l] += w[l] * w[l];
        }
    }
    for (int l = 0; l < ROWS; l++) {
        const float most = grid->clip * sqrtf(square[l] / (float)group->count);
        grid_params(grid, fmaxf(lo[l], -most), fminf(hi[l], most), &scale[l], &zero[l]);
    }
}

void range_choose(const struct quant_grid *grid, const struct range_group *group, float *scale,
                  float *zero) {
    if (grid->search == RANGE_PERCENTILE)
        clip_outliers(grid, group, scale, zero);
    else if (grid->search == RANGE_ENTROPY)
        clip_by_spread(grid, group, scale, zero);
    else
        range_search(grid, group, scale, zero);
}

struct quant_grid range_prepare(const struct quant_grid *grid, const float *W, int64_t n,
                                int64_t k) {
    struct quant_grid own = *grid;
    if (grid->search == RANGE_ENTROPY)
        own.clip = range_entropy(grid, W, n, k);
    return own;
}
