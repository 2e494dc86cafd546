/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of what a file's scales can hold: what is chosen there, and what is said about it. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "problem.h"
#include "quant/grid.h"
#include "quant/quant.h"
#include "support.h"
#include "tensor/dtype.h"

#define N 16
#define K 128

static float stored(enum scale_storage storage, float scale) {
    const struct quant_grid grid = {.storage = storage};
    return grid_stored_scale(&grid, scale);
}

/* Scale of symmetric groups whose largest weight is -amax. */
static float scale_of(int bits, enum scale_storage storage, float amax) {
    struct quant_grid grid = grid_of(bits, 32, true, storage);
    float s = 0, z = 0;
    grid_params(&grid, -amax, 0, &s, &z);
    ck_assert(z == (float)(1 << (bits - 1)));
    return s;
}

START_TEST(test_scales_reach_down_to_the_subnormals_of_f16) {
    /* 7.5 steps reach the largest weight of 4 bits, 127.5 that of 8. */
    for (int e = -24; e <= 15; e++)
        for (int storage = SCALE_DUAL; storage <= SCALE_BF16; storage++) {
            float s = ldexpf(1, e);
            ck_assert(scale_of(4, (enum scale_storage)storage, 7.5F * s) == s);
            ck_assert(scale_of(8, (enum scale_storage)storage, 127.5F * s) == s);
        }
    ck_assert(scale_of(4, SCALE_DUAL, 7.5F * 0x5p-24F) == 0x5p-24F);
    ck_assert(scale_of(8, SCALE_DUAL, 127.5F * 0x7fp-24F) == 0x7fp-24F);
    ck_assert(scale_of(4, SCALE_DUAL, 7.5F * 0x81p-24F) == 0x81p-24F);   /* eight bits */
    ck_assert(scale_of(4, SCALE_DUAL, 7.5F * 0x101p-24F) == 0x100p-24F); /* nine */
    ck_assert(scale_of(4, SCALE_F16, 7.5F * 0x101p-24F) == 0x101p-24F);
    ck_assert(scale_of(4, SCALE_BF16, 7.5F * 0x1p-100F) == 0x1p-100F);
    ck_assert(scale_of(4, SCALE_BF16, 7.5F * 0x1p100F) == 0x1p100F);
}
END_TEST

START_TEST(test_dual_scales_are_the_nearest_that_both_types_hold) {
    for (uint32_t m = 1; m < 0x7c00; m++) { /* every positive half */
        float half = f16_to_f32((uint16_t)m);
        bool dual = bf16_to_f32(f32_to_bf16(half)) == half;
        ck_assert((stored(SCALE_DUAL, half) == half) == dual);
        ck_assert(stored(SCALE_F16, half) == half);
    }
    ck_assert(stored(SCALE_DUAL, 0) == 0x1p-24F);
    ck_assert(stored(SCALE_DUAL, 0x1.4p-24F) == 0x1p-24F);
    ck_assert(stored(SCALE_DUAL, 0x1.cp-24F) == 0x2p-24F);
    ck_assert(stored(SCALE_DUAL, 1e30F) == 65280.0F);
    ck_assert(stored(SCALE_F16, 1e30F) == 65504.0F);
    ck_assert(isfinite(stored(SCALE_BF16, INFINITY)));
}
END_TEST

START_TEST(test_coarse_scales_do_not_clip_the_largest_weight) {
    /* 1.1 steps: the largest weight lies 0.75 of a step beyond the grid's end; 1.4 steps: three. */
    ck_assert(scale_of(4, SCALE_DUAL, 7.5F * 0x1.19p-24F) == 0x1p-24F);
    ck_assert(scale_of(4, SCALE_DUAL, 7.5F * 0x1.66p-24F) == 0x2p-24F);
    ck_assert(scale_of(8, SCALE_DUAL, 127.5F * 0x28.6p-24F) == 0x29p-24F);
    ck_assert(scale_of(8, SCALE_F16, 127.5F * 0x28.6p-24F) == 0x29p-24F);
}
END_TEST

START_TEST(test_ranges_beyond_the_largest_scale_are_clipped_alike) {
    struct quant_grid grid = grid_of(4, 32, false, SCALE_DUAL);
    float s = 0, z = 0;
    grid_params(&grid, -1e7F, 1e7F, &s, &z);
    ck_assert(s == 65280.0F && (z == 7 || z == 8));
    grid_params(&grid, -3e38F, 1e38F, &s, &z);
    ck_assert(s == 65280.0F && (z == 11 || z == 12));
    grid_params(&grid, -3e38F, 0, &s, &z);
    ck_assert(s == 65280.0F && z == 15);
    grid_params(&grid, 0, 3e38F, &s, &z);
    ck_assert(s == 65280.0F && z == 0);
}
END_TEST

/* --- modules ---------------------------------------------------------------------------------- */

static float W[N * K];

static void fill(float size) {
    for (int i = 0; i < N * K; i++)
        W[i] = size * (float)(((i * 7919 + 13) % 2003) - 1001) / 1001;
}

static double rtn_error(const struct quant_grid *grid, struct scale_misfit *misfit) {
    struct qlinear q = {0};
    double error = 0;
    ck_assert_int_eq(rtn_quantize(grid, W, NULL, N, K, &q, NULL), LLMQ_OK);
    ck_assert_int_eq(qlinear_check(&q, NULL), LLMQ_OK);
    for (int64_t i = 0; i < N * q.groups; i++)
        ck_assert(q.scales[i] > 0);
    ck_assert_int_eq(quant_error(W, &q, &(struct quant_inputs){0}, &error, NULL), LLMQ_OK);
    *misfit = quant_scale_misfit(grid, W, &q);
    qlinear_free(&q);
    return error;
}

