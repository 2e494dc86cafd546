/* SPDX-License-Identifier: Apache-2.0 */
/* Every option of a run that changes the result really does. */
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "graph/model.h"
#include "llmq/evaluate.h"
#include "llmq/quantize.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

/* Quantize; the mean error of the modules. */
static double quantize(const llmq_quantize_options *o, llmq_quantize_report *kept) {
    llmq_quantize_report report = run_report(o, NULL);
    double sum = 0;
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
    ck_assert_ok(model_load_qlinear(&m, "model.layers.0.self_attn.q_proj", 64, 64, &q, &err), &err);
    for (int64_t i = 0; i < q.n * q.groups; i++)
        count += bf16_to_f32(f32_to_bf16(q.scales[i])) != q.scales[i];
    qlinear_free(&q);
    model_close(&m);
    return count;
}

START_TEST(scales_are_exact_in_both_types_or_only_in_float16) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    quantize(&o, NULL);
    ck_assert_int_eq(inexact_scales(), 0);
    o.scales = LLMQ_SCALES_F16;
    quantize(&o, NULL);
    ck_assert_int_gt(inexact_scales(), 0);
}
END_TEST

START_TEST(act_order_and_damping_reach_the_solver) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.act_order = LLMQ_ACT_ORDER_NONE;
    double none = quantize(&o, NULL);
    o.act_order = LLMQ_ACT_ORDER_STATIC;
    double fixed = quantize(&o, NULL);
    o.act_order = LLMQ_ACT_ORDER_GROUP_AWARE;
    double aware = quantize(&o, NULL);
    ck_assert(none != fixed && none != aware && fixed != aware);
    llmq_quantize_report report;
    o.act_order = LLMQ_ACT_ORDER_NONE;
    o.damp = 0.5;
    ck_assert_double_ne(quantize(&o, &report), none);
    ck_assert_double_eq(report.modules[0].damp, 0.5);
    llmq_quantize_report_free(&report);
}
END_TEST

/* The strengths of the first module that adds to the residual stream of the second block. */
static const llmq_module_report *o_proj(const llmq_quantize_report *r) {
    for (size_t i = 0; i < r->module_count; i++)
        if (strcmp(r->modules[i].name, "model.layers.1.self_attn.o_proj") == 0)
            return &r->modules[i];
    ck_abort_msg("no such module");
    return NULL;
}

START_TEST(correction_reaches_the_targets) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_report r;
    o.correct.mode = LLMQ_CORRECT_OFF;
    double off = quantize(&o, &r);
    ck_assert(o_proj(&r)->alpha == 0 && o_proj(&r)->beta == 0);
    llmq_quantize_report_free(&r);
    o.correct = (llmq_correct){LLMQ_CORRECT_FIXED, 0.5, 0.25};
    double fixed = quantize(&o, &r);
    ck_assert(o_proj(&r)->alpha == 0.5 && o_proj(&r)->beta == 0.25);
    ck_assert(r.modules[0].beta == 0); /* q adds to no stream */
    llmq_quantize_report_free(&r);
    o.correct.mode = LLMQ_CORRECT_AUTO; /* by the tokens held back, of one batch too */
    double chosen = quantize(&o, &r);
    const double alpha = o_proj(&r)->alpha, beta = o_proj(&r)->beta;
    ck_assert(alpha >= 0 && alpha <= 1 && beta >= 0 && beta <= 1);
    ck_assert(alpha != 0.75 && beta != 0.75); /* what is taken where there are none */
    llmq_quantize_report_free(&r);
    ck_assert(off != fixed && off != chosen && fixed != chosen);
}
END_TEST

START_TEST(every_method_takes_corrected_targets) {
    for (int method = LLMQ_METHOD_RTN; method <= LLMQ_METHOD_AWQ; method++) {
        llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
        llmq_quantize_report r;
        o.method = (enum llmq_method)method;
        o.awq = method == LLMQ_METHOD_AWQ;
        o.correct.mode = LLMQ_CORRECT_OFF;
        double off = quantize(&o, NULL);
        o.correct = (llmq_correct){LLMQ_CORRECT_FIXED, 0.5, 0.25};
        ck_assert_double_ne(quantize(&o, &r), off);
        ck_assert(o_proj(&r)->alpha == 0.5 && o_proj(&r)->beta == 0.25);
        llmq_quantize_report_free(&r);
    }
}
END_TEST

