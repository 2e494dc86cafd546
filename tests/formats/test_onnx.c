/* SPDX-License-Identifier: Apache-2.0 */
/* The ONNX layout: golden vectors of the format description, round trips, what is refused, and
 * the config. */
#include "sound_module.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static llmq_error err;
static uint64_t seed = 20261124; /* printed by main */

/* Positions of a module's tensors. */
enum { B, ONNX_SCALES, ATTRIBUTES, ZERO_POINTS, ONNX_TENSORS };

/* --- golden vectors --------------------------------------------------------------------------- */

static const struct {
    int bits;
    const char *codes, *zeros;
} golden[] = {
    {4, "a708c8df09cfcb7f662d700a6952692b673a446b42473e108f08afd81cd1d652",
     "4e324e6b8afa3e9ebfe23387ee82d13793408e64f5bf5c526136baaab239151a"},
    {8, "61c412f87c03b2526161ac0af4e631e0b679f39afece493358274bdd67968eb8",
     "96f4217022e2064310435e3cf507ff6bbb4517fd13a897b18b5729bd3d71600f"},
    {2, "8142b59a1861f9d7b2b5909f49aabcb73ce3029c4d1e3c807a728884d260de9d",
     "55d24d1e5bb5c78ff659439718f787646160ce78ff2f48952745723fe61d06e6"},
};

START_TEST(golden_vectors_are_reproduced) {
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++)
        for (int sym = 0; sym < 2; sym++) {
            const int64_t attributes[4] = {64, 256, golden[i].bits, 64};
            struct qlinear q;
            struct encoded e;
            golden_module(golden[i].bits, sym, &q);
            encode(&layout_onnx, &q, &e);
            check_hash(&e, B, golden[i].codes);
            ck_assert_mem_eq(e.bytes[ONNX_SCALES], q.scales, 64 * 4 * sizeof(float));
            ck_assert_mem_eq(e.bytes[ATTRIBUTES], attributes, sizeof attributes);
            if (sym)
                ck_assert_ptr_null(e.bytes[ZERO_POINTS]);
            else
                check_hash(&e, ZERO_POINTS, golden[i].zeros);
            qlinear_free(&q);
            encoded_free(&e);
        }
}
END_TEST

/* One row of 3 blocks: codes q[i] = i / 2 repeated, zero points 5, 6, 7. */
START_TEST(the_examples_of_the_description_have_their_bytes) {
    struct qlinear q;
    struct encoded e;
    ck_assert_ok(qlinear_alloc(1, 96, 4, 32, &q, &err), &err);
    q.sym = false;
    for (int k = 0; k < 96; k++)
        q.codes[k] = (uint8_t)(k % 32 / 2);
    for (int g = 0; g < 3; g++) {
        q.scales[g] = 1.0f;
        q.zeros[g] = (uint8_t)(5 + g);
    }
    encode(&layout_onnx, &q, &e);
    for (int i = 0; i < 48; i++)
        ck_assert_uint_eq(((const uint8_t *)e.bytes[B])[i], (unsigned)(i % 16) * 0x11);
    ck_assert_uint_eq(e.data[ZERO_POINTS].nbytes, 2);
    ck_assert_mem_eq(e.bytes[ZERO_POINTS], "\x65\x07", 2);
    qlinear_free(&q);
    encoded_free(&e);
}
END_TEST

/* Groups of sizes the operator lacks are several blocks with one scale and one zero point. */
START_TEST(wide_and_odd_groups_become_equal_blocks) {
    static const struct {
        int64_t k, group, block;
    } cases[] = {{192, 96, 32}, {1024, 512, 256}, {512, -1, 256},
                 {288, -1, 32}, {48, 48, 16},     {256, 128, 128}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct module_shape shape = {8, cases[i].k, cases[i].group, 4, false, 0};
        const int64_t blocks = cases[i].k / cases[i].block;
        struct qlinear q;
        struct encoded e;
        random_module(&shape, &seed, &q);
        encode(&layout_onnx, &q, &e);
        ck_assert_uint_eq(e.tensors[ONNX_SCALES].shape[1], (uint64_t)blocks);
        for (int64_t j = 0; j < 8 * blocks; j++) {
            const int64_t g = j / blocks * q.groups + j % blocks * cases[i].block / q.group;
            const uint8_t *row = e.bytes[ZERO_POINTS];
            row += j / blocks * ((blocks + 1) / 2);
            ck_assert_mem_eq((const float *)e.bytes[ONNX_SCALES] + j, &q.scales[g], sizeof(float));
            ck_assert_int_eq(row[j % blocks / 2] >> (4 * (j % blocks % 2)) & 15, q.zeros[g]);
        }
        qlinear_free(&q);
        encoded_free(&e);
    }
}
END_TEST

