/* SPDX-License-Identifier: Apache-2.0 */
/* What a config says of each module, as loaders resolve it, against what the tensors are; and the
 * table of stacks, which follows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "llmq/verify.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_run.h"
#include "support.h"
#include "verify/record.h"
#include "verify/verify.h"

#define UP1   "model.layers.1.mlp.up_proj"
#define DOWN0 "model.layers.0.mlp.down_proj"
#define DOWN1 "model.layers.1.mlp.down_proj"

static llmq_error err;
static llmq_verify_report report;

/* A checkpoint of this format at `out`. */
static void make(const char *format) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.format = format;
    run_quantize(&o);
    char *record = path_join(out, RECORD_NAME, &err); /* of what is changed here */
    ck_assert_int_eq(remove(record), 0);
    free(record);
}

static void config(const char *old, const char *with) {
    edit_text(out, "config.json", old, with);
}

static void verify(void) {
    const llmq_verify_options o = {.size = sizeof o, .model = out};
    llmq_verify_report_free(&report);
    ck_assert_ok(llmq_verify(&o, NULL, &report, &err), &err);
}

static void teardown(void) {
    llmq_verify_report_free(&report);
    run_teardown();
}

static const llmq_finding *find(const llmq_findings *list, const char *rule, const char *tensor,
                                const char *part) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].rule, rule) == 0 && strcmp(list->items[i].tensor, tensor) == 0 &&
            strstr(list->items[i].message, part))
            return &list->items[i];
    return NULL;
}

static size_t count(const llmq_findings *list, const char *rule) {
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++)
        n += strcmp(list->items[i].rule, rule) == 0;
    return n;
}

static void assert_violated(const char *rule, const char *tensor, const char *part) {
    ck_assert_msg(find(&report.violations, rule, tensor, part), "no %s of %s with '%s' (found: %s)",
                  rule, tensor, part,
                  report.violations.count ? report.violations.items[0].message : "nothing");
    ck_assert(!report.ok);
}

static const llmq_stack_report *stack(const char *name) {
    for (size_t i = 0; i < report.stack_count; i++)
        if (strcmp(report.stacks[i].stack, name) == 0)
            return &report.stacks[i];
    ck_abort_msg("no stack %s", name);
    return NULL;
}

static void make_plain(const char *module, const struct layout *layout) {
    struct edit e;
    struct qlinear q = {0};
    edit_decode(out, module, &q);
    edit_read(out, &e);
    edit_make_plain(&e, layout, module, &q);
    edit_write(out, &e, 1u << 30);
    qlinear_free(&q);
}

/* --- compressed-tensors ----------------------------------------------------------------------- */

START_TEST(ignored_by_an_expression_and_yet_packed) {
    make("compressed-tensors");
    config("[\"lm_head\"]", "[\"lm_head\", \"re:.*down_proj\", \"re:up_proj\"]");
    verify();
    assert_violated("skip-packed", DOWN0, "'re:.*down_proj' says that it is not quantized");
    assert_violated("skip-packed", DOWN1, "'re:.*down_proj'");
    ck_assert_uint_eq(count(&report.violations, "skip-packed"), 2); /* re: begins with the name */
    static const char *const readers[] = {"vLLM", "vLLM (before mid-2026)", "SGLang",
                                          "transformers", "TGI"};
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        ck_assert(stack(readers[i])->known && !stack(readers[i])->loads);
        ck_assert_str_eq(stack(readers[i])->rule, "skip-packed");
    }
    ck_assert(!stack("llama.cpp")->loads);
    ck_assert_str_eq(stack("llama.cpp")->rule, "");
}
END_TEST

START_TEST(targets_that_leave_modules_out) {
    make("compressed-tensors");
    config("\"targets\": [\"Linear\"]", "\"targets\": [\"re:.*self_attn.*\", \"" UP1 "\"]");
    verify();
    assert_violated("skip-packed", DOWN0, "no entry of the config covers it");
    ck_assert_uint_eq(count(&report.violations, "skip-packed"), 5);
}
END_TEST

