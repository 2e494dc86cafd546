/* Every option of a run that changes the result really does. */
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "graph/model.h"
#include "llmq/evaluate.h"
#include "llmq/quantize.h"
#include "support.h"
#include "tiny_model.h"

static char *source, *calib, *out;

static void setup(void) {
    scratch_setup();
    source = strdup(scratch_path("source"));
    calib = strdup(scratch_path("calib.json"));
    out = strdup(scratch_path("out"));
    tiny_model_write(source, 1, 0);
    tiny_windows_write(calib, 12, 24, 2);
}

static void teardown(void) {
    free(source);
    free(calib);
    free(out);
    scratch_teardown();
}

static llmq_quantize_options options(void) {
    llmq_quantize_options o;
    llmq_quantize_options_init(&o, LLMQ_METHOD_GPTQ);
    o.model = source;
    o.out = out;
    o.group = 32;
    o.calib = calib;
    o.force = true;
    return o;
}

/* Quantize; the mean error of the modules. */
static double quantize(const llmq_quantize_options *o, llmq_quantize_report *kept) {
    llmq_error err = {0};
    llmq_quantize_report report;
    double sum = 0;
    ck_assert_ok(llmq_quantize(o, NULL, &report, &err), &err);
    for (size_t i = 0; i < report.module_count; i++)
        sum += report.modules[i].error / (double)report.module_count;
    if (kept)
        *kept = report;
    else
        llmq_quantize_report_free(&report);
    return sum;
}

/* Scales of the first module that bfloat16 cannot hold. */
static int64_t inexact_scales(void) {
    llmq_error err = {0};
    struct model m;
    struct qlinear q;
    int64_t count = 0;
    ck_assert_ok(model_open(out, &m, &err), &err);
    ck_assert_ok(model_load_qlinear(&m, 0, LINEAR_Q, &q, &err), &err);
    for (int64_t i = 0; i < q.n * q.groups; i++)
        count += bf16_to_f32(f32_to_bf16(q.scales[i])) != q.scales[i];
    qlinear_free(&q);
    model_close(&m);
    return count;
}

START_TEST(scales_are_exact_in_both_types_or_only_in_float16) {
    llmq_quantize_options o = options();
    quantize(&o, NULL);
    ck_assert_int_eq(inexact_scales(), 0);
    o.scales = LLMQ_SCALES_F16;
    quantize(&o, NULL);
    ck_assert_int_gt(inexact_scales(), 0);
}
END_TEST

START_TEST(act_order_and_damping_reach_the_solver) {
    llmq_quantize_options o = options();
    double none = quantize(&o, NULL);
    o.act_order = LLMQ_ACT_ORDER_STATIC;
    double fixed = quantize(&o, NULL);
    o.act_order = LLMQ_ACT_ORDER_GROUP_AWARE;
    double aware = quantize(&o, NULL);
    ck_assert(none != fixed && none != aware && fixed != aware);
    llmq_quantize_report report;
    o = options();
    o.damp = 0.5;
    ck_assert_double_ne(quantize(&o, &report), none);
    ck_assert_double_eq(report.modules[0].damp, 0.5);
    llmq_quantize_report_free(&report);
}
END_TEST

START_TEST(samples_limit_the_windows) {
    llmq_quantize_options o = options();
    llmq_quantize_report report;
    o.samples = 5;
    quantize(&o, &report);
    ck_assert_int_eq(report.windows, 5);
    ck_assert_int_eq(report.tokens_used, 5 * 24);
    ck_assert_int_eq(report.tokens_dropped, 7 * 24);
    llmq_quantize_report_free(&report);
}
END_TEST

static double nll(void) {
    llmq_error err = {0};
    llmq_eval_options o;
    llmq_eval_result r;
    llmq_eval_options_init(&o);
    o.model = out;
    o.text = calib;
    ck_assert_ok(llmq_eval(&o, NULL, &r, &err), &err);
    return r.nll;
}

START_TEST(shards_hold_the_same_model) {
    llmq_quantize_options o = options();
    quantize(&o, NULL);
    double whole = nll();
    o.shard_limit = 20000;
    quantize(&o, NULL);
    ck_assert(path_is_file(scratch_path("out/model.safetensors.index.json")));
    ck_assert(!path_is_file(scratch_path("out/model.safetensors")));
    ck_assert_double_eq(nll(), whole);
}
END_TEST

/* Eval of `model` on the calibration windows; the status it ends with. */
static enum llmq_status eval_with(const char *model, enum llmq_activations activations,
                                  bool dequantize, double *value, llmq_error *err) {
    llmq_eval_options o;
    llmq_eval_result r = {0};
    llmq_eval_options_init(&o);
    o.model = model;
    o.text = calib;
    o.activations = activations;
    o.dequantize = dequantize;
    enum llmq_status status = llmq_eval(&o, NULL, &r, err);
    ck_assert(status != LLMQ_OK || r.activations == activations);
    *value = r.nll;
    return status;
}

START_TEST(int8_activations_cost_a_little_and_are_refused_where_they_mean_nothing) {
    llmq_quantize_options o = options();
    llmq_error err = {0};
    double rounded = 0;
    quantize(&o, NULL);
    double exact = nll();
    ck_assert_ok(eval_with(out, LLMQ_ACTIVATIONS_INT8, false, &rounded, &err), &err);
    ck_assert_double_ne(rounded, exact);
    ck_assert_double_eq_tol(rounded, exact, 0.02);
    ck_assert_fails(eval_with(out, LLMQ_ACTIVATIONS_INT8, true, &rounded, &err), LLMQ_E_USAGE,
                    "int8 activations", &err);
    ck_assert_fails(eval_with(source, LLMQ_ACTIVATIONS_INT8, false, &rounded, &err), LLMQ_E_USAGE,
                    "not quantized", &err);
}
END_TEST

START_TEST(compare_measures_int8_activations_against_exact_ones) {
    llmq_quantize_options o = options();
    llmq_error err = {0};
    llmq_compare_options c;
    llmq_compare_result r;
    quantize(&o, NULL);
    llmq_compare_options_init(&c);
    c.model = c.reference = out;
    c.text = calib;
    ck_assert_ok(llmq_compare(&c, NULL, &r, &err), &err);
    ck_assert_double_eq(r.kl_mean, 0);
    c.activations = LLMQ_ACTIVATIONS_INT8;
    ck_assert_ok(llmq_compare(&c, NULL, &r, &err), &err);
    ck_assert(r.kl_mean > 0 && r.kl_mean < 0.01 && r.activations == LLMQ_ACTIVATIONS_INT8);
    c.model = source;
    ck_assert_fails(llmq_compare(&c, NULL, &r, &err), LLMQ_E_USAGE, "not quantized", &err);
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline_options");
    TCase *t = tcase_create("options");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, scales_are_exact_in_both_types_or_only_in_float16);
    tcase_add_test(t, act_order_and_damping_reach_the_solver);
    tcase_add_test(t, samples_limit_the_windows);
    tcase_add_test(t, shards_hold_the_same_model);
    tcase_add_test(t, int8_activations_cost_a_little_and_are_refused_where_they_mean_nothing);
    tcase_add_test(t, compare_measures_int8_activations_against_exact_ones);
    suite_add_tcase(s, t);
    return run_suite(s);
}
