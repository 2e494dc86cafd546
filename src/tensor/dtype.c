/* SPDX-License-Identifier: Apache-2.0 */
/* Element types and floating-point conversion: see dtype.h. */
#include "tensor/dtype.h"

#include <assert.h>
#include <string.h>

#include "base/checked.h"

static const struct {
    const char *name;
    unsigned bits;
    unsigned block;
} dtypes[DTYPE_ALL_COUNT] = {
    /* clang-format off */
    [DTYPE_U64]         = {"U64", 64, 1},
    [DTYPE_I64]         = {"I64", 64, 1},
    [DTYPE_F64]         = {"F64", 64, 1},
    [DTYPE_C64]         = {"C64", 64, 1},
    [DTYPE_F32]         = {"F32", 32, 1},
    [DTYPE_U32]         = {"U32", 32, 1},
    [DTYPE_I32]         = {"I32", 32, 1},
    [DTYPE_BF16]        = {"BF16", 16, 1},
    [DTYPE_F16]         = {"F16", 16, 1},
    [DTYPE_U16]         = {"U16", 16, 1},
    [DTYPE_I16]         = {"I16", 16, 1},
    [DTYPE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8, 1},
    [DTYPE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8, 1},
    [DTYPE_F8_E8M0]     = {"F8_E8M0", 8, 1},
    [DTYPE_F8_E4M3]     = {"F8_E4M3", 8, 1},
    [DTYPE_F8_E5M2]     = {"F8_E5M2", 8, 1},
    [DTYPE_I8]          = {"I8", 8, 1},
    [DTYPE_U8]          = {"U8", 8, 1},
    [DTYPE_F6_E3M2]     = {"F6_E3M2", 6, 1},
    [DTYPE_F6_E2M3]     = {"F6_E2M3", 6, 1},
    [DTYPE_F4]          = {"F4", 4, 1},
    [DTYPE_BOOL]        = {"BOOL", 8, 1},
    [DTYPE_Q4_0]        = {"Q4_0", 144, 32},
    [DTYPE_Q4_1]        = {"Q4_1", 160, 32},
    [DTYPE_Q8_0]        = {"Q8_0", 272, 32},
    /* clang-format on */
};

const char *dtype_name(enum dtype t) {
    return dtypes[t].name;
}

unsigned dtype_block(enum dtype t) {
    return dtypes[t].block;
}

unsigned dtype_bits(enum dtype t) {
    return dtypes[t].bits;
}

bool dtype_from_name(const char *name, size_t len, enum dtype *out) {
    for (enum dtype t = 0; t < DTYPE_COUNT; t++) {
        if (strlen(dtypes[t].name) == len && memcmp(dtypes[t].name, name, len) == 0) {
            *out = t;
            return true;
        }
    }
    return false;
}

bool dtype_is_float(enum dtype t) {
    return t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F32 || t == DTYPE_F64;
}

bool dtype_bytes(enum dtype t, uint64_t count, uint64_t *out) {
    uint64_t bits = 0;
    if (count % dtypes[t].block != 0 ||
        !checked_mul_u64(count / dtypes[t].block, dtypes[t].bits, &bits) || bits % 8 != 0)
        return false;
    *out = bits / 8;
    return true;
}

