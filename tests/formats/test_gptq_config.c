/* SPDX-License-Identifier: Apache-2.0 */
/* The config of a GPTQ checkpoint: its exact text, overrides for modules that deviate, and what is
 * read, tolerated and refused. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "formats/layouts/layout.h"

static llmq_error err;

static const struct layout_config defaults = {.bits = 4,
                                              .group = 128,
                                              .sym = true,
                                              .zeros_minus_one = true,
                                              .damp = 0.01,
                                              .llmq_version = "0.1.0",
                                              .fusions = {
                                                  {"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
                                                  {"gate_up_proj", {"gate_proj", "up_proj"}},
                                              }};

static const struct quant_shape usual = {.n = 512, .k = 512, .bits = 4, .group = 128, .sym = true};

/* --- writing ---------------------------------------------------------------------------------- */

static void check_text(const struct layout *layout, const struct layout_config *config,
                       const struct layout_module *modules, int64_t count, const char *expected) {
    struct json *root = layout->config_write(config, modules, count);
    char *text = json_print(root, false);
    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, expected);
    free(text);
    json_free(&root);
}

START_TEST(the_config_has_the_text_that_loaders_were_read_for) {
    const struct layout_module module = {"model.layers.0.mlp.up_proj", usual};
    check_text(&layout_gptq, &defaults, &module, 1,
               "{\"bits\":4,\"group_size\":128,\"desc_act\":false,\"sym\":true,\"lm_head\":false,"
               "\"quant_method\":\"gptq\",\"checkpoint_format\":\"gptq\",\"pack_dtype\":\"int32\","
               "\"damp_percent\":0.01,\"static_groups\":false,\"true_sequential\":true,"
               "\"meta\":{\"quantizer\":[\"llmq:0.1.0\"]}}");
}
END_TEST

START_TEST(the_config_says_what_differs) {
    struct layout_config config = defaults;
    const struct layout_module head = {"lm_head", usual};
    int64_t group = 0;
    bool flag = true;
    config.damp = 0;
    config.group = -1;
    config.sym = false;
    struct json *root = layout_gptq_v2.config_write(&config, NULL, 0);
    ck_assert_str_eq(json_string(json_get(root, "checkpoint_format")), "gptq_v2");
    ck_assert(json_as_int64(json_get(root, "group_size"), &group) && group == -1);
    ck_assert(json_as_bool(json_get(root, "sym"), &flag) && !flag);
    ck_assert(json_as_bool(json_get(root, "lm_head"), &flag) && !flag);
    ck_assert_ptr_null(json_get(root, "damp_percent")); /* transformers refuses 0 */
    ck_assert_ptr_null(json_get(root, "zero_point"));   /* TGI reads its presence */
    ck_assert_ptr_null(json_get(root, "dataset"));
    ck_assert_ptr_null(json_get(root, "dynamic"));
    json_free(&root);
    root = layout_gptq.config_write(&defaults, &head, 1);
    ck_assert(json_as_bool(json_get(root, "lm_head"), &flag) && flag);
    json_free(&root);
    ck_assert_str_eq(layout_gptq.config_file, "quantize_config.json");
}
END_TEST

/* --- overrides -------------------------------------------------------------------------------- */

static void check_dynamic(const struct layout_config *config, const struct layout_module *modules,
                          int64_t count, const char *expected) {
    struct json *root = layout_gptq.config_write(config, modules, count);
    const struct json *dynamic = json_get(root, "dynamic");
    char *text = dynamic ? json_print(dynamic, false) : NULL;
    ck_assert_str_eq(text ? text : "none", expected);
    free(text);
    json_free(&root);
}

static const struct quant_shape eight = {.n = 512, .k = 512, .bits = 8, .group = 128, .sym = true};
static const struct quant_shape small = {.n = 512, .k = 288, .bits = 4, .group = 96, .sym = false};

START_TEST(modules_that_deviate_in_every_block_share_one_expression) {
    const struct layout_module modules[] = {
        {"model.layers.0.self_attn.q_proj", usual}, {"model.layers.0.mlp.down_proj", eight},
        {"model.layers.1.self_attn.q_proj", usual}, {"model.layers.1.mlp.down_proj", eight},
        {"model.layers.10.mlp.down_proj", eight},
    };
    check_dynamic(&defaults, modules, 5,
                  "{\"+:.*\\\\.layers\\\\.[0-9]+\\\\.mlp\\\\.down_proj$\":{\"bits\":8}}");
}
END_TEST

