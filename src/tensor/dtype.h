/* SPDX-License-Identifier: Apache-2.0 */
/* Element types of tensor files and conversion between the floating ones. */
#ifndef LLMQ_TENSOR_DTYPE_H
#define LLMQ_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

/* Those of safetensors files in the order in which the reference writer sorts tensors within a
 * file; then the block types of GGUF files: 32 elements of a row with what they share. */
enum dtype {
    DTYPE_U64,
    DTYPE_I64,
    DTYPE_F64,
    DTYPE_C64,
    DTYPE_F32,
    DTYPE_U32,
    DTYPE_I32,
    DTYPE_BF16,
    DTYPE_F16,
    DTYPE_U16,
    DTYPE_I16,
    DTYPE_F8_E5M2FNUZ,
    DTYPE_F8_E4M3FNUZ,
    DTYPE_F8_E8M0,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_F6_E3M2,
    DTYPE_F6_E2M3,
    DTYPE_F4,
    DTYPE_BOOL,
    DTYPE_COUNT, /* of safetensors files */
    DTYPE_Q4_0 = DTYPE_COUNT,
    DTYPE_Q4_1,
    DTYPE_Q8_0,
    DTYPE_ALL_COUNT
};

/* Name as written in files, e.g. "BF16". From a name only to a type of safetensors files. */
const char *dtype_name(enum dtype t);
bool dtype_from_name(const char *name, size_t len, enum dtype *out);

/* Elements that are stored together (1 unless `t` is a block type), and the bits these take. */
unsigned dtype_block(enum dtype t);
unsigned dtype_bits(enum dtype t);

/* F16, BF16, F32 or F64: what a weight may be stored as. */
bool dtype_is_float(enum dtype t);

/* Bytes of `count` elements; false on overflow or when they do not end on a byte or a block. */
bool dtype_bytes(enum dtype t, uint64_t count, uint64_t *out);

/* --- scalar conversion (round to nearest, ties to even) --------------------------------------- */

float f16_to_f32(uint16_t h);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);  /* overflow gives infinity, as IEEE 754 asks */
uint16_t f32_to_bf16(float f); /* NaN stays NaN */

/* --- arrays ----------------------------------------------------------------------------------- */

/* `count` elements of a floating dtype at `src` (any alignment) to float32. `t` must satisfy
 * dtype_is_float. */
void dtype_to_f32(enum dtype t, const void *src, size_t count, float *dst);

/* Largest magnitude of `count` elements of a floating dtype at `src` (any alignment), as float32:
 * 0 for none, infinite or NaN when any element is, infinite for an F64 beyond float32. Fast enough
 * for whole checkpoints. */
float dtype_peak(enum dtype t, const void *src, size_t count);

/* float32 to F16, BF16 or F32, rounding to nearest even. */
void dtype_from_f32(enum dtype t, const float *src, size_t count, void *dst);

#endif
