/* SPDX-License-Identifier: Apache-2.0 */
/* Configs of other tools, and how every layout's config names the linears that stay plain. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/layouts/layout.h"
#include "formats/loaders/quant_config.h"

static llmq_error err;

/* --- reading ---------------------------------------------------------------------------------- */

START_TEST(configs_are_dispatched_to_layouts) {
    static const struct {
        const char *text;
        const struct layout *layout;
        int64_t group;
    } rows[] = {
        {"{\"w_bit\":4,\"q_group_size\":64,\"version\":\"GEMM\",\"zero_point\":true}", &layout_awq,
         64},
        {"{\"bits\":4,\"group_size\":32,\"desc_act\":true,\"sym\":true}", &layout_gptq, 32},
        {"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:auto_gptq\",\"bits\":4,"
         "\"group_size\":128,\"sym\":true}",
         &layout_gptq, 128},
        {"{\"quant_method\":\"auto_round\",\"packing_format\":\"auto_round:gptqmodel\",\"bits\":2,"
         "\"group_size\":64,\"sym\":false}",
         &layout_gptq_v2, 64},
        {"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round\",\"bits\":8,"
         "\"group_size\":-1}",
         &layout_gptq_v2, -1},
        {"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:auto_awq\",\"bits\":4,"
         "\"group_size\":32}",
         &layout_awq, 32},
        {"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:llm_compressor\"}", NULL,
         0},
        {"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:mlx\",\"bits\":4,"
         "\"group_size\":32}",
         NULL, 0},
        /* Versions 0.2 to 0.4: the packing is in `backend`, the name has its maker. */
        {"{\"quant_method\":\"intel/auto-round\",\"backend\":\"auto_round:exllamav2\",\"bits\":4,"
         "\"group_size\":32}",
         &layout_gptq_v2, 32},
        {"{\"quant_method\":\"intel/auto-round\",\"backend\":\"auto_round:gptq:exllamav2\","
         "\"bits\":4,\"group_size\":32}",
         &layout_gptq, 32},
        {"{\"quant_method\":\"intel/auto-round\",\"backend\":\"auto_gptq:exllamav2\",\"bits\":4,"
         "\"group_size\":32}",
         &layout_gptq, 32},
        {"{\"quant_method\":\"intel/auto-round\",\"backend\":\"auto_round:awq:gemm\",\"bits\":4,"
         "\"group_size\":32}",
         &layout_awq, 32},
        /* A backend beside a packing is a kernel; loaders take GPTQ where nothing is said. */
        {"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:auto_awq\","
         "\"backend\":\"auto_round:exllamav2\",\"bits\":4,\"group_size\":32}",
         &layout_awq, 32},
        {"{\"quant_method\":\"auto-round\",\"backend\":\"auto\",\"bits\":4,\"group_size\":32}",
         &layout_gptq, 32},
        {"{\"quant_method\":\"auto-round\",\"bits\":4,\"group_size\":32}", &layout_gptq, 32},
        /* A flag that GPTQ's names of tensors belie. */
        {"{\"quant_method\":\"gptq\",\"is_marlin_format\":true,\"bits\":4,\"group_size\":32}",
         &layout_gptq, 32},
        {"{\"method\":\"awq\",\"format\":\"gemm\",\"bits\":4,\"group_size\":32}", &layout_awq, 32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct layout *found = NULL;
        struct layout_config config;
        struct json *root = NULL;
        ck_assert_ok(json_parse(rows[i].text, strlen(rows[i].text), "test", &root, &err), &err);
        if (!rows[i].layout) {
            ck_assert_fails(layout_of_config(root, &found, &err), LLMQ_E_UNSUPPORTED, "auto-round",
                            &err);
        } else {
            ck_assert_ok(layout_of_config(root, &found, &err), &err);
            ck_assert_ptr_eq(found, rows[i].layout);
            ck_assert_ok(found->config_read(root, &config, &err), &err);
            ck_assert_int_eq(config.group, rows[i].group);
            ck_assert(config.zeros_minus_one == (found == &layout_gptq));
        }
        json_free(&root);
    }
}
END_TEST

/* By their names, with the way to a checkpoint that can be read. */
START_TEST(methods_that_are_not_read_are_named) {
    static const char *const rows[][2] = {
        {"{\"quant_method\":\"mxfp4\",\"modules_to_not_convert\":[]}", "quant_method 'mxfp4'"},
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":\"marlin\"}",
         "quant_method 'gptq' with format 'marlin'"},
        {"{\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"nf4\"}", "no quant_method"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct layout *found = NULL;
        struct json *root = NULL;
        ck_assert_ok(json_parse(rows[i][0], strlen(rows[i][0]), "test", &root, &err), &err);
        ck_assert_fails(layout_of_config(root, &found, &err), LLMQ_E_UNSUPPORTED, rows[i][1], &err);
        ck_assert_str_eq(strstr(err.message, rows[i][1]), rows[i][1]); /* and nothing more */
        ck_assert_ptr_nonnull(strstr(err.hint, "take the checkpoint that was quantized"));
        json_free(&root);
    }
}
END_TEST

START_TEST(awq_in_another_order_is_refused_with_a_way_out) {
    static const char *const members[] = {"\"version\":\"gemv\"", "\"version\":\"GEMV_FAST\"",
                                          "\"format\":\"gemv\"", "\"backend\":\"llm-awq\""};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        char text[160];
        struct layout_config config;
        struct json *root = NULL;
        (void)snprintf(text, sizeof text,
                       "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32,%s}", members[i]);
        ck_assert_ok(json_parse(text, strlen(text), "test", &root, &err), &err);
        ck_assert_fails(layout_awq.config_read(root, &config, &err), LLMQ_E_UNSUPPORTED, "expected",
                        &err);
        ck_assert_ptr_nonnull(strstr(err.hint, "llmq awq"));
        json_free(&root);
    }
}
END_TEST

