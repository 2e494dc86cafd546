/* SPDX-License-Identifier: Apache-2.0 */
/* See minifloat.h. */
#include "tensor/minifloat.h"

#include <assert.h>
#include <math.h>

/* The fraction's last bit of a subnormal weighs 2^-9: 2^-6, the smallest normal, over 8. */
float e4m3_to_f32(uint8_t code) {
    const int exponent = code >> 3 & 15, fraction = code & 7;
    if ((code & 0x7f) == 0x7f)
        return NAN;
    const float magnitude =
        exponent == 0 ? ldexpf((float)fraction, -9) : ldexpf((float)(8 + fraction), exponent - 10);
    return code & 0x80 ? -magnitude : magnitude;
}

float e2m1_to_f32(unsigned code) {
    static const float magnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    const float magnitude = magnitudes[code & 7];
    return code & 8 ? -magnitude : magnitude;
}

float e8m0_to_f32(uint8_t code) {
    return code == 255 ? NAN : ldexpf(1.0f, code - 127);
}

float e8m0_nearest(float x) {
    int exponent = 0;
    if (!(x >= 0x1p-126F))
        return 0x1p-126F;
    const float part = frexpf(x, &exponent); /* 0.5 ... 1 */
    exponent -= part < 0.75F;
    return ldexpf(1.0F, isfinite(x) && exponent < 127 ? exponent : 127);
}

uint8_t e8m0_code(float power) {
    return (uint8_t)(ilogbf(power) + 127);
}

/* --- numbers that codes stand for ------------------------------------------------------------- */

static const struct number_form forms[NUMBER_COUNT] = {
    [NUMBER_E4M3] = {"E4M3", 8, 3, -6, 448.0F},
    [NUMBER_E2M1] = {"E2M1", 4, 1, 0, 6.0F},
};

const struct number_form *number_form(enum number_type n) {
    assert(n != NUMBER_INT);
    return &forms[n];
}

void number_values(enum number_type n, float values[NUMBER_CODES]) {
    for (unsigned code = 0; code < NUMBER_CODES; code++)
        values[code] = n == NUMBER_E4M3 ? e4m3_to_f32((uint8_t)code) : e2m1_to_f32(code);
}

uint8_t number_code(const struct number_form *f, float value) {
    const float magnitude = fabsf(value);
    uint32_t bits, code;
    memcpy(&bits, &magnitude, sizeof bits);
    const int exponent = (int)(bits >> 23) - 127;
    if (exponent < f->least)
        code = (uint32_t)ldexpf(magnitude, f->fraction - f->least);
    else
        code = (uint32_t)(exponent - f->least + 1) << f->fraction |
               (bits >> (23 - f->fraction) & ((1U << f->fraction) - 1));
    return (uint8_t)(code | (value < 0 ? 1U << (f->bits - 1) : 0));
}

/* --- scales ----------------------------------------------------------------------------------- */

bool dtype_is_scale(enum dtype t) {
    return t == DTYPE_F8_E8M0 || (dtype_is_float(t) && t != DTYPE_F64);
}

void scales_to_f32(enum dtype t, const void *src, size_t count, float *dst) {
    const uint8_t *codes = src;
    assert(dtype_is_scale(t));
    if (t != DTYPE_F8_E8M0) {
        dtype_to_f32(t, src, count, dst);
        return;
    }
    for (size_t i = 0; i < count; i++)
        dst[i] = e8m0_to_f32(codes[i]);
}
