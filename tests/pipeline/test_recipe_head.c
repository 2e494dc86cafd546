/* SPDX-License-Identifier: Apache-2.0 */
/* Output heads that a rule asks to be quantized: with moments of their own, in every format, tied
 * or not. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "edit_checkpoint.h"
#include "llmq/recipe.h"
#include "llmq/verify.h"
#include "support.h"
#include "tiny_run.h"

static llmq_error err;
static llmq_recipe *recipe;

static void begin(void) {
    run_setup();
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
}

static void end(void) {
    llmq_recipe_free(&recipe);
    run_teardown();
}

static llmq_quantize_options options_of(enum llmq_method method, const char *format,
                                        const char *rule) {
    llmq_quantize_options o = run_options(method);
    ck_assert_ok(llmq_recipe_add(recipe, rule, &err), &err);
    o.recipe = recipe;
    o.format = format;
    return o;
}

static const llmq_module_report *head_of(const llmq_quantize_report *r) {
    const llmq_module_report *last = &r->modules[r->module_count - 1];
    return strcmp(last->name, "lm_head") == 0 ? last : NULL;
}

/* The result holds to every rule and computes the same packed and expanded; does `stack` load it?
 */
static bool check_result(const char *stack) {
    const llmq_verify_options v = {.size = sizeof v, .model = out};
    llmq_verify_report r;
    bool loads = false;
    ck_assert_ok(llmq_verify(&v, NULL, &r, &err), &err);
    for (size_t i = 0; i < r.violations.count; i++)
        ck_abort_msg("%s: %s: %s", r.violations.items[i].rule, r.violations.items[i].tensor,
                     r.violations.items[i].message);
    for (size_t i = 0; i < r.stack_count; i++)
        loads = loads || (strcmp(r.stacks[i].stack, stack) == 0 && r.stacks[i].loads);
    /* the ends of a GGUF file are read as what they stand for */
    ck_assert_uint_eq(r.module_count, strcmp(r.format, "gguf") == 0 ? 14 : 15);
    llmq_verify_report_free(&r);
    const double packed = run_loss(out, false), expanded = run_loss(out, true);
    ck_assert_msg(fabs(packed - expanded) < 1e-4, "%g and %g", packed, expanded);
    return loads;
}

static bool config_says(const char *wanted) {
    char *path = path_join(out, "config.json", &err), *config = NULL;
    size_t len = 0;
    ck_assert_ok(file_read(path, 1 << 20, &config, &len, &err), &err);
    const bool says = strstr(config, wanted) != NULL;
    free(path);
    free(config);
    return says;
}

/* Who reads heads that are packed in a format, who does not, and what the config has to say. */
static const struct {
    const char *format, *loads, *refuses, *text;
} cases[] = {
    {"gptq", "vLLM", "transformers", "\"lm_head\": true"},
    {"gptq_v2", "SGLang", "TGI", "\"lm_head\": true"},
    {"awq", "vLLM", "transformers", "\"lm_head\": true"},
    {"compressed-tensors", "transformers", "TGI", "\"targets\": [\"lm_head\"]"},
    {"gguf", "llama.cpp", "vLLM no", "\"gguf\""},
    {"onnx", "none", "ONNX Runtime", "\"onnx\""},
};

START_TEST(every_format_holds_it) {
    const llmq_quantize_options o =
        options_of(LLMQ_METHOD_GPTQ, cases[_i].format, "lm_head:bits=4");
    llmq_quantize_report r = run_report(&o, NULL);
    const llmq_module_report *head = head_of(&r);
    ck_assert_ptr_nonnull(head);
    ck_assert_str_eq(head->method, "gptq");
    ck_assert(head->bits == 4 && head->n == 64 && head->k == 64 && head->tokens > 0);
    ck_assert_msg(head->error > 0 && head->error < head->rtn_error, "%g, rounded %g", head->error,
                  head->rtn_error);
    llmq_quantize_report_free(&r);
    ck_assert(check_result(cases[_i].loads) == (strcmp(cases[_i].loads, "none") != 0));
    ck_assert(!check_result(cases[_i].refuses));
    ck_assert_msg(config_says(cases[_i].text), "%s", cases[_i].text);
}
END_TEST

/* The head is held against the embedding that it was made of. */
static void check_against_source(void) {
    const llmq_verify_options v = {.size = sizeof v, .model = out, .against = source};
    llmq_verify_report r;
    ck_assert_ok(llmq_verify(&v, NULL, &r, &err), &err);
    ck_assert_msg(r.ok, "%s", r.ok ? "" : r.violations.items[0].message);
    llmq_verify_report_free(&r);
}

START_TEST(a_tied_one_is_made_of_the_embedding) {
    static const char *const formats[] = {"gptq", "gguf", "compressed-tensors"};
    edit_tie(source);
    edit_take(source, "lm_head.weight");
    for (int i = 0; i < 3; i++) {
        llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
        o.format = formats[i];
        o.bits = 8;
        run_quantize(&o);
        const double tied = run_loss(out, false);
        llmq_recipe_free(&recipe);
        ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
        o = options_of(LLMQ_METHOD_RTN, formats[i], "lm_head:bits=8");
        o.bits = 8;
        run_quantize(&o);
        (void)check_result("");
        ck_assert(config_says("\"tie_word_embeddings\": false"));
        check_against_source();
        const double packed = run_loss(out, false);
        ck_assert_msg(packed != tied && fabs(packed - tied) < 0.01, "%g and %g", packed, tied);
    }
}
END_TEST

START_TEST(it_is_asked_for_by_name) {
    llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, "gptq", ".*:bits=8");
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_ptr_null(head_of(&r));
    llmq_quantize_report_free(&r);
    llmq_recipe_free(&recipe);
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    o = options_of(LLMQ_METHOD_RTN, "gptq", "lm_head|down_proj:bits=8");
    r = run_report(&o, NULL);
    ck_assert_ptr_nonnull(head_of(&r));
    ck_assert_str_eq(head_of(&r)->method, "rtn");
    llmq_quantize_report_free(&r);
}
END_TEST

START_TEST(the_order_of_jobs_does_not_show) {
    const llmq_quantize_options o =
        options_of(LLMQ_METHOD_AWQ, "compressed-tensors", "lm_head:bits=4,method=gptq,sym");
    run_with_any_threads_and_memory(&o);
    run_interrupt(&o);
    llmq_quantize_report r = run_resume(&o);
    ck_assert_str_eq(head_of(&r)->method, "gptq");
    llmq_quantize_report_free(&r);
}
END_TEST

int main(void) {
    Suite *s = suite_create("recipe head");
    TCase *t = tcase_create("recipe head");
    tcase_add_checked_fixture(t, begin, end);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, every_format_holds_it, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(t, a_tied_one_is_made_of_the_embedding);
    tcase_add_test(t, it_is_asked_for_by_name);
    tcase_add_test(t, the_order_of_jobs_does_not_show);
    suite_add_tcase(s, t);
    return run_suite(s);
}
