/* SPDX-License-Identifier: Apache-2.0 */
/* The layouts of 8-bit floats: every code and scale survives, and what does not go together is
 * refused. */
#include <stdlib.h>
#include <string.h>

#include "layout_modules.h"

static llmq_error err;
static uint64_t seed = 7;

enum { SCALE, WEIGHT };

/* Codes of E4M3 but for NaN; scales that whole blocks share. */
static void make_module(const struct layout *layout, int64_t n, int64_t k, struct qlinear *q) {
    const int64_t rows = layout->rows ? layout->rows : 1;
    const int64_t group = layout->rows ? (k < 128 ? k : 128) : k;
    ck_assert_ok(qlinear_alloc(n, k, 8, group, q, &err), &err);
    q->number = NUMBER_E4M3;
    q->sym = true;
    memset(q->zeros, 0, (size_t)(n * q->groups));
    for (int64_t i = 0; i < n * k; i++) {
        q->codes[i] = (uint8_t)random_next(&seed);
        q->codes[i] = (q->codes[i] & 0x7f) == 0x7f ? 0x7e : q->codes[i];
    }
    for (int64_t i = 0; i < n * q->groups; i++) {
        const int64_t row = i / q->groups / rows * rows;
        q->scales[i] = (float)(1 + (row * 31 + i % q->groups * 7) % 97) / 4096.0f;
    }
}

static const struct layout *const both[] = {&layout_float_quantized, &layout_fp8};
static const int64_t shapes[][2] = {{128, 256}, {200, 288}, {1, 64}, {129, 128}, {64, 96}};

/* As encode() of layout_modules.h, whose shape is the group that q has. */
static void encode_module(const struct layout *layout, const struct qlinear *q, struct encoded *e) {
    const struct quant_shape shape = {
        .n = q->n, .k = q->k, .bits = 8, .group = layout->rows ? 128 : -1, .sym = true};
    ck_assert_ok(layout->accepts(&shape, &err), &err);
    make_room(layout, q, e);
    ck_assert_ok(layout->encode(q, e->bytes, &err), &err);
}

START_TEST(codes_and_scales_survive) {
    for (int l = 0; l < 2; l++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            struct qlinear q;
            struct encoded e;
            make_module(both[l], shapes[s][0], shapes[s][1], &q);
            encode_module(both[l], &q, &e);
            ck_assert_mem_eq(e.bytes[WEIGHT], q.codes, (size_t)(q.n * q.k));
            const struct layout_config config = config_of(both[l], &q);
            check_decodes_to(both[l], &config, &e, &q);
            encoded_free(&e);
            qlinear_free(&q);
        }
}
END_TEST

START_TEST(scales_lie_by_blocks) {
    struct qlinear q;
    struct encoded e;
    make_module(&layout_fp8, 200, 288, &q);
    encode_module(&layout_fp8, &q, &e);
    ck_assert_str_eq(e.tensors[SCALE].suffix, "weight_scale_inv");
    ck_assert_uint_eq(e.tensors[SCALE].shape[0], 2);
    ck_assert_uint_eq(e.tensors[SCALE].shape[1], 3);
    for (int64_t row = 0; row < q.n; row++)
        for (int64_t c = 0; c < q.k; c++) {
            const float *scales = e.bytes[SCALE];
            ck_assert(scales[row / 128 * 3 + c / 128] == q.scales[row * 3 + c / 128]);
        }
    encoded_free(&e);
    qlinear_free(&q);
    make_module(&layout_float_quantized, 5, 288, &q);
    make_room(&layout_float_quantized, &q, &e);
    ck_assert_str_eq(e.tensors[SCALE].suffix, "weight_scale");
    ck_assert(e.tensors[SCALE].shape[0] == 5 && e.tensors[SCALE].shape[1] == 1);
    encoded_free(&e);
    qlinear_free(&q);
}
END_TEST

START_TEST(what_is_no_such_module_is_not_encoded) {
    struct qlinear q;
    struct encoded e;
    make_module(&layout_fp8, 128, 128, &q);
    make_room(&layout_fp8, &q, &e);
    q.scales[5] *= 2;
    ck_assert_fails(layout_fp8.encode(&q, e.bytes, &err), LLMQ_E_INPUT,
                    "row 5, group 0: expected the scale of row 0", &err);
    q.scales[5] /= 2;
    q.number = NUMBER_INT;
    ck_assert_fails(layout_fp8.encode(&q, e.bytes, &err), LLMQ_E_INPUT, "codes of E4M3", &err);
    encoded_free(&e);
    qlinear_free(&q);
}
END_TEST

