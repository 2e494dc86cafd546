/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the GPTQ layouts: what files by other tools may look like, and what is refused. */
#include "sound_module.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static llmq_error err;
static uint64_t seed = 20260826; /* printed by main */

static void sound_setup(void) {
    sound_create(&layout_gptq, &(struct module_shape){64, 128, 32, 4, true, 1}, &seed);
}

START_TEST(absent_zeros_of_a_symmetric_module_are_tolerated) {
    sound.file.data[QZEROS] = (struct layout_data){0};
    decodes_the_same();
}
END_TEST

START_TEST(an_absent_g_idx_means_column_order) {
    sound.file.data[G_IDX] = (struct layout_data){0};
    decodes_the_same();
    sound.file.data[QZEROS] = (struct layout_data){0};
    decodes_the_same();
    sound.config.desc_act = true; /* then there was a map, and it is lost */
    decode_refused("g_idx: expected it, since desc_act says that columns were reordered");
}
END_TEST

START_TEST(a_64_bit_g_idx_is_tolerated) {
    int64_t wide[128];
    for (int k = 0; k < 128; k++)
        wide[k] = k / 32;
    sound.file.data[G_IDX] =
        (struct layout_data){{"g_idx", DTYPE_I64, 1, {128, 0}}, wide, sizeof wide};
    decodes_the_same();
}
END_TEST

START_TEST(f32_and_bf16_scales_are_tolerated) {
    float f32[4 * 64];
    uint16_t bf16[4 * 64];
    struct qlinear back;
    for (int g = 0; g < 4; g++)
        for (int n = 0; n < 64; n++) {
            f32[g * 64 + n] = sound.module.scales[n * 4 + g];
            bf16[g * 64 + n] = f32_to_bf16(f32[g * 64 + n]);
        }
    sound.file.data[SCALES] =
        (struct layout_data){{"scales", DTYPE_F32, 2, {4, 64}}, f32, sizeof f32};
    decodes_the_same();
    sound.file.data[SCALES] =
        (struct layout_data){{"scales", DTYPE_BF16, 2, {4, 64}}, bf16, sizeof bf16};
    ck_assert_ok(layout_gptq.decode(&sound.config, sound.file.data, &back, &err), &err);
    for (int n = 0; n < 64; n++)
        ck_assert(back.scales[n * 4] == bf16_to_f32(bf16[n]));
    qlinear_free(&back);
}
END_TEST

START_TEST(shapes_overrule_the_config) {
    sound.config.bits = 8;
    sound.config.group = 64;
    decodes_the_same();
    sound.config.bits = 2;
    sound.config.group = -1;
    decodes_the_same();
    sound.config.sym = false;
    decodes_the_same();
}
END_TEST

START_TEST(act_order_maps_are_kept) {
    int32_t *map = sound.file.bytes[G_IDX];
    struct qlinear back;
    for (int k = 0; k < 128; k++)
        map[k] = (k * 37 + 5) % 4;
    ck_assert_ok(layout_gptq.decode(&sound.config, sound.file.data, &back, &err), &err);
    ck_assert_ptr_nonnull(back.group_of);
    ck_assert_mem_eq(back.group_of, map, 128 * sizeof *map);
    ck_assert_mem_eq(back.codes, sound.module.codes, 64 * 128);
    ck_assert_ok(qlinear_check(&back, &err), &err);
    qlinear_free(&back);
}
END_TEST

/* --- hostile tensors -------------------------------------------------------------------------- */

START_TEST(missing_tensors_are_refused) {
    const struct layout_data zeros = sound.file.data[QZEROS];
    sound.config.sym = false;
    sound.file.data[QZEROS] = (struct layout_data){0};
    decode_refused("qzeros: expected it, since the module is asymmetric");
    sound.file.data[QZEROS] = zeros;
    sound.file.data[SCALES].data = NULL;
    decode_refused("scales: expected it");
    sound.file.data[QWEIGHT].data = NULL;
    decode_refused("qweight: expected it");
}
END_TEST

START_TEST(group_maps_out_of_range_are_refused) {
    int32_t *map = sound.file.bytes[G_IDX];
    map[127] = 4;
    decode_refused("g_idx: input 127: expected a group from 0 to 3, found 4");
    map[127] = -1;
    decode_refused("found -1");
}
END_TEST

START_TEST(scales_that_are_no_scales_are_refused) {
    static const uint16_t bad[] = {0x7C00, 0xFC00, 0x7E00, 0x9000}; /* inf, -inf, NaN, negative */
    uint16_t *scales = sound.file.bytes[SCALES];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        scales[65] = bad[i];
        decode_refused("scales: output 1, group 1");
    }
    scales[65] = 0; /* a zero scale is odd, but means zeros */
    struct qlinear back;
    ck_assert_ok(layout_gptq.decode(&sound.config, sound.file.data, &back, &err), &err);
    qlinear_free(&back);
}
END_TEST

