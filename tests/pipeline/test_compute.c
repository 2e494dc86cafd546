/* SPDX-License-Identifier: Apache-2.0 */
/* Runs whose forward pass multiplies in bfloat16: they work, differ a little from float32, say so,
 * and are not mixed with others. Where the instruction set has no bfloat16, plain C stands in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/bf16.h"
#include "llmq/evaluate.h"
#include "llmq/quantize.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

static llmq_quantize_options compute_options(enum llmq_method method, enum llmq_compute compute) {
    llmq_quantize_options o = run_options(method);
    o.compute = compute;
    return o;
}

static double loss(const char *model, enum llmq_compute compute, bool dequantize) {
    llmq_eval_options o = run_eval_options(model);
    o.compute = compute;
    o.dequantize = dequantize;
    return run_eval(&o);
}

/* Quantize, and the loss of the result. */
static double quantized_loss(const llmq_quantize_options *o) {
    llmq_quantize_report r = run_report(o, NULL);
    char *json = llmq_quantize_json(&r);
    ck_assert(r.compute == o->compute);
    ck_assert_ptr_nonnull(strstr(json, o->compute == LLMQ_COMPUTE_BF16 ? "\"compute\": \"bf16\""
                                                                       : "\"compute\": \"f32\""));
    free(json);
    llmq_quantize_report_free(&r);
    return run_loss(o->out, false);
}

START_TEST(calibration_in_bf16_changes_the_result_a_little) {
    static const struct {
        enum llmq_method method;
        double tolerance;
    } runs[] = {{LLMQ_METHOD_GPTQ, 0.03}, {LLMQ_METHOD_AWQ, 0.06}}; /* may choose other scales */
    tiny_windows_write(calib, 240, 24, 2); /* of few tokens strengths are chosen at random */
    for (int i = 0; i < 2; i++) {
        llmq_quantize_options exact = compute_options(runs[i].method, LLMQ_COMPUTE_F32);
        llmq_quantize_options rounded = compute_options(runs[i].method, LLMQ_COMPUTE_BF16);
        double f32 = quantized_loss(&exact), bf16 = quantized_loss(&rounded);
        ck_assert_double_ne(bf16, f32);
        ck_assert_double_eq_tol(bf16, f32, runs[i].tolerance);
    }
}
END_TEST

START_TEST(threads_and_spilling_change_nothing) {
    llmq_quantize_options o = compute_options(LLMQ_METHOD_GPTQ, LLMQ_COMPUTE_BF16);
    run_with_any_threads_and_memory(&o);
}
END_TEST

START_TEST(a_run_is_not_resumed_with_other_numbers) {
    llmq_quantize_options o = compute_options(LLMQ_METHOD_GPTQ, LLMQ_COMPUTE_BF16);
    run_interrupt(&o);
    o.compute = LLMQ_COMPUTE_F32;
    run_resume_fails(&o, LLMQ_E_INPUT, "--compute was bf16, is f32");
    o.compute = LLMQ_COMPUTE_BF16;
    llmq_quantize_report r = run_resume(&o);
    llmq_quantize_report_free(&r);
}
END_TEST

START_TEST(eval_multiplies_plain_weights_in_bf16_and_refuses_packed_ones) {
    llmq_error err = {0};
    double f32 = loss(source, LLMQ_COMPUTE_F32, false);
    double bf16 = loss(source, LLMQ_COMPUTE_BF16, false);
    ck_assert_double_ne(bf16, f32);
    ck_assert_double_eq_tol(bf16, f32, 0.005);
    llmq_quantize_options o = compute_options(LLMQ_METHOD_GPTQ, LLMQ_COMPUTE_F32);
    run_quantize(&o);
    f32 = loss(out, LLMQ_COMPUTE_F32, true);
    bf16 = loss(out, LLMQ_COMPUTE_BF16, true);
    ck_assert_double_ne(bf16, f32);
    ck_assert_double_eq_tol(bf16, f32, 0.005);
    llmq_eval_options packed = run_eval_options(out);
    llmq_eval_result r;
    packed.compute = LLMQ_COMPUTE_BF16;
    ck_assert_fails(llmq_eval(&packed, NULL, &r, &err), LLMQ_E_USAGE,
                    "packed weights are multiplied as they are", &err);
}
END_TEST

START_TEST(compare_measures_bf16_against_float32) {
    llmq_error err = {0};
    llmq_compare_options c;
    llmq_compare_result r;
    llmq_compare_options_init(&c);
    c.model = c.reference = source;
    c.text = text;
    c.compute = LLMQ_COMPUTE_BF16;
    ck_assert_ok(llmq_compare(&c, NULL, &r, &err), &err);
    ck_assert(r.kl_mean > 0 && r.kl_mean < 1e-3 && r.compute == LLMQ_COMPUTE_BF16);
    llmq_compare_result_free(&r);
    llmq_quantize_options o = compute_options(LLMQ_METHOD_GPTQ, LLMQ_COMPUTE_F32);
    run_quantize(&o);
    c.model = out;
    ck_assert_fails(llmq_compare(&c, NULL, &r, &err), LLMQ_E_USAGE,
                    "packed weights are multiplied as they are", &err);
}
END_TEST

/* The tables are chosen once a process, so this comes before everything. */
static void need_bf16(void) {
    enum cpu_level level = CPU_REF;
    if (cpu_level_get(&level, NULL) == LLMQ_OK && bf16_supported(kernels_for_level(level)))
        return;
    printf("no bfloat16 in this instruction set: its kernels are not run, plain C is\n");
    fflush(stdout);
    setenv("LLMQ_CPU", "ref", 1);
}

int main(void) {
    need_bf16();
    Suite *s = suite_create("pipeline_compute");
    TCase *t = tcase_create("compute");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, calibration_in_bf16_changes_the_result_a_little);
    tcase_add_test(t, threads_and_spilling_change_nothing);
    tcase_add_test(t, a_run_is_not_resumed_with_other_numbers);
    tcase_add_test(t, eval_multiplies_plain_weights_in_bf16_and_refuses_packed_ones);
    tcase_add_test(t, compare_measures_bf16_against_float32);
    suite_add_tcase(s, t);
    return run_suite(s);
}
