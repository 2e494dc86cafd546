/* SPDX-License-Identifier: Apache-2.0 */
/* The layouts of 4-bit floats: nibbles and scales lie as the library packs them, survive, and are
 * refused where they do not go together. */
#include <stdlib.h>
#include <string.h>

#include "layout_modules.h"

static llmq_error err;
static uint64_t seed = 11;

enum { PACKED, SCALE, GLOBAL };

static const struct layout *const both[] = {&layout_mxfp4, &layout_nvfp4};

static int64_t group_of(const struct layout *layout) {
    return layout == &layout_mxfp4 ? 32 : 16;
}

static void make_module(const struct layout *layout, int64_t n, int64_t k, struct qlinear *q) {
    ck_assert_ok(qlinear_alloc(n, k, 4, group_of(layout), q, &err), &err);
    q->number = NUMBER_E2M1;
    q->sym = true;
    q->unit = 0x1p-11f;
    memset(q->zeros, 0, (size_t)(n * q->groups));
    for (int64_t i = 0; i < n * k; i++)
        q->codes[i] = random_next(&seed) & 15;
    for (int64_t i = 0; i < n * q->groups; i++) {
        const uint8_t code = (uint8_t)(random_next(&seed) % 254 + 1); /* no power of NaN or 0 */
        q->scales[i] = layout == &layout_mxfp4 ? e8m0_to_f32(code)
                                               : e4m3_to_f32((uint8_t)(code % 126 + 1)) * q->unit;
    }
}

START_TEST(codes_and_scales_survive) {
    for (int l = 0; l < 2; l++)
        for (int64_t n = 1; n < 40; n += 19) {
            struct qlinear q;
            struct encoded e;
            make_module(both[l], n, 96, &q);
            encode(both[l], &q, &e);
            const struct layout_config config = config_of(both[l], &q);
            check_decodes_to(both[l], &config, &e, &q);
            encoded_free(&e);
            qlinear_free(&q);
        }
}
END_TEST

/* The examples of the library's own description: [0.5, -1] is 0xa1, [6, -0] is 0x87. */
START_TEST(bytes_are_those_of_the_library) {
    static const uint8_t codes[] = {1, 10, 7, 8}, bytes[] = {0xa1, 0x87};
    for (int l = 0; l < 2; l++) {
        struct qlinear q;
        struct encoded e;
        make_module(both[l], 1, 32, &q);
        memcpy(q.codes, codes, sizeof codes);
        for (int64_t g = 0; g < q.groups; g++)
            q.scales[g] = both[l] == &layout_mxfp4 ? 0.125f : 1.5f * q.unit;
        encode(both[l], &q, &e);
        ck_assert_mem_eq(e.bytes[PACKED], bytes, sizeof bytes);
        ck_assert_int_eq(*(const uint8_t *)e.bytes[SCALE], both[l] == &layout_mxfp4 ? 124 : 0x3c);
        if (both[l] == &layout_nvfp4) {
            ck_assert_str_eq(e.tensors[GLOBAL].suffix, "weight_global_scale");
            ck_assert(*(const float *)e.bytes[GLOBAL] == 2048); /* scales are divided by it */
        }
        encoded_free(&e);
        qlinear_free(&q);
    }
}
END_TEST

START_TEST(scales_that_the_types_do_not_hold_are_refused) {
    static const float wrong[2][3] = {{0.75f, 0, -1}, {0x1.1p-11f, 0x1p-30f, -0x1p-11f}};
    for (int l = 0; l < 2; l++)
        for (int i = 0; i < 3; i++) {
            struct qlinear q;
            struct encoded e;
            make_module(both[l], 2, 64, &q);
            make_room(both[l], &q, &e);
            q.scales[q.groups] = wrong[l][i];
            ck_assert_fails(both[l]->encode(&q, e.bytes, &err), LLMQ_E_INPUT, "row 1, group 0: exp",
                            &err);
            encoded_free(&e);
            qlinear_free(&q);
        }
}
END_TEST