START_TEST(fused_members_that_deviate_together_match_the_fused_name) {
    const struct layout_module modules[] = {
        {"model.layers.0.self_attn.q_proj", small}, {"model.layers.0.self_attn.k_proj", small},
        {"model.layers.0.self_attn.v_proj", small}, {"model.layers.0.self_attn.o_proj", usual},
        {"model.layers.0.mlp.gate_proj", eight},    {"model.layers.0.mlp.up_proj", eight},
        {"model.layers.1.self_attn.q_proj", small}, {"model.layers.1.self_attn.k_proj", small},
        {"model.layers.1.self_attn.v_proj", small}, {"model.layers.1.mlp.gate_proj", usual},
        {"model.layers.1.mlp.up_proj", usual},
    };
    check_dynamic(&defaults, modules, 11,
                  "{\"+:.*\\\\.layers\\\\.[0-9]+\\\\.self_attn\\\\.(q|k|v|qkv)_proj$\":"
                  "{\"group_size\":96,\"sym\":false},"
                  "\"+:.*\\\\.layers\\\\.0\\\\.mlp\\\\.(gate|up|gate_up)_proj$\":{\"bits\":8}}");
}
END_TEST

/* Names that have nothing in common with the layer's. */
START_TEST(fused_members_of_any_name_match_the_fused_name) {
    const struct layout_module modules[] = {
        {"h.0.attn.wq", eight}, {"h.0.attn.wk.1", eight}, {"h.0.attn.out", usual}};
    struct layout_config config = defaults;
    config.fusions[0] = (struct layout_fusion){"qkv_proj", {"wq", "wk"}};
    check_dynamic(&config, modules, 3,
                  "{\"+:(.*\\\\.)?h\\\\.[0-9]+\\\\.attn\\\\.(wq|wk|qkv_proj)$\":{\"bits\":8},"
                  "\"+:(.*\\\\.)?h\\\\.[0-9]+\\\\.attn\\\\.wk\\\\.[0-9]+$\":{\"bits\":8}}");
}
END_TEST

START_TEST(a_member_that_deviates_alone_is_named_alone) {
    const struct layout_module modules[] = {
        {"model.layers.0.self_attn.q_proj", usual},
        {"model.layers.0.self_attn.k_proj", eight},
        {"model.layers.1.self_attn.q_proj", usual},
        {"model.layers.1.self_attn.k_proj", usual},
        {"lm_head", eight},
    };
    check_dynamic(&defaults, modules, 5,
                  "{\"+:.*\\\\.layers\\\\.0\\\\.self_attn\\\\.k_proj$\":{\"bits\":8},"
                  "\"+:lm_head$\":{\"bits\":8}}");
}
END_TEST

START_TEST(experts_are_one_fused_layer) {
    const struct layout_module modules[] = {
        {"model.layers.0.mlp.experts.0.gate_proj", eight},
        {"model.layers.0.mlp.experts.0.down_proj", eight},
        {"model.layers.0.mlp.experts.1.down_proj", eight},
        {"model.layers.0.mlp.shared_expert.down_proj", usual},
    };
    check_dynamic(&defaults, modules, 4,
                  "{\"+:.*\\\\.layers\\\\.[0-9]+\\\\.mlp\\\\.experts(\\\\..*)?$\":{\"bits\":8}}");
}
END_TEST

/* Routers are named, each block's by one expression, and do not stand among what is converted. */
START_TEST(routers_stay_plain_by_name) {
    const struct layout_module modules[] = {
        {"model.layers.0.mlp.gate_proj", usual},
        {"model.layers.1.mlp.experts.0.gate_proj", usual},
    };
    static const char *const plain[] = {"model.layers.1.mlp.gate", "model.layers.2.mlp.gate"};
    struct layout_config config = defaults;
    config.plain = plain;
    config.plain_count = 2;
    check_dynamic(&config, modules, 2, "{\"-:.*\\\\.layers\\\\.[0-9]+\\\\.mlp\\\\.gate$\":{}}");
    struct json *root = layout_gptq.config_write(&config, modules, 2);
    char *text = json_print(json_get(root, "modules_in_block_to_quantize"), false);
    ck_assert_str_eq(text, "[[\"mlp.gate_proj\",\"mlp.experts.0.gate_proj\"]]");
    free(text);
    json_free(&root);
}
END_TEST

