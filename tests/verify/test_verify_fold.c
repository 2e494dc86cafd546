/* SPDX-License-Identifier: Apache-2.0 */
/* verify --against on results whose linears and norms carry AWQ's scales: the folds are accounted
 * for, and one that is wrong is found. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/tiny_mixture.h"
#include "llmq/quantize.h"
#include "llmq/verify.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_model.h"
#include "pipeline/tiny_run.h"
#include "support.h"

#define LAYER0 "model.layers.0."

static llmq_error err;
static llmq_verify_report report;

static void verify_against(void) {
    const llmq_verify_options o = {.size = sizeof o, .model = out, .against = source};
    ck_assert_ok(llmq_verify(&o, NULL, &report, &err), &err);
}

/* Findings whose rule begins with `rule`, the first of them in *first. */
static size_t count_found(const llmq_findings *list, const char *rule, const char **first) {
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++)
        if (strncmp(list->items[i].rule, rule, strlen(rule)) == 0 && count++ == 0 && first)
            *first = list->items[i].tensor;
    return count;
}

static const struct kind {
    enum llmq_method method;
    int bits;
    bool sym, biased;
    const char *format;
} kinds[] = {
    {LLMQ_METHOD_AWQ, 4, false, false, "awq"},
    {LLMQ_METHOD_AWQ, 4, false, true, "awq"},
    {LLMQ_METHOD_GPTQ, 4, true, false, "gptq"},
    {LLMQ_METHOD_GPTQ, 4, true, true, "compressed-tensors"},
    {LLMQ_METHOD_GPTQ, 3, false, true, "gptq_v2"},
    {LLMQ_METHOD_GPTQ, 3, true, true, "gptq"},
    {LLMQ_METHOD_GPTQ, 2, true, false, "gptq"},
    {LLMQ_METHOD_GPTQ, 2, false, false, "gptq_v2"},
    {LLMQ_METHOD_GPTQ, 8, true, false, "gptq"},
};
#define KINDS ((int)(sizeof kinds / sizeof kinds[0]))

static void make(const struct kind *k) {
    if (k->biased)
        tiny_model_write_biased(source, 1);
    tiny_model_add_salience(source);
    llmq_quantize_options o = run_options(k->method);
    o.bits = k->bits;
    o.sym = k->sym;
    o.awq = true;
    o.format = k->format;
    run_quantize(&o);
}

START_TEST(folds_are_accounted_for) {
    const struct kind *k = &kinds[_i];
    make(k);
    verify_against();
    ck_assert_msg(count_found(&report.violations, "against", NULL) == 0, "%s: %s",
                  report.violations.items[0].tensor, report.violations.items[0].message);
    ck_assert_uint_eq(count_found(&report.warnings, "against", NULL), 0);
    ck_assert_int_gt(report.folded, 0);
    ck_assert_int_eq(report.changed, 0);
    for (size_t m = 0; m < report.module_count; m++) /* of the function before the folds */
        ck_assert_msg(report.modules[m].error < (k->bits == 4 ? 0.7 : 2), "%s: %g",
                      report.modules[m].name, report.modules[m].error);
    llmq_verify_report_free(&report);
}
END_TEST

START_TEST(results_without_folds_have_none) {
    static const int bits[] = {2, 3, 4, 8};
    tiny_model_write_biased(source, 1);
    tiny_model_add_salience(source);
    for (int i = 0; i < 6; i++) {
        llmq_quantize_options o = run_options(i < 4 ? LLMQ_METHOD_RTN : LLMQ_METHOD_GPTQ);
        o.bits = i < 4 ? bits[i] : 4 << i % 2;
        run_quantize(&o);
        verify_against();
        ck_assert_msg(count_found(&report.violations, "against", NULL) == 0, "%d bits: %s: %s",
                      o.bits, report.violations.items[0].tensor,
                      report.violations.items[0].message);
        ck_assert_uint_eq(count_found(&report.warnings, "against", NULL), 0);
        ck_assert_int_eq(report.folded, 0);
        llmq_verify_report_free(&report);
    }
}
END_TEST

/* One side of a fold is changed: it has to be named. */
static void found_in(const char *tensor) {
    const char *named = "";
    verify_against();
    ck_assert_msg(count_found(&report.violations, "against-fold", &named) == 1, "%s", tensor);
    ck_assert_str_eq(named, tensor);
    ck_assert(!report.ok);
    llmq_verify_report_free(&report);
}

static void scale_bf16(const char *name, size_t index, float factor) {
    struct edit e;
    edit_read(out, &e);
    uint16_t *v = (uint16_t *)edit_data(&e, name, NULL) + index;
    *v = f32_to_bf16(bf16_to_f32(*v) * factor);
    edit_write(out, &e, 1u << 30);
}

