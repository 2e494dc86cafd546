/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of the compressed-tensors layout: golden vectors of the format description, round
 * trips, what is tolerated and refused. */
#include "sound_module.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static llmq_error err;
static uint64_t seed = 20260902; /* printed by main */
static const struct layout *const ct = &layout_compressed_tensors;

/* Positions of a module's tensors. */
enum { PACKED, SCALE, SHAPE, ZERO_POINT, INDEX, CT_TENSORS };

/* --- golden vectors --------------------------------------------------------------------------- */

static const struct {
    int bits;
    const char *packed, *zeros;
} vectors[] = {
    {2, "8142b59a1861f9d7b2b5909f49aabcb73ce3029c4d1e3c807a728884d260de9d",
     "778f20b0332214c9cb8528db9761cbf5584d8867aa2b8c07c40bce9dfd13c49b"},
    {3, "10d7da17ea1b2570cbe775aa6ca5a336a1e6dc0ae44fdd936f8f7621fedc3fb8",
     "e6dfa449fb55f64335cfc1db3ef69ac31994dfeb4aa4492586fcef04e08ea478"},
    {4, "a708c8df09cfcb7f662d700a6952692b673a446b42473e108f08afd81cd1d652",
     "b2b42222b9d9675fba7eb378a87fa29119487f1b39a325d34aec7f061889be00"},
    {8, "61c412f87c03b2526161ac0af4e631e0b679f39afece493358274bdd67968eb8",
     "5d534f3f95592b8497ec0f1751aef0b2690a85bd94a4a94d0a80758fd7721435"},
};
static const char golden_scales[] =
    "5e8b349056c897385983335a2a4f09e7d14d30ebd6f4b0c6fdd74ea1712d4bed";

/* Also at the widths that are read but not written. */
START_TEST(golden_vectors_are_reproduced) {
    for (int sym = 0; sym < 2; sym++) {
        struct qlinear q;
        struct encoded e;
        golden_module(vectors[_i].bits, sym, &q);
        make_room(ct, &q, &e);
        ck_assert_ok(ct->encode(&q, e.bytes, &err), &err);
        check_hash(&e, PACKED, vectors[_i].packed);
        check_hash(&e, SCALE, golden_scales);
        ck_assert_int_eq(((const int64_t *)e.bytes[SHAPE])[0], 64);
        ck_assert_int_eq(((const int64_t *)e.bytes[SHAPE])[1], 256);
        if (sym)
            ck_assert_ptr_null(e.bytes[ZERO_POINT]);
        else
            check_hash(&e, ZERO_POINT, vectors[_i].zeros);
        const struct layout_config config = config_of(ct, &q);
        check_decodes_to(ct, &config, &e, &q);
        qlinear_free(&q);
        encoded_free(&e);
    }
}
END_TEST

/* The 8 x 8 matrix u = (n + 2k) mod 16, z = n + 1 of the description. */
START_TEST(the_tiny_matrix_has_its_words) {
    static const uint32_t packed[8] = {0xECA86420, 0xFDB97531, 0x0ECA8642, 0x1FDB9753,
                                       0x20ECA864, 0x31FDB975, 0x420ECA86, 0x531FDB97};
    struct qlinear q;
    struct encoded e;
    tiny_module(&q);
    encode(ct, &q, &e);
    ck_assert_mem_eq(e.bytes[PACKED], packed, sizeof packed);
    ck_assert_uint_eq(*(const uint32_t *)e.bytes[ZERO_POINT], 0x87654321);
    qlinear_free(&q);
    encoded_free(&e);
}
END_TEST

/* --- round trips ------------------------------------------------------------------------------ */