START_TEST(the_config_is_looked_for_where_loaders_look) {
    static const struct {
        const char *config, *file, *found;
    } rows[] = {
        {"{\"quantization_config\":{\"bits\":1}}", "quantize_config.json", "config.json"},
        {"{\"compression_config\":{\"bits\":1}}", NULL, "config.json"},
        {"{\"quantization_config\":null}", "quantize_config.json", "quantize_config.json"},
        {"{}", "quant_config.json", "quant_config.json"},
        {"{}", "quantization_config.json", "quantization_config.json"},
        {"{}", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct quant_config q;
        struct json *config = NULL;
        scratch_setup();
        ck_assert_ok(json_parse(rows[i].config, strlen(rows[i].config), "test", &config, &err),
                     &err);
        if (rows[i].file)
            put_file(rows[i].file, "{\"bits\": 2}", 11);
        ck_assert_ok(quant_config_find(scratch, config, &q, &err), &err);
        if (rows[i].found) {
            int64_t bits = 0;
            ck_assert_str_eq(q.file, rows[i].found);
            ck_assert(json_as_int64(json_get(q.object, "bits"), &bits));
            ck_assert_int_eq(bits, strcmp(q.file, "config.json") == 0 ? 1 : 2);
        } else {
            ck_assert_ptr_null(q.object);
        }
        quant_config_free(&q);
        json_free(&config);
        scratch_teardown();
    }
}
END_TEST

/* --- linears that stay plain ------------------------------------------------------------------ */

static const struct quant_shape usual = {.n = 64, .k = 64, .bits = 4, .group = 32, .sym = true};

static char *written(const struct layout *layout, const char *const *plain, int64_t count,
                     const char *key) {
    const struct layout_module modules[] = {{"model.layers.0.mlp.up_proj", usual},
                                            {"model.layers.1.mlp.up_proj", usual}};
    const struct layout_config config = {
        .bits = 4,
        .group = 32,
        .sym = true,
        .plain = plain,
        .plain_count = count,
        .fusions = {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
                    {"gate_up_proj", {"gate_proj", "up_proj"}}},
    };
    struct json *root = layout->config_write(&config, modules, 2);
    const struct json *value = json_get(root, key);
    char *text = value ? json_print(value, false) : NULL;
    json_free(&root);
    return text;
}

static void check_written(const struct layout *layout, const char *const *plain, int64_t count,
                          const char *key, const char *expected) {
    char *text = written(layout, plain, count, key);
    ck_assert_str_eq(text ? text : "none", expected);
    free(text);
}

START_TEST(plain_linears_are_named) {
    static const char *const everywhere[] = {"model.layers.0.self_attn.o_proj",
                                             "model.layers.1.self_attn.o_proj"};
    static const char *const once[] = {"model.layers.1.mlp.down_proj"};
    static const char *const fused[] = {"model.layers.0.self_attn.q_proj",
                                        "model.layers.0.self_attn.k_proj",
                                        "model.layers.0.self_attn.v_proj"};
    static const char *const same_role[] = {"model.layers.2.mlp.up_proj"};
    check_written(&layout_gptq, everywhere, 2, "dynamic",
                  "{\"-:.*\\\\.layers\\\\.[0-9]+\\\\.self_attn\\\\.o_proj$\":{}}");
    check_written(&layout_gptq, everywhere, 2, "modules_in_block_to_quantize",
                  "[[\"mlp.up_proj\"]]");
    check_written(&layout_gptq, once, 1, "modules_in_block_to_quantize", "[[\"mlp.up_proj\"]]");
    check_written(&layout_gptq_v2, fused, 3, "dynamic",
                  "{\"-:.*\\\\.layers\\\\.[0-9]+\\\\.self_attn\\\\.(q|k|v|qkv)_proj$\":{}}");
    check_written(&layout_gptq, same_role, 1, "dynamic",
                  "{\"-:.*\\\\.layers\\\\.2\\\\.mlp\\\\.(gate|up|gate_up)_proj$\":{}}");
    check_written(&layout_gptq, same_role, 1, "modules_in_block_to_quantize", "none");
    check_written(&layout_gptq, NULL, 0, "dynamic", "none");
    check_written(&layout_gptq, NULL, 0, "modules_in_block_to_quantize", "none");
    check_written(&layout_awq, once, 1, "modules_to_not_convert",
                  "[\"model.layers.1.mlp.down_proj\",\"lm_head\"]");
    check_written(&layout_awq, NULL, 0, "modules_to_not_convert", "null");
    check_written(&layout_compressed_tensors, once, 1, "ignore",
                  "[\"lm_head\",\"model.layers.1.mlp.down_proj\"]");
}
END_TEST

/* Exclusions stand before overrides, since loaders take the first expression that matches. */
START_TEST(exclusions_come_before_overrides) {
    static const char *const plain[] = {"model.layers.0.mlp.down_proj"};
    const struct layout_module modules[] = {
        {"model.layers.0.mlp.up_proj", usual},
        {"model.layers.0.self_attn.o_proj",
         {.n = 64, .k = 64, .bits = 8, .group = 32, .sym = true}},
    };
    const struct layout_config config = {
        .bits = 4, .group = 32, .sym = true, .plain = plain, .plain_count = 1};
    struct json *root = layout_gptq.config_write(&config, modules, 2);
    char *text = json_print(json_get(root, "dynamic"), false);
    ck_assert_str_eq(text,
                     "{\"-:.*\\\\.layers\\\\.[0-9]+\\\\.mlp\\\\.down_proj$\":{},"
                     "\"+:.*\\\\.layers\\\\.[0-9]+\\\\.self_attn\\\\.o_proj$\":{\"bits\":8}}");
    free(text);
    json_free(&root);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("foreign configs");
    TCase *tests = tcase_create("configs");
    tcase_add_test(tests, configs_are_dispatched_to_layouts);
    tcase_add_test(tests, methods_that_are_not_read_are_named);
    tcase_add_test(tests, awq_in_another_order_is_refused_with_a_way_out);
    tcase_add_test(tests, the_config_is_looked_for_where_loaders_look);
    tcase_add_test(tests, plain_linears_are_named);
    tcase_add_test(tests, exclusions_come_before_overrides);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
