/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts of llmq verify: what it says of a good checkpoint, how it measures one against its
 * original, and folders that it cannot read. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "bases.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "pipeline/edit_checkpoint.h"
#include "support.h"
#include "verify/verify.h"

#define Q0    "model.layers.0.self_attn.q_proj"
#define NORM0 "model.layers.0.input_layernorm.weight"

static llmq_error err;

/* What was found when nothing was seeded is about the tiny model: it has no tokenizer, and shapes
 * that kernels pad. */
START_TEST(good_checkpoints_pass) {
    static const char *const expected[] = {"tokenizer", "kernel-shape", "stacks"};
    for (size_t b = 0; b < BASES; b++) {
        llmq_verify_report r;
        base_verify(bases[b].name, true, &r);
        ck_assert_msg(r.ok, "%s: %s", bases[b].name, r.ok ? "" : r.violations.items[0].message);
        ck_assert_str_eq(r.format, bases[b].format);
        ck_assert_uint_eq(r.module_count, 14);
        ck_assert_int_eq(r.changed, 0);
        ck_assert_int_eq(r.equal, 7);
        for (size_t i = 0; i < r.warnings.count; i++) {
            bool known = false;
            for (size_t e = 0; e < 3; e++)
                known = known || strcmp(r.warnings.items[i].rule, expected[e]) == 0;
            ck_assert_msg(known, "%s: %s", bases[b].name, r.warnings.items[i].rule);
        }
        llmq_verify_report_free(&r);
    }
    llmq_verify_report r;
    base_verify("source", false, &r);
    ck_assert(r.ok);
    ck_assert_uint_eq(r.stack_count, 0);
    llmq_verify_report_free(&r);
}
END_TEST

/* Rounding to nearest reports the same relative error when it quantizes. */
START_TEST(error_against_the_original_is_the_quantizers) {
    llmq_verify_report r;
    base_verify("g", true, &r);
    ck_assert_uint_eq(base_report.module_count, r.module_count);
    for (size_t i = 0; i < r.module_count; i++)
        for (size_t j = 0; j < base_report.module_count; j++)
            if (strcmp(r.modules[i].name, base_report.modules[j].name) == 0)
                ck_assert_double_eq_tol(r.modules[i].error, base_report.modules[j].error, 1e-6);
    ck_assert(r.error > 1e-4 && r.error < 0.1);
    llmq_verify_report_free(&r);
    base_verify("g", false, &r);
    ck_assert(isnan(r.error) && isnan(r.modules[0].error));
    llmq_verify_report_free(&r);
}
END_TEST

/* Infinity in the original: its error is no number, which is not the same as none. */
START_TEST(an_original_that_is_not_finite_is_told) {
    static const uint16_t infinity = 0x7f80;
    char *original = strdup(scratch_path("original")), *model = strdup(scratch_path("g"));
    const llmq_verify_options o = {.size = sizeof o, .model = model, .against = original};
    llmq_verify_report r;
    base_copy(scratch_path("source"), original);
    edit_poke(original, Q0 ".weight", &infinity, sizeof infinity);
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    ck_assert(base_lists(&r.violations, "against-error", Q0));
    ck_assert(isfinite(r.error));
    llmq_verify_report_free(&r);
    free(original);
    free(model);
}
END_TEST

/* A conversion, judged by the checkpoint it was made from, which is packed itself. */
START_TEST(conversions_have_no_error) {
    char *from = strdup(scratch_path("g")), *to = strdup(scratch_path("converted"));
    llmq_convert_options o;
    llmq_convert_report converted;
    llmq_verify_report r;
    llmq_convert_options_init(&o);
    o.model = from;
    o.out = to;
    o.format = "compressed-tensors";
    ck_assert_ok(llmq_convert(&o, NULL, &converted, &err), &err);
    llmq_convert_report_free(&converted);
    const llmq_verify_options v = {.size = sizeof v, .model = to, .against = from};
    ck_assert_ok(llmq_verify(&v, NULL, &r, &err), &err);
    ck_assert(r.ok && r.error <= 0 && r.equal == 7);
    llmq_verify_report_free(&r);
    free(from);
    free(to);
}
END_TEST

