/* Runs with AWQ on a tiny model: what is reported and stored, and that results are the same however
 * they came about. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/safetensors.h"
#include "graph/model.h"
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
    interrupt = 0;
    tiny_model_write(source, 1, 0);
    tiny_model_add_salience(source);
    tiny_windows_write(calib, 12, 24, 2);
}

static void teardown(void) {
    free(source);
    free(calib);
    free(out);
    scratch_teardown();
}

static llmq_quantize_options options(enum llmq_method method) {
    llmq_quantize_options o;
    llmq_quantize_options_init(&o, method);
    o.model = source;
    o.out = out;
    o.group = 32;
    o.calib = calib;
    return o;
}

static llmq_quantize_report quantize(const llmq_quantize_options *o, const llmq_context *ctx) {
    llmq_error err = {0};
    llmq_quantize_report report;
    ck_assert_ok(llmq_quantize(o, ctx, &report, &err), &err);
    return report;
}

/* --- whole runs ------------------------------------------------------------------------------- */

static void assert_same_folders(const char *a, const char *b) {
    llmq_error err = {0};
    static const char *const names[] = {"model.safetensors", "config.json"};
    for (size_t i = 0; i < 2; i++) {
        char *data[2] = {0},
             *path[2] = {path_join(a, names[i], NULL), path_join(b, names[i], NULL)};
        size_t len[2] = {0};
        for (int side = 0; side < 2; side++)
            ck_assert_ok(file_read(path[side], 1 << 24, &data[side], &len[side], &err), &err);
        ck_assert_msg(len[0] == len[1] && memcmp(data[0], data[1], len[0]) == 0, "%s differs",
                      names[i]);
        for (int side = 0; side < 2; side++) {
            free(data[side]);
            free(path[side]);
        }
    }
}

/* What the stored model computes is what its codes say with the norms that were stored. */
static double nll(const char *model) {
    llmq_error err = {0};
    llmq_eval_options o;
    llmq_eval_result r;
    llmq_eval_options_init(&o);
    o.model = model;
    o.text = calib;
    ck_assert_ok(llmq_eval(&o, NULL, &r, &err), &err);
    return r.nll;
}

START_TEST(eight_bits_with_scales_are_the_same_model) {
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    o.bits = 8;
    o.format = "gptq_v2";
    llmq_quantize_report r = quantize(&o, NULL);
    ck_assert_uint_eq(r.folded_count, 4);
    ck_assert_uint_eq(r.kept_count, 3);
    llmq_quantize_report_free(&r);
    ck_assert_double_eq_tol(nll(out), nll(source), 0.02);
}
END_TEST

START_TEST(report_tells_method_proof_and_errors_of_the_original_function) {
    for (int composed = 0; composed < 2; composed++) {
        llmq_quantize_options o = options(composed ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_AWQ);
        o.awq = true;
        o.force = true;
        llmq_quantize_report r = quantize(&o, NULL);
        int scaled = 0;
        ck_assert_str_eq(r.format, composed ? "gptq" : "awq");
        for (size_t i = 0; i < r.module_count; i++) {
            const llmq_module_report *m = &r.modules[i];
            scaled += strncmp(m->method, "awq", 3) == 0;
            if (composed)
                ck_assert_ptr_nonnull(strstr(m->method, "gptq"));
            ck_assert_double_gt(m->fold_error, 0);
            ck_assert_double_lt(m->fold_error, 5e-6);
            ck_assert_double_le(m->error, m->rtn_error * 1.02);
        }
        ck_assert_int_gt(scaled, 4);
        llmq_quantize_report_free(&r);
    }
}
END_TEST

/* The first stage of the first block has the original inputs in both runs, so the error that is
 * reported for rounding alone is the same, fold or no fold. */
START_TEST(rounding_error_does_not_see_the_fold) {
    llmq_quantize_options o = options(LLMQ_METHOD_GPTQ);
    o.sym = false;
    llmq_quantize_report plain = quantize(&o, NULL);
    o.awq = o.force = true;
    llmq_quantize_report scaled = quantize(&o, NULL);
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
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    llmq_quantize_report r = quantize(&o, NULL);
    ck_assert_str_eq(r.modules[LINEAR_O].method, "awq");
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

START_TEST(symmetric_codes_go_into_the_awq_format_too) {
    llmq_error err = {0};
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    char *path = strdup(scratch_path("out/config.json")), *text = NULL;
    size_t len = 0;
    o.sym = true;
    llmq_quantize_report r = quantize(&o, NULL);
    ck_assert_str_eq(r.format, "awq");
    llmq_quantize_report_free(&r);
    ck_assert_ok(file_read(path, 1 << 20, &text, &len, &err), &err);
    ck_assert_ptr_nonnull(strstr(text, "\"zero_point\": true"));
    free(text);
    free(path);
}
END_TEST

START_TEST(awq_goes_with_gptq_not_with_rtn) {
    llmq_error err = {0};
    llmq_quantize_report r;
    llmq_quantize_options o = options(LLMQ_METHOD_RTN);
    o.awq = true;
    ck_assert_fails(llmq_quantize(&o, NULL, &r, &err), LLMQ_E_USAGE, "--awq goes with gptq", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "llmq awq"));
    llmq_quantize_report_free(&r);
    ck_assert(!path_is_dir(out));
}
END_TEST