START_TEST(random_modules_survive) {
    static const struct {
        int64_t n, k, group;
    } shapes[] = {{32, 32, -1},  {8, 8, 2},      {64, 288, 96},  {96, 288, -1},
                  {160, 72, 12}, {512, 128, 64}, {32, 1056, 33}, {544, 1024, 128}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int bits = 4; bits <= 8; bits += 4)
            for (int sym = 0; sym < 2; sym++) {
                const struct module_shape shape = {shapes[i].n, shapes[i].k, shapes[i].group,
                                                   bits,        sym,         0};
                check_survives(ct, &shape, &seed);
            }
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

static void refuse_shape(int64_t n, int64_t k, int bits, int64_t group, const char *part) {
    const struct quant_shape shape = {.n = n, .k = k, .bits = bits, .group = group, .sym = false};
    ck_assert_fails(ct->accepts(&shape, &err), LLMQ_E_UNSUPPORTED, part, &err);
}

START_TEST(shapes_that_do_not_pack_are_refused_with_what_would_do) {
    refuse_shape(64, 128, 3, 128, "expected 4 or 8 bits for the compressed-tensors format, found");
    ck_assert_ptr_nonnull(strstr(err.hint, "gptq"));
    refuse_shape(64, 100, 4, -1, "in_features 100 is not a multiple of 8");
    refuse_shape(65, 128, 4, -1, "out_features 65 is not a multiple of 8");
    refuse_shape(64, 288, 8, 128, "group size 128 does not divide in_features 288");
    const struct quant_shape odd = {.n = 65, .k = 128, .bits = 4, .group = 32, .sym = true};
    ck_assert_ok(ct->accepts(&odd, &err), &err);
}
END_TEST

/* --- reading ---------------------------------------------------------------------------------- */

static void sound_setup(void) {
    sound_create(&layout_compressed_tensors, &(struct module_shape){64, 128, 32, 4, false, 0},
                 &seed);
}

START_TEST(modules_that_a_file_cannot_hold_are_refused) {
    void *without_zeros[LAYOUT_MAX_TENSORS] = {sound.file.bytes[PACKED], sound.file.bytes[SCALE],
                                               sound.file.bytes[SHAPE]};
    ck_assert_fails(ct->encode(&sound.module, without_zeros, &err), LLMQ_E_INPUT,
                    "expected a symmetric module", &err);
    sound.module.zeros[5] = 16;
    ck_assert_fails(ct->encode(&sound.module, sound.file.bytes, &err), LLMQ_E_INPUT,
                    "row 1, group 1: expected a zero point from 0 to 15, found 16", &err);
    sound.module.zeros[5] = 0;
    sound.module.scales[3] = 0.0123456f;
    ck_assert_fails(ct->encode(&sound.module, sound.file.bytes, &err), LLMQ_E_INPUT,
                    "row 0, group 3: expected a positive scale", &err);
}
END_TEST

START_TEST(shapes_overrule_the_config) {
    sound.config.bits = 8;
    sound.config.group = 64;
    decodes_the_same();
    sound.config.group = -1;
    sound.config.sym = true;
    decodes_the_same();
}
END_TEST

START_TEST(f32_and_bf16_scales_and_a_32_bit_shape_are_tolerated) {
    int32_t shape[2] = {64, 128};
    float f32[64 * 4];
    uint16_t bf16[64 * 4];
    sound.file.data[SHAPE] = (struct layout_data){{"weight_shape", DTYPE_I32, 1, {2, 0}}, shape, 8};
    memcpy(f32, sound.module.scales, sizeof f32);
    sound.file.data[SCALE] =
        (struct layout_data){{"weight_scale", DTYPE_F32, 2, {64, 4}}, f32, sizeof f32};
    decodes_the_same();
    for (int i = 0; i < 64 * 4; i++) {
        bf16[i] = f32_to_bf16(f32[i]);
        sound.module.scales[i] = bf16_to_f32(bf16[i]);
    }
    sound.file.data[SCALE] =
        (struct layout_data){{"weight_scale", DTYPE_BF16, 2, {64, 4}}, bf16, sizeof bf16};
    decodes_the_same();
}
END_TEST

START_TEST(absent_zeros_mean_a_symmetric_module) {
    struct qlinear back;
    sound.file.data[ZERO_POINT].data = NULL;
    decode_refused("weight_zero_point: expected it");
    sound.config.sym = true;
    ck_assert_ok(ct->decode(&sound.config, sound.file.data, &back, &err), &err);
    ck_assert(back.sym);
    ck_assert_int_eq(back.zeros[255], 8);
    qlinear_free(&back);
}
END_TEST

START_TEST(a_group_of_each_column_is_kept_where_it_says_something) {
    int32_t map[128];
    struct qlinear back;
    for (int k = 0; k < 128; k++)
        map[k] = k / 32;
    sound.file.data[INDEX] =
        (struct layout_data){{"weight_g_idx", DTYPE_I32, 1, {128, 0}}, map, 512};
    decodes_the_same();
    map[0] = 3;
    ck_assert_ok(ct->decode(&sound.config, sound.file.data, &back, &err), &err);
    ck_assert_mem_eq(back.group_of, map, sizeof map);
    qlinear_free(&back);
    map[0] = 4;
    decode_refused("weight_g_idx: input 0: expected a group from 0 to 3, found 4");
    sound.file.data[INDEX].info.shape[0] = 127;
    sound.file.data[INDEX].nbytes = 508;
    decode_refused("weight_g_idx: expected 128, found 127");
}
END_TEST

/* The library's initial value, which it keeps where it reorders nothing. */
START_TEST(a_map_that_nobody_set_says_nothing) {
    int32_t map[128];
    memset(map, 0xff, sizeof map);
    sound.file.data[INDEX] =
        (struct layout_data){{"weight_g_idx", DTYPE_I32, 1, {128, 0}}, map, 512};
    decodes_the_same();
    map[127] = 0;
    decode_refused("weight_g_idx: input 0: expected a group from 0 to 3, found -1");
    map[0] = 0;
    decode_refused("weight_g_idx: input 1: expected a group from 0 to 3, found -1");
}
END_TEST

START_TEST(signed_zero_points_are_read_as_they_are) {
    int8_t zeros[64 * 4];
    for (int i = 0; i < 64 * 4; i++)
        zeros[i] = (int8_t)(sound.module.zeros[i] - 8);
    sound.file.data[ZERO_POINT] =
        (struct layout_data){{"weight_zero_point", DTYPE_I8, 2, {64, 4}}, zeros, sizeof zeros};
    decodes_the_same();
    zeros[5] = 8;
    decode_refused("weight_zero_point: output 1, group 1: expected a number from -8 to 7, found 8");
    zeros[5] = -9;
    decode_refused("expected a number from -8 to 7, found -9");
    sound.file.data[ZERO_POINT].info.shape[0] = 32;
    sound.file.data[ZERO_POINT].info.shape[1] = 8;
    decode_refused("weight_zero_point: expected [64, 4], found [32, 8]");
}
END_TEST

/* Ten codes to a word, written here one by one. */
static uint32_t *packed_in_tens(const uint8_t *codes, int streams, int count, int stream, int step,
                                int word_stream, int word_step) {
    const int words = (count + 9) / 10;
    uint32_t *out = calloc((size_t)(streams * words), sizeof *out);
    for (int s = 0; s < streams; s++)
        for (int i = 0; i < count; i++)
            out[s * word_stream + i / 10 * word_step] |= (uint32_t)codes[s * stream + i * step]
                                                         << (i % 10 * 3);
    return out;
}

START_TEST(three_bits_in_tens_are_told_by_their_columns) {
    for (int i = 0; i < 64 * 128; i++)
        sound.module.codes[i] &= 7;
    for (int i = 0; i < 64 * 4; i++)
        sound.module.zeros[i] &= 7;
    sound.module.bits = 3;
    uint32_t *codes = packed_in_tens(sound.module.codes, 64, 128, 128, 1, 13, 1);
    uint32_t *zeros = packed_in_tens(sound.module.zeros, 4, 64, 1, 4, 1, 4);
    sound.file.data[PACKED] =
        (struct layout_data){{"weight_packed", DTYPE_I32, 2, {64, 13}}, codes, 64 * 13 * 4};
    sound.file.data[ZERO_POINT] =
        (struct layout_data){{"weight_zero_point", DTYPE_I32, 2, {7, 4}}, zeros, 7 * 4 * 4};
    decodes_the_same();
    sound.config.bits = 3; /* as its config says */
    decodes_the_same();
    free(codes);
    free(zeros);
}
END_TEST

START_TEST(tensors_that_disagree_are_refused) {
    static const char too_few[] = "weight_packed: expected 4352 bytes by its shape, found 4096";
    static const struct disagreement cases[] = {
        {PACKED, DTYPE_F32, {64, 16}, "weight_packed: expected I32, found F32"},
        {PACKED, DTYPE_I32, {64, 17}, too_few},
        {PACKED, DTYPE_I32, {32, 32}, "weight_packed: expected [64, 32], found [32, 32]"},
        {PACKED, DTYPE_I32, {1024, 1}, "weight_packed: expected columns that 2, 3, 4 or 8 bits"},
        {PACKED, DTYPE_I32, {UINT64_MAX, 1}, "weight_packed: expected dimensions from 1"},
        {SCALE, DTYPE_F16, {32, 8}, "weight_scale: expected [64, 8], found [32, 8]"},
        {SCALE, DTYPE_I32, {64, 2}, "weight_scale: expected F16, BF16 or F32, found I32"},
        {ZERO_POINT, DTYPE_I32, {4, 8}, "weight_zero_point: expected [8, 4], found [4, 8]"},
        {SHAPE, DTYPE_I32, {4, 0}, "weight_shape: expected 2 numbers, found 4"},
        {SHAPE, DTYPE_F32, {4, 0}, "weight_shape: expected I32 or I64"},
        {SHAPE, DTYPE_I32, {2, 0}, "weight_shape: expected 8 bytes by its shape, found 16"},
    };
    int64_t *shape = sound.file.bytes[SHAPE];
    disagreements_refused(cases, sizeof cases / sizeof cases[0]);
    shape[1] = 127;
    sound.config.group = 64;
    decode_refused("weight_scale: expected 2 groups for 127 inputs in groups of 64, found 4");
    shape[1] = INT64_MAX;
    decode_refused("weight_shape: expected sizes from 1 to 2^31 - 1");
    shape[1] = -128;
    decode_refused("weight_shape: expected sizes from 1 to 2^31 - 1");
    shape[1] = 160; /* ten codes to a word, as older versions packed 3 bits; the zeros do not fit */
    decode_refused("weight_zero_point: expected [7, 4], found [8, 4]");
    shape[1] = 180;
    decode_refused("weight_packed: expected columns that 2, 3, 4 or 8 bits give for 180 inputs");
}
END_TEST

START_TEST(random_descriptions_never_crash) {
    random_descriptions_survived(CT_TENSORS, SHAPE, &seed);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("compressed-tensors");
    TCase *writing = tcase_create("writing"), *reading = tcase_create("one module");
    tcase_set_timeout(writing, 60);
    tcase_add_loop_test(writing, golden_vectors_are_reproduced, 0,
                        sizeof vectors / sizeof vectors[0]);
    tcase_add_test(writing, the_tiny_matrix_has_its_words);
    tcase_add_test(writing, random_modules_survive);
    tcase_add_test(writing, shapes_that_do_not_pack_are_refused_with_what_would_do);
    suite_add_tcase(suite, writing);
    tcase_set_timeout(reading, 60);
    tcase_add_checked_fixture(reading, sound_setup, sound_teardown);
    tcase_add_test(reading, modules_that_a_file_cannot_hold_are_refused);
    tcase_add_test(reading, shapes_overrule_the_config);
    tcase_add_test(reading, f32_and_bf16_scales_and_a_32_bit_shape_are_tolerated);
    tcase_add_test(reading, absent_zeros_mean_a_symmetric_module);
    tcase_add_test(reading, a_group_of_each_column_is_kept_where_it_says_something);
    tcase_add_test(reading, a_map_that_nobody_set_says_nothing);
    tcase_add_test(reading, signed_zero_points_are_read_as_they_are);
    tcase_add_test(reading, three_bits_in_tens_are_told_by_their_columns);
    tcase_add_test(reading, tensors_that_disagree_are_refused);
    tcase_add_test(reading, random_descriptions_never_crash);
    suite_add_tcase(suite, reading);
    printf("seed %" PRIu64 "\n", seed);
    return run_suite(suite);
}
