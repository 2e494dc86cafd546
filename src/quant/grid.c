/* SPDX-License-Identifier: Apache-2.0 */
/* Scales, zero points and their limits: see grid.h.
 *
 * Symmetric: s = 2 amax / (2^b - 1), z = 2^(b-1): the grid reaches -amax half a step beyond, and
 * +amax half a step short. Asymmetric: s = (hi - lo) / (2^b - 1), z = round(-lo / s). The scale is
 * rounded to its storage type first, everything else follows from the rounded one. Floats: s = amax
 * over the largest number, so that the grid ends there on both sides. */
#include "quant/grid.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "tensor/dtype.h"

/* What a storage holds: its least and largest scale, and the least from which on it keeps all of
 * its digits. Below, F16 has multiples of 2^-24 only; those below 2^-17 have at most seven
 * significant bits, so that BF16 holds them too. */
struct scale_limits {
    float least, most, full;
};

static const struct scale_limits limits[] = {
    [SCALE_DUAL] = {0x1p-24F, 65280.0F, 0x1p-17F},
    [SCALE_F16] = {0x1p-24F, 65504.0F, 0x1p-14F},
    [SCALE_BF16] = {FLT_MIN, 0x1.fep127F, FLT_MIN},
    [SCALE_F32] = {FLT_MIN, FLT_MAX, FLT_MIN},
    [SCALE_E8M0] = {0x1p-126F, 0x1p127F, 0x1p-126F},
    [SCALE_E4M3] = {0x1p-9F, 448.0F, 0x1p-6F}, /* times the unit */
};

static struct scale_limits limits_of(const struct quant_grid *grid) {
    struct scale_limits l = limits[grid->storage];
    const float unit = grid->storage == SCALE_E4M3 ? grid->unit : 1;
    return (struct scale_limits){l.least * unit, l.most * unit, l.full * unit};
}

/* A scale moved by more than this part of itself is a grid of another step. */
#define COARSE 0x1p-4F

int64_t grid_group(const struct quant_grid *grid, int64_t k) {
    const bool cut = grid->rows > 1 && grid->group > k; /* a block that is cut off */
    return grid->group == -1 || cut ? k : grid->group;
}

float grid_max_code(const struct quant_grid *grid) {
    return (float)((1 << grid->bits) - 1);
}

enum llmq_status grid_check(const struct quant_grid *grid, int64_t k, llmq_error *err) {
    const struct number_form *form = grid_form(grid);
    if (form && (grid->bits != form->bits || !grid->sym))
        return error_set(err, LLMQ_E_USAGE, "%s: expected %d bits, symmetric", form->name,
                         form->bits);
    if (grid->bits != 2 && grid->bits != 3 && grid->bits != 4 && grid->bits != 8)
        return error_set(err, LLMQ_E_USAGE, "%d bits: expected 2, 3, 4 or 8", grid->bits);
    int64_t group = grid_group(grid, k);
    if (group <= 0 || (k % group != 0 && grid->rows <= 1))
        return error_set(err, LLMQ_E_USAGE, "group size %lld does not divide %lld inputs",
                         (long long)group, (long long)k);
    if (grid->rows > 1 && grid->search == RANGE_ENTROPY)
        return error_set(err, LLMQ_E_USAGE,
                         "ranges by entropy with scales for blocks of %lld x %lld: they are of "
                         "groups within a row",
                         (long long)grid->rows, (long long)group);
    int top = (1 << grid->bits) - 1;
    if (!grid->sym && (grid->zmin < 0 || grid->zmax > top || grid->zmin > grid->zmax))
        return error_set(err, LLMQ_E_USAGE, "zero points %d to %d: expected a range within 0 to %d",
                         grid->zmin, grid->zmax, top);
    return LLMQ_OK;
}

