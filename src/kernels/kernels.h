/* SPDX-License-Identifier: Apache-2.0 */
/* The hot loops: one table of functions per instruction set, chosen once.
 *
 * Every table computes the same functions; the plain C one is the truth the others are checked
 * against. A function's result depends on its arguments and on the table alone: no threads, no
 * state, and a fixed order of summation that depends on the sizes only. Pointers need no alignment.
 * NaN goes in, NaN comes out. Sizes are >= 0. */
#ifndef LLMQ_KERNELS_KERNELS_H
#define LLMQ_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"
#include "llmq/error.h"

struct qmat_panel; /* qmat.h */
struct qmat_shape;
struct qmat_tile;
struct qmat_int8_tile;
struct bf16_tile; /* bf16.h */

/* Grids of integers for RANGE_LANES rows side by side: levels are w inverse rounded half to even,
 * no less than `lowest` and no more than `highest`, times the scale. */
#define RANGE_LANES 16
struct range_grids {
    float inverse[RANGE_LANES], lowest[RANGE_LANES], highest[RANGE_LANES], scale[RANGE_LANES];
};

/* Columns that are rounded to the nearest plane one after the other (quant/group_search.h), for
 * some rows side by side: a column of rows is contiguous. R is upper triangular. */
#define PLANE_COLUMNS 16
struct plane_columns {
    int64_t count, rows; /* at most PLANE_COLUMNS; any */
    const float *R;      /* [count, count] from the first column's diagonal on */
    int64_t ldr;
    const float *t, *tau;      /* [count, rows] what is to be made, and R^T of it all */
    const float *scale, *zero; /* [rows]; zero points are integers */
    float top;                 /* levels are integers from -zero to top - zero */
    float *x, *e;              /* [count, rows] set; with the columns before them in it, changed */
    int64_t stride;            /* floats between columns of x and e */
    float *loss, *slope, *curve; /* [rows] added to */
};

/* A row of codes, a scale and a zero point for every `group` of them; the last group may be short.
 */
struct code_row {
    int64_t count, group;
    const uint8_t *codes;
    const float *scales;
    const uint8_t *zeros;
};

struct llmq_kernels {
    const char *name; /* of its level, see base/cpu.h */

    /* --- rows of activations ------------------------------------------------------------- */

    /* row[i] = exp(row[i]) / sum exp(row[j]) in place, without overflow. -inf gives 0; a row of
     * nothing but -inf gives NaN. Relative error of each entry below 4e-7 + 2^-24 |row[i] - max|.
     */
    void (*softmax_row)(float *row, int64_t n);

    /* log of the sum of exp(x[i]), i < n, n >= 1. Summed in double from float32 exponentials of the
     * exact differences x[i] - max: absolute error below 1.5e-7 plus the rounding of the result. */
    double (*logsumexp_row)(const float *x, int64_t n);

    /* out[i] = silu(gate[i]) * up[i] with silu(g) = g / (1 + exp(-g)). `out` may be `gate` or `up`.
     * Error below 1e-6 relative or 1e-36. */
    void (*silu_mul)(const float *gate, const float *up, float *out, int64_t n);

    /* out[i] = factor[i] / (1 + exp(-x[i])). `out` may be `x` or `factor`. Error below 1e-6
     * relative or 1e-36. */
    void (*logistic_mul)(const float *x, const float *factor, float *out, int64_t n);

    /* out[i] = x[i] Phi(x[i]), Phi the normal distribution: GELU by the error function (Hendrycks
     * & Gimpel, arXiv:1606.08415). `out` may be `x`. Error below 1e-6 relative or 1e-36. */
    void (*gelu)(const float *x, float *out, int64_t n);

    /* out[i] = exp(min(x[i], 0)); what is below 1e-36 may be 0, so that products with it do
     * not slow down. `out` may be `x`. Error below 1e-6 relative or 1e-36. */
    void (*decay)(const float *x, float *out, int64_t n);

    /* row[i] = cap * tanh(row[i] / cap) in place, cap > 0. Relative error below 1e-6 for |row[i]|
     * >= 1e-30 cap. */
    void (*soft_cap)(float *row, int64_t n, float cap);

    /* out[i] = x[i] * w[i] / sqrt(mean(x^2) + eps), n >= 1, the mean in double. `out` may be `x`.
     * Relative error below 4e-7. */
    void (*rmsnorm_row)(const float *x, const float *w, double eps, int64_t n, float *out);

    /* --- rows of weights: rounding without calibration ------------------------------------ */

    /* Smallest and largest of w[i], i < n, and 0; NaN counts as 0. Returns whether all are finite.
     * Every table gives the same bits. */
    bool (*range)(const float *w, int64_t n, float *lo, float *hi);

    /* codes[i] = w[i] / scale rounded half to even, plus zero, clamped to 0 ... max_code; NaN gives
     * code 0. scale > 0; zero and max_code are integers, 0 <= zero <= max_code <= 255. Every table
     * gives the same bits. */
    void (*round_codes)(const float *w, int64_t n, float scale, float zero, float max_code,
                        uint8_t *codes);

    /* error = sum of (w - (code - zero) * scale)^2 and norm = sum of w^2 over the row: each
     * difference in float32, squares and sums in double, so that tables differ by less than
     * 1e-15 * count relative. */
    void (*residual)(const float *w, const struct code_row *row, double *error, double *norm);