/* A norm that changed without the weights behind it is no fold, and both are told. */
START_TEST(changed_norms_are_no_folds) {
    llmq_verify_report r;
    char *dir = strdup(scratch_path("case"));
    base_copy(scratch_path("g"), dir);
    edit_add(dir, NORM0, DTYPE_BF16, 0, 64, 0x3f80);
    base_verify("case", true, &r);
    ck_assert(base_lists(&r.warnings, "against-changed", NORM0));
    ck_assert(base_lists(&r.violations, "against-fold", NORM0));
    ck_assert_int_eq(r.changed, 1);
    ck_assert_int_eq(r.folded, 0);
    llmq_verify_report_free(&r);
    free(dir);
}
END_TEST

/* --- what cannot be read ---------------------------------------------------------------------- */

static void assert_unreadable(const char *dir, enum llmq_status code, const char *part) {
    llmq_verify_report r;
    const llmq_verify_options o = {.size = sizeof o, .model = dir};
    ck_assert_fails(llmq_verify(&o, NULL, &r, &err), code, part, &err);
    ck_assert_int_eq(llmq_exit_code(code), 3);
    llmq_verify_report_free(&r);
}

START_TEST(folders_that_are_no_checkpoint) {
    char *dir = strdup(scratch_path("case"));
    ck_assert_ok(dir_make(dir, false, &err), &err);
    assert_unreadable(dir, LLMQ_E_NOT_FOUND, "config.json");
    base_write(dir, "config.json", "{\"model_type\": \"llama\"");
    assert_unreadable(dir, LLMQ_E_INPUT, "config.json");
    base_write(dir, "config.json", "{\"model_type\": \"llama\"}");
    assert_unreadable(dir, LLMQ_E_NOT_FOUND, "expected model.safetensors");
    base_copy(scratch_path("g"), dir);
    base_write(dir, "model.safetensors", "\x10\0\0\0\0\0\0\0{}");
    assert_unreadable(dir, LLMQ_E_ST_HEADER_TOO_SMALL, "model.safetensors");
    base_copy(scratch_path("g"), dir);
    edit_text(dir, "config.json", "\"quant_method\": \"gptq\"", "\"quant_method\": \"exl3\"");
    assert_unreadable(dir, LLMQ_E_UNSUPPORTED, "exl3");
    base_copy(scratch_path("g"), dir);
    edit_text(dir, "config.json", "\"bits\": 4", "\"bits\": 5");
    assert_unreadable(dir, LLMQ_E_UNSUPPORTED, "found 5");
    free(dir);
}
END_TEST

/* The writers check their own result by the same rules. */
START_TEST(written_folders_keep_the_rules_for_headers) {
    char *dir = strdup(scratch_path("case"));
    base_copy(scratch_path("g"), dir);
    ck_assert_ok(verify_written(dir, NULL, &err), &err);
    base_copy_file(dir, "model.safetensors", "old.safetensors");
    ck_assert_fails(verify_written(dir, NULL, &err), LLMQ_E_CHECK, "stale-weights", &err);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify");
    TCase *t = tcase_create("verify");
    tcase_set_timeout(t, 600);
    tcase_add_checked_fixture(t, bases_setup, bases_teardown);
    tcase_add_test(t, good_checkpoints_pass);
    tcase_add_test(t, error_against_the_original_is_the_quantizers);
    tcase_add_test(t, an_original_that_is_not_finite_is_told);
    tcase_add_test(t, conversions_have_no_error);
    tcase_add_test(t, changed_norms_are_no_folds);
    tcase_add_test(t, folders_that_are_no_checkpoint);
    tcase_add_test(t, written_folders_keep_the_rules_for_headers);
    suite_add_tcase(s, t);
    return run_suite(s);
}