static float float_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float bf16_to_f32(uint16_t h) {
    return float_from_bits((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f) {
    uint32_t bits = bits_of_float(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* NaN: keep it one after truncation */
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Without a branch, for loops that become vector instructions. Exponent and fraction in float32's
 * places read as 2^-112 times the value, subnormal or not, so that one exact product is left; an
 * exponent of ones stays one of ones, for infinity and NaN. */
static inline float widen_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, special = (h & 0x7c00u) == 0x7c00u;
    float magnitude = float_from_bits((uint32_t)(h & 0x7fffu) << 13) * 0x1p112f;
    return float_from_bits(bits_of_float(magnitude) | sign | special * 0x7f800000u);
}

float f16_to_f32(uint16_t h) {
    return widen_f16(h);
}

uint16_t f32_to_f16(float f) {
    uint32_t bits = bits_of_float(f);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) /* NaN */
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* rounds to 2^16 or above: infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        /* Below 2^-14 the quantum is 2^-24. Adding 0.5 puts it at the float's last bit, so the
         * addition itself rounds to nearest even. */
        uint32_t shifted = bits_of_float(float_from_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (shifted - bits_of_float(0.5f)));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

static uint16_t load_u16(const unsigned char *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

void dtype_to_f32(enum dtype t, const void *src, size_t count, float *dst) {
    const unsigned char *bytes = src;
    assert(dtype_is_float(t));
    if (t == DTYPE_F32) {
        memcpy(dst, src, count * sizeof *dst);
    } else if (t == DTYPE_BF16) {
        for (size_t i = 0; i < count; i++)
            dst[i] = bf16_to_f32(load_u16(bytes + 2 * i));
    } else if (t == DTYPE_F16) {
        for (size_t i = 0; i < count; i++)
            dst[i] = widen_f16(load_u16(bytes + 2 * i));
    } else {
        for (size_t i = 0; i < count; i++) {
            double d;
            memcpy(&d, bytes + 8 * i, sizeof d);
            dst[i] = (float)d;
        }
    }
}

void dtype_from_f32(enum dtype t, const float *src, size_t count, void *dst) {
    unsigned char *bytes = dst;
    assert(t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16);
    if (t == DTYPE_F32) {
        memcpy(dst, src, count * sizeof *src);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t h = t == DTYPE_F16 ? f32_to_f16(src[i]) : f32_to_bf16(src[i]);
        memcpy(bytes + 2 * i, &h, sizeof h);
    }
}

/* Without their sign, numbers of a type are ordered as their bits are, infinity and NaN last. Many
 * running maxima, of integers with a sign, so that the loops become vector instructions: SSE2
 * compares no others. A block's size is known, so that it is not copied before it is read. */
enum { PEAK_LANES = 64 };

#define DEFINE_PEAK(name, type, mask)                                                              \
    static void name##_block(const void *bytes, type most[PEAK_LANES]) {                           \
        type block[PEAK_LANES];                                                                    \
        memcpy(block, bytes, sizeof block);                                                        \
        for (int l = 0; l < PEAK_LANES; l++) {                                                     \
            const type magnitude = (type)(block[l] & (mask));                                      \
            most[l] = magnitude > most[l] ? magnitude : most[l];                                   \
        }                                                                                          \
    }                                                                                              \
    static type name(const unsigned char *bytes, size_t count) {                                   \
        type most[PEAK_LANES] = {0}, rest[PEAK_LANES] = {0}, peak = 0;                             \
        for (; count >= PEAK_LANES; bytes += sizeof rest, count -= PEAK_LANES)                     \
            name##_block(bytes, most);                                                             \
        memcpy(rest, bytes, count * sizeof *rest);                                                 \
        name##_block(rest, most);                                                                  \
        for (int l = 0; l < PEAK_LANES; l++)                                                       \
            peak = most[l] > peak ? most[l] : peak;                                                \
        return peak;                                                                               \
    }

DEFINE_PEAK(peak_16, int16_t, INT16_MAX)
DEFINE_PEAK(peak_32, int32_t, INT32_MAX)
DEFINE_PEAK(peak_64, int64_t, INT64_MAX)

float dtype_peak(enum dtype t, const void *src, size_t count) {
    assert(dtype_is_float(t));
    if (t == DTYPE_F16)
        return f16_to_f32((uint16_t)peak_16(src, count));
    if (t == DTYPE_BF16)
        return bf16_to_f32((uint16_t)peak_16(src, count));
    if (t == DTYPE_F32)
        return float_from_bits((uint32_t)peak_32(src, count));
    const int64_t bits = peak_64(src, count);
    double peak;
    memcpy(&peak, &bits, sizeof peak);
    return (float)peak;
}
