/* SPDX-License-Identifier: Apache-2.0 */
/* Groups whose weights ask for a scale beyond what the storage holds, and what that costs.
 *
 * Weights rounded in steps of s are off by s^2 / 12 each in the mean of squares. What a group's
 * weights are off beyond that, s being the step that their range asks for, is lost to the storage.
 * Methods that move errors from weight to weight for the sake of the outputs are off by more: up to
 * twice as much counts as theirs, but for what a coarser step than s costs for certain. */
#include <math.h>
#include <stdbool.h>

#include "kernels/kernels.h"
#include "quant/grid.h"

#define METHOD_SHARE 2.0

/* Squares of a module's weights and of their errors. */
struct squares {
    double weights, errors, lost;
    int64_t groups;
};

/* The scale that the range of a group asks for; 0: there is nothing to represent. */
static float wanted_scale(const struct quant_grid *grid, const float *w, int64_t count) {
    struct quant_grid free = *grid;
    float lo = 0, hi = 0, scale = 0, zero = 0;
    grid_range(w, count, &lo, &hi);
    if (lo == 0 && hi == 0)
        return 0;
    free.storage = SCALE_F32;
    grid_params(&free, lo, hi, &scale, &zero);
    return scale;
}

static void add_group(const struct quant_grid *grid, const float *w, const struct code_row *codes,
                      struct squares *sums) {
    double error = 0, norm = 0;
    kernels_get()->residual(w, codes, &error, &norm);
    sums->weights += norm;
    sums->errors += error;
    const float wanted = wanted_scale(grid, w, codes->count);
    if (wanted == 0 || grid_holds_scale(grid, wanted))
        return;
    const double part = (double)codes->count / 12, stored = (double)codes->scales[0];
    const double usual = part * (double)wanted * (double)wanted;
    const double coarse = fmin(part * stored * stored, error) - usual;
    sums->groups++;
    sums->lost += fmax(fmax(error - METHOD_SHARE * usual, coarse), 0);
}

static void add_row(const struct quant_grid *grid, const float *w, const struct qlinear *q,
                    int64_t row, struct squares *sums) {
    for (int64_t g = 0; g < q->groups; g++) {
        const int64_t begin = row * q->k + g * q->group, at = row * q->groups + g;
        const struct code_row codes = {.count = q->group,
                                       .group = q->group,
                                       .codes = q->codes + begin,
                                       .scales = q->scales + at,
                                       .zeros = q->zeros + at};
        add_group(grid, w + g * q->group, &codes, sums);
    }
}

bool quant_scales_near_limits(const struct quant_grid *grid, const struct qlinear *q) {
    if (q->number != NUMBER_INT)
        return false;
    const float most = grid_stored_scale(grid, INFINITY);
    for (int64_t i = 0; i < q->n * q->groups; i++)
        if (q->scales[i] < grid_full_scale(grid) || q->scales[i] >= most)
            return true;
    return false;
}

struct scale_misfit quant_scale_misfit(const struct quant_grid *grid, const float *W,
                                       const struct qlinear *q) {
    struct squares sums = {0};
    if (!quant_scales_near_limits(grid, q))
        return (struct scale_misfit){0};
    for (int64_t row = 0; row < q->n; row++)
        add_row(grid, W + row * q->k, q, row, &sums);
    if (sums.groups == 0 || !(sums.weights > 0))
        return (struct scale_misfit){.groups = sums.groups};
    return (struct scale_misfit){.groups = sums.groups,
                                 .lost = sums.lost / sums.weights,
                                 .ordinary = (sums.errors - sums.lost) / sums.weights};
}
