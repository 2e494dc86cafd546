/* Scales, zero points and their limits: see grid.h.
 *
 * Symmetric: s = 2 amax / (2^b - 1), z = 2^(b-1): the grid reaches -amax half a step beyond, and
 * +amax half a step short. Asymmetric: s = (hi - lo) / (2^b - 1), z = round(-lo / s). The scale is
 * rounded to its storage type first, everything else follows from the rounded one. */
#include "quant/grid.h"

#include <float.h>
#include <math.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "tensor/dtype.h"

/* Scales that F16 and BF16 both hold exactly: above F16's subnormals, up to its largest value that
 * has eight significant bits. */
#define DUAL_MIN 0x1p-14F
#define DUAL_MAX 65280.0F
#define F16_MAX  65504.0F

int64_t grid_group(const struct quant_grid *grid, int64_t k) {
    return grid->group == -1 ? k : grid->group;
}

float grid_max_code(const struct quant_grid *grid) {
    return (float)((1 << grid->bits) - 1);
}

enum llmq_status grid_check(const struct quant_grid *grid, int64_t k, llmq_error *err) {
    if (grid->bits != 2 && grid->bits != 3 && grid->bits != 4 && grid->bits != 8)
        return error_set(err, LLMQ_E_USAGE, "%d bits: expected 2, 3, 4 or 8", grid->bits);
    int64_t group = grid_group(grid, k);
    if (group <= 0 || k % group != 0)
        return error_set(err, LLMQ_E_USAGE, "group size %lld does not divide %lld inputs",
                         (long long)group, (long long)k);
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

float grid_stored_scale(enum scale_storage storage, float scale) {
    switch (storage) {
    case SCALE_DUAL:
        return clamp(bf16_to_f32(f32_to_bf16(scale)), DUAL_MIN, DUAL_MAX);
    case SCALE_F16:
        return clamp(f16_to_f32(f32_to_f16(scale)), DUAL_MIN, F16_MAX);
    case SCALE_F32:
        break;
    }
    return clamp(scale, FLT_MIN, FLT_MAX);
}

static void params_asymmetric(const struct quant_grid *grid, float lo, float hi, float *scale,
                              float *zero) {
    float top = grid_max_code(grid);
    float s = grid_stored_scale(grid->storage, (hi - lo) / top);
    float wanted = rintf(-lo / s);
    float z = clamp(wanted, (float)grid->zmin, (float)grid->zmax);
    if (z != wanted) {
        /* The zero point the range asks for cannot be stored. Keep the nearest that can and widen
         * the step until the codes on either side of it reach lo and hi again: for weights that
         * are all positive and zmin = 1, one of 2^b - 1 steps is lost, not the largest weights. */
        float above = z < top ? hi / (top - z) : 0, below = z > 0 ? -lo / z : 0;
        s = grid_stored_scale(grid->storage, above > below ? above : below);
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
    *scale = grid_stored_scale(grid->storage, 2 * amax / grid_max_code(grid));
    *zero = (float)(1 << (grid->bits - 1));
}

void grid_range(const float *w, int64_t count, float *lo, float *hi) {
    kernels_get()->range(w, count, lo, hi);
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
