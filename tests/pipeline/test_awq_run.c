/* SPDX-License-Identifier: Apache-2.0 */
/* Runs with AWQ on a tiny model: what is reported and stored, and that results are the same however
 * they came about. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "calib/tiny_mixture.h"
#include "formats/safetensors/safetensors.h"
#include "graph/model.h"
#include "llmq/quantize.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

static void setup(void) {
    run_setup();
    tiny_model_add_salience(source);
}

START_TEST(eight_bits_with_scales_are_the_same_model) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    o.bits = 8;
    o.format = "gptq_v2";
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_uint_eq(r.folded_count, 4);
    ck_assert_uint_eq(r.kept_count, 3);
    llmq_quantize_report_free(&r);
    ck_assert_double_eq_tol(run_loss(out, false), run_loss(source, false), 0.02);
}
END_TEST

START_TEST(report_tells_method_proof_and_errors_of_the_original_function) {
    for (int composed = 0; composed < 2; composed++) {
        llmq_quantize_options o = run_options(composed ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_AWQ);
        o.awq = true;
        llmq_quantize_report r = run_report(&o, NULL);
        int scaled = 0;
        ck_assert_str_eq(r.format, composed ? "gptq" : "awq");
        for (size_t i = 0; i < r.module_count; i++) {
            const llmq_module_report *m = &r.modules[i];
            scaled += strncmp(m->method, "awq", 3) == 0;
            if (composed)
                ck_assert_ptr_nonnull(strstr(m->method, "gptq"));
            ck_assert_double_gt(m->fold_error, 0);
            ck_assert_double_lt(m->fold_error, 5e-6);
            ck_assert_double_le(m->error, m->rtn_error * 1.3); /* on a few tokens held back */
        }
        ck_assert_int_gt(scaled, 4);
        llmq_quantize_report_free(&r);
    }
}
END_TEST

/* The first stage of the first block has the original inputs in both runs, so the error that is
 * reported for rounding alone is the same, fold or no fold. */
START_TEST(rounding_error_does_not_see_the_fold) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.sym = false;
    llmq_quantize_report plain = run_report(&o, NULL);
    o.awq = true;
    llmq_quantize_report scaled = run_report(&o, NULL);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_str_eq(plain.modules[i].method, "gptq");
        ck_assert_str_eq(scaled.modules[i].method, "awq+gptq");
        ck_assert_double_eq_tol(scaled.modules[i].rtn_error / plain.modules[i].rtn_error, 1, 1e-3);
    }
    llmq_quantize_report_free(&plain);
    llmq_quantize_report_free(&scaled);
}
END_TEST

/* Biases of v are bfloat16 in the file: the run has to find scales they can take. */
START_TEST(biases_are_divided_and_stored) {
    llmq_error err = {0};
    struct model before, after;
    tiny_model_write_biased(source, 3);
    tiny_model_add_salience(source);
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_str_eq(r.modules[3].method, "awq");
    ck_assert_uint_eq(r.folded_count, 6);
    llmq_quantize_report_free(&r);
    float old[32], new[32];
    const char *name = "model.layers.0.self_attn.v_proj.bias";
    ck_assert_ok(model_open(source, &before, &err), &err);
    ck_assert_ok(model_open(out, &after, &err), &err);
    ck_assert_ok(st_read_f32(before.tensors, st_find(before.tensors, name), old, &err), &err);
    ck_assert_ok(st_read_f32(after.tensors, st_find(after.tensors, name), new, &err), &err);
    ck_assert_mem_ne(old, new, sizeof old);
    model_close(&before);
    model_close(&after);
}
END_TEST

static void read_tensor(const char *dir, const char *name, float *values) {
    llmq_error err = {0};
    struct model m;
    ck_assert_ok(model_open(dir, &m, &err), &err);
    ck_assert_ok(st_read_f32(m.tensors, st_find(m.tensors, name), values, &err), &err);
    model_close(&m);
}

/* Numbers of a router that are scaled: by powers of two, which leave what it says as it is. */
static int router_scales(const char *name) {
    enum { COUNT = MIXTURE_EXPERTS * MIXTURE_HIDDEN };
    float old[COUNT], new[COUNT];
    int scaled = 0;
    read_tensor(source, name, old);
    read_tensor(out, name, new);
    for (int i = 0; i < COUNT; i++) {
        int exponent = 0;
        if (old[i] == 0)
            continue;
        ck_assert_double_eq((double)frexpf(new[i] / old[i], &exponent), 0.5);
        scaled += exponent != 1;
    }
    return scaled;
}