/* Weights times 2^-k have the errors of the weights, as long as scales have a few bits left. */
START_TEST(test_small_and_large_weights_lose_no_more_than_others) {
    static const int bits[] = {2, 3, 4, 8};
    struct scale_misfit misfit;
    for (int i = 0; i < 4 * 2 * 3 * 3; i++) {
        struct quant_grid grid =
            grid_of(bits[i % 4], 32, i / 4 % 2, (enum scale_storage)(i / 8 % 3));
        grid.search = (enum range_search)(i / 24);
        fill(1);
        double usual = rtn_error(&grid, &misfit);
        ck_assert(misfit.groups == 0 && misfit.lost == 0);
        int least = bits[i % 4] == 8 ? -13 : -17; /* 16 steps of 2^-24 and more */
        for (int k = least; k <= 15; k += 3) {
            fill(ldexpf(1, k));
            double error = rtn_error(&grid, &misfit);
            ck_assert_msg(error < 1.25 * usual, "%d bits, 2^%d: %g, not %g", grid.bits, k, error,
                          usual);
            ck_assert(misfit.groups == 0);
        }
    }
}
END_TEST

START_TEST(test_groups_that_do_not_fit_are_counted) {
    struct quant_grid grid = grid_of(4, 32, true, SCALE_DUAL);
    struct scale_misfit misfit;
    fill(1e-9F); /* less than half of the least scale */
    ck_assert(rtn_error(&grid, &misfit) == 1);
    ck_assert(misfit.groups == N * K / 32 && misfit.lost > 0.9);
    fill(1e7F); /* 15 times as large as 65280 steps reach */
    ck_assert(rtn_error(&grid, &misfit) > 0.5);
    ck_assert(misfit.groups == N * K / 32 && misfit.lost > 0.5);
    fill(1); /* one group of 64 is lost, and the others are not */
    for (int i = 0; i < 32; i++)
        W[i] *= 1e-9F;
    (void)rtn_error(&grid, &misfit);
    ck_assert(misfit.groups == 1 && misfit.lost < 1e-15 && misfit.ordinary > 1e-3);
    grid.storage = SCALE_BF16;
    fill(1e-9F);
    ck_assert(rtn_error(&grid, &misfit) < 0.02);
    ck_assert(misfit.groups == 0);
}
END_TEST

/* Steps of half as much again and more cost rounding to nearest, too, more than it loses anyway. */
START_TEST(test_a_step_too_coarse_is_counted_for_every_method) {
    struct quant_grid grid = grid_of(4, 32, true, SCALE_DUAL);
    struct scale_misfit misfit;
    float most = 0;
    fill(1);
    const double usual = rtn_error(&grid, &misfit);
    for (int i = 0; i < N * K; i++)
        most = fmaxf(most, fabsf(W[i]));
    fill(0.65F * 7.5F * 0x1p-24F / most);
    const double error = rtn_error(&grid, &misfit);
    ck_assert(misfit.groups == N * K / 32 && error > 2 * usual);
    ck_assert_msg(misfit.lost > misfit.ordinary && misfit.lost < error, "%g of %g, usually %g",
                  misfit.lost, error, usual);
}
END_TEST

/* Groups of zeros, of one weight, of equal weights, of subnormal and of huge weights. */
START_TEST(test_odd_groups_keep_what_can_be_kept) {
    static const float values[] = {1.0F,  -1.0F,  0x1p-24F, -0x1p-20F,
                                   3e-5F, -3e-5F, 40000.0F, -400000.0F};
    for (int i = 0; i < 8 * 2 * 2; i++) {
        struct quant_grid grid = grid_of(4, 32, i / 8 % 2, SCALE_DUAL);
        struct scale_misfit misfit;
        for (int j = 0; j < N * K; j++)
            W[j] = i / 16 == 0 || j % 32 == 5 ? values[i % 8] : 0;
        double error = rtn_error(&grid, &misfit);
        ck_assert_msg(error < 0.02, "%g, sym %d: %g", (double)values[i % 8], grid.sym, error);
    }
    for (int sym = 0; sym < 2; sym++) {
        struct quant_grid grid = grid_of(4, 32, sym, SCALE_DUAL);
        struct scale_misfit misfit;
        fill(0);
        ck_assert(rtn_error(&grid, &misfit) == 0 && misfit.groups == 0);
        fill(0x1p-130F); /* subnormal in float32 and bfloat16: nothing is left, nothing is NaN */
        ck_assert(rtn_error(&grid, &misfit) <= 1);
        ck_assert_int_eq(misfit.groups, N * K / 32);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("scale limits");
    TCase *tc = tcase_create("scale limits");
    tcase_add_test(tc, test_scales_reach_down_to_the_subnormals_of_f16);
    tcase_add_test(tc, test_dual_scales_are_the_nearest_that_both_types_hold);
    tcase_add_test(tc, test_coarse_scales_do_not_clip_the_largest_weight);
    tcase_add_test(tc, test_ranges_beyond_the_largest_scale_are_clipped_alike);
    tcase_add_test(tc, test_small_and_large_weights_lose_no_more_than_others);
    tcase_add_test(tc, test_groups_that_do_not_fit_are_counted);
    tcase_add_test(tc, test_a_step_too_coarse_is_counted_for_every_method);
    tcase_add_test(tc, test_odd_groups_keep_what_can_be_kept);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
