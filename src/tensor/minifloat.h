/* Floating-point numbers of 8 and 4 bits, as FP8 and MXFP4 checkpoints store weights and scales:
 * every code's value is exact in float32. */
#ifndef LLMQ_TENSOR_MINIFLOAT_H
#define LLMQ_TENSOR_MINIFLOAT_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/dtype.h"

/* E4M3 without infinities: sign, 4 bits of exponent with bias 7, 3 of fraction; 0x7f and 0xff are
 * NaN, the largest number is 448. Source: Micikevicius et al., arXiv:2209.05433, table 1. */
float e4m3_to_f32(uint8_t code);

/* E2M1, in the low 4 bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. Source: OCP
 * Microscaling Formats (MX) Specification 1.0, 5.3.3. */
float e2m1_to_f32(unsigned code);

/* E8M0: 2^(code - 127), 255 is NaN. Source: the same, 5.4.1. */
float e8m0_to_f32(uint8_t code);

/* F16, BF16, F32 or F8_E8M0: what scales of small numbers are stored as. */
bool dtype_is_scale(enum dtype t);

/* `count` elements of such a dtype at `src` (any alignment) to float32. */
void scales_to_f32(enum dtype t, const void *src, size_t count, float *dst);

#endif