/* vLLM and SGLang merge what makes the two latents. */
START_TEST(latents_that_deviate_together_match_the_fused_name) {
    const struct layout_module modules[] = {
        {"model.layers.0.self_attn.q_a_proj", eight},
        {"model.layers.0.self_attn.kv_a_proj_with_mqa", eight},
        {"model.layers.0.self_attn.kv_b_proj", usual},
    };
    struct layout_config config = defaults;
    config.fusions[0] =
        (struct layout_fusion){"fused_qkv_a_proj", {"q_a_proj", "kv_a_proj_with_mqa"}};
    check_dynamic(&config, modules, 3,
                  "{\"+:.*\\\\.layers\\\\.[0-9]+\\\\.self_attn\\\\."
                  "(q_a_proj|kv_a_proj_with_mqa|fused_qkv_a_proj)$\":{\"bits\":8}}");
}
END_TEST

START_TEST(names_without_a_prefix_match_with_one) {
    const struct layout_module modules[] = {{"h.0.attn.c_attn", eight}, {"h.1.attn.c_attn", eight}};
    check_dynamic(&defaults, modules, 2,
                  "{\"+:(.*\\\\.)?h\\\\.[0-9]+\\\\.attn\\\\.c_attn$\":{\"bits\":8}}");
}
END_TEST

START_TEST(groups_that_mean_the_same_do_not_deviate) {
    struct layout_config rows = defaults;
    struct quant_shape whole = usual, row = usual;
    rows.group = -1;
    whole.group = whole.k;
    row.group = -1;
    const struct layout_module modules[] = {{"a.0.x", whole}, {"a.1.x", row}};
    check_dynamic(&rows, modules, 2, "none");
    check_dynamic(&defaults, modules, 2,
                  "{\"+:(.*\\\\.)?a\\\\.[0-9]+\\\\.x$\":{\"group_size\":-1}}");
}
END_TEST

/* --- reading ---------------------------------------------------------------------------------- */

static struct json *parsed(const char *text) {
    struct json *root = NULL;
    ck_assert_ok(json_parse(text, strlen(text), "config", &root, &err), &err);
    return root;
}

START_TEST(what_is_written_is_read) {
    const struct layout *const layouts[] = {&layout_gptq, &layout_gptq_v2};
    for (int i = 0; i < 2; i++) {
        const struct layout *found = NULL;
        struct layout_config config;
        struct json *root = layouts[i]->config_write(&defaults, NULL, 0);
        ck_assert_ok(layout_of_config(root, &found, &err), &err);
        ck_assert_ptr_eq(found, layouts[i]);
        ck_assert_ok(found->config_read(root, &config, &err), &err);
        ck_assert_int_eq(config.bits, 4);
        ck_assert_int_eq(config.group, 128);
        ck_assert(config.sym && !config.desc_act);
        ck_assert(config.zeros_minus_one == (i == 0));
        ck_assert_double_eq(config.damp, 0.01);
        json_free(&root);
    }
}
END_TEST

START_TEST(configs_of_other_tools_are_read) {
    static const struct {
        const char *text;
        const struct layout *layout;
        int bits;
        int64_t group;
        bool sym, desc_act;
    } cases[] = {
        {"{\"bits\":4,\"group_size\":128,\"desc_act\":true,\"sym\":true,\"quant_method\":\"gptq\","
         "\"dataset\":\"c4\",\"use_exllama\":null,\"dynamic\":{\"-:.*gate$\":{}}}",
         &layout_gptq, 4, 128, true, true},
        {"{\"method\":\"gptq\",\"format\":\"gptq_v2\",\"bits\":3,\"group_size\":-1,\"sym\":false,"
         "\"desc_act\":false,\"pack_dtype\":\"int32\"}",
         &layout_gptq_v2, 3, -1, false, false},
        {"{\"bits\":8,\"group_size\":32,\"damp_percent\":0.1,\"desc_act\":false,\"sym\":false,"
         "\"model_name_or_path\":null,\"is_marlin_format\":false}",
         &layout_gptq, 8, 32, false, false},
        {"{\"quant_method\":\"gptq\",\"bits\":2,\"group_size\":64}", &layout_gptq, 2, 64, true,
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct layout *found = NULL;
        struct layout_config config;
        struct json *root = parsed(cases[i].text);
        ck_assert_ok(layout_of_config(root, &found, &err), &err);
        ck_assert_ptr_eq(found, cases[i].layout);
        ck_assert_ok(found->config_read(root, &config, &err), &err);
        ck_assert_int_eq(config.bits, cases[i].bits);
        ck_assert_int_eq(config.group, cases[i].group);
        ck_assert(config.sym == cases[i].sym);
        ck_assert(config.desc_act == cases[i].desc_act);
        json_free(&root);
    }
}
END_TEST

START_TEST(other_formats_are_unsupported_by_name) {
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"{\"quant_method\":\"hqq\",\"bits\":4}", "quant_method 'hqq'"},
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":\"gptq_p\"}", "format 'gptq_p'"},
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":\"marlin\"}", "format 'marlin'"},
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":4}", "quant_method 'gptq'"},
        {"{\"quant_method\":null}", "found no quant_method"},
        {"{}", "found no quant_method"},
        {"[]", "found no quant_method"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct layout *found = &layout_gptq;
        struct layout_config config;
        struct json *root = parsed(cases[i].text);
        ck_assert_fails(layout_of_config(root, &found, &err), LLMQ_E_UNSUPPORTED, cases[i].part,
                        &err);
        ck_assert_ptr_null(found);
        ck_assert_fails(layout_gptq.config_read(root, &config, &err), LLMQ_E_UNSUPPORTED,
                        "quant_method", &err);
        json_free(&root);
    }
}
END_TEST

