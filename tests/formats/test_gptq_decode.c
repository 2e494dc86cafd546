/* Reading the GPTQ layouts: what files by other tools may look like, and what is refused. */
#include "layout_modules.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static llmq_error err;
static uint64_t seed = 20260826; /* printed by main */

/* A sound symmetric module and its tensors, for tests that change one thing. */
static struct qlinear sound;
static struct encoded file;
static struct layout_config config;

static void sound_setup(void) {
    random_module(&(struct module_shape){64, 128, 32, 4, true, 1}, &seed, &sound);
    encode(&layout_gptq, &sound, &file);
    config = config_of(&layout_gptq, &sound);
}

static void sound_teardown(void) {
    qlinear_free(&sound);
    encoded_free(&file);
}

static void decodes_the_same(void) {
    struct qlinear back;
    ck_assert_ok(layout_gptq.decode(&config, file.data, &back, &err), &err);
    check_equal(&sound, &back);
    qlinear_free(&back);
}

START_TEST(absent_zeros_of_a_symmetric_module_are_tolerated) {
    file.data[QZEROS] = (struct layout_data){0};
    decodes_the_same();
}
END_TEST

START_TEST(an_absent_g_idx_means_column_order) {
    file.data[G_IDX] = (struct layout_data){0};
    decodes_the_same();
    file.data[QZEROS] = (struct layout_data){0};
    decodes_the_same();
}
END_TEST

START_TEST(a_64_bit_g_idx_is_tolerated) {
    int64_t wide[128];
    for (int k = 0; k < 128; k++)
        wide[k] = k / 32;
    file.data[G_IDX] = (struct layout_data){{"g_idx", DTYPE_I64, 1, {128, 0}}, wide, sizeof wide};
    decodes_the_same();
}
END_TEST

START_TEST(f32_and_bf16_scales_are_tolerated) {
    float f32[4 * 64];
    uint16_t bf16[4 * 64];
    struct qlinear back;
    for (int g = 0; g < 4; g++)
        for (int n = 0; n < 64; n++) {
            f32[g * 64 + n] = sound.scales[n * 4 + g];
            bf16[g * 64 + n] = f32_to_bf16(f32[g * 64 + n]);
        }
    file.data[SCALES] = (struct layout_data){{"scales", DTYPE_F32, 2, {4, 64}}, f32, sizeof f32};
    decodes_the_same();
    file.data[SCALES] = (struct layout_data){{"scales", DTYPE_BF16, 2, {4, 64}}, bf16, sizeof bf16};
    ck_assert_ok(layout_gptq.decode(&config, file.data, &back, &err), &err);
    for (int n = 0; n < 64; n++)
        ck_assert(back.scales[n * 4] == bf16_to_f32(bf16[n]));
    qlinear_free(&back);
}
END_TEST

START_TEST(shapes_overrule_the_config) {
    config.bits = 8;
    config.group = 64;
    decodes_the_same();
    config.bits = 2;
    config.group = -1;
    decodes_the_same();
    config.sym = false;
    decodes_the_same();
}
END_TEST

START_TEST(act_order_maps_are_kept) {
    int32_t *map = file.bytes[G_IDX];
    struct qlinear back;
    for (int k = 0; k < 128; k++)
        map[k] = (k * 37 + 5) % 4;
    ck_assert_ok(layout_gptq.decode(&config, file.data, &back, &err), &err);
    ck_assert_ptr_nonnull(back.group_of);
    ck_assert_mem_eq(back.group_of, map, 128 * sizeof *map);
    ck_assert_mem_eq(back.codes, sound.codes, 64 * 128);
    ck_assert_ok(qlinear_check(&back, &err), &err);
    qlinear_free(&back);
}
END_TEST

/* --- hostile tensors -------------------------------------------------------------------------- */

static void decode_refused(const char *part) {
    struct qlinear back;
    ck_assert_fails(layout_gptq.decode(&config, file.data, &back, &err), LLMQ_E_INPUT, part, &err);
    ck_assert_ptr_null(back.codes);
}

START_TEST(missing_tensors_are_refused) {
    const struct layout_data zeros = file.data[QZEROS];
    config.sym = false;
    file.data[QZEROS] = (struct layout_data){0};
    decode_refused("qzeros: expected it, since the module is asymmetric");
    file.data[QZEROS] = zeros;
    file.data[SCALES].data = NULL;
    decode_refused("scales: expected it");
    file.data[QWEIGHT].data = NULL;
    decode_refused("qweight: expected it");
}
END_TEST

START_TEST(group_maps_out_of_range_are_refused) {
    int32_t *map = file.bytes[G_IDX];
    map[127] = 4;
    decode_refused("g_idx: input 127: expected a group from 0 to 3, found 4");
    map[127] = -1;
    decode_refused("found -1");
}
END_TEST

