/* SPDX-License-Identifier: Apache-2.0 */
/* The run as a whole on a tiny model: what is written loads, is the same however it came about,
 * and nothing is left behind when something is wrong. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/json.h"
#include "llmq/model.h"
#include "llmq/quantize.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

/* --- what is written -------------------------------------------------------------------------- */

START_TEST(results_load_and_packed_equals_dequantized) {
    static const int bits[] = {2, 3, 4, 8};
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        for (int sym = 0; sym < 2; sym++) {
            llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
            o.bits = bits[i];
            o.sym = sym;
            o.group = i % 2 ? 32 : -1;
            o.format = sym ? "gptq" : "gptq_v2";
            run_quantize(&o);
            double packed = run_loss(out, false), plain = run_loss(out, true);
            ck_assert_double_le(packed - plain, 1e-5);
            ck_assert_double_le(plain - packed, 1e-5);
        }
    }
}
END_TEST

START_TEST(eight_bits_cost_almost_nothing) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.bits = 8;
    run_quantize(&o);
    ck_assert_double_eq_tol(run_loss(out, false), run_loss(source, false), 0.02);
}
END_TEST

START_TEST(report_tells_of_every_module) {
    llmq_error err = {0};
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_uint_eq(r.module_count, 14);
    ck_assert_int_eq(r.tokens_used, 12 * 24);
    ck_assert_str_eq(r.modules[3].name, "model.layers.0.self_attn.o_proj");
    size_t back = 0; /* few tokens are held back: what is better on them may be rounding */
    for (size_t i = 0; i < r.module_count; i++) {
        ck_assert_str_eq(r.modules[i].method, r.modules[i].fell_back ? "rtn" : "gptq");
        ck_assert_double_gt(r.modules[i].error, 0);
        ck_assert_double_le(r.modules[i].error, r.modules[i].rtn_error);
        back += r.modules[i].fell_back;
    }
    ck_assert_uint_lt(back, r.module_count / 2);
    char *text_json = llmq_quantize_json(&r);
    struct json *parsed = NULL;
    ck_assert_ok(json_parse(text_json, strlen(text_json), "report", &parsed, &err), &err);
    ck_assert_uint_eq(json_count(json_get(parsed, "modules")), 14);
    json_free(&parsed);
    free(text_json);
    llmq_quantize_report_free(&r);
}
END_TEST

static double flops_of(const llmq_quantize_report *r, const char *name) {
    for (size_t i = 0; i < r->work_count; i++)
        if (strcmp(r->work[i].name, name) == 0)
            return r->work[i].flops;
    ck_abort_msg("no work of the name %s", name);
    return 0;
}

START_TEST(work_adds_up_to_the_run) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_options_quality(&o, LLMQ_QUALITY_FAST);
    llmq_quantize_report r = run_report(&o, NULL);
    double seconds = 0;
    for (size_t i = 0; i < r.work_count; i++) {
        ck_assert(r.work[i].seconds > 0);
        seconds += r.work[i].seconds;
    }
    ck_assert(seconds > 0 && seconds <= r.seconds);
    ck_assert(r.sgemm_gflops > 0);
    /* 12 windows of 24 tokens; in the last block nothing needs the output of down. */
    const double tokens = 12 * 24, attention = 2 * 64 * 64 + 2 * 32 * 64, mlp = 3 * 64 * 96;
    ck_assert(flops_of(&r, "linears") == 2 * tokens * (2 * (attention + mlp) - 64 * 96));
    const double fitted = tokens - 18; /* one in 16 is held back */
    ck_assert(flops_of(&r, "moments") == 2 * fitted * (3 * 64 * 64 + 96 * 96));
    ck_assert(flops_of(&r, "attention") == 2 * 12 * 2 * 24 * 24 * 64);
    llmq_quantize_report_free(&r);
}
END_TEST

START_TEST(config_keeps_its_text_and_gains_one_key) {
    llmq_error err = {0};
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    char *path = NULL, *data = NULL;
    size_t len = 0;
    run_quantize(&o);
    path = path_join(out, "config.json", NULL);
    ck_assert_ok(file_read(path, 1 << 20, &data, &len, &err), &err);
    ck_assert_ptr_nonnull(strstr(data, "\"rms_norm_eps\": 1e-05,\n  \"my_key\": 1.50,\n"));
    ck_assert_ptr_nonnull(strstr(data, "\"quantization_config\": {\n    \"bits\": 4,"));
    free(path);
    free(data);
}
END_TEST

