/* SPDX-License-Identifier: Apache-2.0 */
/* Weights that ship as small floats: any part of a tensor reads as the same part of the whole, in
 * blocks that divide no side, in stacks, and turned; what the configs say; what is no checkpoint.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/encodings/encoding.h"
#include "tensor/minifloat.h"

static llmq_error err;

enum { ROWS = 7, COLUMNS = 11, BLOCK_ROWS = 3, BLOCK_COLUMNS = 4, DOWN = 3, ACROSS = 3, STACK = 2 };

static struct encoding_settings settings_of(const char *text, enum llmq_status wanted,
                                            const char *part) {
    struct encoding_settings s;
    struct json *root = NULL;
    ck_assert_ok(json_parse(text, strlen(text), "test", &root, &err), &err);
    if (wanted == LLMQ_OK)
        ck_assert_ok(encoding_of_config(root, &s, &err), &err);
    else
        ck_assert_fails(encoding_of_config(root, &s, &err), wanted, part, &err);
    json_free(&root);
    return s;
}

static const char blocks_config[] = "{\"quant_method\":\"fp8\",\"weight_block_size\":[3,4]}";

/* A set of one tensor of codes and one of scales. */
static struct st_set *open_pair(const struct st_spec specs[2], const void *codes, size_t code_bytes,
                                const void *scales, size_t scale_bytes) {
    struct st_writer *w = NULL;
    struct st_set *set = NULL;
    ck_assert_ok(st_writer_create(scratch, specs, 2, 1 << 20, &w, &err), &err);
    ck_assert_ok(st_writer_put(w, specs[0].name, codes, code_bytes, &err), &err);
    ck_assert_ok(st_writer_put(w, specs[1].name, scales, scale_bytes, &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    ck_assert_ok(st_open_file(scratch_path("model.safetensors"), &set, &err), &err);
    return set;
}

/* Every part of the tensor against `expected`. */
static void check_parts(const struct st_set *set, const struct st_tensor *t, const float *expected,
                        size_t count) {
    float *out = malloc(count * sizeof *out);
    for (size_t begin = 0; begin < count; begin++)
        for (size_t n = 1; n <= count - begin; n += 1 + n / 3) {
            ck_assert_ok(st_read_part_f32(set, t, begin, n, out, &err), &err);
            ck_assert_msg(memcmp(out, expected + begin, n * sizeof *out) == 0, "%zu from %zu", n,
                          begin);
        }
    ck_assert_ok(st_read_f32(set, t, out, &err), &err);
    ck_assert_mem_eq(out, expected, count * sizeof *out);
    free(out);
}

START_TEST(parts_of_ragged_blocks_in_a_stack_are_those_of_the_whole) {
    enum { COUNT = STACK * ROWS * COLUMNS };
    const struct st_spec specs[2] = {
        {.name = "w", .dtype = DTYPE_F8_E4M3, .rank = 3, .shape = {STACK, ROWS, COLUMNS}},
        {.name = "w_scale_inv", .dtype = DTYPE_F32, .rank = 3, .shape = {STACK, DOWN, ACROSS}},
    };
    const struct encoding_settings settings = settings_of(blocks_config, LLMQ_OK, NULL);
    uint8_t codes[COUNT];
    float scales[STACK * DOWN * ACROSS], expected[COUNT];
    for (int i = 0; i < STACK * DOWN * ACROSS; i++)
        scales[i] = 0.1f + (float)i / 7;
    for (int i = 0; i < COUNT; i++) {
        const int e = i / (ROWS * COLUMNS), r = i / COLUMNS % ROWS, c = i % COLUMNS;
        const float scale = scales[(e * DOWN + r / BLOCK_ROWS) * ACROSS + c / BLOCK_COLUMNS];
        codes[i] = (uint8_t)(i * 37 % 127);
        expected[i] = (float)((double)e4m3_to_f32(codes[i]) * (double)scale);
    }
    struct st_set *set = open_pair(specs, codes, sizeof codes, scales, sizeof scales);
    ck_assert_ok(encoding_settle(&settings, set, &err), &err);
    ck_assert_uint_eq(st_count(set), 1);
    const struct st_tensor *t = st_find(set, "w");
    ck_assert(t->dtype == DTYPE_F32 && st_copy_dtype(t) == DTYPE_BF16 && t->shape[2] == COLUMNS);
    ck_assert_uint_eq(st_stored_bytes(t), sizeof codes + sizeof scales);
    check_parts(set, t, expected, COUNT);
    st_close(&set);
}
END_TEST

START_TEST(parts_of_mxfp4_are_those_of_the_turned_whole) {
    enum { OUT = 5, IN = 64, COUNT = STACK * OUT * IN };
    const struct st_spec specs[2] = {
        {.name = "e_blocks", .dtype = DTYPE_U8, .rank = 4, .shape = {STACK, OUT, IN / 32, 16}},
        {.name = "e_scales", .dtype = DTYPE_U8, .rank = 3, .shape = {STACK, OUT, IN / 32}},
    };
    const struct encoding_settings settings = settings_of(
        "{\"quant_method\":\"mxfp4\",\"modules_to_not_convert\":[\"lm_head\"]}", LLMQ_OK, NULL);
    uint8_t codes[COUNT / 2], scales[COUNT / 32];
    float expected[COUNT];
    for (int i = 0; i < COUNT / 2; i++)
        codes[i] = (uint8_t)(i * 59);
    for (int i = 0; i < COUNT / 32; i++)
        scales[i] = (uint8_t)(100 + i);
    for (int i = 0; i < COUNT; i++) {
        const int e = i / (OUT * IN), r = i / IN % OUT, c = i % IN;
        const unsigned code = i % 2 ? codes[i / 2] >> 4 : codes[i / 2] & 15u;
        expected[(e * IN + c) * OUT + r] = e2m1_to_f32(code) * e8m0_to_f32(scales[i / 32]);
    }
    struct st_set *set = open_pair(specs, codes, sizeof codes, scales, sizeof scales);
    ck_assert_ok(encoding_settle(&settings, set, &err), &err);
    const struct st_tensor *t = st_find(set, "e");
    ck_assert(t && t->shape[0] == STACK && t->shape[1] == IN && t->shape[2] == OUT);
    check_parts(set, t, expected, COUNT);
    st_close(&set);
}
END_TEST

/* As the compressed-tensors library packs E2M1: in groups of 32 with a power of two, or of 16 with
 * an E4M3 that is divided by a number of the whole. */
START_TEST(parts_of_packed_e2m1_are_those_of_the_whole) {
    enum { OUT = 5, IN = 64, COUNT = OUT * IN };
    static const char *const config =
        "{\"quant_method\":\"compressed-tensors\",\"format\":\"%s\",\"config_groups\":{\"group_0\":"
        "{\"weights\":{\"num_bits\":4,\"type\":\"float\",\"strategy\":\"%s\",\"group_size\":%d}}}}";
    for (int nv = 0; nv < 2; nv++) {
        const int group = nv ? 16 : 32, scale_count = COUNT / group;
        const float whole = 1792;
        const struct st_spec specs[3] = {
            {.name = "m.weight_packed", .dtype = DTYPE_U8, .rank = 2, .shape = {OUT, IN / 2}},
            {.name = "m.weight_scale",
             .dtype = nv ? DTYPE_F8_E4M3 : DTYPE_U8,
             .rank = 2,
             .shape = {OUT, (uint64_t)(IN / group)}},
            {.name = "m.weight_global_scale", .dtype = DTYPE_F32, .rank = 1, .shape = {1}}};
        uint8_t codes[COUNT / 2], scales[COUNT / 16];
        float expected[COUNT];
        char text[320];
        (void)snprintf(text, sizeof text, config,
                       nv ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized",
                       nv ? "tensor_group" : "group", group);
        const struct encoding_settings settings = settings_of(text, LLMQ_OK, NULL);
        for (int i = 0; i < COUNT / 2; i++)
            codes[i] = (uint8_t)(i * 59 + 7);
        for (int i = 0; i < scale_count; i++)
            scales[i] = (uint8_t)(nv ? 1 + i * 6 % 126 : 120 + i);
        for (int i = 0; i < COUNT; i++) {
            const unsigned code = i % 2 ? codes[i / 2] >> 4 : codes[i / 2] & 15u;
            const uint8_t scale = scales[i / group];
            expected[i] =
                e2m1_to_f32(code) * (nv ? e4m3_to_f32(scale) / whole : e8m0_to_f32(scale));
        }
        struct st_writer *w = NULL;
        struct st_set *set = NULL;
        ck_assert_ok(st_writer_create(scratch, specs, 2 + (size_t)nv, 1 << 20, &w, &err), &err);
        ck_assert_ok(st_writer_put(w, specs[0].name, codes, sizeof codes, &err), &err);
        ck_assert_ok(st_writer_put(w, specs[1].name, scales, (size_t)scale_count, &err), &err);
        if (nv)
            ck_assert_ok(st_writer_put(w, specs[2].name, &whole, sizeof whole, &err), &err);
        ck_assert_ok(st_writer_finish(&w, &err), &err);
        ck_assert_ok(st_open_file(scratch_path("model.safetensors"), &set, &err), &err);
        ck_assert_ok(encoding_settle(&settings, set, &err), &err);
        ck_assert_uint_eq(st_count(set), 1);
        const struct st_tensor *t = st_find(set, "m.weight");
        ck_assert(t && t->shape[0] == OUT && t->shape[1] == IN);
        check_parts(set, t, expected, COUNT);
        st_close(&set);
    }
}
END_TEST

/* Shapes of scales for [7, 11] codes, and the config's word. */
START_TEST(scales_have_the_shape_that_the_config_says) {
    static const char whole[] = "{\"quant_method\":\"fp8\",\"activation_scheme\":\"static\"}";
    static const struct {
        const char *config;
        int rank;
        uint64_t shape[3];
        bool fits;
    } rows[] = {
        {blocks_config, 2, {3, 3, 0}, true},  {blocks_config, 2, {3, 2, 0}, false},
        {blocks_config, 2, {7, 1, 0}, false}, {blocks_config, 0, {0, 0, 0}, false},
        {whole, 0, {0, 0, 0}, true},          {whole, 1, {1, 0, 0}, true},
        {whole, 2, {7, 1, 0}, true},          {whole, 1, {7, 0, 0}, true},
        {whole, 2, {1, 11, 0}, false},        {whole, 2, {3, 3, 0}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct st_spec specs[2] = {
            {.name = "w", .dtype = DTYPE_F8_E4M3, .rank = 2, .shape = {ROWS, COLUMNS}},
            {.name = "w_scale", .dtype = DTYPE_BF16, .rank = rows[i].rank},
        };
        uint64_t count = 1;
        memcpy(specs[1].shape, rows[i].shape, sizeof rows[i].shape);
        for (int d = 0; d < rows[i].rank; d++)
            count *= rows[i].shape[d];
        static const uint8_t codes[ROWS * COLUMNS];
        static const uint16_t scales[64];
        const struct encoding_settings settings = settings_of(rows[i].config, LLMQ_OK, NULL);
        struct st_set *set = open_pair(specs, codes, sizeof codes, scales, (size_t)count * 2);
        if (rows[i].fits)
            ck_assert_ok(encoding_settle(&settings, set, &err), &err);
        else
            ck_assert_fails(encoding_settle(&settings, set, &err), LLMQ_E_INPUT, "expected shape",
                            &err);
        st_close(&set);
    }
}
END_TEST

START_TEST(configs_are_read_or_refused_by_their_key) {
    static const struct {
        const char *text, *part; /* NULL: it is read */
    } rows[] = {
        {"{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"weight_block_size\":[128,128],"
         "\"activation_scheme\":\"dynamic\",\"scale_fmt\":\"ue8m0\",\"modules_to_not_convert\":[]}",
         NULL},
        {"{\"quant_method\":\"fbgemm_fp8\",\"activation_scale_ub\":1200.0,"
         "\"modules_to_not_convert\":[\"lm_head\"]}",
         NULL},
        {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\",\"ignore\":[\"lm_head\"],"
         "\"producer\":{\"name\":\"modelopt\"},\"config_groups\":{\"group_0\":{\"targets\":["
         "\"Linear\"],"
         "\"weights\":{\"dynamic\":false,\"num_bits\":8,\"type\":\"float\"}}}}",
         NULL},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,0]}", "weight_block_size"},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":[128]}", "weight_block_size"},
        {"{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", "fmt"},
        {"{\"quant_method\":\"fp8\",\"activation_scheme\":\"random\"}", "activation_scheme"},
        {"{\"quant_method\":\"fp8\",\"rotation\":\"hadamard\"}", "rotation"},
        {"{\"quant_method\":\"mxfp4\",\"group_size\":64}", "group_size"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\","
         "\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":8,"
         "\"type\":\"float\",\"strategy\":\"block\",\"block_structure\":[128,128]},"
         "\"input_activations\":{\"num_bits\":8}}},\"ignore\":[\"lm_head\"],"
         "\"sparsity_config\":{\"format\":\"dense\"}}",
         NULL},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\","
         "\"config_groups\":{\"group_0\":{\"weights\":{\"num_bits\":8,\"type\":\"float\"}}},"
         "\"sparsity_config\":{\"format\":\"sparse-bitmask\"}}",
         "sparsity_config"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\","
         "\"config_groups\":{\"group_0\":{\"weights\":{\"num_bits\":4,\"type\":\"float\"}}}}",
         "num_bits"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"naive-quantized\","
         "\"config_groups\":{}}",
         "config_groups"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct encoding_settings s;
        struct json *root = NULL;
        ck_assert_ok(json_parse(rows[i].text, strlen(rows[i].text), "test", &root, &err), &err);
        const enum llmq_status status = encoding_of_config(root, &s, &err);
        if (rows[i].part)
            ck_assert_msg(status != LLMQ_OK && strstr(err.message, rows[i].part), "%zu: %s", i,
                          err.message);
        else
            ck_assert_ok(status, &err);
        ck_assert_ptr_nonnull(s.encoding);
        json_free(&root);
    }
    const struct encoding_settings none =
        settings_of("{\"quant_method\":\"gptq\",\"bits\":4}", LLMQ_OK, NULL);
    ck_assert_ptr_null(none.encoding);
}
END_TEST

int main(void) {
    Suite *s = suite_create("encodings");
    TCase *t = tcase_create("encodings");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, parts_of_ragged_blocks_in_a_stack_are_those_of_the_whole);
    tcase_add_test(t, parts_of_mxfp4_are_those_of_the_turned_whole);
    tcase_add_test(t, parts_of_packed_e2m1_are_those_of_the_whole);
    tcase_add_test(t, scales_have_the_shape_that_the_config_says);
    tcase_add_test(t, configs_are_read_or_refused_by_their_key);
    suite_add_tcase(s, t);
    return run_suite(s);
}