START_TEST(search_reaches_the_grid_of_every_method) {
    for (int method = LLMQ_METHOD_RTN; method <= LLMQ_METHOD_GPTQ; method++) {
        llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
        o.method = (enum llmq_method)method;
        o.correct.mode = LLMQ_CORRECT_OFF;
        o.search = LLMQ_RANGE_MINMAX;
        double minmax = quantize(&o, NULL);
        o.search = LLMQ_RANGE_PLAIN;
        double plain = quantize(&o, NULL);
        o.search = LLMQ_RANGE_WEIGHTED;
        double weighted = quantize(&o, NULL);
        ck_assert(plain < minmax && weighted < minmax && plain != weighted);
        o.search = LLMQ_RANGE_ENTROPY;
        double entropy = quantize(&o, NULL);
        o.search = LLMQ_RANGE_PERCENTILE;
        o.percentile = 90;
        double clipped = quantize(&o, NULL);
        o.percentile = 100;
        ck_assert_double_eq(quantize(&o, NULL), minmax);
        ck_assert(entropy != minmax && clipped != minmax && clipped != entropy);
    }
}
END_TEST

/* Each ingredient lowers the error that it sees; the preset is the sum of them. Those that go by
 * the tokens are few here. */
START_TEST(descent_and_rounds_reach_the_solver) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ), usual = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_options best = run_options(LLMQ_METHOD_GPTQ);
    o.correct.mode = LLMQ_CORRECT_OFF;
    o.descent = o.rounds = 0;
    double gptq = quantize(&o, NULL);
    o.descent = 3;
    double descent = quantize(&o, NULL);
    o.rounds = 2;
    double rounds = quantize(&o, NULL);
    ck_assert(descent < gptq && rounds < descent);
    llmq_quantize_options_quality(&best, LLMQ_QUALITY_BEST);
    ck_assert(best.curvature == LLMQ_CURVATURE_ON && best.curvature_tokens == 0);
    ck_assert(best.restarts == 2 && best.token_weights > 0 && !best.tune);
    best.correct.mode = LLMQ_CORRECT_OFF;
    best.curvature = LLMQ_CURVATURE_OFF;
    best.restarts = 0;
    best.token_weights = 0;
    ck_assert_double_eq(quantize(&best, NULL), rounds);
    o.descent = 1;
    o.rounds = 0;
    usual.correct.mode = LLMQ_CORRECT_OFF;
    ck_assert_int_eq(usual.descent, LLMQ_BY_TOKENS);
    ck_assert(usual.curvature == LLMQ_CURVATURE_AUTO && usual.curvature_tokens == 1024);
    ck_assert_double_eq(quantize(&usual, NULL), quantize(&o, NULL));
}
END_TEST

START_TEST(fast_is_the_published_method) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ), fast = run_options(LLMQ_METHOD_GPTQ);
    o.act_order = LLMQ_ACT_ORDER_NONE;
    o.search = LLMQ_RANGE_MINMAX;
    o.correct.mode = LLMQ_CORRECT_OFF;
    o.descent = o.rounds = 0;
    llmq_quantize_options_quality(&fast, LLMQ_QUALITY_FAST);
    ck_assert_double_eq(quantize(&o, NULL), quantize(&fast, NULL));
}
END_TEST

START_TEST(rounds_need_descent) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.descent = 0;
    o.rounds = 1;
    run_refused(&o, LLMQ_E_USAGE, "only with descent");
}
END_TEST

START_TEST(what_rtn_cannot_do_without_calibration_is_refused) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.method = LLMQ_METHOD_RTN;
    o.calib = NULL;
    run_refused(&o, LLMQ_E_USAGE, "--search weighted");
    o.search = LLMQ_RANGE_PLAIN;
    run_refused(&o, LLMQ_E_USAGE, "--correct");
    o.correct = (llmq_correct){LLMQ_CORRECT_FIXED, 1.5, 0};
    run_refused(&o, LLMQ_E_USAGE, "between 0 and 1");
}
END_TEST

START_TEST(equalizing_needs_scales) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.equalize = true;
    (void)run_refused(&o, LLMQ_E_USAGE, "--equalize goes with the scaling of activations");
}
END_TEST

START_TEST(percentiles_lie_between_50_and_100) {
    static const double wrong[] = {50, 100.5, 0, (double)NAN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
        o.search = LLMQ_RANGE_PERCENTILE;
        o.percentile = wrong[i];
        (void)run_refused(&o, LLMQ_E_USAGE, "expected more than 50, 100 at most");
    }
}
END_TEST

START_TEST(samples_limit_the_windows) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_report report;
    o.samples = 5;
    quantize(&o, &report);
    ck_assert_int_eq(report.windows, 5);
    ck_assert_int_eq(report.tokens_used, 5 * 24);
    ck_assert_int_eq(report.tokens_dropped, 7 * 24);
    llmq_quantize_report_free(&report);
}
END_TEST

