/* Small floats: every code against tables that are counted up rather than computed from bits. */
#include "support.h"

#include <math.h>

#include "tensor/minifloat.h"

/* Magnitudes of E4M3 in order: steps of 2^-9 for the subnormal codes and the first eight normal
 * ones, then the step doubles with every eight codes. */
START_TEST(every_e4m3_is_the_next_step_of_its_table) {
    double value = 0, step = 1.0 / 512;
    for (int code = 0; code < 127; code++) {
        ck_assert_msg((double)e4m3_to_f32((uint8_t)code) == value, "code %#x", code);
        ck_assert_msg((double)e4m3_to_f32((uint8_t)(code | 0x80)) == -value, "code %#x", code);
        ck_assert_msg(signbit(e4m3_to_f32((uint8_t)(code | 0x80))), "sign of %#x", code);
        value += step;
        if (code >= 15 && code % 8 == 7)
            step *= 2;
    }
    ck_assert_msg(value == 480, "one step behind 448");
    ck_assert(isnan(e4m3_to_f32(0x7f)) && isnan(e4m3_to_f32(0xff)));
}
END_TEST

START_TEST(every_e2m1_times_every_e8m0_is_exact) {
    static const double numbers[16] = {0,  0.5,  1,  1.5,  2,  3,  4,  6,
                                       -0, -0.5, -1, -1.5, -2, -3, -4, -6};
    double power = 1;
    for (int i = 0; i < 127; i++)
        power /= 2;
    for (int scale = 0; scale < 255; scale++, power *= 2) {
        ck_assert_msg((double)e8m0_to_f32((uint8_t)scale) == power, "scale %d", scale);
        for (unsigned code = 0; code < 16; code++) {
            const float product = e2m1_to_f32(code) * e8m0_to_f32((uint8_t)scale);
            const double expected = numbers[code] * power;
            if (fabs(expected) < 0x1p128)
                ck_assert_msg((double)product == expected, "code %u, scale %d", code, scale);
            else
                ck_assert_msg(isinf(product), "code %u, scale %d", code, scale);
            ck_assert_msg(!signbit(product) == (code < 8), "sign of %u", code);
        }
    }
    ck_assert(isnan(e8m0_to_f32(255)));
}
END_TEST

START_TEST(scales_are_read_from_each_of_their_types) {
    static const uint8_t e8m0[] = {127, 128, 0}, bf16[] = {0x80, 0x3f, 0x00, 0xc0};
    float out[3];
    ck_assert(dtype_is_scale(DTYPE_F8_E8M0) && dtype_is_scale(DTYPE_F32));
    ck_assert(!dtype_is_scale(DTYPE_U8) && !dtype_is_scale(DTYPE_F64));
    scales_to_f32(DTYPE_F8_E8M0, e8m0, 3, out);
    ck_assert(out[0] == 1.0f && out[1] == 2.0f && out[2] == 0x1p-127f);
    scales_to_f32(DTYPE_BF16, bf16, 2, out);
    ck_assert(out[0] == 1.0f && out[1] == -2.0f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("minifloat");
    TCase *t = tcase_create("minifloat");
    tcase_add_test(t, every_e4m3_is_the_next_step_of_its_table);
    tcase_add_test(t, every_e2m1_times_every_e8m0_is_exact);
    tcase_add_test(t, scales_are_read_from_each_of_their_types);
    suite_add_tcase(s, t);
    return run_suite(s);
}
