/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions of what llmq does not write itself: files of other tools, which become its own to the
 * byte, and models of which some linears are plain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "convert/steps.h"
#include "llmq/convert.h"
#include "llmq/model.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_run.h"
#include "support.h"

#define Q0    "model.layers.0.self_attn.q_proj"
#define K0    "model.layers.0.self_attn.k_proj"
#define DOWN1 "model.layers.1.mlp.down_proj"

static llmq_error err;

/* AutoGPTQ: a file name of its own, I64 g_idx, a bias of zeros for every linear, the config in a
 * file without quant_method. */
START_TEST(auto_gptq_becomes_what_llmq_writes) {
    static const uint16_t zeros[64];
    llmq_convert_report r;
    struct edit e;
    step_quantize("g", "gptq", 4, true);
    step_quantize("foreign", "gptq", 4, true);
    edit_read(scratch_path("foreign"), &e);
    edit_widen(&e, Q0 ".g_idx");
    edit_remove(&e, DOWN1 ".g_idx");
    edit_put(&e, Q0 ".bias", DTYPE_F16, 0, 64, zeros);
    edit_put(&e, DOWN1 ".bias", DTYPE_F16, 0, 64, zeros);
    edit_put(&e, "model.layers.0.self_attn.rotary_emb.ids", DTYPE_I64, 0, 2, zeros);
    edit_write(scratch_path("foreign"), &e, 1u << 30);
    ck_assert_int_eq(rename(scratch_path("foreign/model.safetensors"),
                            scratch_path("foreign/gptq_model-4bit-32g.safetensors")),
                     0);
    edit_move_config(scratch_path("foreign"), NULL);
    edit_text(scratch_path("foreign"), "quantize_config.json", "\"quant_method\": \"gptq\",", "");
    ck_assert_double_eq_tol(step_loss("foreign", true), step_loss("g", true), 1e-12);
    ck_assert_ok(step_try("foreign", "gptq", "clean", &r, &err), &err);
    ck_assert_uint_eq(r.dropped_count, 3);
    llmq_convert_report_free(&r);
    step_same_tensors("g", "clean");
    step_no_violation("clean");
}
END_TEST

/* A bias that says something is kept. */
START_TEST(a_bias_with_contents_is_refused) {
    static const uint16_t bias[64] = {[7] = 0x3c00};
    struct edit e;
    step_quantize("g", "gptq", 4, true);
    edit_read(scratch_path("g"), &e);
    edit_put(&e, Q0 ".bias", DTYPE_F16, 0, 64, bias);
    edit_write(scratch_path("g"), &e, 1u << 30);
    step_refused("g", "awq", Q0 ".bias", "attention_bias");
}
END_TEST

/* Symmetric files of some tools have no zero points, and scales in BF16. */
START_TEST(symmetric_files_without_zero_points) {
    struct edit e;
    step_quantize("g", "gptq", 4, true);
    step_quantize("foreign", "gptq", 4, true);
    edit_read(scratch_path("foreign"), &e);
    size_t bytes = 0;
    const uint16_t *half = edit_data(&e, Q0 ".scales", &bytes);
    uint16_t wide[128];
    for (size_t i = 0; i < bytes / 2; i++)
        wide[i] = f32_to_bf16(f16_to_f32(half[i]));
    edit_put(&e, Q0 ".scales", DTYPE_BF16, 2, 64, wide);
    edit_remove(&e, Q0 ".qzeros");
    edit_remove(&e, K0 ".qzeros");
    edit_write(scratch_path("foreign"), &e, 1u << 30);
    step_convert("foreign", "gptq", "clean");
    step_same_tensors("g", "clean");
}
END_TEST

/* llm-awq and old AutoAWQ: a stand-alone file with keys of their own. */
START_TEST(old_awq_configs_are_read) {
    static const char config[] = "{\"zero_point\":true,\"q_group_size\":32,\"w_bit\":4,"
                                 "\"version\":\"GEMM\"}";
    step_quantize("a", "awq", 4, false);
    step_quantize("foreign", "awq", 4, false);
    edit_move_config(scratch_path("foreign"), NULL);
    ck_assert_ok(file_write_atomic(scratch_path("foreign/quant_config.json"), config,
                                   sizeof config - 1, &err),
                 &err);
    step_convert("foreign", "awq", "clean");
    step_same_tensors("a", "clean");
    step_no_violation("clean");
}
END_TEST

