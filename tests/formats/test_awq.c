/* SPDX-License-Identifier: Apache-2.0 */
/* The AWQ layout: golden vectors of the format description, round trips, what is tolerated and
 * refused, and the config. */
#include "sound_module.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static llmq_error err;
static uint64_t seed = 20260901; /* printed by main */

/* Positions of an AWQ module's tensors. */
enum { AWQ_QWEIGHT, AWQ_QZEROS, AWQ_SCALES, AWQ_TENSORS };

/* --- golden vectors --------------------------------------------------------------------------- */

static const char golden_qweight[] =
    "8763dc37c4b4089af41c018af269ff15769466207ab01fd4e2e1869a90668b54";
static const char golden_zeros[] =
    "6d9c7d82aa8e7f635ded7620c0c8481ae7a293ab92840ba8f9a14c5fec3f645b";
static const char golden_scales[] =
    "c676a2b043db2fa9390739ab07411864de0bd47258c60a4f5a2ff61c72a8e7c1";

START_TEST(golden_vectors_are_reproduced) {
    for (int sym = 0; sym < 2; sym++) {
        struct qlinear q;
        struct encoded e;
        golden_module(4, sym, &q);
        encode(&layout_awq, &q, &e);
        check_hash(&e, AWQ_QWEIGHT, golden_qweight);
        check_hash(&e, AWQ_SCALES, golden_scales);
        if (!sym)
            check_hash(&e, AWQ_QZEROS, golden_zeros);
        for (int i = 0; sym && i < 4 * 8; i++)
            ck_assert_uint_eq(((const uint32_t *)e.bytes[AWQ_QZEROS])[i], 0x88888888);
        qlinear_free(&q);
        encoded_free(&e);
    }
}
END_TEST

/* The 8 x 8 matrix u = (n + 2k) mod 16, z = n + 1 of the description. */
START_TEST(the_tiny_matrix_has_its_words) {
    static const uint32_t qweight[8] = {0x75316420, 0x97538642, 0xB975A864, 0xDB97CA86,
                                        0xFDB9ECA8, 0x1FDB0ECA, 0x31FD20EC, 0x531F420E};
    struct qlinear q;
    struct encoded e;
    tiny_module(&q);
    make_room(&layout_awq, &q, &e);
    ck_assert_ok(layout_awq.encode(&q, e.bytes, &err), &err);
    ck_assert_mem_eq(e.bytes[AWQ_QWEIGHT], qweight, sizeof qweight);
    ck_assert_uint_eq(*(const uint32_t *)e.bytes[AWQ_QZEROS], 0x86427531);
    qlinear_free(&q);
    encoded_free(&e);
}
END_TEST

/* --- round trips ------------------------------------------------------------------------------ */

START_TEST(random_modules_survive) {
    static const struct {
        int64_t n, k, group;
    } shapes[] = {{32, 32, -1},  {32, 7, -1},    {64, 288, 96}, {96, 288, -1},
                  {160, 65, 13}, {512, 128, 64}, {32, 1056, 33}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int sym = 0; sym < 2; sym++) {
            const struct module_shape shape = {shapes[i].n, shapes[i].k, shapes[i].group,
                                               4,           sym,         0};
            check_survives(&layout_awq, &shape, &seed);
        }
}
END_TEST