/* --- round trips ------------------------------------------------------------------------------ */

START_TEST(random_modules_survive) {
    static const struct {
        int64_t n, k, group;
    } shapes[] = {{1, 16, 16},   {7, 96, 32},    {64, 288, 96},  {33, 288, -1},
                  {160, 80, 16}, {5, 1536, 768}, {31, 1024, 256}};
    static const int widths[] = {2, 4, 8};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int v = 0; v < 6; v++) {
            const struct module_shape shape = {shapes[i].n,   shapes[i].k, shapes[i].group,
                                               widths[v / 2], v % 2,       0};
            check_survives(&layout_onnx, &shape, &seed);
        }
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

static void refuse_shape(int64_t k, int bits, int64_t group, const char *part, const char *hint) {
    const struct quant_shape shape = {.n = 64, .k = k, .bits = bits, .group = group};
    ck_assert_fails(layout_onnx.accepts(&shape, &err), LLMQ_E_UNSUPPORTED, part, &err);
    ck_assert_msg(strstr(err.hint, hint) != NULL, "hint lacks '%s': %s", hint, err.hint);
}

START_TEST(shapes_that_the_operator_lacks_are_refused_with_what_would_do) {
    refuse_shape(128, 3, 128, "expected 2, 4 or 8 bits for the onnx format, found 3", "gptq");
    refuse_shape(288, 4, 24, "group size 24 is not a multiple of 16", "16, 32, 64, 128, 256");
    refuse_shape(288, 4, 128, "group size 128 does not divide in_features 288", "a group size");
    refuse_shape(40, 4, -1, "in_features 40 is not a multiple of 16", "16 values");
}
END_TEST

static void sound_setup(void) {
    sound_create(&layout_onnx, &(struct module_shape){8, 192, 96, 4, false, 0}, &seed);
}

START_TEST(modules_that_a_file_cannot_hold_are_refused) {
    void *const without_zeros[] = {sound.file.bytes[B], sound.file.bytes[ONNX_SCALES],
                                   sound.file.bytes[ATTRIBUTES], NULL};
    ck_assert_fails(layout_onnx.encode(&sound.module, without_zeros, &err), LLMQ_E_INPUT,
                    "expected a symmetric module as planned", &err);
    sound.module.zeros[3] = 16;
    ck_assert_fails(layout_onnx.encode(&sound.module, sound.file.bytes, &err), LLMQ_E_INPUT,
                    "row 1, group 1: expected a zero point from 0 to 15, found 16", &err);
    sound.module.zeros[3] = 0;
    for (int i = 0; i < 3; i++) {
        const float wrong[] = {0.0f, INFINITY, NAN};
        sound.module.scales[3] = wrong[i];
        ck_assert_fails(layout_onnx.encode(&sound.module, sound.file.bytes, &err), LLMQ_E_INPUT,
                        "row 1, group 1: expected a positive finite scale", &err);
    }
    sound.module.scales[3] = 1.0f;
    sound.module.group_of = calloc(192, sizeof *sound.module.group_of);
    ck_assert_fails(layout_onnx.encode(&sound.module, sound.file.bytes, &err), LLMQ_E_INPUT,
                    "column 96: expected group 1, found 0", &err);
}
END_TEST

START_TEST(tensors_that_disagree_are_refused) {
    static const struct disagreement cases[] = {
        {B, DTYPE_I32, {8, 24}, "B: expected U8, found I32"},
        {B, DTYPE_U8, {8, 97}, "B: expected 776 bytes by its shape, found 768"},
        {B, DTYPE_U8, {16, 48}, "B: expected [8, 96], found [16, 48]"},
        {B, DTYPE_U8, {UINT64_MAX, 8}, "B: expected dimensions from 1"},
        {ONNX_SCALES, DTYPE_U8, {8, 24}, "scales: expected F16, BF16 or F32, found U8"},
        {ONNX_SCALES, DTYPE_F32, {12, 4}, "scales: expected [8, 6], found [12, 4]"},
        {ZERO_POINTS, DTYPE_U8, {4, 6}, "zero_points: expected [8, 3], found [4, 6]"},
        {ATTRIBUTES, DTYPE_I32, {8, 0}, "attributes: expected 4 numbers, found 8"},
        {ATTRIBUTES, DTYPE_F32, {8, 0}, "attributes: expected I32 or I64"},
    };
    disagreements_refused(cases, sizeof cases / sizeof cases[0]);
    for (int i = 0; i < ZERO_POINTS; i++) {
        const struct layout_data kept = sound.file.data[i];
        sound.file.data[i].data = NULL;
        decode_refused("expected it, found no such tensor");
        sound.file.data[i] = kept;
    }
}
END_TEST

