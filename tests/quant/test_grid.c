/* SPDX-License-Identifier: Apache-2.0 */
/* Scales, zero points and round-to-nearest: the grid's promises for every range of weights. */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/grid.h"
#include "quant/quant.h"
#include "support.h"
#include "tensor/dtype.h"

#define SEED 77U

static uint32_t rng_state;

static float uniform(void) {
    rng_state = rng_state * 1664525U + 1013904223U;
    return (float)(rng_state >> 8) / (float)(1 << 23) - 1.0F;
}

static struct quant_grid grid_of(int bits, int64_t group, bool sym, enum scale_storage storage) {
    return (struct quant_grid){
        .bits = bits, .group = group, .sym = sym, .zmax = (1 << bits) - 1, .storage = storage};
}

static const float ranges[][2] = {
    {-1, 1},         {-0.3F, 0.7F},   {0, 1},          {-1, 0},       {0, 0},
    {-1e-45F, 0},    {0, 1e-40F},     {-1e-9F, 1e-9F}, {-1e5F, 1e6F}, {0, 3e38F},
    {-3e38F, 3e38F}, {-1e-3F, 10.0F}, {-10.0F, 1e-3F}, {-2e6F, 0},    {-0.012F, 0.0345F},
};
#define RANGES ((int)(sizeof ranges / sizeof *ranges))

/* Every range, bits, symmetry and storage. */
static void for_each_grid(void (*check)(const struct quant_grid *grid, float lo, float hi)) {
    static const int bits[] = {2, 3, 4, 8};
    for (int i = 0; i < RANGES * 4 * 2 * 4 * 2; i++) {
        int r = i % RANGES, rest = i / RANGES;
        struct quant_grid grid =
            grid_of(bits[rest % 4], 32, rest / 4 % 2, (enum scale_storage)(rest / 8 % 4));
        grid.zmin = rest / 32; /* 0, then 1 as the first version of GPTQ's format needs */
        check(&grid, ranges[r][0], ranges[r][1]);
    }
}

static void check_finite(const struct quant_grid *grid, float lo, float hi) {
    float s = 0, z = -1, top = grid_max_code(grid);
    grid_params(grid, lo, hi, &s, &z);
    ck_assert(s > 0 && isfinite(s));
    ck_assert(z == rintf(z) && z >= (float)grid->zmin && z <= top);
    ck_assert(grid_level(0, s, z, top) == 0);
    if (grid->sym)
        ck_assert(z == (top + 1) / 2);
}

START_TEST(test_every_range_has_a_finite_scale_and_an_exact_zero) {
    for_each_grid(check_finite);
}
END_TEST

static void check_dual(const struct quant_grid *grid, float lo, float hi) {
    float s = 0, z = 0;
    grid_params(grid, lo, hi, &s, &z);
    if (grid->storage == SCALE_DUAL)
        ck_assert(bf16_to_f32(f32_to_bf16(s)) == s);
    if (grid->storage == SCALE_DUAL || grid->storage == SCALE_F16)
        ck_assert(f16_to_f32(f32_to_f16(s)) == s && s <= 65504.0F);
}

START_TEST(test_dual_scales_are_exact_in_f16_and_bf16) {
    for_each_grid(check_dual);
    for (int i = 0; i < 20000; i++) {
        struct quant_grid grid = grid_of(4, 32, i & 1, SCALE_DUAL);
        float size = ldexpf(1, i % 60 - 40);
        check_dual(&grid, -size * fabsf(uniform()), size * fabsf(uniform()));
    }
}
END_TEST

START_TEST(test_the_documented_dual_scale) {
    struct quant_grid grid = grid_of(4, 32, true, SCALE_DUAL);
    float s = 0, z = 0, amax = 0.0123456F * 7.5F;
    grid_params(&grid, -amax, 0, &s, &z);
    ck_assert(s == 0.0123291015625F);
    grid.storage = SCALE_F16;
    grid_params(&grid, -amax, 0, &s, &z);
    ck_assert(s == 0.0123443603515625F);
}
END_TEST

/* Both ends of the range lie on the grid or at most half a step, plus the rounding of the scale,
 * outside of it. */
