/* SPDX-License-Identifier: Apache-2.0 */
/* The limit of least divergence: see range_estimate.h. */
#include <math.h>
#include <string.h>

#include "quant/grid.h"
#include "quant/range_estimate.h"

/* Bins on either side of 0, and of those the ones between two limits that are tried. */
enum { HALF = 1024, BINS = 2 * HALF, STEP = 4 };

/* --- the histogram ---------------------------------------------------------------------------- */

/* 1 / root mean square of a group; 0 when that is not finite. */
static float unit_of(const float *w, int64_t group) {
    double sum = 0;
    for (int64_t i = 0; i < group; i++)
        sum += (double)w[i] * (double)w[i];
    return sum > 0 && isfinite(sum) ? (float)(1 / sqrt(sum / (double)group)) : 0;
}

/* The largest magnitude of all, relative to its group. */
static float largest(const float *W, int64_t count, int64_t group) {
    float most = 0;
#pragma omp parallel for schedule(static) default(none) shared(W, count, group) reduction(max      \
                                                                                          : most)
    for (int64_t at = 0; at < count; at += group) {
        const float unit = unit_of(W + at, group);
        float lo = 0, hi = 0;
        grid_range(W + at, group, &lo, &hi);
        most = fmaxf(most, unit > 0 ? unit * fmaxf(-lo, hi) : 0);
    }
    return most;
}

static void count_group(const float *w, int64_t group, float most, int64_t *bins) {
    const float unit = unit_of(w, group) * (HALF / most);
    for (int64_t i = 0; unit > 0 && i < group; i++) {
        const int b = (int)floorf(w[i] * unit) + HALF;
        bins[b < 0 ? 0 : b < BINS ? b : BINS - 1]++;
    }
}

/* Counts are whole numbers: the order of threads does not matter. */
static void count_module(const float *W, int64_t count, int64_t group, float most, int64_t *bins) {
    memset(bins, 0, BINS * sizeof *bins);
#pragma omp parallel default(none) shared(W, count, group, most, bins)
    {
        int64_t own[BINS] = {0};
#pragma omp for schedule(static) nowait
        for (int64_t at = 0; at < count; at += group)
            count_group(W + at, group, most, own);
#pragma omp critical(range_entropy)
        for (int b = 0; b < BINS; b++)
            bins[b] += own[b];
    }
}

/* --- the divergence --------------------------------------------------------------------------- */

/* codes [count] of `count` bins, of which the grid reaches both ends. */
static void round_bins(const struct quant_grid *grid, int count, uint8_t *codes) {
    struct quant_grid fine = *grid;
    float scale = 0, zero = 0, w[BINS];
    fine.storage = SCALE_F32;
    fine.sym = true;
    grid_params(&fine, -1, 1, &scale, &zero);
    for (int b = 0; b < count; b++)
        w[b] = ((float)b + 0.5F) * (2.0F / (float)count) - 1;
    grid_codes(&fine, w, count, scale, zero, codes);
}

/* Of each code: the weights in its bins, and how many of these are not empty. */
struct code_sums {
    double weight[256];
    int filled[256];
};

static struct code_sums sum_codes(const int64_t *bins, const uint8_t *codes, int count) {
    struct code_sums s = {.filled = {0}};
    for (int b = 0; b < count; b++) {
        s.weight[codes[b]] += (double)bins[b];
        s.filled[codes[b]] += bins[b] > 0;
    }
    return s;
}

static double sum_bins(const int64_t *bins, int begin, int end) {
    int64_t sum = 0;
    for (int b = begin; b < end; b++)
        sum += bins[b];
    return (double)sum;
}

/* With a limit of `half` bins on either side. */
static double divergence(const struct quant_grid *grid, const int64_t *bins, int half) {
    const int count = 2 * half, first = HALF - half;
    const double below = sum_bins(bins, 0, first), above = sum_bins(bins, first + count, BINS);
    const double inside = sum_bins(bins, first, first + count), all = below + inside + above;
    uint8_t codes[BINS];
    double sum = 0;
    round_bins(grid, count, codes);
    const struct code_sums s = sum_codes(bins + first, codes, count);
    for (int b = 0; b < count; b++) {
        const double own = (double)bins[first + b];
        const double p = (own + (b == 0 ? below : 0) + (b == count - 1 ? above : 0)) / all;
        const double q = own > 0 ? s.weight[codes[b]] / s.filled[codes[b]] / inside : 0;
        if (p > 0)
            sum += p * log(p / q); /* infinite where q is 0 */
    }
    return sum;
}

float range_entropy(const struct quant_grid *grid, const float *W, int64_t n, int64_t k) {
    const int64_t group = grid_group(grid, k);
    const int levels = (int)grid_max_code(grid) + 1;
    const float most = largest(W, n * k, group);
    int64_t bins[BINS];
    int best = HALF;
    if (!(most > 0) || !isfinite(most))
        return HUGE_VALF;
    count_module(W, n * k, group, most, bins);
    double least = divergence(grid, bins, HALF);
    for (int half = HALF - STEP; half >= levels / 2; half -= STEP) {
        const double found = divergence(grid, bins, half);
        if (found < least) {
            least = found;
            best = half;
        }
    }
    return most * (float)best / HALF;
}