/* Is every number of a row finite? x * 0 is 0 unless x is infinite or NaN. */
static bool row_finite(const float *w, int64_t count) {
    enum { LANES = 16 };
    float zero[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            zero[l] += w[i + l] * 0.0F;
    for (; i < count; i++)
        zero[0] += w[i] * 0.0F;
    for (int l = 1; l < LANES; l++)
        zero[0] += zero[l];
    return zero[0] == 0;
}

enum llmq_status grid_check_weights(const float *W, int64_t n, int64_t k, llmq_error *err) {
    int64_t row = n;
#pragma omp parallel for default(none) shared(W, n, k) reduction(min : row)
    for (int64_t i = 0; i < n; i++)
        if (!row_finite(W + i * k, k) && i < row)
            row = i;
    for (int64_t c = 0; row < n && c < k; c++)
        if (!isfinite(W[row * k + c]))
            return error_set(err, LLMQ_E_NUMERIC, "weight at row %lld, column %lld is %g",
                             (long long)row, (long long)c, (double)W[row * k + c]);
    return LLMQ_OK;
}

static float clamp(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* Rounded, not limited. */
static float round_scale(const struct quant_grid *grid, float scale) {
    switch (grid->storage) {
    case SCALE_DUAL: /* F16's steps are the coarser ones below what it holds in full */
        return scale < limits[SCALE_DUAL].full ? f16_to_f32(f32_to_f16(scale))
                                               : bf16_to_f32(f32_to_bf16(scale));
    case SCALE_F16:
        return f16_to_f32(f32_to_f16(scale));
    case SCALE_BF16:
        return bf16_to_f32(f32_to_bf16(scale));
    case SCALE_E8M0:
        return e8m0_nearest(scale);
    case SCALE_E4M3:
        return number_nearest(number_form(NUMBER_E4M3), scale / grid->unit) * grid->unit;
    case SCALE_F32:
        break;
    }
    return scale;
}

float grid_stored_scale(const struct quant_grid *grid, float scale) {
    const struct scale_limits l = limits_of(grid);
    return clamp(round_scale(grid, scale), l.least, l.most);
}

float grid_full_scale(const struct quant_grid *grid) {
    return limits_of(grid).full;
}

bool grid_holds_scale(const struct quant_grid *grid, float scale) {
    float gap = grid_stored_scale(grid, scale) - scale;
    return fabsf(gap) <= COARSE * scale;
}

float grid_unit(enum number_type number, float peak) {
    const float most = limits[SCALE_E4M3].most / 2 * number_form(number)->largest;
    int exponent = 0;
    if (!(peak > 0))
        return 1;
    (void)frexpf(peak / most, &exponent); /* peak / most <= 2^exponent */
    return ldexpf(1, exponent < -100 ? -100 : exponent);
}

/* The stored scale for a range that ends `steps` of `scale` from zero. The nearest one, but where
 * the storage is so coarse that this puts the end more than a step beyond the grid: then the next
 * larger one, for a large weight clipped costs more than all of them rounded more coarsely. */
static float fitted_scale(const struct quant_grid *grid, float scale, float steps) {
    const struct scale_limits l = limits_of(grid);
    float stored = grid_stored_scale(grid, scale);
    if (stored < l.full && (scale - stored) * steps > stored)
        stored += l.least;
    if (grid->storage == SCALE_E8M0 && (scale - stored) * steps > stored)
        stored *= 2;
    return stored;
}

/* The zero point of least loss for [lo, hi] in steps of s: the range's ends are clipped in
 * proportion where the largest scale does not reach them. */
static float best_zero(const struct quant_grid *grid, float lo, float hi, float s) {
    float half = hi / 2 - lo / 2; /* hi - lo may be infinite */
    if (s >= limits_of(grid).most && half > s * grid_max_code(grid) / 2)
        return rintf(grid_max_code(grid) * (-lo / 2 / half));
    return rintf(-lo / s);
}

static void params_asymmetric(const struct quant_grid *grid, float lo, float hi, float *scale,
                              float *zero) {
    float top = grid_max_code(grid);
    float s = fitted_scale(grid, (hi - lo) / top, top);
    float wanted = best_zero(grid, lo, hi, s);
    float z = clamp(wanted, (float)grid->zmin, (float)grid->zmax);
    if (z != wanted) {
        /* The zero point the range asks for cannot be stored. Keep the nearest that can and widen
         * the step until the codes on either side of it reach lo and hi again: for weights that
         * are all positive and zmin = 1, one of 2^b - 1 steps is lost, not the largest weights. */
        float above = z < top ? hi / (top - z) : 0, below = z > 0 ? -lo / z : 0;
        s = fitted_scale(grid, above > below ? above : below, top);
    }
    *scale = s;
    *zero = z;
}

void grid_params(const struct quant_grid *grid, float lo, float hi, float *scale, float *zero) {
    if (lo == 0 && hi == 0) { /* nothing to represent: any scale will do */
        lo = -1;
        hi = 1;
    }
    if (!grid->sym) {
        params_asymmetric(grid, lo, hi, scale, zero);
        return;
    }
    float amax = -lo > hi ? -lo : hi;
    const struct number_form *form = grid_form(grid);
    if (form) {
        *scale = fitted_scale(grid, amax / form->largest, form->largest);
        *zero = 0;
        return;
    }
    float top = grid_max_code(grid);
    *scale = fitted_scale(grid, 2 * (amax / top), top / 2);
    *zero = (float)(1 << (grid->bits - 1));
}

void grid_range(const float *w, int64_t count, float *lo, float *hi) {
    kernels_get()->range(w, count, lo, hi);
}

const struct number_form *grid_form(const struct quant_grid *grid) {
    return grid->number == NUMBER_INT ? NULL : number_form(grid->number);
}

void grid_codes(const struct quant_grid *grid, const float *w, int64_t count, float scale,
                float zero, uint8_t *codes) {
    const struct number_form *form = grid_form(grid);
    if (!form) {
        kernels_get()->round_codes(w, count, scale, zero, grid_max_code(grid), codes);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        codes[i] = number_code(form, number_nearest(form, w[i] / scale));
}

void quant_importance(const float *H, int64_t k, float *importance) {
    for (int64_t c = 0; c < k; c++) {
        float d = H[c * k + c];
        importance[c] = d > 0 && isfinite(d) ? d : 0;
    }
}

int64_t quant_fit_group(int64_t k, int64_t wish) {
    int64_t group = wish < 0 || wish > k ? k : wish;
    while (group > 1 && k % group != 0)
        group--;
    return group > 1 ? group : 1;
}