START_TEST(scales_that_are_no_scales_are_refused) {
    static const uint16_t bad[] = {0x7C00, 0xFC00, 0x7E00, 0x9000}; /* inf, -inf, NaN, negative */
    uint16_t *scales = file.bytes[SCALES];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        scales[65] = bad[i];
        decode_refused("scales: output 1, group 1");
    }
    scales[65] = 0; /* a zero scale is odd, but means zeros */
    struct qlinear back;
    ck_assert_ok(layout_gptq.decode(&config, file.data, &back, &err), &err);
    qlinear_free(&back);
}
END_TEST

/* Shapes and dtypes that disagree with the others or with the bytes. */
START_TEST(shapes_that_disagree_are_refused) {
    static const struct {
        int tensor;
        enum dtype dtype;
        int rank;
        uint64_t shape[2];
        const char *part;
    } cases[] = {
        {QWEIGHT, DTYPE_F32, 2, {16, 64}, "qweight: expected I32, found F32"},
        {QWEIGHT, DTYPE_I32, 1, {1024, 0}, "qweight: expected 2 dimensions, found 1"},
        {QWEIGHT, DTYPE_I32, 2, {64, 16}, "qweight"},
        {QWEIGHT, DTYPE_I32, 2, {32, 32}, "qweight: expected 16 rows"},
        {QWEIGHT, DTYPE_I32, 2, {16, 65}, "qweight: expected 4160 bytes by its shape, found 4096"},
        {QWEIGHT, DTYPE_I32, 2, {0, 64}, "qweight: expected dimensions from 1"},
        {QWEIGHT, DTYPE_I32, 2, {UINT64_MAX, 64}, "qweight: expected dimensions from 1"},
        {QWEIGHT, DTYPE_I32, 2, {1u << 31, 1u << 31}, "qweight"},
        {QZEROS, DTYPE_I32, 2, {8, 4}, "qweight: expected 8 rows for 128 inputs of 2 bits"},
        {QZEROS, DTYPE_I32, 2, {2, 16}, "qweight: expected 32 rows for 128 inputs of 8 bits"},
        {QZEROS, DTYPE_U8, 2, {4, 32}, "qzeros: expected I32, found U8"},
        {SCALES, DTYPE_I32, 2, {4, 32}, "scales: expected F16, BF16 or F32, found I32"},
        {SCALES, DTYPE_F16, 2, {2, 128}, "qweight: expected 8 rows for 128 inputs of 2 bits"},
        {SCALES, DTYPE_F16, 2, {8, 32}, "qweight: expected 32 rows for 128 inputs of 8 bits"},
        {G_IDX, DTYPE_I32, 2, {64, 2}, "g_idx: expected 1 dimensions, found 2"},
        {G_IDX, DTYPE_I64, 1, {64, 0}, "qweight: expected 8 rows for 64 inputs"},
        {G_IDX, DTYPE_F32, 1, {128, 0}, "g_idx: expected I32 or I64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct layout_data *d = &file.data[cases[i].tensor];
        const struct layout_data kept = *d;
        d->info.dtype = cases[i].dtype;
        d->info.rank = cases[i].rank;
        memcpy(d->info.shape, cases[i].shape, sizeof d->info.shape);
        decode_refused(cases[i].part);
        *d = kept;
    }
    decodes_the_same();
    file.data[QZEROS].info.shape[0] = 2;
    file.data[QZEROS].nbytes = 64;
    decode_refused("qzeros: expected 4 rows as in scales, found 2");
}
END_TEST

START_TEST(groups_that_do_not_divide_are_refused_or_understood) {
    /* 128 inputs in 3 groups: only the config can say 48, 48, 32. */
    file.data[SCALES].info.shape[0] = file.data[QZEROS].info.shape[0] = 3;
    file.data[SCALES].nbytes = 3 * 64 * 2;
    file.data[QZEROS].nbytes = 3 * 8 * 4;
    file.data[G_IDX].data = NULL;
    decode_refused("scales: expected 4 groups for 128 inputs in groups of 32, found 3");
    struct qlinear back;
    config.group = 48;
    ck_assert_ok(layout_gptq.decode(&config, file.data, &back, &err), &err);
    ck_assert_int_eq(back.groups, 3);
    ck_assert_int_eq(back.group, 48);
    qlinear_free(&back);
}
END_TEST

START_TEST(random_descriptions_never_crash) {
    for (int round = 0; round < 20000; round++) {
        struct layout_data data[LAYOUT_MAX_TENSORS];
        struct qlinear back;
        memcpy(data, file.data, sizeof data);
        struct layout_data *d = &data[random_next(&seed) % TENSORS];
        const uint64_t what = random_next(&seed) % 4;
        if (what == 0)
            d->info.shape[random_next(&seed) % 2] = random_next(&seed) >> (random_next(&seed) % 64);
        else if (what == 1)
            d->info.dtype = (enum dtype)(random_next(&seed) % DTYPE_COUNT);
        else if (what == 2)
            d->data = NULL;
        else
            config.group = (int64_t)(random_next(&seed) % 300) - 1;
        config.bits = (int)(random_next(&seed) % 10);
        if (layout_gptq.decode(&config, data, &back, &err) == LLMQ_OK) {
            ck_assert_ok(qlinear_check(&back, &err), &err);
            qlinear_free(&back);
        }
    }
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