START_TEST(what_does_not_go_together_is_not_decoded) {
    for (int l = 0; l < 2; l++) {
        struct qlinear q, back;
        struct encoded e;
        make_module(both[l], 200, 288, &q);
        encode_module(both[l], &q, &e);
        const struct layout_config config = config_of(both[l], &q);
        const struct encoded sound = e;
        e.data[SCALE].data = NULL;
        ck_assert_fails(both[l]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT,
                        "found no such tensor", &err);
        e = sound;
        e.data[SCALE].info.shape[0]--;
        e.data[SCALE].nbytes -= e.data[SCALE].info.shape[1] * sizeof(float);
        ck_assert_fails(both[l]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT, "expected [",
                        &err);
        e = sound;
        e.data[WEIGHT].info.dtype = DTYPE_U8;
        ck_assert_fails(both[l]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT,
                        "weight: expected F8_E4M3, found U8", &err);
        e = sound;
        e.data[SCALE].info.dtype = DTYPE_I32;
        ck_assert_fails(both[l]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT,
                        "F8_E8M0, found I32", &err);
        ck_assert_ptr_null(back.codes);
        encoded_free(&e);
        qlinear_free(&q);
    }
}
END_TEST

START_TEST(other_grids_are_refused) {
    const struct quant_shape grids[] = {{.n = 64, .k = 256, .bits = 4, .group = 128, .sym = true},
                                        {.n = 64, .k = 256, .bits = 8, .group = 128, .sym = false},
                                        {.n = 64, .k = 256, .bits = 8, .group = 64, .sym = true}};
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
            ck_assert_fails(both[l]->accepts(&grids[i], &err), LLMQ_E_UNSUPPORTED,
                            "expected 8 bits, symmetric", &err);
            ck_assert_ptr_nonnull(strstr(err.hint, "--scheme FP8_"));
        }
}
END_TEST

/* What a config says comes back, and other configs are not taken for it. */
START_TEST(configs_are_recognized) {
    static const char *const plain[] = {"model.layers.0.mlp.down_proj"};
    for (int l = 0; l < 2; l++) {
        const struct layout *layout = both[l];
        const struct layout_config config = {.bits = 8,
                                             .group = layout->rows ? 128 : -1,
                                             .sym = true,
                                             .plain = plain,
                                             .plain_count = 1};
        const struct layout_module module = {"model.layers.0.mlp.up_proj",
                                             {64, 256, 8, config.group, true}};
        struct json *root = layout->config_write(&config, &module, 1);
        struct layout_config found;
        struct module_rules rules;
        struct module_setting setting;
        ck_assert_ptr_eq(layout_of_floats(root), layout);
        ck_assert_ok(layout->config_read(root, &found, &err), &err);
        ck_assert(found.bits == 8 && found.group == config.group && found.sym);
        ck_assert_ok(module_rules_read(root, layout, &found, &rules, &err), &err);
        ck_assert_ok(module_rules_find(&rules, module.name, &setting, &err), &err);
        ck_assert(setting.packed && setting.bits == 8 && setting.group == config.group);
        ck_assert_ok(module_rules_find(&rules, plain[0], &setting, &err), &err);
        ck_assert(!setting.packed);
        ck_assert_ok(module_rules_find(&rules, "lm_head", &setting, &err), &err);
        ck_assert(!setting.packed);
        module_rules_free(&rules);
        json_free(&root);
    }
}
END_TEST

START_TEST(other_configs_are_not) {
    static const char *const texts[] = {
        "{\"quant_method\":\"fp8\"}",
        "{\"quant_method\":\"fp8\",\"weight_block_size\":[64,128]}",
        "{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\"}",
        "{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\","
        "\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":8,\"type\":\"float\","
        "\"strategy\":\"tensor\"}}}}",
        "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
        "\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":8,\"type\":\"int\","
        "\"strategy\":\"channel\"}}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct json *root = NULL;
        ck_assert_ok(json_parse(texts[i], strlen(texts[i]), "text", &root, &err), &err);
        ck_assert_ptr_null(layout_of_floats(root));
        json_free(&root);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("layout fp8");
    TCase *tests = tcase_create("fp8");
    tcase_add_test(tests, codes_and_scales_survive);
    tcase_add_test(tests, scales_lie_by_blocks);
    tcase_add_test(tests, what_is_no_such_module_is_not_encoded);
    tcase_add_test(tests, what_does_not_go_together_is_not_decoded);
    tcase_add_test(tests, other_grids_are_refused);
    tcase_add_test(tests, configs_are_recognized);
    tcase_add_test(tests, other_configs_are_not);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