/* Gradients want more tokens than windows as short as these have. */
START_TEST(curvature_takes_more_windows) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_quantize_report report;
    tiny_windows_write(calib, 140, 24, 2);
    o.calib = calib;
    o.dry_run = true;
    quantize(&o, &report);
    ck_assert_int_eq(report.windows, 128);
    llmq_quantize_report_free(&report);
    o.method = LLMQ_METHOD_GPTQ;
    o.curvature = LLMQ_CURVATURE_ON;
    o.curvature_tokens = 512;
    quantize(&o, &report);
    ck_assert_int_eq(report.windows, 128);
    llmq_quantize_report_free(&report);
    o.curvature_tokens = 0;
    quantize(&o, &report);
    ck_assert_int_eq(report.windows, 140);
    llmq_quantize_report_free(&report);
    o.samples = 130;
    quantize(&o, &report);
    ck_assert_int_eq(report.windows, 130);
    llmq_quantize_report_free(&report);
}
END_TEST

START_TEST(shards_hold_the_same_model) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    quantize(&o, NULL);
    double whole = run_loss(out, false);
    o.shard_limit = 20000;
    quantize(&o, NULL);
    ck_assert(path_is_file(scratch_path("out/model.safetensors.index.json")));
    ck_assert(!path_is_file(scratch_path("out/model.safetensors")));
    ck_assert_double_eq(run_loss(out, false), whole);
}
END_TEST

START_TEST(int8_activations_cost_a_little_and_are_refused_where_they_mean_nothing) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_error err = {0};
    llmq_eval_result r;
    quantize(&o, NULL);
    llmq_eval_options e = run_eval_options(out);
    e.activations = LLMQ_ACTIVATIONS_INT8;
    double exact = run_loss(out, false), rounded = run_eval(&e);
    ck_assert_double_ne(rounded, exact);
    ck_assert_double_eq_tol(rounded, exact, 0.02);
    e.dequantize = true;
    ck_assert_fails(llmq_eval(&e, NULL, &r, &err), LLMQ_E_USAGE, "int8 activations", &err);
    e.dequantize = false;
    e.model = source;
    ck_assert_fails(llmq_eval(&e, NULL, &r, &err), LLMQ_E_USAGE, "not quantized", &err);
}
END_TEST

START_TEST(compare_measures_int8_activations_against_exact_ones) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_error err = {0};
    llmq_compare_options c;
    llmq_compare_result r;
    quantize(&o, NULL);
    llmq_compare_options_init(&c);
    c.model = c.reference = out;
    c.text = text;
    ck_assert_ok(llmq_compare(&c, NULL, &r, &err), &err);
    ck_assert_double_eq(r.kl_mean, 0);
    llmq_compare_result_free(&r);
    c.activations = LLMQ_ACTIVATIONS_INT8;
    ck_assert_ok(llmq_compare(&c, NULL, &r, &err), &err);
    ck_assert(r.kl_mean > 0 && r.kl_mean < 0.01 && r.activations == LLMQ_ACTIVATIONS_INT8);
    llmq_compare_result_free(&r);
    c.model = source;
    ck_assert_fails(llmq_compare(&c, NULL, &r, &err), LLMQ_E_USAGE, "not quantized", &err);
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline_options");
    TCase *t = tcase_create("options");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, scales_are_exact_in_both_types_or_only_in_float16);
    tcase_add_test(t, act_order_and_damping_reach_the_solver);
    tcase_add_test(t, correction_reaches_the_targets);
    tcase_add_test(t, every_method_takes_corrected_targets);
    tcase_add_test(t, search_reaches_the_grid_of_every_method);
    tcase_add_test(t, what_rtn_cannot_do_without_calibration_is_refused);
    tcase_add_test(t, descent_and_rounds_reach_the_solver);
    tcase_add_test(t, fast_is_the_published_method);
    tcase_add_test(t, rounds_need_descent);
    tcase_add_test(t, equalizing_needs_scales);
    tcase_add_test(t, percentiles_lie_between_50_and_100);
    tcase_add_test(t, samples_limit_the_windows);
    tcase_add_test(t, curvature_takes_more_windows);
    tcase_add_test(t, shards_hold_the_same_model);
    tcase_add_test(t, int8_activations_cost_a_little_and_are_refused_where_they_mean_nothing);
    tcase_add_test(t, compare_measures_int8_activations_against_exact_ones);
    suite_add_tcase(s, t);
    return run_suite(s);
}