/* Whole names before expressions before classes, wherever their groups stand. */
START_TEST(groups_count_by_how_they_name_a_module) {
    static const char weights[] =
        "\"weights\": {\"num_bits\": 8, \"strategy\": \"group\", \"group_size\": 32}}, ";
    char groups[1024];
    make("compressed-tensors");
    (void)snprintf(groups, sizeof groups,
                   "\"config_groups\": {\"a\": {\"targets\": [\"re:.*layers.0.*down\"], %s"
                   "\"b\": {\"targets\": [\"" DOWN1 "\", \"re:.*layers.0.*up\"], %s",
                   weights, weights);
    config("\"config_groups\": {", groups);
    verify();
    assert_violated("grid-config", DOWN0, "the config says 8 in groups of 32 (by 're:.*layers.0");
    assert_violated("grid-config", DOWN1, "(by '" DOWN1 "')");
    ck_assert_uint_eq(count(&report.violations, "grid-config"), 3);
    ck_assert_str_eq(stack("vLLM")->rule, "grid-config");
}
END_TEST

START_TEST(plain_and_not_ignored) {
    make("compressed-tensors");
    config("[\"lm_head\"]", "[\"lm_hea\"]");
    make_plain(DOWN1, &layout_compressed_tensors);
    verify();
    assert_violated("skip-plain", "lm_head", "takes for quantized");
    assert_violated("skip-plain", DOWN1, "takes for quantized");
    ck_assert_uint_eq(count(&report.violations, "skip-plain"), 2);
    config("[\"lm_hea\"]", "[\"Embedding\", \"lm_head\", \"re:model.layers.1.mlp.d\"]");
    verify();
    ck_assert_msg(report.ok, "%s", report.ok ? "" : report.violations.items[0].message);
}
END_TEST

/* --- gptq ------------------------------------------------------------------------------------- */

START_TEST(dynamic_rules_that_contradict_the_file) {
    make("gptq");
    config("\"bits\": 4,", "\"bits\": 4, \"dynamic\": {\"+:.*mlp.*\": {\"bits\": 8},"
                           "\"-:model.layers.1.mlp.down_proj\": {}, \"mlp\": {\"bits\": 2}},");
    verify();
    assert_violated("skip-packed", DOWN1, "'-:model.layers.1.mlp.down_proj'");
    assert_violated("grid-config", DOWN0, "says 8 in groups of 32 (by '+:.*mlp.*')");
    ck_assert_uint_eq(count(&report.violations, "grid-config"), 5);
    ck_assert_uint_eq(count(&report.violations, "skip-packed"), 1);
}
END_TEST

/* --- awq -------------------------------------------------------------------------------------- */

START_TEST(parts_of_names_that_are_not_converted) {
    make("awq");
    config("\"modules_to_not_convert\": null", "\"modules_to_not_convert\": [\"layers.1.mlp\"]");
    verify();
    ck_assert_uint_eq(count(&report.violations, "skip-packed"), 3);
    assert_violated("skip-packed", UP1, "'layers.1.mlp'");
}
END_TEST

/* --- AutoRound -------------------------------------------------------------------------------- */

#define AUTO_ROUND                                                                                 \
    "\"quant_method\": \"auto-round\", \"packing_format\": \"auto_round:auto_gptq\", "

START_TEST(expressions_of_auto_round) {
    make("gptq");
    make_plain(DOWN1, &layout_gptq);
    config("\"quant_method\": \"gptq\",",
           AUTO_ROUND "\"extra_config\": {\"layers\\\\.1\\\\.mlp\\\\.down.*\": {\"bits\": 16}},");
    edit_text(out, "quantize_config.json", "\"quant_method\": \"gptq\",",
              AUTO_ROUND "\"iters\": 200,");
    verify();
    ck_assert_msg(report.ok, "%s", report.ok ? "" : report.violations.items[0].message);
    ck_assert(stack("vLLM")->loads && !stack("TGI")->loads);
    ck_assert_str_eq(stack("transformers")->kernel, "auto-round");
    /* Found anywhere in the name; a whole name counts before it. */
    config("layers\\\\.1\\\\.mlp\\\\.down.*\": {\"bits\": 16}",
           "1\\\\.mlp\": {\"bits\": 16}, \"" UP1 "\": {\"bits\": 8}");
    verify();
    assert_violated("skip-packed", "model.layers.1.mlp.gate_proj", "'1\\.mlp'");
    ck_assert_uint_eq(count(&report.violations, "skip-packed"), 1);
    assert_violated("grid-config", UP1, "the config says 8 in groups of 32");
}
END_TEST

START_TEST(blocks_that_auto_round_names) {
    make("gptq");
    config("\"quant_method\": \"gptq\",",
           AUTO_ROUND "\"block_name_to_quantize\": \"model.layers.0,vision.blocks\",");
    edit_text(out, "quantize_config.json", "\"quant_method\": \"gptq\",",
              AUTO_ROUND "\"iters\": 200,");
    verify();
    ck_assert_uint_eq(count(&report.violations, "skip-packed"), 7);
    assert_violated("skip-packed", DOWN1, "no entry of the config covers it");
}
END_TEST

