/* SPDX-License-Identifier: Apache-2.0 */
/* Floating-point conversions against their definition, over every 16-bit pattern. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "tensor/dtype.h"

enum { PATTERNS = 1 << 16 };

static uint16_t patterns[PATTERNS];
static float wide[PATTERNS];

static void setup(void) {
    for (int i = 0; i < PATTERNS; i++)
        patterns[i] = (uint16_t)i;
}

static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* What a function may change in a NaN that it returns: 32-bit x86 returns in a register of the 387,
 * which makes quiet NaNs of signalling ones. */
#if defined(__i386__)
#define RETURN_QUIETS 0x400000U
#else
#define RETURN_QUIETS 0U
#endif

/* IEEE 754: 1 bit of sign, 5 of exponent with bias 15, 10 of fraction. */
static double half_value(int i) {
    const int exponent = i >> 10 & 31, fraction = i & 1023;
    const double sign = i >> 15 ? -1 : 1;
    if (exponent == 31)
        return fraction ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

START_TEST(every_f16_widens_exactly) {
    dtype_to_f32(DTYPE_F16, patterns, PATTERNS, wide);
    for (int i = 0; i < PATTERNS; i++) {
        const double expected = half_value(i);
        const uint32_t free_bits = isnan(expected) ? RETURN_QUIETS : 0;
        ck_assert_msg((bits_of(wide[i]) | free_bits) ==
                          (bits_of(f16_to_f32((uint16_t)i)) | free_bits),
                      "pattern %#x", i);
        if (isnan(expected))
            ck_assert_msg(isnan(wide[i]), "pattern %#x", i);
        else
            ck_assert_msg(bits_of(wide[i]) == bits_of((float)expected), "pattern %#x", i);
    }
}
END_TEST

START_TEST(every_16_bit_float_survives_the_round_trip) {
    for (int i = 0; i < PATTERNS; i++) {
        const float half = f16_to_f32((uint16_t)i), brain = bf16_to_f32((uint16_t)i);
        if (!isnan(half))
            ck_assert_msg(f32_to_f16(half) == i, "F16 pattern %#x", i);
        if (!isnan(brain))
            ck_assert_msg(f32_to_bf16(brain) == i, "BF16 pattern %#x", i);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("dtype");
    TCase *t = tcase_create("dtype");
    tcase_add_unchecked_fixture(t, setup, NULL);
    tcase_add_test(t, every_f16_widens_exactly);
    tcase_add_test(t, every_16_bit_float_survives_the_round_trip);
    suite_add_tcase(s, t);
    return run_suite(s);
}