START_TEST(stray_buffers_are_left_out_and_reported) {
    llmq_error err = {0};
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    tiny_model_write(source, 1, 1);
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_uint_eq(r.dropped_count, 1);
    ck_assert_str_eq(r.dropped[0], "model.layers.0.self_attn.bias_mask");
    llmq_quantize_report_free(&r);
    llmq_inspect_report i;
    ck_assert_ok(llmq_inspect(out, NULL, &i, &err), &err);
    for (size_t t = 0; t < i.tensor_count; t++)
        ck_assert_ptr_null(strstr(i.tensors[t].name, "bias_mask"));
    llmq_inspect_report_free(&i);
}
END_TEST

START_TEST(inspect_counts_weights_not_words) {
    llmq_error err = {0};
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_inspect_report before, after;
    run_quantize(&o);
    ck_assert_ok(llmq_inspect(source, NULL, &before, &err), &err);
    ck_assert_ok(llmq_inspect(out, NULL, &after, &err), &err);
    ck_assert_int_eq(before.parameters, after.parameters);
    ck_assert_str_eq(before.layout, "none");
    ck_assert_str_eq(after.layout, "gptq");
    ck_assert_int_eq(after.quantized_modules, 14);
    ck_assert_int_eq(after.bits, 4);
    ck_assert_int_eq(after.group, 32);
    /* 4 bits of code, 16 of scale and 4 of zero to 32 weights, and g_idx */
    ck_assert_double_gt(after.bits_per_quantized_weight, 4.0 + 20.0 / 32);
    ck_assert_double_lt(after.bits_per_quantized_weight, 4.0 + 20.0 / 32 + 1);
    llmq_inspect_report_free(&before);
    llmq_inspect_report_free(&after);
}
END_TEST

/* --- the same bytes --------------------------------------------------------------------------- */

START_TEST(threads_and_spilling_change_nothing) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    run_with_any_threads_and_memory(&o);
}
END_TEST

START_TEST(interrupted_and_resumed_equals_uninterrupted) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.force = false;
    run_interrupt(&o);
    ck_assert(!path_is_dir(out));
    run_fails(&o, LLMQ_E_USAGE, "interrupted run");
    o.damp = 0.02;
    run_resume_fails(&o, LLMQ_E_INPUT, "--damp was auto, is 0.02");
    o.damp = 0;
    llmq_quantize_report r = run_resume(&o);
    ck_assert_uint_eq(r.module_count, 14);
    llmq_quantize_report_free(&r);
}
END_TEST

START_TEST(damage_in_the_interrupted_run_is_noticed) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    run_interrupt(&o);
    run_damage("model.layers.0.mlp.up_proj.qweight");
    run_resume_fails(&o, LLMQ_E_CHECK, "up_proj: what was read back differs");
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

START_TEST(wrong_requests_fail_before_anything_is_written) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.group = 128;
    run_refused(&o, LLMQ_E_USAGE, "group 128 does not divide in_features of self_attn.q_proj");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.bits = 5;
    run_refused(&o, LLMQ_E_USAGE, "--bits 5");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.calib = NULL; /* the bundled text needs a tokenizer */
    run_refused(&o, LLMQ_E_NOT_FOUND, "tokenizer.json");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.format = "exl2";
    run_refused(&o, LLMQ_E_USAGE, "exl2");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.format = "awq";
    o.bits = 8;
    run_refused(&o, LLMQ_E_UNSUPPORTED, "expected 4 bits for the awq format, found 8");
    o.bits = 4;
    o.group = 128;
    o.group_auto_fit = true;
    run_refused(&o, LLMQ_E_UNSUPPORTED, "awq files hold one group size");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.format = "compressed-tensors";
    o.bits = 3;
    run_refused(&o, LLMQ_E_UNSUPPORTED, "expected 4 or 8 bits");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.calib = "/nowhere.json";
    run_refused(&o, LLMQ_E_NOT_FOUND, "/nowhere.json");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.model = "no-such-model";
    run_refused(&o, LLMQ_E_NOT_FOUND, "no-such-model");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.max_mem = 1000;
    run_refused(&o, LLMQ_E_MEMORY, "--max-mem 1000");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.damp = 1.5;
    run_refused(&o, LLMQ_E_USAGE, "--damp 1.5");
}
END_TEST