/* Shapes and dtypes that disagree with the others or with the bytes. */
START_TEST(shapes_that_disagree_are_refused) {
    static const struct disagreement cases[] = {
        {QWEIGHT, DTYPE_F32, {16, 64}, "qweight: expected I32, found F32"},
        {QWEIGHT, DTYPE_I32, {1024, 0}, "qweight: expected 2 dimensions, found 1"},
        {QWEIGHT, DTYPE_I32, {64, 16}, "qweight"},
        {QWEIGHT, DTYPE_I32, {32, 32}, "qweight: expected 16 rows"},
        {QWEIGHT, DTYPE_I32, {16, 65}, "qweight: expected 4160 bytes by its shape, found 4096"},
        {QWEIGHT, DTYPE_I32, {0, 64}, "qweight: expected dimensions from 1"},
        {QWEIGHT, DTYPE_I32, {UINT64_MAX, 64}, "qweight: expected dimensions from 1"},
        {QWEIGHT, DTYPE_I32, {1u << 31, 1u << 31}, "qweight"},
        {QZEROS, DTYPE_I32, {8, 4}, "qweight: expected 8 rows for 128 inputs of 2 bits"},
        {QZEROS, DTYPE_I32, {2, 16}, "qweight: expected 32 rows for 128 inputs of 8 bits"},
        {QZEROS, DTYPE_U8, {4, 32}, "qzeros: expected I32, found U8"},
        {SCALES, DTYPE_I32, {4, 32}, "scales: expected F16, BF16 or F32, found I32"},
        {SCALES, DTYPE_F16, {2, 128}, "qweight: expected 8 rows for 128 inputs of 2 bits"},
        {SCALES, DTYPE_F16, {8, 32}, "qweight: expected 32 rows for 128 inputs of 8 bits"},
        {G_IDX, DTYPE_I32, {64, 2}, "g_idx: expected 1 dimensions, found 2"},
        {G_IDX, DTYPE_I64, {64, 0}, "qweight: expected 8 rows for 64 inputs"},
        {G_IDX, DTYPE_F32, {128, 0}, "g_idx: expected I32 or I64"},
    };
    disagreements_refused(cases, sizeof cases / sizeof cases[0]);
    sound.file.data[QZEROS].info.shape[0] = 2;
    sound.file.data[QZEROS].nbytes = 64;
    decode_refused("qzeros: expected 4 rows as in scales, found 2");
}
END_TEST

START_TEST(groups_that_do_not_divide_are_refused_or_understood) {
    /* 128 inputs in 3 groups: only the config can say 48, 48, 32. */
    sound.file.data[SCALES].info.shape[0] = sound.file.data[QZEROS].info.shape[0] = 3;
    sound.file.data[SCALES].nbytes = 3 * 64 * 2;
    sound.file.data[QZEROS].nbytes = 3 * 8 * 4;
    sound.file.data[G_IDX].data = NULL;
    decode_refused("scales: expected 4 groups for 128 inputs in groups of 32, found 3");
    struct qlinear back;
    sound.config.group = 48;
    ck_assert_ok(layout_gptq.decode(&sound.config, sound.file.data, &back, &err), &err);
    ck_assert_int_eq(back.groups, 3);
    ck_assert_int_eq(back.group, 48);
    qlinear_free(&back);
}
END_TEST

START_TEST(random_descriptions_never_crash) {
    random_descriptions_survived(TENSORS, NO_NUMBERS, &seed);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gptq, reading");
    TCase *tests = tcase_create("reading");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, sound_setup, sound_teardown);
    tcase_add_test(tests, absent_zeros_of_a_symmetric_module_are_tolerated);
    tcase_add_test(tests, an_absent_g_idx_means_column_order);
    tcase_add_test(tests, a_64_bit_g_idx_is_tolerated);
    tcase_add_test(tests, f32_and_bf16_scales_are_tolerated);
    tcase_add_test(tests, shapes_overrule_the_config);
    tcase_add_test(tests, act_order_maps_are_kept);
    tcase_add_test(tests, missing_tensors_are_refused);
    tcase_add_test(tests, group_maps_out_of_range_are_refused);
    tcase_add_test(tests, scales_that_are_no_scales_are_refused);
    tcase_add_test(tests, shapes_that_disagree_are_refused);
    tcase_add_test(tests, groups_that_do_not_divide_are_refused_or_understood);
    tcase_add_test(tests, random_descriptions_never_crash);
    suite_add_tcase(suite, tests);
    printf("seed %" PRIu64 "\n", seed);
    return run_suite(suite);
}