START_TEST(a_gptq_module_survives_the_way_through_awq) {
    struct qlinear q, middle;
    struct encoded gptq, awq, again;
    random_module(&(struct module_shape){64, 96, 32, 4, false, 1}, &seed, &q);
    const struct layout_config gptq_config = config_of(&layout_gptq, &q);
    const struct layout_config awq_config = config_of(&layout_awq, &q);
    encode(&layout_gptq, &q, &gptq);
    encode(&layout_awq, &q, &awq);
    ck_assert_ok(layout_awq.decode(&awq_config, awq.data, &middle, &err), &err);
    encode(&layout_gptq, &middle, &again);
    for (int i = 0; i < TENSORS; i++)
        ck_assert_mem_eq(gptq.bytes[i], again.bytes[i], (size_t)gptq.data[i].nbytes);
    check_decodes_to(&layout_gptq, &gptq_config, &again, &q);
    qlinear_free(&q);
    qlinear_free(&middle);
    encoded_free(&gptq);
    encoded_free(&awq);
    encoded_free(&again);
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

static void refuse_shape(int64_t n, int64_t k, int bits, int64_t group, const char *part) {
    const struct quant_shape shape = {.n = n, .k = k, .bits = bits, .group = group, .sym = false};
    ck_assert_fails(layout_awq.accepts(&shape, &err), LLMQ_E_UNSUPPORTED, part, &err);
}

START_TEST(shapes_that_do_not_pack_are_refused_with_what_would_do) {
    refuse_shape(64, 128, 8, 128, "expected 4 bits for the awq format, found 8");
    ck_assert_ptr_nonnull(strstr(err.hint, "gptq"));
    refuse_shape(40, 128, 4, 128, "out_features 40 is not a multiple of 32");
    refuse_shape(64, 288, 4, 128, "group size 128 does not divide in_features 288");
    refuse_shape(64, 0, 4, -1, "in_features 0");
}
END_TEST

static void sound_setup(void) {
    sound_create(&layout_awq, &(struct module_shape){64, 128, 32, 4, false, 0}, &seed);
}

START_TEST(modules_that_a_file_cannot_hold_are_refused) {
    sound.module.zeros[5] = 16;
    ck_assert_fails(layout_awq.encode(&sound.module, sound.file.bytes, &err), LLMQ_E_INPUT,
                    "row 1, group 1: expected a zero point from 0 to 15, found 16", &err);
    sound.module.zeros[5] = 0;
    sound.module.scales[3] = 0.0123456f;
    ck_assert_fails(layout_awq.encode(&sound.module, sound.file.bytes, &err), LLMQ_E_INPUT,
                    "row 0, group 3: expected a positive scale", &err);
    sound.module.scales[3] = 1.0f;
    sound.module.group_of = calloc(128, sizeof *sound.module.group_of);
    ck_assert_fails(layout_awq.encode(&sound.module, sound.file.bytes, &err), LLMQ_E_INPUT,
                    "column 32: expected group 1, found 0", &err);
}
END_TEST

START_TEST(absent_zeros_mean_the_middle_where_the_config_says_so) {
    struct qlinear back;
    sound.file.data[AWQ_QZEROS].data = NULL;
    decode_refused("qzeros: expected it");
    sound.config.sym = true;
    ck_assert_ok(layout_awq.decode(&sound.config, sound.file.data, &back, &err), &err);
    ck_assert(back.sym);
    ck_assert_int_eq(back.zeros[255], 8);
    ck_assert_mem_eq(back.codes, sound.module.codes, 64 * 128);
    qlinear_free(&back);
}
END_TEST

START_TEST(the_config_may_be_wrong_about_groups) {
    sound.config.group = 128;
    decodes_the_same();
}
END_TEST

START_TEST(tensors_that_disagree_are_refused) {
    static const struct disagreement cases[] = {
        {AWQ_QWEIGHT, DTYPE_F32, {128, 8}, "qweight: expected I32, found F32"},
        {AWQ_QWEIGHT, DTYPE_I32, {128, 9}, "qweight: expected 4608 bytes by its shape, found 4096"},
        {AWQ_QWEIGHT, DTYPE_I32, {64, 16}, "qweight: expected an eighth of the 64 columns"},
        {AWQ_QWEIGHT, DTYPE_I32, {0, 8}, "qweight: expected dimensions from 1"},
        {AWQ_QWEIGHT, DTYPE_I32, {UINT64_MAX, 8}, "qweight: expected dimensions from 1"},
        {AWQ_QZEROS, DTYPE_I32, {8, 4}, "qzeros: expected [4, 8], found [8, 4]"},
        {AWQ_SCALES, DTYPE_I32, {4, 32}, "scales: expected F16, BF16 or F32, found I32"},
        {AWQ_SCALES, DTYPE_F16, {8, 32}, "qweight: expected an eighth of the 32 columns"},
    };
    uint16_t *scales = sound.file.bytes[AWQ_SCALES];
    disagreements_refused(cases, sizeof cases / sizeof cases[0]);
    scales[65] = 0x7E00;
    decode_refused("scales: output 1, group 1: expected a finite scale");
}
END_TEST

START_TEST(random_descriptions_never_crash) {
    random_descriptions_survived(AWQ_TENSORS, NO_NUMBERS, &seed);
}
END_TEST

/* --- config ----------------------------------------------------------------------------------- */

/* Of experts their layer is named, once: that is what vLLM asks for. */
START_TEST(kept_experts_are_named_by_their_layer) {
    static const char *const plain[] = {"m.layers.0.mlp.experts.0.up_proj",
                                        "m.layers.0.mlp.experts.1.up_proj", "m.layers.1.mlp.gate",
                                        "m.layers.1.mlp.experts.0.up_proj"};
    struct layout_config config = {.bits = 4, .group = 32, .plain = plain, .plain_count = 4};
    struct json *root = layout_awq.config_write(&config, NULL, 0);
    char *printed = json_print(json_get(root, "modules_to_not_convert"), false);
    ck_assert_str_eq(printed, "[\"m.layers.0.mlp.experts\",\"m.layers.1.mlp.gate\","
                              "\"m.layers.1.mlp.experts\",\"lm_head\"]");
    free(printed);
    json_free(&root);
}
END_TEST

START_TEST(the_config_has_the_text_that_loaders_were_read_for) {
    const struct layout *found = NULL;
    struct layout_config back;
    sound.config.group = -1;
    sound.config.sym = true; /* zero_point stays true: false selects slow kernels */
    struct json *root = layout_awq.config_write(&sound.config, NULL, 0);
    char *text = json_print(root, false);
    ck_assert_str_eq(text,
                     "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":-1,\"zero_point\":true,"
                     "\"version\":\"gemm\",\"modules_to_not_convert\":null}");
    ck_assert_ok(layout_of_config(root, &found, &err), &err);
    ck_assert_ptr_eq(found, &layout_awq);
    ck_assert_ok(layout_awq.config_read(root, &back, &err), &err);
    ck_assert_int_eq(back.bits, 4);
    ck_assert_int_eq(back.group, -1);
    free(text);
    json_free(&root);
}
END_TEST

static enum llmq_status read_text(const char *text, struct layout_config *out) {
    struct json *root = NULL;
    ck_assert_ok(json_parse(text, strlen(text), "test", &root, &err), &err);
    const enum llmq_status status = layout_awq.config_read(root, out, &err);
    json_free(&root);
    return status;
}

START_TEST(older_spellings_are_read) {
    struct layout_config out;
    ck_assert_ok(read_text("{\"zero_point\":false,\"q_group_size\":64,\"w_bit\":4,"
                           "\"version\":\"GEMM\"}",
                           &out),
                 &err);
    ck_assert_int_eq(out.group, 64);
    ck_assert(out.sym);
}
END_TEST

START_TEST(other_configs_are_refused_by_key) {
    static const struct {
        const char *text, *part;
        enum llmq_status status;
    } cases[] = {
        {"{}", "bits: expected an integer", LLMQ_E_INPUT},
        {"{\"bits\":8,\"group_size\":128}", "bits: expected 4", LLMQ_E_UNSUPPORTED},
        {"{\"bits\":4,\"group_size\":0}", "group_size", LLMQ_E_INPUT},
        {"{\"bits\":4,\"group_size\":-2}", "group_size", LLMQ_E_INPUT},
        {"{\"bits\":4}", "group_size", LLMQ_E_INPUT},
        {"{\"bits\":4,\"group_size\":128,\"version\":\"gemv\"}",
         "version: expected gemm, found \"gemv\"", LLMQ_E_UNSUPPORTED},
        {"{\"bits\":4,\"group_size\":128,\"format\":\"gemv\"}",
         "format: expected gemm, found \"gemv\"", LLMQ_E_UNSUPPORTED},
        {"{\"bits\":4,\"group_size\":128,\"version\":\"GEMM\",\"checkpoint_format\":\"gemv_fast\"}",
         "checkpoint_format: expected gemm", LLMQ_E_UNSUPPORTED},
        {"{\"bits\":4,\"group_size\":128,\"backend\":\"llm-awq\"}", "backend: expected autoawq",
         LLMQ_E_UNSUPPORTED},
        {"{\"bits\":4,\"group_size\":128,\"version\":1}", "version", LLMQ_E_INPUT},
        {"{\"bits\":4,\"group_size\":128,\"zero_point\":1}", "zero_point", LLMQ_E_INPUT},
    };
    struct layout_config out;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_fails(read_text(cases[i].text, &out), cases[i].status, cases[i].part, &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("awq");
    TCase *writing = tcase_create("writing"), *reading = tcase_create("one module");
    tcase_set_timeout(writing, 60);
    tcase_add_test(writing, kept_experts_are_named_by_their_layer);
    tcase_add_test(writing, golden_vectors_are_reproduced);
    tcase_add_test(writing, the_tiny_matrix_has_its_words);
    tcase_add_test(writing, random_modules_survive);
    tcase_add_test(writing, a_gptq_module_survives_the_way_through_awq);
    tcase_add_test(writing, shapes_that_do_not_pack_are_refused_with_what_would_do);
    tcase_add_test(writing, older_spellings_are_read);
    tcase_add_test(writing, other_configs_are_refused_by_key);
    suite_add_tcase(suite, writing);
    tcase_set_timeout(reading, 60);
    tcase_add_checked_fixture(reading, sound_setup, sound_teardown);
    tcase_add_test(reading, modules_that_a_file_cannot_hold_are_refused);
    tcase_add_test(reading, absent_zeros_mean_the_middle_where_the_config_says_so);
    tcase_add_test(reading, the_config_may_be_wrong_about_groups);
    tcase_add_test(reading, tensors_that_disagree_are_refused);
    tcase_add_test(reading, random_descriptions_never_crash);
    tcase_add_test(reading, the_config_has_the_text_that_loaders_were_read_for);
    suite_add_tcase(suite, reading);
    printf("seed %" PRIu64 "\n", seed);
    return run_suite(suite);
}