static void check_covers(const struct quant_grid *grid, float lo, float hi) {
    float s = 0, z = 0, top = grid_max_code(grid);
    grid_params(grid, lo, hi, &s, &z);
    if (s >= 65000.0F || !isfinite(hi - lo))
        return; /* larger than the storage can say */
    double rounding = grid->storage == SCALE_F32 ? 1e-5 : grid->storage == SCALE_F16 ? 5e-4 : 4e-3;
    /* Scales in steps of their own size leave an end up to one step of the grid outside. */
    bool coarse = grid->storage != SCALE_F32 && s < 0x1p-14F;
    double slack = (0.5 + (coarse ? 1 : rounding * (double)top)) * (double)s;
    ck_assert_msg((double)lo >= -(double)z * (double)s - slack &&
                      (double)hi <= (double)(top - z) * (double)s + slack,
                  "bits %d sym %d zmin %d: [%g, %g] with scale %g, zero %g", grid->bits, grid->sym,
                  grid->zmin, (double)lo, (double)hi, (double)s, (double)z);
}

START_TEST(test_the_grid_covers_the_range) {
    for_each_grid(check_covers);
}
END_TEST

START_TEST(test_zero_points_keep_to_their_limits) {
    struct quant_grid grid = grid_of(4, 32, false, SCALE_F32);
    float s = 0, z = 0;
    grid_params(&grid, 0, 15, &s, &z);
    ck_assert(z == 0 && s == 1);
    grid.zmin = 1; /* one step fewer above zero: the step grows */
    grid_params(&grid, 0, 14, &s, &z);
    ck_assert(z == 1 && s == 1);
    grid.zmin = 0;
    grid.zmax = 12;
    grid_params(&grid, -12, 0, &s, &z);
    ck_assert(z == 12 && s == 1);
}
END_TEST

START_TEST(test_parameters_are_the_papers) {
    struct quant_grid grid = grid_of(4, 32, true, SCALE_F32);
    float s = 0, z = 0;
    grid_params(&grid, -3, 1, &s, &z);
    ck_assert(s == 6.0F / 15.0F && z == 8);
    grid.sym = false;
    grid_params(&grid, -3, 1, &s, &z);
    ck_assert(s == 4.0F / 15.0F && z == rintf(3.0F / s));
    grid_params(&grid, 0, 0, &s, &z);
    ck_assert(s == 2.0F / 15.0F);
}
END_TEST

START_TEST(test_levels_round_half_to_even_and_clamp) {
    static const float in[] = {0.5F, 1.5F, 2.5F,  -0.5F, -1.5F, 2.49F,
                               6.6F, 7.5F, 1e30F, -8.4F, -1e30F};
    static const float out[] = {0, 2, 2, 0, -2, 2, 7, 7, 7, -8, -8};
    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        ck_assert(grid_level(in[i], 1, 8, 15) == out[i]);
    ck_assert(grid_level(NAN, 1, 8, 15) == -8);
    ck_assert(grid_level(INFINITY, 1, 8, 15) == 7);
}
END_TEST

START_TEST(test_range_includes_zero) {
    float w[41], lo = 0, hi = 0;
    for (int count = 0; count <= 41; count++) {
        for (int i = 0; i < count; i++)
            w[i] = (float)(i + 1);
        grid_range(w, count, &lo, &hi);
        ck_assert(lo == 0 && hi == (float)count);
        for (int i = 0; i < count; i++)
            w[i] = -w[i];
        grid_range(w, count, &lo, &hi);
        ck_assert(hi == 0 && lo == -(float)count);
    }
}
END_TEST

/* --- round to nearest ------------------------------------------------------------------------- */

#define N 7
#define K 96

static void check_nearest(int bits, int64_t group, bool sym) {
    float W[N * K], w[K];
    for (int i = 0; i < N * K; i++)
        W[i] = uniform();
    struct quant_grid grid = grid_of(bits, group, sym, SCALE_DUAL);
    struct qlinear q = {0};
    /* A scale rounded down to eight bits takes the grid's ends inwards, by 2^-8 of its reach. */
    double reach = 0.5 + ldexp((1 << bits) - 1, -8);
    ck_assert_int_eq(rtn_quantize(&grid, W, NULL, N, K, &q, NULL), LLMQ_OK);
    ck_assert_int_eq(qlinear_check(&q, NULL), LLMQ_OK);
    for (int64_t row = 0; row < N; row++) {
        qlinear_dequantize(&q, row, row + 1, w);
        for (int64_t c = 0; c < K; c++) {
            double s = (double)q.scales[row * q.groups + c / q.group];
            int code = q.codes[row * K + c];
            double error = fabs((double)W[row * K + c] - (double)w[c]);
            bool edge = code == 0 || code == (1 << bits) - 1;
            ck_assert(error <= 0.5 * s * (1 + 1e-5) || (edge && error <= reach * s));
        }
    }
    qlinear_free(&q);
}

