/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel table in plain C: the truth the others are checked against. Written for clarity, every
 * sum in double; compiled without contraction, so that an expression means what it says. */
#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/kernels_tables.h"
#include "kernels/qmat.h"
#include "tensor/dtype.h"

enum { TILE_ROWS = 4, TILE_PANELS = 1 };

static float row_max(const float *x, int64_t n) {
    assert(n >= 1);
    float max = x[0];
    for (int64_t i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static void softmax_row(float *row, int64_t n) {
    if (n <= 0)
        return;
    float max = row_max(row, n);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        row[i] = expf(row[i] - max);
        sum += (double)row[i];
    }
    for (int64_t i = 0; i < n; i++)
        row[i] = (float)((double)row[i] / sum);
}

static double logsumexp_row(const float *x, int64_t n) {
    assert(n >= 1);
    double max = (double)row_max(x, n), sum = exp((double)x[0] - max);
    for (int64_t i = 1; i < n; i++)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

static void silu_mul(const float *gate, const float *up, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        out[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

static void logistic_mul(const float *x, const float *factor, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        out[i] = factor[i] / (1 + expf(-x[i]));
}

static void gelu(const float *x, float *out, int64_t n) {
    const double root_half = 0.70710678118654752440;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(0.5 * (double)x[i] * erfc(-(double)x[i] * root_half));
}

static void decay(const float *x, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const float e = expf(x[i] > 0 ? 0 : x[i]);
        out[i] = e < 1e-37F ? 0 : e;
    }
}

static void soft_cap(float *row, int64_t n, float cap) {
    for (int64_t i = 0; i < n; i++)
        row[i] = cap * tanhf(row[i] / cap);
}

static void rmsnorm_row(const float *x, const float *w, double eps, int64_t n, float *out) {
    assert(n >= 1);
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    double scale = 1 / sqrt(sum / (double)n + eps);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)((double)x[i] * scale) * w[i];
}

static bool range(const float *w, int64_t n, float *lo, float *hi) {
    bool finite = true;
    *lo = *hi = 0;
    for (int64_t i = 0; i < n; i++) {
        *lo = w[i] < *lo ? w[i] : *lo;
        *hi = w[i] > *hi ? w[i] : *hi;
        finite = finite && isfinite(w[i]);
    }
    return finite;
}

static void round_codes(const float *w, int64_t n, float scale, float zero, float max_code,
                        uint8_t *codes) {
    const float magic = 12582912.0F; /* adding 1.5 * 2^23 rounds: nearbyintf, but vectorised */
    for (int64_t i = 0; i < n; i++) {
        float level = w[i] / scale;
        level = level > -zero ? level : -zero;
        level = level < max_code - zero ? level : max_code - zero;
        codes[i] = (uint8_t)(int)((level + magic) - magic + zero);
    }
}

static void range_errors(const float *w, const float *importance, int64_t count,
                         const struct range_grids *grids, float *error) {
    const float magic = 12582912.0F; /* as above */
    for (int l = 0; l < RANGE_LANES; l++)
        error[l] = 0;
    for (int64_t begin = 0; begin < count; begin += RANGE_SUM) {
        float sum[RANGE_LANES] = {0};
        for (int64_t c = begin; c < count && c < begin + RANGE_SUM; c++)
            for (int l = 0; l < RANGE_LANES; l++) {
                float level = w[c * RANGE_LANES + l] * grids->inverse[l];
                level = level > grids->lowest[l] ? level : grids->lowest[l];
                level = level < grids->highest[l] ? level : grids->highest[l];
                level = (level + magic) - magic;
                const float d = w[c * RANGE_LANES + l] - level * grids->scale[l];
                sum[l] += (importance ? importance[c] : 1) * d * d;
            }
        for (int l = 0; l < RANGE_LANES; l++)
            error[l] += sum[l];
    }
}

static void add_scaled(int64_t n, float a, const float *x, float *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static void round_planes(const struct plane_columns *c) {
    const float magic = 12582912.0F; /* as above */
    for (int64_t i = 0; i < c->count; i++) {
        const float diagonal = c->R[i * (c->ldr + 1)], inverse = 1 / diagonal;
        const float *t = c->t + i * c->rows, *tau = c->tau + i * c->rows;
        float *x = c->x + i * c->stride, *e = c->e + i * c->stride;
        for (int64_t r = 0; r < c->rows; r++) {
            const float lowest = -c->zero[r], highest = c->top - c->zero[r];
            float level = (t[r] - e[r] * inverse) / c->scale[r];
            level = level > lowest ? level : lowest;
            level = level < highest ? level : highest;
            level = (level + magic) - magic;
            x[r] = level * c->scale[r] - t[r];
            e[r] += diagonal * x[r];
            c->loss[r] += e[r] * e[r];
            const float y = e[r] + tau[r];
            c->slope[r] += y * tau[r];
            c->curve[r] += y * y;
        }
        for (int64_t j = i + 1; j < c->count; j++)
            for (int64_t r = 0; r < c->rows; r++)
                c->e[j * c->stride + r] += c->R[i * c->ldr + j] * x[r];
    }
}

static void residual(const float *w, const struct code_row *row, double *error, double *norm) {
    *error = *norm = 0;
    for (int64_t g = 0, i = 0; i < row->count; g++) {
        const int64_t end = row->group < row->count - i ? i + row->group : row->count;
        for (; i < end; i++) {
            const float d = w[i] - (float)(row->codes[i] - row->zeros[g]) * row->scales[g];
            *error += (double)d * (double)d;
            *norm += (double)w[i] * (double)w[i];
        }
    }
}

/* code - zero of one weight; `column` counts from the segment's first. */
static int weight_at(const struct qmat_shape *shape, const struct qmat_panel *panel,
                     const struct qmat_segment *segment, int column, int lane) {
    int per_word = 32 / shape->width, at = (column / per_word * QMAT_LANES + lane) * 4;
    uint32_t word = 0;
    memcpy(&word, qmat_codes(panel, segment) + at, sizeof word);
    uint32_t code = word >> (column % per_word * shape->width) & ((1U << shape->width) - 1);
    return (int)code - (int)panel->zeros[segment->group * QMAT_LANES + lane];
}

/* One weight row times one row of activations. */
static double weights_dot(const struct qmat_shape *shape, const struct qmat_panel *panel, int lane,
                          const float *x) {
    double total = 0;
    for (int64_t b = 0; b < shape->block_count; b++) {
        const struct qmat_block *block = &shape->blocks[b];
        int64_t column = block->column;
        for (int s = 0; s < block->segments; s++) {
            const struct qmat_segment *segment = &shape->segments[block->segment + s];
            double sum = 0;
            for (int c = 0; c < segment->columns; c++, column++)
                sum += (double)weight_at(shape, panel, segment, c, lane) * (double)x[column];
            total += (double)qmat_scales(panel, segment)[lane] * sum;
        }
    }
    return total;
}

static void qmat_dot(const struct qmat_shape *shape, const struct qmat_panel *panel, int rows,
                     const float *x, int64_t ldx, float *out) {
    for (int r = 0; r < rows; r++)
        for (int lane = 0; lane < QMAT_LANES; lane++)
            out[r * QMAT_LANES + lane] = (float)weights_dot(shape, panel, lane, x + r * ldx);
}

static void qmat_decode(const struct qmat_shape *shape, const struct qmat_panel *panel, int64_t b,
                        float *out, int64_t stride) {
    const struct qmat_block *block = &shape->blocks[b];
    int64_t column = block->column;
    for (int s = 0; s < block->segments; s++) {
        const struct qmat_segment *segment = &shape->segments[block->segment + s];
        for (int c = 0; c < segment->columns; c++, column++)
            for (int lane = 0; lane < QMAT_LANES; lane++)
                out[(column - block->column) * stride + lane] =
                    (float)weight_at(shape, panel, segment, c, lane);
    }
}

/* One element of a tile. */
static double tile_sum(const struct qmat_shape *shape, const struct qmat_block *block,
                       const struct qmat_tile *t, int r, int lane) {
    double total = 0;
    int column = 0;
    for (int s = 0; s < block->segments; s++) {
        const struct qmat_segment *segment = &shape->segments[block->segment + s];
        double sum = 0;
        for (int c = 0; c < segment->columns; c++, column++)
            sum += (double)t->x[column * t->rows + r] * (double)t->w[column * QMAT_LANES + lane];
        total += (double)qmat_scales(t->panel, segment)[lane] * sum;
    }
    return total;
}

static void qmat_tile(const struct qmat_shape *shape, int64_t b, const struct qmat_tile *t) {
    for (int r = 0; r < t->rows; r++)
        for (int lane = 0; lane < t->outputs; lane++) {
            double sum = tile_sum(shape, &shape->blocks[b], t, r, lane);
            float *y = t->y + r * t->ldy + lane;
            *y = t->first ? (float)sum : (float)((double)*y + sum);
        }
}

/* --- activations of 8 bits -------------------------------------------------------------------- */

/* Where the code of a padded column lies in a row of quantized activations (qmat.h). */
static int64_t int8_index(const struct qmat_shape *shape, int64_t column, int64_t stride) {
    int64_t word = column / 4, byte = column % 4;
    if (shape->width == 4) {
        word = column / 8 * 2 + column % 2;
        byte = column % 8 / 2;
    }
    return word * stride * 4 + byte;
}

/* Largest magnitude, infinite when there is an infinity or a NaN. */
static float magnitude_max(const float *x, int64_t n) {
    float max = 0;
    for (int64_t i = 0; i < n; i++)
        max = !isfinite(x[i]) ? INFINITY : fmaxf(max, fabsf(x[i]));
    return max;
}

static void qmat_quantize(const struct qmat_shape *shape, int64_t s, const float *x, int64_t stride,
                          int8_t *codes, float *scale, int32_t *start) {
    const int columns = shape->segments[s].columns;
    const float max = magnitude_max(x, columns);
    const bool zeros = max < QMAT_INT8_MIN || max == INFINITY;
    int32_t sum = 0;
    for (int c = 0; c < columns; c++) {
        float code = zeros ? 0 : nearbyintf(x[c] * (127 / max));
        codes[int8_index(shape, c, stride)] = (int8_t)code;
        sum += (int32_t)code;
    }
    *scale = max == INFINITY ? NAN : zeros ? 0 : max / 127;
    *start = shape->zero < 0 ? sum : -shape->zero * sum;
}

/* One output with activations of 8 bits. */
static float int8_dot(const struct qmat_shape *shape, const struct qmat_int8_tile *t, int r,
                      int lane) {
    float total = 0;
    int64_t column = 0;
    for (int64_t s = 0; s < shape->segment_count; s++) {
        const struct qmat_segment *segment = &shape->segments[s];
        int32_t sum = 0;
        for (int c = 0; c < segment->columns; c++, column++)
            sum += weight_at(shape, t->panel, segment, c, lane) *
                   t->codes[int8_index(shape, column, t->rows) + (int64_t)4 * r];
        float scale = qmat_scales(t->panel, segment)[lane];
        total = fmaf(scale * t->scales[s * t->rows + r], (float)sum, total);
    }
    return total;
}

static void qmat_int8_tile(const struct qmat_shape *shape, const struct qmat_int8_tile *tile) {
    for (int r = 0; r < tile->rows; r++)
        for (int lane = 0; lane < tile->outputs; lane++)
            tile->y[r * tile->ldy + lane] = int8_dot(shape, tile, r, lane);
}

/* --- products in bfloat16 --------------------------------------------------------------------- */

/* One operand; what is not a normal number keeps its sign only. */
static uint32_t bf16_bits(float x) {
    return f32_to_bf16(fabsf(x) < FLT_MIN ? copysignf(0, x) : x);
}

static void bf16_pack(const float *x, int64_t ldx, int rows, int64_t columns, int lanes,
                      uint32_t *out) {
    for (int64_t c = 0; c < columns; c += 2)
        for (int r = 0; r < lanes; r++) {
            const float *row = x + r * ldx;
            uint32_t even = r < rows ? bf16_bits(row[c]) : 0;
            uint32_t odd = r < rows && c + 1 < columns ? bf16_bits(row[c + 1]) : 0;
            out[c / 2 * lanes + r] = odd << 16 | even;
        }
}

/* sum + the products of two pairs, the odd one first; a product is exact. */
static float bf16_dot2(float sum, uint32_t a, uint32_t b) {
    sum += bf16_to_f32((uint16_t)(a >> 16)) * bf16_to_f32((uint16_t)(b >> 16));
    return sum + bf16_to_f32((uint16_t)a) * bf16_to_f32((uint16_t)b);
}

static void bf16_tile(const struct bf16_tile *t) {
    for (int r = 0; r < t->rows; r++)
        for (int lane = 0; lane < t->outputs; lane++) {
            float sum = 0, *y = t->y + r * t->ldy + lane;
            for (int64_t p = 0; p < t->pairs; p++)
                sum = bf16_dot2(sum, t->x[p * TILE_ROWS + r], t->w[p * BF16_LANES + lane]);
            *y = t->first ? sum : *y + sum;
        }
}

/* --- limits ----------------------------------------------------------------------------------- */

enum { PEAK_CHAINS = 8 };

static int64_t peak_fma(int64_t rounds, float *sink) {
    float acc[PEAK_CHAINS] = {0, 1, 2, 3, 4, 5, 6, 7}, b = *sink;
    for (int64_t round = 0; round < rounds; round++)
        for (int i = 0; i < PEAK_CHAINS; i++)
            acc[i] = acc[i] * 0.5F + b;
    for (int i = 0; i < PEAK_CHAINS; i++)
        *sink += acc[i];
    return rounds * PEAK_CHAINS * 2;
}

static int64_t peak_int8(int64_t rounds, float *sink) {
    uint32_t acc[PEAK_CHAINS] = {0, 1, 2, 3, 4, 5, 6, 7}, b = (uint32_t)*sink;
    for (int64_t round = 0; round < rounds; round++)
        for (int i = 0; i < PEAK_CHAINS; i++)
            acc[i] = acc[i] * 3 + b;
    for (int i = 0; i < PEAK_CHAINS; i++)
        *sink += (float)acc[i];
    return rounds * PEAK_CHAINS * 2;
}

static void peak_read(const uint8_t *bytes, int64_t count, float *sink) {
    uint64_t sum = 0, word = 0;
    for (int64_t i = 0; i + (int64_t)sizeof word <= count; i += (int64_t)sizeof word) {
        memcpy(&word, bytes + i, sizeof word);
        sum ^= word;
    }
    *sink = (float)sum;
}

const struct llmq_kernels kernels_ref = {
    KERNELS_SHARED("ref", TILE_ROWS, TILE_PANELS, TILE_ROWS, TILE_PANELS),
    .bf16_pack = bf16_pack,
    .bf16_tile = bf16_tile,
    .bf16_rows = TILE_ROWS,
    .peak_bf16 = peak_fma,
};
