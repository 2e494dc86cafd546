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