START_TEST(group_hint_names_sizes_that_would_do) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.group = 128;
    llmq_error err = run_refused(&o, LLMQ_E_USAGE, "group 128 does not divide");
    ck_assert_msg(strstr(err.hint, "32, 16, 8") != NULL, "%s", err.hint);
    o.group_auto_fit = true;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_int_eq(r.modules[0].group, 64);
    ck_assert_int_eq(r.modules[6].group, 96);
    llmq_quantize_report_free(&r);
    ck_assert_double_eq_tol(run_loss(out, false), run_loss(out, true), 1e-5);
}
END_TEST

START_TEST(existing_results_are_safe_without_force) {
    llmq_error err = {0};
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    run_quantize(&o);
    o.force = false;
    run_fails(&o, LLMQ_E_USAGE, "exists");
    o.force = true;
    o.bits = 8;
    run_quantize(&o);
    llmq_inspect_report i;
    ck_assert_ok(llmq_inspect(out, NULL, &i, &err), &err);
    ck_assert_int_eq(i.bits, 8);
    llmq_inspect_report_free(&i);
    o.model = out;
    o.out = scratch_path("twice");
    run_fails(&o, LLMQ_E_UNSUPPORTED, "quantized already");
}
END_TEST

START_TEST(dry_run_plans_and_writes_nothing) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.dry_run = true;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_uint_gt(r.plan_ram_bytes, 0);
    ck_assert_double_gt(r.plan_flops, 0);
    ck_assert_uint_eq(r.kept_count, 7);
    ck_assert_uint_eq(r.module_count, 14);
    ck_assert_int_eq(r.modules[6].k, 96);
    ck_assert_str_eq(r.out, out);
    llmq_quantize_report_free(&r);
    ck_assert(!path_is_dir(out) && !path_is_dir(scratch_path("out.partial")));
}
END_TEST

START_TEST(a_checkpoint_without_a_tensor_is_refused_by_name) {
    llmq_error err = {0};
    char *path = path_join(source, "config.json", NULL);
    char *data = NULL, *edited = NULL;
    size_t len = 0;
    ck_assert_ok(file_read(path, 1 << 20, &data, &len, &err), &err);
    ck_assert_ok(json_text_set(data, len, "num_hidden_layers", "3", &edited, &err), &err);
    ck_assert_ok(file_write_atomic(path, edited, strlen(edited), &err), &err);
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    run_refused(&o, LLMQ_E_INPUT, "'model.layers.2.input_layernorm.weight' is missing");
    free(edited);
    ck_assert_ok(json_text_set(data, len, "hidden_size", "32", &edited, &err), &err);
    ck_assert_ok(file_write_atomic(path, edited, strlen(edited), &err), &err);
    run_refused(&o, LLMQ_E_INPUT, "config.json implies");
    free(edited);
    free(data);
    free(path);
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline");
    TCase *t = tcase_create("run");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, results_load_and_packed_equals_dequantized);
    tcase_add_test(t, eight_bits_cost_almost_nothing);
    tcase_add_test(t, report_tells_of_every_module);
    tcase_add_test(t, work_adds_up_to_the_run);
    tcase_add_test(t, config_keeps_its_text_and_gains_one_key);
    tcase_add_test(t, stray_buffers_are_left_out_and_reported);
    tcase_add_test(t, inspect_counts_weights_not_words);
    tcase_add_test(t, threads_and_spilling_change_nothing);
    tcase_add_test(t, interrupted_and_resumed_equals_uninterrupted);
    tcase_add_test(t, damage_in_the_interrupted_run_is_noticed);
    tcase_add_test(t, wrong_requests_fail_before_anything_is_written);
    tcase_add_test(t, group_hint_names_sizes_that_would_do);
    tcase_add_test(t, existing_results_are_safe_without_force);
    tcase_add_test(t, dry_run_plans_and_writes_nothing);
    tcase_add_test(t, a_checkpoint_without_a_tensor_is_refused_by_name);
    suite_add_tcase(s, t);
    return run_suite(s);
}