/* What all of them read, with the router, and what each makes itself. */
START_TEST(experts_are_scaled) {
    mixture_write(source, 3);
    tiny_model_add_salience(source);
    for (int composed = 0; composed < 2; composed++) {
        llmq_quantize_options o = run_options(composed ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_AWQ);
        o.awq = true;
        o.format = "compressed-tensors";
        o.group = 8;
        o.sym = false;
        llmq_quantize_report r = run_report(&o, NULL);
        int given = 0, within = 0;
        ck_assert_uint_eq(r.module_count, MIXTURE_BLOCKS * (4 + 3 * MIXTURE_EXPERTS));
        for (size_t i = 0; i < r.module_count; i++) {
            const llmq_module_report *m = &r.modules[i];
            const bool expert = strstr(m->name, "experts") != NULL;
            const bool scaled = strncmp(m->method, "awq", 3) == 0;
            given += expert && scaled && !strstr(m->name, ".w2");
            within += expert && scaled && strstr(m->name, ".w2");
            ck_assert_ptr_null(strstr(m->events, "no scale"));
            ck_assert_double_lt(m->fold_error, 5e-6);
            for (size_t j = 0; j < i; j++)
                ck_assert_str_ne(r.modules[j].name, m->name);
        }
        ck_assert(given > 0 && given % (2 * MIXTURE_EXPERTS) == 0); /* all of a block */
        ck_assert_int_gt(within, MIXTURE_EXPERTS);
        llmq_quantize_report_free(&r);
        ck_assert_int_gt(router_scales("model.layers.0.block_sparse_moe.gate.weight") +
                             router_scales("model.layers.1.block_sparse_moe.gate.weight"),
                         0);
    }
}
END_TEST

/* The first block's experts read nearly the same in both runs. */
START_TEST(rounding_of_experts_does_not_see_the_fold) {
    mixture_write(source, 3);
    tiny_model_add_salience(source);
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    o.format = "compressed-tensors";
    o.group = 8;
    llmq_quantize_report scaled = run_report(&o, NULL);
    o.method = LLMQ_METHOD_GPTQ;
    o.awq = false;
    o.correct.mode = LLMQ_CORRECT_OFF;
    llmq_quantize_report plain = run_report(&o, NULL);
    for (size_t i = 4; i < 4 + 3 * MIXTURE_EXPERTS; i++) {
        ck_assert_str_eq(plain.modules[i].name, scaled.modules[i].name);
        if (strstr(plain.modules[i].name, ".w2") == NULL) /* reads what the others make */
            ck_assert_double_eq_tol(scaled.modules[i].rtn_error / plain.modules[i].rtn_error, 1,
                                    0.1);
        ck_assert_double_lt(scaled.modules[i].error, 1.05 * scaled.modules[i].rtn_error);
    }
    llmq_quantize_report_free(&plain);
    llmq_quantize_report_free(&scaled);
}
END_TEST

START_TEST(symmetric_codes_go_into_the_awq_format_too) {
    llmq_error err = {0};
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    char *path = strdup(scratch_path("out/config.json")), *config = NULL;
    size_t len = 0;
    o.sym = true;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_str_eq(r.format, "awq");
    llmq_quantize_report_free(&r);
    ck_assert_ok(file_read(path, 1 << 20, &config, &len, &err), &err);
    ck_assert_ptr_nonnull(strstr(config, "\"zero_point\": true"));
    free(config);
    free(path);
}
END_TEST

START_TEST(awq_goes_with_gptq_not_with_rtn) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.calib = calib;
    o.awq = true;
    llmq_error err = run_refused(&o, LLMQ_E_USAGE, "--awq goes with gptq");
    ck_assert_ptr_nonnull(strstr(err.hint, "llmq awq"));
}
END_TEST

START_TEST(threads_and_spilling_change_nothing) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    run_with_any_threads_and_memory(&o);
}
END_TEST

START_TEST(interrupted_and_resumed_equals_uninterrupted) {
    for (int composed = 0; composed < 2; composed++) {
        llmq_quantize_options o = run_options(composed ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_AWQ);
        o.awq = true;
        run_interrupt(&o);
        if (composed) { /* the same run without the scales is another run */
            o.awq = false;
            run_resume_fails(&o, LLMQ_E_INPUT, "--awq was true, is false");
            o.awq = true;
        }
        llmq_quantize_report r = run_resume(&o);
        ck_assert_double_gt(r.modules[0].fold_error, 0);
        llmq_quantize_report_free(&r);
    }
}
END_TEST

START_TEST(damage_to_a_scaled_norm_is_noticed) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    run_interrupt(&o);
    run_damage("model.layers.0.post_attention_layernorm.weight");
    run_resume_fails(&o, LLMQ_E_CHECK, "block 0: what was read back differs");
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline_awq");
    TCase *t = tcase_create("awq");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, run_teardown);
    tcase_add_test(t, biases_are_divided_and_stored);
    tcase_add_test(t, eight_bits_with_scales_are_the_same_model);
    tcase_add_test(t, report_tells_method_proof_and_errors_of_the_original_function);
    tcase_add_test(t, rounding_error_does_not_see_the_fold);
    tcase_add_test(t, experts_are_scaled);
    tcase_add_test(t, rounding_of_experts_does_not_see_the_fold);
    tcase_add_test(t, symmetric_codes_go_into_the_awq_format_too);
    tcase_add_test(t, awq_goes_with_gptq_not_with_rtn);
    tcase_add_test(t, threads_and_spilling_change_nothing);
    tcase_add_test(t, interrupted_and_resumed_equals_uninterrupted);
    tcase_add_test(t, damage_to_a_scaled_norm_is_noticed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