START_TEST(what_does_not_go_together_is_not_decoded) {
    for (int l = 0; l < 2; l++) {
        struct qlinear q, back;
        struct encoded e;
        make_module(both[l], 3, 64, &q);
        encode(both[l], &q, &e);
        const struct layout_config config = config_of(both[l], &q);
        const struct encoded sound = e;
        e.data[SCALE].data = NULL;
        ck_assert_fails(both[l]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT,
                        "weight_scale: expected it", &err);
        e = sound;
        e.data[SCALE].info.shape[1] /= 2;
        e.data[SCALE].nbytes /= 2;
        ck_assert_fails(both[l]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT,
                        "expected one for each", &err);
        e = sound;
        e.data[PACKED].info.dtype = DTYPE_I8;
        ck_assert_fails(both[l]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT,
                        "weight_packed: expected U8, found I8", &err);
        e = sound;
        if (both[l] == &layout_nvfp4) {
            *(float *)e.bytes[GLOBAL] = -1;
            ck_assert_fails(both[l]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT,
                            "expected one finite positive number", &err);
        }
        ck_assert_ptr_null(back.codes);
        encoded_free(&e);
        qlinear_free(&q);
    }
}
END_TEST

START_TEST(a_scale_of_nan_is_found) {
    struct qlinear q, back;
    struct encoded e;
    make_module(&layout_mxfp4, 2, 64, &q);
    encode(&layout_mxfp4, &q, &e);
    ((uint8_t *)e.bytes[SCALE])[3] = 255;
    const struct layout_config config = config_of(&layout_mxfp4, &q);
    ck_assert_ok(layout_mxfp4.decode(&config, e.data, &back, &err), &err);
    ck_assert_fails(qlinear_check(&back, &err), LLMQ_E_INPUT, "row 1, group 1: scale nan", &err);
    qlinear_free(&back);
    encoded_free(&e);
    qlinear_free(&q);
}
END_TEST

START_TEST(other_grids_are_refused) {
    const struct quant_shape grids[] = {{.n = 64, .k = 256, .bits = 8, .group = 32, .sym = true},
                                        {.n = 64, .k = 256, .bits = 4, .group = 128, .sym = true},
                                        {.n = 64, .k = 256, .bits = 4, .group = -1, .sym = true},
                                        {.n = 64, .k = 256, .bits = 4, .group = 32}};
    for (int l = 0; l < 2; l++) {
        for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
            ck_assert_fails(both[l]->accepts(&grids[i], &err), LLMQ_E_UNSUPPORTED,
                            "expected 4 bits, symmetric", &err);
            ck_assert_ptr_nonnull(strstr(err.hint, "FP4A16"));
        }
        const struct quant_shape odd = {
            .n = 64, .k = 56, .bits = 4, .group = group_of(both[l]), .sym = true};
        ck_assert_fails(both[l]->accepts(&odd, &err), LLMQ_E_UNSUPPORTED, "does not divide", &err);
    }
}
END_TEST

START_TEST(configs_are_recognized) {
    for (int l = 0; l < 2; l++) {
        const struct layout_config config = {.bits = 4, .group = group_of(both[l]), .sym = true};
        const struct layout_module module = {"model.layers.0.mlp.up_proj",
                                             {64, 256, 4, config.group, true}};
        struct json *root = both[l]->config_write(&config, &module, 1);
        struct layout_config found;
        ck_assert_ptr_eq(layout_of_floats(root), both[l]);
        ck_assert_ok(both[l]->config_read(root, &found, &err), &err);
        ck_assert(found.bits == 4 && found.group == config.group && found.sym);
        json_free(&root);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("layout fp4");
    TCase *tests = tcase_create("fp4");
    tcase_add_test(tests, codes_and_scales_survive);
    tcase_add_test(tests, bytes_are_those_of_the_library);
    tcase_add_test(tests, scales_that_the_types_do_not_hold_are_refused);
    tcase_add_test(tests, what_does_not_go_together_is_not_decoded);
    tcase_add_test(tests, a_scale_of_nan_is_found);
    tcase_add_test(tests, other_grids_are_refused);
    tcase_add_test(tests, configs_are_recognized);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