START_TEST(contents_that_make_no_sense_are_refused) {
    static const int64_t wrong[][4] = {{0, 192, 4, 96},  {8, 0, 4, 96},          {8, 192, 3, 96},
                                       {8, 192, 4, 0},   {8, 192, 4, 80},        {8, 192, 4, -96},
                                       {8, 192, 4, 24},  {8, INT64_MAX, 4, 96},  {8, 192, 4, 384},
                                       {-8, 192, 4, 96}, {INT64_MIN, 192, 4, 96}};
    float *scales = sound.file.bytes[ONNX_SCALES];
    uint8_t *zeros = sound.file.bytes[ZERO_POINTS];
    int64_t kept[4];
    memcpy(kept, sound.file.bytes[ATTRIBUTES], sizeof kept);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memcpy(sound.file.bytes[ATTRIBUTES], wrong[i], sizeof wrong[i]);
        decode_refused("attributes: expected outputs, inputs");
    }
    memcpy(sound.file.bytes[ATTRIBUTES], (const int64_t[]){8, 192, 8, 96}, sizeof kept);
    decode_refused("B: expected [8, 192], found [8, 96]");
    memcpy(sound.file.bytes[ATTRIBUTES], kept, sizeof kept);
    zeros[4] ^= 0x10; /* row 1, block 3 */
    decode_refused("output 1, group 1: expected blocks of one scale and zero point");
    zeros[4] ^= 0x10;
    scales[8] *= 2; /* row 1, block 2 */
    decode_refused("output 1, group 0: expected blocks of one scale and zero point");
    scales[8] = NAN;
    decode_refused("scales: output 1, group 2: expected a finite scale");
}
END_TEST

START_TEST(random_descriptions_never_crash) {
    random_descriptions_survived(ONNX_TENSORS, ATTRIBUTES, &seed);
}
END_TEST

/* --- config ----------------------------------------------------------------------------------- */

START_TEST(the_config_is_written_and_read) {
    const struct layout *found = NULL;
    struct layout_config back;
    struct json *root = layout_onnx.config_write(&sound.config, NULL, 0);
    char *text = json_print(root, false);
    ck_assert_str_eq(text, "{\"quant_method\":\"onnx\",\"format\":\"MatMulNBits\",\"bits\":4,"
                           "\"group_size\":96,\"sym\":false}");
    ck_assert_ok(layout_of_config(root, &found, &err), &err);
    ck_assert_ptr_eq(found, &layout_onnx);
    ck_assert_ok(layout_onnx.config_read(root, &back, &err), &err);
    ck_assert_int_eq(back.bits, 4);
    ck_assert_int_eq(back.group, 96);
    ck_assert(!back.sym);
    free(text);
    json_free(&root);
}
END_TEST

START_TEST(other_configs_are_refused_by_key) {
    static const char *const cases[][2] = {
        {"{}", "bits"},
        {"{\"bits\":3,\"group_size\":128,\"sym\":true}", "bits: expected 2, 4 or 8"},
        {"{\"bits\":4,\"sym\":true}", "group_size"},
        {"{\"bits\":4,\"group_size\":0,\"sym\":true}", "group_size"},
        {"{\"bits\":4,\"group_size\":128}", "sym"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct layout_config out;
        struct json *root = NULL;
        ck_assert_ok(json_parse(cases[i][0], strlen(cases[i][0]), "test", &root, &err), &err);
        ck_assert_fails(layout_onnx.config_read(root, &out, &err), LLMQ_E_INPUT, cases[i][1], &err);
        json_free(&root);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("onnx");
    TCase *writing = tcase_create("writing"), *reading = tcase_create("one module");
    tcase_set_timeout(writing, 60);
    tcase_add_test(writing, golden_vectors_are_reproduced);
    tcase_add_test(writing, the_examples_of_the_description_have_their_bytes);
    tcase_add_test(writing, wide_and_odd_groups_become_equal_blocks);
    tcase_add_test(writing, random_modules_survive);
    tcase_add_test(writing, shapes_that_the_operator_lacks_are_refused_with_what_would_do);
    tcase_add_test(writing, other_configs_are_refused_by_key);
    suite_add_tcase(suite, writing);
    tcase_set_timeout(reading, 60);
    tcase_add_checked_fixture(reading, sound_setup, sound_teardown);
    tcase_add_test(reading, modules_that_a_file_cannot_hold_are_refused);
    tcase_add_test(reading, tensors_that_disagree_are_refused);
    tcase_add_test(reading, contents_that_make_no_sense_are_refused);
    tcase_add_test(reading, random_descriptions_never_crash);
    tcase_add_test(reading, the_config_is_written_and_read);
    suite_add_tcase(suite, reading);
    printf("seed %" PRIu64 "\n", seed);
    return run_suite(suite);
}