START_TEST(test_rtn_takes_the_nearest_code) {
    static const int bits[] = {2, 3, 4, 8};
    static const int64_t groups[] = {-1, 1, 8, 48, 96};
    for (int b = 0; b < 4; b++)
        for (int g = 0; g < 5; g++)
            for (int sym = 0; sym < 2; sym++)
                check_nearest(bits[b], groups[g], sym);
}
END_TEST

START_TEST(test_rtn_names_the_weight_that_is_not_finite) {
    float W[N * K] = {0};
    struct quant_grid grid = grid_of(4, 32, true, SCALE_DUAL);
    struct qlinear q = {0};
    llmq_error err = {0};
    W[6 * K + 95] = -INFINITY;
    ck_assert_int_eq(rtn_quantize(&grid, W, NULL, N, K, &q, &err), LLMQ_E_NUMERIC);
    ck_assert_ptr_nonnull(strstr(err.message, "row 6, column 95"));
    W[4 * K + 3] = NAN;
    ck_assert_int_eq(rtn_quantize(&grid, W, NULL, N, K, &q, &err), LLMQ_E_NUMERIC);
    ck_assert_ptr_nonnull(strstr(err.message, "row 4, column 3"));
    ck_assert_ptr_null(q.codes);
}
END_TEST

START_TEST(test_grids_that_do_not_fit_are_usage_errors) {
    float W[N * K] = {0};
    struct qlinear q = {0};
    struct quant_grid bad[] = {grid_of(5, 32, true, SCALE_DUAL),
                               grid_of(4, 36, true, SCALE_DUAL),
                               grid_of(4, 0, true, SCALE_DUAL),
                               grid_of(4, -2, true, SCALE_DUAL),
                               grid_of(4, 192, true, SCALE_DUAL),
                               {.bits = 4, .group = 32, .zmin = 3, .zmax = 2},
                               {.bits = 4, .group = 32, .zmax = 16},
                               {.bits = 4, .group = 32, .number = NUMBER_E4M3, .sym = true},
                               {.bits = 4, .group = 32, .number = NUMBER_E2M1, .zmax = 15}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(rtn_quantize(&bad[i], W, NULL, N, K, &q, NULL), LLMQ_E_USAGE);
    ck_assert_ptr_null(q.codes);
}
END_TEST

START_TEST(test_fit_group_is_the_largest_divisor_not_above_the_wish) {
    ck_assert_int_eq(quant_fit_group(4096, 128), 128);
    ck_assert_int_eq(quant_fit_group(288, 128), 96);
    ck_assert_int_eq(quant_fit_group(97, 64), 1);
    ck_assert_int_eq(quant_fit_group(64, 128), 64);
    ck_assert_int_eq(quant_fit_group(96, -1), 96);
    ck_assert_int_eq(quant_fit_group(96, 0), 1);
}
END_TEST

int main(void) {
    Suite *s = suite_create("grid");
    TCase *tc = tcase_create("grid");
    tcase_add_test(tc, test_every_range_has_a_finite_scale_and_an_exact_zero);
    tcase_add_test(tc, test_dual_scales_are_exact_in_f16_and_bf16);
    tcase_add_test(tc, test_the_documented_dual_scale);
    tcase_add_test(tc, test_the_grid_covers_the_range);
    tcase_add_test(tc, test_zero_points_keep_to_their_limits);
    tcase_add_test(tc, test_parameters_are_the_papers);
    tcase_add_test(tc, test_levels_round_half_to_even_and_clamp);
    tcase_add_test(tc, test_range_includes_zero);
    tcase_add_test(tc, test_rtn_takes_the_nearest_code);
    tcase_add_test(tc, test_rtn_names_the_weight_that_is_not_finite);
    tcase_add_test(tc, test_grids_that_do_not_fit_are_usage_errors);
    tcase_add_test(tc, test_fit_group_is_the_largest_divisor_not_above_the_wish);
    suite_add_tcase(s, tc);

    rng_state = SEED;
    printf("grid: seed %u\n", SEED);
    return run_suite(s);
}