START_TEST(one_wrong_element_is_found) {
    make(&kinds[0]);
    scale_bf16(LAYER0 "input_layernorm.weight", 9, 1.5f);
    found_in(LAYER0 "input_layernorm.weight");
    make(&kinds[2]);
    scale_bf16("model.layers.1.post_attention_layernorm.weight", 63, 0.5f);
    found_in("model.layers.1.post_attention_layernorm.weight");
    scale_bf16("model.layers.1.post_attention_layernorm.weight", 63, -2);
    found_in("model.layers.1.post_attention_layernorm.weight");
    scale_bf16("model.layers.1.post_attention_layernorm.weight", 63, 0);
    found_in("model.layers.1.post_attention_layernorm.weight");
}
END_TEST

/* Norms whose weights were tuned are no scales that linears make up for, whatever they were moved
 * by, and what is told of them is what llmq.json says. */
START_TEST(tuned_norms_are_no_folds) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    tiny_windows_write(calib, 180, 24, 2);
    o.calib = calib;
    o.bits = 2;
    o.format = "gptq";
    o.tune = LLMQ_TUNE_NORMS;
    o.tune_rate = 0.1;
    run_quantize(&o);
    verify_against();
    ck_assert(report.ok);
    ck_assert_int_eq(report.folded, 0);
    ck_assert_int_gt(report.changed, 1);
    ck_assert_uint_eq(count_found(&report.warnings, "against-changed", NULL),
                      (size_t)report.changed);
    for (size_t i = 0; i < report.warnings.count; i++)
        if (strcmp(report.warnings.items[i].rule, "against-changed") == 0)
            ck_assert_str_eq(report.warnings.items[i].message,
                             "changed: its values were tuned (--tune norms)");
    llmq_verify_report_free(&report);
}
END_TEST

static void make_mixture(enum llmq_method method, bool awq) {
    mixture_write(source, 3);
    tiny_model_add_salience(source);
    llmq_quantize_options o = run_options(method);
    o.awq = awq;
    o.sym = false;
    o.format = "compressed-tensors";
    o.group = 8;
    run_quantize(&o);
}

START_TEST(folds_of_experts_are_accounted_for) {
    for (int gptq = 0; gptq < 2; gptq++) {
        make_mixture(gptq ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_AWQ, true);
        verify_against();
        ck_assert_msg(count_found(&report.violations, "against", NULL) == 0, "%s: %s",
                      report.violations.items[0].tensor, report.violations.items[0].message);
        ck_assert_uint_eq(count_found(&report.warnings, "against", NULL), 0);
        ck_assert_int_eq(report.changed, 0);
        for (size_t m = 0; m < report.module_count; m++)
            ck_assert_msg(report.modules[m].error < 0.3, "%s: %g", report.modules[m].name,
                          report.modules[m].error);
        llmq_verify_report_free(&report);
    }
}
END_TEST

START_TEST(a_wrong_router_is_found) {
    make_mixture(LLMQ_METHOD_AWQ, true);
    scale_bf16(LAYER0 "block_sparse_moe.gate.weight", 5, 2);
    found_in(LAYER0 "block_sparse_moe.gate.weight");
}
END_TEST

/* Its columns are the original's, while the norm and the others have their scales. */
START_TEST(an_expert_without_the_scale_is_found) {
    const char *module = LAYER0 "block_sparse_moe.experts.2.w1";
    struct qlinear plain;
    struct edit e;
    make_mixture(LLMQ_METHOD_RTN, false);
    edit_decode(out, module, &plain);
    make_mixture(LLMQ_METHOD_AWQ, true);
    edit_read(out, &e);
    edit_encode(&e, layout_find("compressed-tensors"), module, &plain);
    edit_write(out, &e, 1u << 30);
    qlinear_free(&plain);
    const char *named = "";
    verify_against();
    ck_assert_uint_ge(count_found(&report.violations, "against-fold", &named), 1);
    ck_assert_str_eq(named, LAYER0 "post_attention_layernorm.weight");
    llmq_verify_report_free(&report);
}
END_TEST

START_TEST(one_wrong_bias_is_found) {
    make(&kinds[3]);
    scale_bf16(LAYER0 "self_attn.v_proj.bias", 3, 2);
    found_in(LAYER0 "self_attn.v_proj");
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify fold");
    TCase *tc = tcase_create("verify fold");
    tcase_add_checked_fixture(tc, run_setup, run_teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, folds_are_accounted_for, 0, KINDS);
    tcase_add_test(tc, results_without_folds_have_none);
    tcase_add_test(tc, one_wrong_element_is_found);
    tcase_add_test(tc, tuned_norms_are_no_folds);
    tcase_add_test(tc, folds_of_experts_are_accounted_for);
    tcase_add_test(tc, a_wrong_router_is_found);
    tcase_add_test(tc, an_expert_without_the_scale_is_found);
    tcase_add_test(tc, one_wrong_bias_is_found);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
