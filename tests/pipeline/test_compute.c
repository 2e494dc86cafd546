/* Runs whose forward pass multiplies in bfloat16: they work, differ a little from float32, say so,
 * and are not mixed with others. Where the instruction set has no bfloat16, plain C stands in. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/fileio.h"
#include "kernels/bf16.h"
#include "llmq/evaluate.h"
#include "llmq/quantize.h"
#include "support.h"
#include "tiny_model.h"

static char *source, *calib, *out;
static volatile sig_atomic_t interrupt;

static void setup(void) {
    scratch_setup();
    source = strdup(scratch_path("source"));
    calib = strdup(scratch_path("calib.json"));
    out = strdup(scratch_path("out"));
    tiny_model_write(source, 1, 0);
    tiny_windows_write(calib, 12, 24, 2);
    interrupt = 0;
}

static void teardown(void) {
    free(source);
    free(calib);
    free(out);
    scratch_teardown();
}

static llmq_quantize_options options(enum llmq_method method, enum llmq_compute compute) {
    llmq_quantize_options o;
    llmq_quantize_options_init(&o, method);
    o.model = source;
    o.out = out;
    o.group = 32;
    o.calib = calib;
    o.force = true;
    o.compute = compute;
    return o;
}

static enum llmq_status eval(const char *model, enum llmq_compute compute, bool dequantize,
                             double *nll, llmq_error *err) {
    llmq_eval_options o;
    llmq_eval_result r = {0};
    llmq_eval_options_init(&o);
    o.model = model;
    o.text = calib;
    o.compute = compute;
    o.dequantize = dequantize;
    enum llmq_status status = llmq_eval(&o, NULL, &r, err);
    ck_assert(status != LLMQ_OK || r.compute == compute);
    *nll = r.nll;
    return status;
}

/* Quantize, and the loss of the result. */
static double quantized_nll(const llmq_quantize_options *o, int threads) {
    llmq_error err = {0};
    llmq_quantize_report r;
    llmq_context ctx = {.threads = threads};
    double nll = 0;
    ck_assert_ok(llmq_quantize(o, &ctx, &r, &err), &err);
    char *json = llmq_quantize_json(&r);
    ck_assert(r.compute == o->compute);
    ck_assert_ptr_nonnull(strstr(json, o->compute == LLMQ_COMPUTE_BF16 ? "\"compute\": \"bf16\""
                                                                       : "\"compute\": \"f32\""));
    free(json);
    llmq_quantize_report_free(&r);
    ck_assert_ok(eval(o->out, LLMQ_COMPUTE_F32, false, &nll, &err), &err);
    return nll;
}

START_TEST(calibration_in_bf16_changes_the_result_a_little) {
    const enum llmq_method methods[] = {LLMQ_METHOD_GPTQ, LLMQ_METHOD_AWQ};
    for (int i = 0; i < 2; i++) {
        llmq_quantize_options exact = options(methods[i], LLMQ_COMPUTE_F32);
        llmq_quantize_options rounded = options(methods[i], LLMQ_COMPUTE_BF16);
        double f32 = quantized_nll(&exact, 0), bf16 = quantized_nll(&rounded, 0);
        ck_assert_double_ne(bf16, f32);
        ck_assert_double_eq_tol(bf16, f32, 0.03);
    }
}
END_TEST

START_TEST(the_number_of_threads_does_not_show) {
    llmq_quantize_options o = options(LLMQ_METHOD_GPTQ, LLMQ_COMPUTE_BF16);
    ck_assert_double_eq(quantized_nll(&o, 1), quantized_nll(&o, 3));
}
END_TEST

static void stop_in_block_two(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    (void)done;
    (void)total;
    if (strncmp(what, "block 2", 7) == 0)
        interrupt = 1;
}

START_TEST(a_run_is_not_resumed_with_other_numbers) {
    llmq_error err = {0};
    llmq_quantize_report r;
    llmq_quantize_options o = options(LLMQ_METHOD_GPTQ, LLMQ_COMPUTE_BF16);
    llmq_context ctx = {.sink = {.progress = stop_in_block_two}, .interrupt = &interrupt};
    ck_assert_fails(llmq_quantize(&o, &ctx, &r, &err), LLMQ_E_INTERRUPTED, "interrupted", &err);
    llmq_quantize_report_free(&r);
    o.force = false;
    o.resume = true;
    o.compute = LLMQ_COMPUTE_F32;
    ck_assert_fails(llmq_quantize(&o, NULL, &r, &err), LLMQ_E_INPUT, "other inputs or options",
                    &err);
    llmq_quantize_report_free(&r);
    o.compute = LLMQ_COMPUTE_BF16;
    ck_assert_ok(llmq_quantize(&o, NULL, &r, &err), &err);
    ck_assert_int_eq(r.blocks_resumed, 1);
    llmq_quantize_report_free(&r);
}
END_TEST

START_TEST(eval_multiplies_plain_weights_in_bf16_and_refuses_packed_ones) {
    llmq_error err = {0};
    double f32 = 0, bf16 = 0;
    ck_assert_ok(eval(source, LLMQ_COMPUTE_F32, false, &f32, &err), &err);
    ck_assert_ok(eval(source, LLMQ_COMPUTE_BF16, false, &bf16, &err), &err);
    ck_assert_double_ne(bf16, f32);
    ck_assert_double_eq_tol(bf16, f32, 0.005);
    llmq_quantize_options o = options(LLMQ_METHOD_GPTQ, LLMQ_COMPUTE_F32);
    quantized_nll(&o, 0);
    ck_assert_ok(eval(out, LLMQ_COMPUTE_F32, true, &f32, &err), &err);
    ck_assert_ok(eval(out, LLMQ_COMPUTE_BF16, true, &bf16, &err), &err);
    ck_assert_double_ne(bf16, f32);
    ck_assert_double_eq_tol(bf16, f32, 0.005);
    ck_assert_fails(eval(out, LLMQ_COMPUTE_BF16, false, &bf16, &err), LLMQ_E_USAGE,
                    "packed weights are multiplied as they are", &err);
}
END_TEST

START_TEST(compare_measures_bf16_against_float32) {
    llmq_error err = {0};
    llmq_compare_options c;
    llmq_compare_result r;
    llmq_compare_options_init(&c);
    c.model = c.reference = source;
    c.text = calib;
    c.compute = LLMQ_COMPUTE_BF16;
    ck_assert_ok(llmq_compare(&c, NULL, &r, &err), &err);
    ck_assert(r.kl_mean > 0 && r.kl_mean < 1e-3 && r.compute == LLMQ_COMPUTE_BF16);
    llmq_quantize_options o = options(LLMQ_METHOD_GPTQ, LLMQ_COMPUTE_F32);
    quantized_nll(&o, 0);
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
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, calibration_in_bf16_changes_the_result_a_little);
    tcase_add_test(t, the_number_of_threads_does_not_show);
    tcase_add_test(t, a_run_is_not_resumed_with_other_numbers);
    tcase_add_test(t, eval_multiplies_plain_weights_in_bf16_and_refuses_packed_ones);
    tcase_add_test(t, compare_measures_bf16_against_float32);
    suite_add_tcase(s, t);
    return run_suite(s);
}
