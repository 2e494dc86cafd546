/* SPDX-License-Identifier: Apache-2.0 */
/* Floating-point numbers of 8 and 4 bits, as FP8 and MXFP4 checkpoints store weights and scales:
 * every code's value is exact in float32. */
#ifndef LLMQ_TENSOR_MINIFLOAT_H
#define LLMQ_TENSOR_MINIFLOAT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tensor/dtype.h"

/* E4M3 without infinities: sign, 4 bits of exponent with bias 7, 3 of fraction; 0x7f and 0xff are
 * NaN, the largest number is 448. Source: Micikevicius et al., arXiv:2209.05433, table 1. */
float e4m3_to_f32(uint8_t code);

/* E2M1, in the low 4 bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. Source: OCP
 * Microscaling Formats (MX) Specification 1.0, 5.3.3. */
float e2m1_to_f32(unsigned code);

/* E8M0: 2^(code - 127), 255 is NaN. Source: the same, 5.4.1. */
float e8m0_to_f32(uint8_t code);

/* --- numbers that codes stand for ------------------------------------------------------------- */

/* What the codes of a quantized matrix are: integers in steps from a zero point, or small floats,
 * which are symmetric. */
enum number_type { NUMBER_INT, NUMBER_E4M3, NUMBER_E2M1, NUMBER_COUNT };

/* A float of few bits: sign, exponent, fraction, and no infinities. NUMBER_INT has none. */
struct number_form {
    const char *name; /* "E4M3" */
    int bits;
    int fraction;  /* bits of it */
    int least;     /* exponent of the smallest number that is not subnormal */
    float largest; /* finite */
};
const struct number_form *number_form(enum number_type n);

/* The value of every code; `count` of them is 2^bits. */
enum { NUMBER_CODES = 256 };
void number_values(enum number_type n, float values[NUMBER_CODES]);

/* The number next to x, ties to the even code; beyond the largest that one, NaN its negative. Zero
 * is +0. Vectorised by compilers. */
static inline float number_nearest(const struct number_form *f, float x) {
    /* Adding and subtracting 1.5 * 2^(23 - fraction) times the binade's power of two leaves so many
     * bits of fraction: the sum's last bit weighs as much as the code's. */
    uint32_t exponent, least = (uint32_t)(f->least + 127) << 23;
    float magic;
    x = x > -f->largest ? x : -f->largest;
    x = x < f->largest ? x : f->largest;
    memcpy(&exponent, &x, sizeof exponent);
    exponent &= 0x7f800000U;
    exponent = exponent > least ? exponent : least;
    exponent += ((uint32_t)(23 - f->fraction) << 23) | 0x00400000U;
    memcpy(&magic, &exponent, sizeof magic);
    return (x + magic) - magic;
}

/* The code of a number that has one. */
uint8_t number_code(const struct number_form *f, float value);

/* The power of two next to a positive number, from 2^-126 to 2^127; a tie goes to the larger. Its
 * code in E8M0. */
float e8m0_nearest(float x);
uint8_t e8m0_code(float power);

/* --- scales ----------------------------------------------------------------------------------- */

/* F16, BF16, F32 or F8_E8M0: what scales of small numbers are stored as. */
bool dtype_is_scale(enum dtype t);

/* `count` elements of such a dtype at `src` (any alignment) to float32. */
void scales_to_f32(enum dtype t, const void *src, size_t count, float *dst);

#endif