/* --- hostile ---------------------------------------------------------------------------------- */

START_TEST(expressions_that_take_forever_are_a_finding) {
    make("compressed-tensors");
    config("[\"lm_head\"]", "[\"lm_head\", \"re:(.+)+[0-9]$\"]");
    verify();
    ck_assert_uint_eq(count(&report.violations, "config-patterns"), 1);
    ck_assert_uint_eq(count(&report.violations, "skip-packed"), 0);
    ck_assert_str_eq(stack("vLLM")->rule, "config-patterns");
}
END_TEST

/* --- what nobody can tell --------------------------------------------------------------------- */

START_TEST(what_llmq_cannot_decode_others_may) {
    struct edit e;
    static const float negative[128] = {-1.0f};
    make("gptq");
    edit_read(out, &e);
    edit_put(&e, DOWN0 ".scales", DTYPE_F32, 2, 64, negative);
    edit_write(out, &e, 1u << 30);
    verify();
    assert_violated("decode", DOWN0, "scale");
    ck_assert(!stack("vLLM")->known && !stack("vLLM")->loads);
    ck_assert(stack("llama.cpp")->known && !stack("llama.cpp")->loads);
    char *json = llmq_verify_json(&report);
    ck_assert_ptr_nonnull(strstr(json, "\"loads\": null"));
    free(json);
}
END_TEST

/* The flag of older configs, with the tensors that it speaks of: refused by the order's name. */
START_TEST(tensors_in_marlins_order_are_refused) {
    const llmq_verify_options o = {.size = sizeof o, .model = out};
    const llmq_eval_options e = run_eval_options(out);
    llmq_eval_result result;
    struct edit edit;
    static const int32_t words[6 * 128];
    make("gptq");
    edit_read(out, &edit);
    edit_put(&edit, DOWN0 ".B", DTYPE_I32, 6, 128, words);
    edit_write(out, &edit, 1u << 30);
    verify(); /* a name alone says nothing */
    edit_read(out, &edit);
    edit_put(&edit, DOWN0 ".s", DTYPE_F16, 3, 64, words);
    edit_write(out, &edit, 1u << 30);
    llmq_verify_report_free(&report);
    ck_assert_fails(llmq_verify(&o, NULL, &report, &err), LLMQ_E_UNSUPPORTED,
                    "tensors '" DOWN0 ".B' and '" DOWN0 ".s' are in Marlin's order", &err);
    ck_assert_fails(llmq_eval(&e, NULL, &result, &err), LLMQ_E_UNSUPPORTED, "Marlin's order", &err);
}
END_TEST

/* Settings that llmq cannot honour are an error, and no verdict; a checkpoint that breaks rules
 * besides is told so. */
START_TEST(settings_that_cannot_be_honoured) {
    const llmq_verify_options o = {.size = sizeof o, .model = out};
    make("compressed-tensors");
    config("\"quant_method\":", "\"transform_config\": {\"config_groups\": {\"R4\": {\"apply\": "
                                "[{\"location\": \"input\"}]}}}, \"quant_method\":");
    ck_assert_fails(llmq_verify(&o, NULL, &report, &err), LLMQ_E_UNSUPPORTED,
                    "transform_config: expected none", &err);
    ck_assert(*err.hint);
    config("\"quantization_status\": \"compressed\"", "\"quantization_status\": \"frozen\"");
    verify();
    assert_violated("config-values", "", "frozen");
    ck_assert_ptr_nonnull(find(&report.violations, "config-readable", "", "transform_config"));
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify settings");
    TCase *t = tcase_create("settings");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, teardown);
    tcase_add_test(t, ignored_by_an_expression_and_yet_packed);
    tcase_add_test(t, targets_that_leave_modules_out);
    tcase_add_test(t, groups_count_by_how_they_name_a_module);
    tcase_add_test(t, plain_and_not_ignored);
    tcase_add_test(t, dynamic_rules_that_contradict_the_file);
    tcase_add_test(t, parts_of_names_that_are_not_converted);
    tcase_add_test(t, expressions_of_auto_round);
    tcase_add_test(t, blocks_that_auto_round_names);
    tcase_add_test(t, expressions_that_take_forever_are_a_finding);
    tcase_add_test(t, what_llmq_cannot_decode_others_may);
    tcase_add_test(t, tensors_in_marlins_order_are_refused);
    tcase_add_test(t, settings_that_cannot_be_honoured);
    suite_add_tcase(s, t);
    return run_suite(s);
}