    /* error[l] = sum of importance[c] (w[c][l] - its level on grid l)^2 over the columns c < count,
     * of weights w [count, RANGE_LANES]; importance NULL: all 1. A weight whose level is NaN has
     * the lowest. Summed in order in float32, every RANGE_SUM columns added to the others. Every
     * table gives the same bits. */
#define RANGE_SUM 64
    void (*range_errors)(const float *w, const float *importance, int64_t count,
                         const struct range_grids *grids, float *error);

    /* y[i] += a x[i], i < n, the product rounded; no overlap. Every table gives the same bits. */
    void (*add_scaled)(int64_t n, float a, const float *x, float *y);

    /* Column by column, for each row: the level next to (t - e / R_ii) / scale, halves to even; x =
     * level scale - t; e, of this column and those that follow, += R_ij x; then loss += e^2 and,
     * with y = e + tau, slope += y tau, curve += y^2. A level that is NaN is the lowest. In
     * float32, each product rounded. Every table gives the same bits. */
    void (*round_planes)(const struct plane_columns *c);

    /* --- products with quantized weights: the parts of llmq_qmat_matmul, see qmat.h ------ */

    /* out[r][lane] = sum over the columns of w[lane][c] * x[r][c] for one panel of 16 weight rows
     * and 1 <= rows <= QMAT_FEW rows of activations: codes are decoded in registers as they stream.
     * x [rows, shape->columns], ldx elements between rows; out [rows, 16]. */
    void (*qmat_dot)(const struct qmat_shape *shape, const struct qmat_panel *panel, int rows,
                     const float *x, int64_t ldx, float *out);

    /* out[c * stride + lane] = code - zero (exact, scale not applied) for the columns c of one
     * block of one panel. */
    void (*qmat_decode)(const struct qmat_shape *shape, const struct qmat_panel *panel,
                        int64_t block, float *out, int64_t stride);

    /* Register tile: y = or += x * W^T over one decoded block; at most tile_rows rows of
     * activations times tile_panels panels. */
    void (*qmat_tile)(const struct qmat_shape *shape, int64_t block, const struct qmat_tile *tile);
    int tile_rows;
    int tile_panels;

    /* --- the same with activations of 8 bits; every table gives the same bits -------------- */

    /* Segment s of one row of activations, x [its columns], to signed bytes. With a = max |x| and
     * scale = a / 127 in float32: code = x * (127 / a), rounded to nearest, ties to even. A segment
     * below QMAT_INT8_MIN becomes zeros; one with a NaN or an infinity becomes zeros with the scale
     * NaN. The word of four codes that qmat.h numbers w, counted from the segment, goes to codes +
     * 4 * w * stride. *start: see struct qmat_int8_tile. */
    void (*qmat_quantize)(const struct qmat_shape *shape, int64_t s, const float *x, int64_t stride,
                          int8_t *codes, float *scale, int32_t *start);

    /* y[r][lane] = sum over the segments, in order, of (weight scale * activation scale) * I, the
     * integer I = sum of (code - zero) * activation code being exact: one rounding for the product
     * of the scales, one for each step of the sum (fused). At most int8_rows rows of activations
     * times tile_panels panels, or one row times int8_streams, a multiple: as many streams of
     * weights as memory is busy with. */
    void (*qmat_int8_tile)(const struct qmat_shape *shape, const struct qmat_int8_tile *tile);
    int int8_rows;
    int int8_streams;

    /* --- products in bfloat16, see bf16.h: plain C and instruction sets that have them, else NULL
     */

    /* Round and pack `rows` rows of `columns` columns for `lanes` >= rows rows: out
     * [ceil(columns / 2)][lanes] words. ldx elements between rows. The same bits from every table.
     */
    void (*bf16_pack)(const float *x, int64_t ldx, int rows, int64_t columns, int lanes,
                      uint32_t *out);

    /* y = or += x * W^T over one block of columns: bf16_rows rows of activations times BF16_LANES
     * rows of weights. */
    void (*bf16_tile)(const struct bf16_tile *tile);
    int bf16_rows;

    /* --- limits: what bench/limits.h measures ------------------------------------------------ */

    /* Multiplications with additions on registers alone, in float32, of int8 with codes of 4 bits,
     * and in bfloat16 (where bf16_tile is not NULL); returns how many operations that was, two for
     * each product. */
    int64_t (*peak_fma)(int64_t rounds, float *sink);
    int64_t (*peak_int8)(int64_t rounds, float *sink);
    int64_t (*peak_bf16)(int64_t rounds, float *sink);

    /* Read `count` bytes, a multiple of 512, in order. */
    void (*peak_read)(const uint8_t *bytes, int64_t count, float *sink);
};

/* Choose the table for this machine and LLMQ_CPU; the program calls it first. Fails as
 * cpu_level_get does; the outcome is kept and later calls repeat it. */
LLMQ_NODISCARD enum llmq_status kernels_init(llmq_error *err);

/* The chosen table. Chooses if kernels_init has not been called; plain C when choosing failed.
 * Never NULL, thread-safe. */
const struct llmq_kernels *kernels_get(void);

/* The best table built for `level` or below it, whatever this machine is (plain C at least). For
 * tests; calling what the machine lacks ends in an illegal instruction. */
const struct llmq_kernels *kernels_for_level(enum cpu_level level);

#endif
