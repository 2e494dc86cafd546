/* SPDX-License-Identifier: Apache-2.0 */
/* The GGUF layout: golden vectors of the format description, round trips, what is exact and what is
 * not, blocks as other writers make them, and the config. */
#include "layout_modules.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static llmq_error err;
static uint64_t seed = 20261124; /* printed by main */

/* --- golden vectors --------------------------------------------------------------------------- */

START_TEST(golden_vectors_are_reproduced) {
    static const struct {
        int bits;
        bool sym;
        enum dtype dtype;
        const char *hash;
    } cases[] = {
        {4, true, DTYPE_Q4_0, "eab00edb6fa6d8738cd93c97422f88db7b6d3985428416878b72593f28668aeb"},
        {4, false, DTYPE_Q4_1, "aa8547f8c0d33c321c9af6103e0acf4352d16111d30fd1ddbc258aae190bf4af"},
        {8, true, DTYPE_Q8_0, "be8b62617636dc1930587bb86ff8a88130a8c254b9ff77e51da56911894b18ec"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qlinear q, back;
        struct encoded e;
        golden_module(cases[i].bits, cases[i].sym, &q);
        encode(&layout_gguf, &q, &e);
        ck_assert_int_eq(e.tensors[0].dtype, cases[i].dtype);
        check_hash(&e, 0, cases[i].hash);
        const struct layout_config config = config_of(&layout_gguf, &q);
        ck_assert_ok(layout_gguf.decode(&config, e.data, &back, &err), &err);
        check_equal(&q, &back);
        qlinear_free(&q);
        qlinear_free(&back);
        encoded_free(&e);
    }
}
END_TEST

/* --- round trips ------------------------------------------------------------------------------ */

START_TEST(random_modules_survive) {
    static const struct {
        int64_t n, k, group;
        int bits;
    } shapes[] = {
        {1, 32, -1, 4}, {7, 288, 96, 4}, {5, 256, 128, 8}, {64, 1408, 32, 4}, {3, 96, -1, 8}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const struct module_shape shape = {shapes[i].n,    shapes[i].k, shapes[i].group,
                                           shapes[i].bits, true,        0};
        struct qlinear q, back;
        struct encoded e;
        random_module(&shape, &seed, &q);
        encode(&layout_gguf, &q, &e);
        const struct layout_config config = config_of(&layout_gguf, &q);
        ck_assert_ok(layout_gguf.decode(&config, e.data, &back, &err), &err);
        check_equal(&q, &back);
        qlinear_free(&q);
        qlinear_free(&back);
        encoded_free(&e);
    }
}
END_TEST

START_TEST(a_gptq_module_survives_the_way_through_gguf) {
    struct qlinear q, middle;
    struct encoded gptq, gguf, again;
    random_module(&(struct module_shape){64, 256, 128, 4, true, 1}, &seed, &q);
    const struct layout_config config = config_of(&layout_gguf, &q);
    encode(&layout_gptq, &q, &gptq);
    encode(&layout_gguf, &q, &gguf);
    ck_assert_ok(layout_gguf.decode(&config, gguf.data, &middle, &err), &err);
    encode(&layout_gptq, &middle, &again);
    for (int i = 0; i < TENSORS; i++)
        ck_assert_mem_eq(gptq.bytes[i], again.bytes[i], (size_t)gptq.data[i].nbytes);
    qlinear_free(&q);
    qlinear_free(&middle);
    encoded_free(&gptq);
    encoded_free(&gguf);
    encoded_free(&again);
}
END_TEST

/* --- what fits -------------------------------------------------------------------------------- */

START_TEST(shapes_that_do_not_fit_are_refused) {
    static const struct {
        struct quant_shape shape;
        const char *part;
    } cases[] = {
        {{64, 256, 3, 64, true}, "expected 4 bits, or 8 bits and a symmetric grid"},
        {{64, 256, 8, 64, false}, "expected 4 bits, or 8 bits and a symmetric grid"},
        {{64, 48, 4, -1, true}, "in_features 48 is not a multiple of 32"},
        {{64, 256, 4, 16, true}, "group size 16 is not a multiple of 32"},
        {{64, 256, 4, 96, true}, "group size 96 does not divide"},
        {{0, 256, 4, 64, true}, "out_features 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_fails(layout_gguf.accepts(&cases[i].shape, &err), LLMQ_E_UNSUPPORTED,
                        cases[i].part, &err);
}
END_TEST

/* 2047 / 2048 takes all bits of an F16: three times it does not fit. */
START_TEST(asymmetric_modules_are_exact_or_refused) {
    struct qlinear q, back;
    struct encoded e;
    random_module(&(struct module_shape){2, 64, 32, 4, false, 0}, &seed, &q);
    for (int i = 0; i < 4; i++)
        q.scales[i] = 2047.0f / 2048.0f;
    const uint8_t exact[4] = {0, 1, 2, 8};
    memcpy(q.zeros, exact, sizeof exact);
    encode(&layout_gguf, &q, &e);
    const struct layout_config config = config_of(&layout_gguf, &q);
    ck_assert_ok(layout_gguf.decode(&config, e.data, &back, &err), &err);
    check_equal(&q, &back);
    q.zeros[3] = 3;
    ck_assert_fails(layout_gguf.encode(&q, e.bytes, &err), LLMQ_E_UNSUPPORTED,
                    "row 1, group 1: expected a scale times zero point that F16 holds", &err);
    q.zeros[3] = 8;
    q.scales[2] = 0.1f;
    ck_assert_fails(layout_gguf.encode(&q, e.bytes, &err), LLMQ_E_INPUT,
                    "row 1, group 0: expected a positive scale that F16 holds exactly", &err);
    qlinear_free(&q);
    qlinear_free(&back);
    encoded_free(&e);
}
END_TEST

/* --- blocks of other writers ------------------------------------------------------------------ */

/* One block of `t` with these params and code bytes 0, 17, 34, ... */
static struct layout_data one_block(enum dtype t, float d, float m, unsigned char bytes[34]) {
    const uint16_t half[2] = {f32_to_f16(d), f32_to_f16(m)};
    const size_t params = t == DTYPE_Q4_1 ? 4 : 2;
    memcpy(bytes, half, params);
    for (size_t i = params; i < 34; i++)
        bytes[i] = (unsigned char)((i - params) * 17);
    return (struct layout_data){{"blocks", t, 2, {1, 32}}, bytes, dtype_bits(t) / 8};
}

static const struct layout_config plain_config = {.bits = 4, .group = 32, .sym = true};

START_TEST(negative_scales_turn_the_codes_round) {
    unsigned char bytes[34];
    struct qlinear q;
    float w[32];
    const struct layout_data d = one_block(DTYPE_Q4_0, -0.5f, 0.0f, bytes);
    ck_assert_ok(layout_gguf.decode(&plain_config, &d, &q, &err), &err);
    ck_assert_ok(qlinear_check(&q, &err), &err);
    ck_assert_int_eq(q.bits, 8);
    qlinear_dequantize(&q, 0, 1, w);
    for (int i = 0; i < 32; i++) /* byte i holds i in both halves */
        ck_assert_double_eq((double)w[i], -0.5 * (i % 16 - 8));
    qlinear_free(&q);
}
END_TEST

START_TEST(a_negative_scale_of_8_bits_is_exact_or_refused) {
    unsigned char bytes[34];
    struct qlinear q;
    float w[32];
    const struct layout_data d = one_block(DTYPE_Q8_0, -0.25f, 0.0f, bytes);
    ck_assert_ok(layout_gguf.decode(&plain_config, &d, &q, &err), &err);
    qlinear_dequantize(&q, 0, 1, w);
    for (int i = 0; i < 32; i++)
        ck_assert_double_eq((double)w[i], -0.25 * (int8_t)bytes[2 + i]);
    qlinear_free(&q);
    bytes[2 + 5] = 0x80;
    ck_assert_fails(layout_gguf.decode(&plain_config, &d, &q, &err), LLMQ_E_UNSUPPORTED,
                    "no code of -128 with a negative scale", &err);
}
END_TEST

START_TEST(params_of_no_grid_are_refused) {
    static const struct {
        enum dtype t;
        float d, m;
        enum llmq_status status;
        const char *part;
    } cases[] = {
        {DTYPE_Q4_0, (float)HUGE_VAL, 0, LLMQ_E_INPUT, "finite scale"},
        {DTYPE_Q8_0, (float)NAN, 0, LLMQ_E_INPUT, "finite scale"},
        {DTYPE_Q4_1, -1.0f, 1.0f, LLMQ_E_INPUT, "not negative"},
        {DTYPE_Q4_1, 1.0f, (float)HUGE_VAL, LLMQ_E_INPUT, "finite minimum"},
        {DTYPE_Q4_1, 1.0f, -2.5f, LLMQ_E_UNSUPPORTED, "a minimum of -z times the scale"},
        {DTYPE_Q4_1, 1.0f, -16.0f, LLMQ_E_UNSUPPORTED, "a minimum of -z times the scale"},
        {DTYPE_Q4_1, 1.0f, 1.0f, LLMQ_E_UNSUPPORTED, "a minimum of -z times the scale"},
        {DTYPE_Q4_1, 0.0f, 1.0f, LLMQ_E_UNSUPPORTED, "a minimum of -z times the scale"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char bytes[34];
        struct qlinear q;
        const struct layout_data d = one_block(cases[i].t, cases[i].d, cases[i].m, bytes);
        ck_assert_fails(layout_gguf.decode(&plain_config, &d, &q, &err), cases[i].status,
                        cases[i].part, &err);
    }
}
END_TEST

/* Groups are the config's where the blocks bear it out. */
START_TEST(blocks_that_differ_are_groups_of_their_own) {
    struct qlinear q, back;
    struct encoded e;
    random_module(&(struct module_shape){2, 128, 64, 4, true, 0}, &seed, &q);
    encode(&layout_gguf, &q, &e);
    struct layout_config config = config_of(&layout_gguf, &q);
    unsigned char *bytes = e.bytes[0];
    bytes[18] ^= 1; /* the second block's scale */
    ck_assert_ok(layout_gguf.decode(&config, e.data, &back, &err), &err);
    ck_assert_int_eq(back.group, 32);
    qlinear_free(&back);
    bytes[18] ^= 1;
    config.group = 48; /* no multiple of a block */
    ck_assert_ok(layout_gguf.decode(&config, e.data, &back, &err), &err);
    ck_assert_int_eq(back.group, 32);
    qlinear_free(&back);
    qlinear_free(&q);
    encoded_free(&e);
}
END_TEST

START_TEST(tensors_that_are_no_blocks_are_refused) {
    unsigned char bytes[34];
    struct qlinear q;
    struct layout_data d = one_block(DTYPE_Q4_0, 1.0f, 0.0f, bytes);
    const struct layout_data good = d;
    d.data = NULL;
    ck_assert_fails(layout_gguf.decode(&plain_config, &d, &q, &err), LLMQ_E_INPUT, "no such tensor",
                    &err);
    d = good;
    d.info.dtype = DTYPE_I32;
    ck_assert_fails(layout_gguf.decode(&plain_config, &d, &q, &err), LLMQ_E_INPUT,
                    "expected Q4_0, Q4_1 or Q8_0, found I32", &err);
    d = good;
    d.info.rank = 1;
    ck_assert_fails(layout_gguf.decode(&plain_config, &d, &q, &err), LLMQ_E_INPUT,
                    "expected two dimensions", &err);
    d = good;
    d.info.shape[0] = UINT64_C(1) << 40;
    ck_assert_fails(layout_gguf.decode(&plain_config, &d, &q, &err), LLMQ_E_INPUT,
                    "expected two dimensions", &err);
    d = good;
    d.info.shape[1] = 16;
    ck_assert_fails(layout_gguf.decode(&plain_config, &d, &q, &err), LLMQ_E_INPUT,
                    "a multiple of 32", &err);
    d = good;
    d.nbytes = 17;
    ck_assert_fails(layout_gguf.decode(&plain_config, &d, &q, &err), LLMQ_E_INPUT,
                    "expected 18 bytes by its shape, found 17", &err);
}
END_TEST

/* --- config ----------------------------------------------------------------------------------- */

START_TEST(config_says_what_was_written) {
    const struct layout_config config = {.bits = 8, .group = -1, .sym = true};
    struct layout_config back;
    const struct layout *found = NULL;
    struct json *root = layout_gguf.config_write(&config, NULL, 0);
    ck_assert_ok(layout_of_config(root, &found, &err), &err);
    ck_assert_ptr_eq(found, &layout_gguf);
    ck_assert_ok(layout_gguf.config_read(root, &back, &err), &err);
    ck_assert_int_eq(back.bits, 8);
    ck_assert_int_eq(back.group, -1);
    ck_assert(back.sym);
    json_free(&root);
}
END_TEST

START_TEST(configs_with_impossible_values_are_refused) {
    static const char *const cases[][2] = {
        {"{\"quant_method\":\"gguf\",\"group_size\":32,\"sym\":true}", "bits: expected 4 or 8"},
        {"{\"quant_method\":\"gguf\",\"bits\":5,\"group_size\":32,\"sym\":true}", "bits: "},
        {"{\"quant_method\":\"gguf\",\"bits\":4,\"group_size\":0,\"sym\":true}", "group_size: "},
        {"{\"quant_method\":\"gguf\",\"bits\":4,\"group_size\":32,\"sym\":1}", "sym: expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json *root = NULL;
        struct layout_config config;
        ck_assert_ok(json_parse(cases[i][0], strlen(cases[i][0]), "config", &root, &err), &err);
        ck_assert_fails(layout_gguf.config_read(root, &config, &err), LLMQ_E_INPUT, cases[i][1],
                        &err);
        json_free(&root);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("gguf");
    TCase *t = tcase_create("layout");
    tcase_set_timeout(t, 120);
    printf("seed %" PRIu64 "\n", seed);
    tcase_add_test(t, golden_vectors_are_reproduced);
    tcase_add_test(t, random_modules_survive);
    tcase_add_test(t, a_gptq_module_survives_the_way_through_gguf);
    tcase_add_test(t, shapes_that_do_not_fit_are_refused);
    tcase_add_test(t, asymmetric_modules_are_exact_or_refused);
    tcase_add_test(t, negative_scales_turn_the_codes_round);
    tcase_add_test(t, a_negative_scale_of_8_bits_is_exact_or_refused);
    tcase_add_test(t, params_of_no_grid_are_refused);
    tcase_add_test(t, blocks_that_differ_are_groups_of_their_own);
    tcase_add_test(t, tensors_that_are_no_blocks_are_refused);
    tcase_add_test(t, config_says_what_was_written);
    tcase_add_test(t, configs_with_impossible_values_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
