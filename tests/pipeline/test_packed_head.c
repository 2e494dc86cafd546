/* SPDX-License-Identifier: Apache-2.0 */
/* An output head that is packed like the linears: read with the right values, converted with them,
 * refused where it does not fit the config. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "edit_checkpoint.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

#define Q0 "model.layers.0.self_attn.q_proj" /* of the head's shape, [64, 64] */
#define K0 "model.layers.0.self_attn.k_proj"

static llmq_error err;

/* A checkpoint at `out` whose head has the weights of a module: packed, or plain in F32. As one of
 * another program it has no record of its files. */
static void make(const char *format, const char *module, bool packed) {
    char record[512];
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    struct edit e;
    struct qlinear q = {0};
    o.format = format;
    ck_assert_ok(dir_remove(out, &err), &err);
    run_quantize(&o);
    edit_decode(out, module, &q);
    edit_read(out, &e);
    edit_remove(&e, "lm_head.weight");
    if (packed) {
        edit_encode(&e, layout_find(format), "lm_head", &q);
    } else {
        float *weights = malloc((size_t)(q.n * q.k) * sizeof *weights);
        qlinear_dequantize(&q, 0, q.n, weights);
        edit_put(&e, "lm_head.weight", DTYPE_F32, (uint64_t)q.n, (uint64_t)q.k, weights);
        free(weights);
    }
    edit_write(out, &e, 1u << 30);
    (void)snprintf(record, sizeof record, "%s/llmq.json", out);
    ck_assert_int_eq(unlink(record), 0);
    qlinear_free(&q);
}

static void name_the_head(const char *format) {
    if (strcmp(format, "gptq") == 0)
        edit_text(out, "config.json", "\"lm_head\": false", "\"lm_head\": true");
    else if (strcmp(format, "awq") == 0)
        edit_text(out, "config.json", "\"version\": \"gemm\"",
                  "\"version\": \"gemm\", \"lm_head\": true");
    else
        edit_text(out, "config.json", "[\"lm_head\"]", "[]");
}

static bool passes(const char *dir) {
    const llmq_verify_options o = {.size = sizeof o, .model = dir};
    llmq_verify_report r;
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    const bool ok = r.ok;
    llmq_verify_report_free(&r);
    return ok;
}

static void convert(const char *format, const char *to) {
    llmq_convert_options o;
    llmq_convert_report r;
    llmq_convert_options_init(&o);
    o.model = out;
    o.out = to;
    o.format = format;
    ck_assert_ok(llmq_convert(&o, NULL, &r, &err), &err);
    ck_assert_int_eq(r.modules, 15);
    llmq_convert_report_free(&r);
}

static const char *const formats[] = {"gptq", "awq", "compressed-tensors"};

START_TEST(a_packed_head_scores_as_its_weights_do) {
    const char *format = formats[_i];
    make(format, Q0, false);
    const double plain = run_loss(out, false);
    make(format, Q0, true);
    const double packed = run_loss(out, false);
    ck_assert_double_eq(packed, plain);
    name_the_head(format);
    ck_assert(passes(out));
    static const char *const targets[] = {"gptq", "gptq_v2", "awq", "compressed-tensors", "gguf"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        char *to = strdup(scratch_path(targets[i]));
        if (strcmp(targets[i], format) != 0) {
            convert(targets[i], to);
            ck_assert(passes(to));
            ck_assert_double_eq(run_loss(to, false), plain);
        }
        free(to);
    }
    char *to = strdup(scratch_path("f32"));
    convert("f32", to);
    ck_assert_double_eq_tol(run_loss(to, false), run_loss(out, true), 1e-9);
    free(to);
}
END_TEST

/* Said to be plain, and packed. */
START_TEST(a_packed_head_that_the_config_denies_is_found) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        make(formats[i], Q0, true);
        ck_assert(!passes(out));
        name_the_head(formats[i]);
        ck_assert(passes(out));
    }
}
END_TEST

/* The head that is stored counts, and conversions say so. */
START_TEST(a_packed_head_beside_a_tied_config_counts) {
    const llmq_verify_options o = {.size = sizeof o, .model = out};
    llmq_verify_report r;
    make("gptq", Q0, true);
    name_the_head("gptq");
    const double untied = run_loss(out, false);
    edit_text(out, "config.json", "\"my_key\": 1.50",
              "\"my_key\": 1.50, \"tie_word_embeddings\": true");
    ck_assert_double_eq(run_loss(out, false), untied);
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    ck_assert_uint_eq(r.violations.count, 1);
    ck_assert_str_eq(r.violations.items[0].rule, "tied-head-packed");
    ck_assert_ptr_nonnull(strstr(r.violations.items[0].hint, "llmq convert sets it to false"));
    llmq_verify_report_free(&r);
    char *to = strdup(scratch_path("untied"));
    convert("gptq_v2", to);
    ck_assert(passes(to));
    ck_assert_double_eq(run_loss(to, false), untied);
    free(to);
}
END_TEST

START_TEST(a_packed_head_of_another_shape_is_refused) {
    const llmq_eval_options o = run_eval_options(out);
    llmq_eval_result r;
    make("gptq", K0, true);
    ck_assert_fails(llmq_eval(&o, NULL, &r, &err), LLMQ_E_INPUT,
                    "lm_head: packed as [32, 64]; config.json implies [64, 64]", &err);
    name_the_head("gptq");
    ck_assert(!passes(out));
}
END_TEST

int main(void) {
    Suite *s = suite_create("packed head");
    TCase *t = tcase_create("head");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_loop_test(t, a_packed_head_scores_as_its_weights_do, 0,
                        sizeof formats / sizeof formats[0]);
    tcase_add_test(t, a_packed_head_that_the_config_denies_is_found);
    tcase_add_test(t, a_packed_head_beside_a_tied_config_counts);
    tcase_add_test(t, a_packed_head_of_another_shape_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
