/* SPDX-License-Identifier: Apache-2.0 */
/* The quantization grid: from a group's range to its scale and zero point, from a weight to its
 * code. Shared by every method so that they differ only in what they choose to round. */
#ifndef LLMQ_QUANT_GRID_H
#define LLMQ_QUANT_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/error.h"
#include "quant/quant.h"

/* Does the grid fit a module of k inputs? LLMQ_E_USAGE says what does not. */
LLMQ_NODISCARD enum llmq_status grid_check(const struct quant_grid *grid, int64_t k,
                                           llmq_error *err);

/* Columns per group for k inputs: grid->group, or k for -1 and where blocks are wider. */
int64_t grid_group(const struct quant_grid *grid, int64_t k);

/* Largest code of integers. */
float grid_max_code(const struct quant_grid *grid);

/* The scale as the file will hold it, the nearest there is: finite and positive. */
float grid_stored_scale(const struct quant_grid *grid, float scale);

/* The least scale from which on the storage keeps all of its digits: smaller ones are multiples of
 * a fixed step. */
float grid_full_scale(const struct quant_grid *grid);

/* Is there a stored scale within a sixteenth of this one? Where not, the codes are those of another
 * grid than the weights ask for. */
bool grid_holds_scale(const struct quant_grid *grid, float scale);

/* The unit of SCALE_E4M3 for weights up to `peak`: half of the largest scale is left free, for
 * methods that move weights. */
float grid_unit(enum number_type number, float peak);

/* Scale, rounded to its storage type, and zero point for weights between lo and hi; lo <= 0 <= hi.
 * The scale is finite and positive for any lo and hi, and a weight of 0 has code `zero` exactly. */
void grid_params(const struct quant_grid *grid, float lo, float hi, float *scale, float *zero);

/* Range of `count` weights, widened to include 0. NaN counts as 0. */
void grid_range(const float *w, int64_t count, float *lo, float *hi);

/* Weight in steps from zero, of integers: (code - zero), rounded half to even and clamped to the
 * codes 0 ... max_code. NaN gives the lowest code. */
static inline float grid_level(float w, float scale, float zero, float max_code) {
    /* Adding and subtracting 1.5 * 2^23 rounds a float below 2^22 to an integer in the current
     * (nearest, ties to even) mode, and unlike rintf it is vectorised for every target. Clamping
     * first changes nothing, the limits being integers, and keeps the sum below 2^22. */
    const float magic = 12582912.0F;
    float level = w / scale;
    level = level > -zero ? level : -zero;
    level = level < max_code - zero ? level : max_code - zero;
    return (level + magic) - magic;
}

/* The codes next to `count` weights, of any number. */
void grid_codes(const struct quant_grid *grid, const float *w, int64_t count, float scale,
                float zero, uint8_t *codes);

/* The form of the grid's numbers; NULL: integers. */
const struct number_form *grid_form(const struct quant_grid *grid);

/* LLMQ_E_NUMERIC naming row and column of the first weight in W [n, k] that is not finite. */
LLMQ_NODISCARD enum llmq_status grid_check_weights(const float *W, int64_t n, int64_t k,
                                                   llmq_error *err);

#endif