START_TEST(values_that_make_no_sense_name_their_key) {
    static const struct {
        const char *members;
        enum llmq_status code;
        const char *part;
    } cases[] = {
        {"\"group_size\":128", LLMQ_E_INPUT, "bits: expected an integer"},
        {"\"bits\":\"4\",\"group_size\":128", LLMQ_E_INPUT, "bits: expected a number"},
        {"\"bits\":5,\"group_size\":128", LLMQ_E_UNSUPPORTED,
         "bits: expected 2, 3, 4 or 8, found 5"},
        {"\"bits\":4.5,\"group_size\":128", LLMQ_E_INPUT, "bits"},
        {"\"bits\":4", LLMQ_E_INPUT, "group_size: expected an integer"},
        {"\"bits\":4,\"group_size\":0", LLMQ_E_INPUT, "group_size: expected -1 or a positive"},
        {"\"bits\":4,\"group_size\":-128", LLMQ_E_INPUT, "found -128"},
        {"\"bits\":4,\"group_size\":128,\"sym\":1", LLMQ_E_INPUT, "sym: expected true or false"},
        {"\"bits\":4,\"group_size\":128,\"desc_act\":\"no\"", LLMQ_E_INPUT, "desc_act"},
        {"\"bits\":4,\"group_size\":128,\"pack_dtype\":\"int16\"", LLMQ_E_UNSUPPORTED,
         "pack_dtype"},
        {"\"bits\":4,\"group_size\":128,\"checkpoint_format\":\"gptq\",\"format\":\"gptq_v2\"",
         LLMQ_E_INPUT, "to agree"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256] = "{\"quant_method\":\"gptq\",";
        struct layout_config config;
        strcat(strcat(text, cases[i].members), "}");
        struct json *root = parsed(text);
        ck_assert_fails(layout_gptq.config_read(root, &config, &err), cases[i].code, cases[i].part,
                        &err);
        json_free(&root);
    }
}
END_TEST

START_TEST(layouts_are_found_by_name) {
    ck_assert_ptr_eq(layout_find("gptq"), &layout_gptq);
    ck_assert_ptr_eq(layout_find("gptq_v2"), &layout_gptq_v2);
    ck_assert_ptr_null(layout_find("gptq_p"));
    int count = 0;
    while (layout_at(count)) {
        ck_assert_ptr_eq(layout_find(layout_at(count)->name), layout_at(count));
        count++;
    }
    ck_assert_int_ge(count, 2);
    ck_assert_ptr_null(layout_at(-1));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gptq config");
    TCase *tests = tcase_create("config");
    tcase_add_test(tests, the_config_has_the_text_that_loaders_were_read_for);
    tcase_add_test(tests, the_config_says_what_differs);
    tcase_add_test(tests, modules_that_deviate_in_every_block_share_one_expression);
    tcase_add_test(tests, fused_members_that_deviate_together_match_the_fused_name);
    tcase_add_test(tests, fused_members_of_any_name_match_the_fused_name);
    tcase_add_test(tests, a_member_that_deviates_alone_is_named_alone);
    tcase_add_test(tests, experts_are_one_fused_layer);
    tcase_add_test(tests, routers_stay_plain_by_name);
    tcase_add_test(tests, latents_that_deviate_together_match_the_fused_name);
    tcase_add_test(tests, names_without_a_prefix_match_with_one);
    tcase_add_test(tests, groups_that_mean_the_same_do_not_deviate);
    tcase_add_test(tests, what_is_written_is_read);
    tcase_add_test(tests, configs_of_other_tools_are_read);
    tcase_add_test(tests, other_formats_are_unsupported_by_name);
    tcase_add_test(tests, values_that_make_no_sense_name_their_key);
    tcase_add_test(tests, layouts_are_found_by_name);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
