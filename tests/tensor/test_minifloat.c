/* SPDX-License-Identifier: Apache-2.0 */
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

/* --- rounding, against the table of all numbers ----------------------------------------------- */

/* The next number in the table, of two as near the one with the even code; NaN: the least. */
static float table_nearest(enum number_type n, float x) {
    float values[NUMBER_CODES], best = NAN;
    int best_code = 0;
    const int codes = 1 << number_form(n)->bits;
    number_values(n, values);
    if (isnan(x))
        return -number_form(n)->largest;
    for (int code = 0; code < codes; code++) {
        if (isnan(values[code]) || (values[code] == 0 && code != 0))
            continue;
        const double d = fabs((double)values[code] - (double)x);
        const double least = fabs((double)best - (double)x);
        if (isnan(best) || d < least || (d == least && best_code % 2 == 1)) {
            best = values[code];
            best_code = code;
        }
    }
    return best;
}

static void check_rounding(enum number_type n, float x) {
    const float found = number_nearest(number_form(n), x);
    ck_assert_msg(found == table_nearest(n, isinf(x) ? copysignf(1e9f, x) : x),
                  "%s: %.9g became %.9g", number_form(n)->name, (double)x, (double)found);
    ck_assert_msg(found != 0 || !signbit(found), "%.9g became -0", (double)x);
}

/* Around every number and every middle between two of them. */
START_TEST(numbers_are_rounded_to_the_next_of_the_table) {
    for (enum number_type n = NUMBER_E4M3; n < NUMBER_COUNT; n++) {
        float values[NUMBER_CODES];
        const int codes = 1 << (number_form(n)->bits - 1);
        number_values(n, values);
        for (int code = 0; code < codes && !isnan(values[code]); code++) {
            const float next =
                code + 1 < codes && !isnan(values[code + 1]) ? values[code + 1] : 1e6f;
            const float points[] = {values[code], (values[code] + next) / 2};
            for (int i = 0; i < 2; i++)
                for (int sign = -1; sign <= 1; sign += 2)
                    for (int side = -1; side <= 1; side++) {
                        const float towards = side < 0 ? -INFINITY : INFINITY;
                        const float x = (float)sign * points[i];
                        check_rounding(n, side == 0 ? x : nextafterf(x, towards));
                    }
        }
        check_rounding(n, INFINITY);
        check_rounding(n, -INFINITY);
        check_rounding(n, NAN);
        check_rounding(n, 1e-30f);
        check_rounding(n, -0x1p-149f);
    }
}
END_TEST

START_TEST(numbers_have_the_codes_of_the_table) {
    for (enum number_type n = NUMBER_E4M3; n < NUMBER_COUNT; n++) {
        float values[NUMBER_CODES];
        const struct number_form *f = number_form(n);
        float most = 0;
        number_values(n, values);
        for (int code = 0; code < 1 << f->bits; code++) {
            most = values[code] > most ? values[code] : most;
            if (values[code] == 0) /* +0 and -0 */
                ck_assert_int_eq(number_code(f, values[code]), 0);
            else if (!isnan(values[code]))
                ck_assert_int_eq(number_code(f, values[code]), code);
        }
        ck_assert(most == f->largest);
    }
}
END_TEST

START_TEST(powers_of_two_are_the_nearest_and_have_their_codes) {
    for (int code = 1; code < 255; code++) {
        const float power = e8m0_to_f32((uint8_t)code);
        ck_assert(e8m0_nearest(power) == power);
        ck_assert_int_eq(e8m0_code(power), code);
        if (code == 254)
            break;
        ck_assert(e8m0_nearest(power * 1.5f) == power * 2); /* the tie */
        ck_assert(e8m0_nearest(nextafterf(power * 1.5f, 0)) == power);
    }
    ck_assert(e8m0_nearest(0) == 0x1p-126f && e8m0_nearest(0x1p-140f) == 0x1p-126f);
    ck_assert(e8m0_nearest(INFINITY) == 0x1p127f && e8m0_nearest(3e38f) == 0x1p127f);
    ck_assert(e8m0_nearest(NAN) == 0x1p-126f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("minifloat");
    TCase *t = tcase_create("minifloat");
    tcase_add_test(t, every_e4m3_is_the_next_step_of_its_table);
    tcase_add_test(t, every_e2m1_times_every_e8m0_is_exact);
    tcase_add_test(t, numbers_are_rounded_to_the_next_of_the_table);
    tcase_add_test(t, numbers_have_the_codes_of_the_table);
    tcase_add_test(t, powers_of_two_are_the_nearest_and_have_their_codes);
    tcase_add_test(t, scales_are_read_from_each_of_their_types);
    suite_add_tcase(s, t);
    return run_suite(s);
}