START_TEST(threads_and_spilling_change_nothing) {
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    llmq_context one = {.threads = 1}, three = {.threads = 3};
    llmq_quantize_report r = quantize(&o, &one);
    uint64_t ram = r.plan_ram_bytes;
    llmq_quantize_report_free(&r);
    o.out = scratch_path("three");
    r = quantize(&o, &three);
    llmq_quantize_report_free(&r);
    assert_same_folders(out, scratch_path("three"));
    o.out = scratch_path("spilled");
    o.max_mem = ram - 1;
    r = quantize(&o, NULL);
    ck_assert_uint_gt(r.spill_bytes, 0);
    llmq_quantize_report_free(&r);
    assert_same_folders(out, scratch_path("spilled"));
}
END_TEST

static void stop_in_block_two(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    (void)done;
    (void)total;
    if (strncmp(what, "block 2", 7) == 0)
        interrupt = 1;
}

static void interrupt_run(const llmq_quantize_options *o) {
    llmq_error err = {0};
    llmq_quantize_report r;
    llmq_context ctx = {.sink = {.progress = stop_in_block_two}, .interrupt = &interrupt};
    interrupt = 0;
    ck_assert_fails(llmq_quantize(o, &ctx, &r, &err), LLMQ_E_INTERRUPTED, "interrupted", &err);
    llmq_quantize_report_free(&r);
}

START_TEST(interrupted_and_resumed_equals_uninterrupted) {
    llmq_error err = {0};
    for (int composed = 0; composed < 2; composed++) {
        llmq_quantize_options o = options(composed ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_AWQ);
        o.awq = o.force = true;
        interrupt_run(&o);
        o.force = false;
        o.resume = true;
        llmq_quantize_report r;
        if (composed) { /* the same run without the scales is another run */
            o.awq = false;
            o.force = true;
            ck_assert_fails(llmq_quantize(&o, NULL, &r, &err), LLMQ_E_INPUT,
                            "other inputs or options", &err);
            llmq_quantize_report_free(&r);
            o.awq = true;
        }
        r = quantize(&o, NULL);
        ck_assert_int_eq(r.blocks_resumed, 1);
        ck_assert_double_gt(r.modules[0].fold_error, 0);
        llmq_quantize_report_free(&r);
        o.resume = false;
        o.force = true;
        o.out = scratch_path("whole");
        r = quantize(&o, NULL);
        llmq_quantize_report_free(&r);
        assert_same_folders(out, o.out);
    }
}
END_TEST

START_TEST(damage_to_a_scaled_norm_is_noticed) {
    llmq_error err = {0};
    llmq_quantize_report r;
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    struct st_set *set = NULL;
    struct file f;
    unsigned char byte = 0;
    interrupt_run(&o);
    char *path = strdup(scratch_path("out.partial/model.safetensors"));
    ck_assert_ok(st_open_file(path, &set, &err), &err);
    uint64_t at = st_find(set, "model.layers.0.post_attention_layernorm.weight")->begin;
    st_close(&set);
    ck_assert_ok(file_open_update(path, &f, &err), &err);
    ck_assert_ok(file_pread(&f, &byte, 1, at, &err), &err);
    byte ^= 1;
    ck_assert_ok(file_pwrite(&f, &byte, 1, at, &err), &err);
    file_close(&f, &err);
    o.resume = true;
    ck_assert_fails(llmq_quantize(&o, NULL, &r, &err), LLMQ_E_CHECK,
                    "norms of block 0: what was read back differs", &err);
    llmq_quantize_report_free(&r);
    free(path);
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline_awq");
    TCase *t = tcase_create("awq");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, biases_are_divided_and_stored);
    tcase_add_test(t, eight_bits_with_scales_are_the_same_model);
    tcase_add_test(t, report_tells_method_proof_and_errors_of_the_original_function);
    tcase_add_test(t, rounding_error_does_not_see_the_fold);
    tcase_add_test(t, symmetric_codes_go_into_the_awq_format_too);
    tcase_add_test(t, awq_goes_with_gptq_not_with_rtn);
    tcase_add_test(t, threads_and_spilling_change_nothing);
    tcase_add_test(t, interrupted_and_resumed_equals_uninterrupted);
    tcase_add_test(t, damage_to_a_scaled_norm_is_noticed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