START_TEST(auto_round_is_read_by_its_packing) {
    static const struct {
        const char *format, *method, *packing;
    } cases[] = {{"gptq", "gptq", "auto_round:auto_gptq"},
                 {"gptq_v2", "gptq", "auto_round"},
                 {"awq", "awq", "auto_round:auto_awq"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char own[16], foreign[16], clean[16], method[64], edited[128];
        snprintf(own, sizeof own, "own%zu", i);
        snprintf(foreign, sizeof foreign, "foreign%zu", i);
        snprintf(clean, sizeof clean, "clean%zu", i);
        step_quantize(own, cases[i].format, 4, true);
        step_quantize(foreign, cases[i].format, 4, true);
        snprintf(method, sizeof method, "\"quant_method\": \"%s\",", cases[i].method);
        snprintf(edited, sizeof edited,
                 "\"quant_method\": \"auto-round\", \"packing_format\": \"%s\",", cases[i].packing);
        edit_text(scratch_path(foreign), "config.json", method, edited);
        step_convert(foreign, cases[i].format, clean);
        step_same_tensors(own, clean);
    }
    edit_text(scratch_path("foreign2"), "config.json", "auto_round:auto_awq", "auto_round:new");
    llmq_inspect_report in;
    ck_assert_fails(llmq_inspect(scratch_path("foreign2"), NULL, &in, &err), LLMQ_E_UNSUPPORTED,
                    "auto_round:new", &err);
}
END_TEST

/* Linears left plain stay plain, and every format's config names them. */
START_TEST(partly_quantized_models_keep_their_plain_linears) {
    static const char *const formats[] = {"gptq", "awq", "compressed-tensors", "gptq"};
    static const char *const parts[] = {"q", "k", "v"};
    struct edit e;
    llmq_convert_report r;
    step_quantize("p", "gptq", 4, true);
    char *dir = strdup(scratch_path("p"));
    edit_read(dir, &e);
    for (int block = 0; block < 2; block++)
        for (int i = 0; i < 3; i++) {
            char name[64];
            struct qlinear q = {0};
            snprintf(name, sizeof name, "model.layers.%d.self_attn.%s_proj", block, parts[i]);
            edit_decode(dir, name, &q);
            edit_make_plain(&e, &layout_gptq, name, &q);
            qlinear_free(&q);
        }
    edit_write(dir, &e, 1u << 30);
    char from[16] = "p", to[16];
    for (size_t i = 0; i < 4; i++) {
        snprintf(to, sizeof to, "p%zu", i);
        ck_assert_ok(step_try(from, formats[i], to, &r, &err), &err);
        ck_assert_int_eq(r.plain, 6);
        ck_assert_int_eq(r.modules, 8);
        llmq_convert_report_free(&r);
        step_no_violation(to);
        snprintf(from, sizeof from, "%s", to);
    }
    step_same_tensors("p", "p3");
    ck_assert_double_eq_tol(step_loss("p3", true), step_loss("p1", true), 1e-12);
    char *config = NULL;
    size_t len = 0;
    ck_assert_ok(file_read(scratch_path("p3/quantize_config.json"), 1 << 20, &config, &len, &err),
                 &err);
    ck_assert_ptr_nonnull(
        strstr(config, "-:.*\\\\.layers\\\\.[0-9]+\\\\.self_attn\\\\.(q|k|v|qkv)_proj$"));
    ck_assert_ptr_nonnull(strstr(config, "modules_in_block_to_quantize"));
    free(config);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("convert foreign");
    TCase *t = tcase_create("convert foreign");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, auto_gptq_becomes_what_llmq_writes);
    tcase_add_test(t, a_bias_with_contents_is_refused);
    tcase_add_test(t, symmetric_files_without_zero_points);
    tcase_add_test(t, old_awq_configs_are_read);
    tcase_add_test(t, auto_round_is_read_by_its_packing);
    tcase_add_test(t, partly_quantized_models_keep_their_plain_linears);
    suite_add_tcase(s, t);
    return run_suite(s);
}
