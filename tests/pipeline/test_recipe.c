/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for modules: how they are written, what they come to in each format and when read back, and
 * what is refused, with a way out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/layouts/layout.h"
#include "llmq/model.h"
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

static void set(const char *rule) {
    ck_assert_ok(llmq_recipe_add(recipe, rule, &err), &err);
}

static llmq_quantize_options options_of(enum llmq_method method, const char *format) {
    llmq_quantize_options o = run_options(method);
    o.recipe = recipe;
    o.format = format;
    return o;
}

/* --- how rules are written -------------------------------------------------------------------- */

START_TEST(text_and_json_say_the_same) {
    set("down_proj:bits=8,group=64,asym,method=gptq,quality=best");
    set("(?:q|k|v)_proj:group=auto-fit:64,sym");
    set("up_proj:search=percentile:99.5");
    set("gate_proj:search=entropy");
    set("a:b=c:group=-1");
    ck_assert_ok(llmq_recipe_keep(recipe, "layers\\.0\\.", &err), &err);
    char *first = llmq_recipe_json(recipe);
    const char *path = scratch_path("recipe.json");
    put_file("recipe.json", first, strlen(first));
    llmq_recipe_free(&recipe);
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_read(recipe, path, &err), &err);
    char *second = llmq_recipe_json(recipe);
    ck_assert_str_eq(first, second);
    ck_assert_ptr_nonnull(strstr(first, "\"match\": \"a:b=c\""));
    ck_assert_ptr_nonnull(strstr(first, "\"keep\": true"));
    ck_assert_ptr_nonnull(strstr(first, "\"search\": \"percentile:99.5\""));
    ck_assert_ptr_nonnull(strstr(first, "\"search\": \"entropy\""));
    ck_assert_ptr_nonnull(strstr(first, "\"sym\": false"));
    free(first);
    free(second);
}
END_TEST

START_TEST(mistakes_in_rules_are_told) {
    static const struct {
        const char *rule, *message, *hint;
    } cases[] = {
        {"down_proj", "no settings behind a colon", "down_proj:bits=8"},
        {"down_proj:bit=8", "no key is called 'bit'", "bits="},
        {"down_proj:bits=16", "bits: expected 2, 3, 4 or 8, found '16'", "keep"},
        {"down_proj:bits", "bits: expected 2, 3, 4 or 8, found none", ""},
        {"down_proj:group=0", "group: expected a number of columns", ""},
        {"down_proj:method=awq", "method: expected rtn or gptq", "--awq"},
        {"down_proj:quality=good", "quality: expected fast, balanced, best or max", ""},
        {"down_proj:search=widest", "search: expected minmax, plain, weighted, entropy, percent",
         ""},
        {"down_proj:search=percentile:50", "P above 50 and at most 100, found 'percentile:50'", ""},
        {"down_proj:search=percentile:", "search: expected minmax", ""},
        {"down_proj:sym=1", "sym: expected no value, found '1'", ""},
        {"down_proj:sym,asym", "sym or asym is given twice", ""},
        {"down_proj:keep,bits=4", "keep leaves modules as they are", ""},
        {":bits=4", "found no expression", ""},
        {"(down:bits=4", "regular expression '(down'", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        err = (llmq_error){0};
        const enum llmq_status status = llmq_recipe_add(recipe, cases[i].rule, &err);
        ck_assert_fails(status, LLMQ_E_USAGE, cases[i].message, &err);
        ck_assert_msg(strstr(err.message, "--set '") == err.message, "%s", err.message);
        ck_assert_msg(strstr(err.hint, cases[i].hint) != NULL, "%s", err.hint);
    }
}
END_TEST

START_TEST(mistakes_in_files_are_told) {
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"[]", "expected an object with the key rules"},
        {"{\"rules\": [], \"more\": 1}", "expected an object with the key rules"},
        {"{\"rules\": [{\"bits\": 4}]}", "rule 1: expected an object with a key match"},
        {"{\"rules\": [{\"match\": \"a\", \"keep\": true}, {\"match\": \"b\"}]}",
         "rule 2: expected an expression and settings, found no settings"},
        {"{\"rules\": [{\"match\": \"a\", \"bits\": 4.5}]}", "bits: a value of the wrong type"},
        {"{\"rules\": [{\"match\": \"a\", \"keep\": false}]}", "keep: expected true"},
    };
    const char *path = scratch_path("recipe.json");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_file("recipe.json", cases[i].text, strlen(cases[i].text));
        err = (llmq_error){0};
        const enum llmq_status status = llmq_recipe_read(recipe, path, &err);
        ck_assert_fails(status, LLMQ_E_INPUT, cases[i].message, &err);
    }
}
END_TEST

/* --- what they come to ------------------------------------------------------------------------ */

static const llmq_module_report *module_of(const llmq_quantize_report *r, const char *name) {
    for (size_t i = 0; i < r->module_count; i++)
        if (strcmp(r->modules[i].name, name) == 0)
            return &r->modules[i];
    ck_abort_msg("no module %s", name);
    return NULL;
}

static void check_module(const llmq_quantize_report *r, const char *name, const char *method,
                         int bits, int64_t group) {
    const llmq_module_report *m = module_of(r, name);
    const char *expected = m->fell_back ? "rtn" : method; /* on few tokens rounding may be better */
    ck_assert_msg(strcmp(m->method, expected) == 0 && m->bits == bits && m->group == group,
                  "%s: %s, %d bits in groups of %d", name, m->method, m->bits, (int)m->group);
}

/* The result holds to every rule, and computes the same packed and expanded. */
static void check_result(void) {
    llmq_verify_options v = {.size = sizeof v, .model = out};
    llmq_verify_report r;
    ck_assert_ok(llmq_verify(&v, NULL, &r, &err), &err);
    for (size_t i = 0; i < r.violations.count; i++)
        ck_abort_msg("%s: %s: %s", r.violations.items[i].rule, r.violations.items[i].tensor,
                     r.violations.items[i].message);
    llmq_verify_report_free(&r);
    const double packed = run_loss(out, false), expanded = run_loss(out, true);
    ck_assert_msg(fabs(packed - expanded) < 1e-4, "%g and %g", packed, expanded);
}

/* What inspect counts by the config and the tensors' sizes is what the run packed. */
static void check_counts(const llmq_quantize_report *run, int64_t deviating) {
    llmq_inspect_report r;
    int64_t weights = 0;
    for (size_t i = 0; i < run->module_count; i++)
        if (strcmp(run->modules[i].method, "plain") != 0)
            weights += run->modules[i].n * run->modules[i].k;
    ck_assert_ok(llmq_inspect(out, NULL, &r, &err), &err);
    ck_assert_int_eq(r.quantized_parameters, weights);
    ck_assert_int_eq(r.deviating_modules, deviating);
    llmq_inspect_report_free(&r);
}

START_TEST(each_format_holds_a_mixed_recipe) {
    static const char *const formats[] = {"gptq", "gptq_v2", "compressed-tensors", "gguf", "onnx"};
    set("layers\\.0\\.self_attn\\.(q|k|v)_proj:keep");
    set("layers\\.1\\.mlp\\.down_proj:bits=8,method=rtn");
    set("o_proj:bits=8");
    for (int i = 0; i < 5; i++) {
        const llmq_quantize_options o = options_of(LLMQ_METHOD_GPTQ, formats[i]);
        llmq_quantize_report r = run_report(&o, NULL);
        check_module(&r, "model.layers.0.self_attn.k_proj", "plain", 16, 0);
        check_module(&r, "model.layers.1.self_attn.k_proj", "gptq", 4, 32);
        check_module(&r, "model.layers.1.mlp.down_proj", "rtn", 8, 32);
        check_module(&r, "model.layers.0.self_attn.o_proj", "gptq", 8, 32);
        if (strcmp(formats[i], "gguf") != 0 && strcmp(formats[i], "onnx") != 0)
            check_counts(&r, 3);
        llmq_quantize_report_free(&r);
        check_result();
    }
}
END_TEST

START_TEST(formats_with_one_grid_hold_what_is_kept) {
    set("layers\\.0\\.mlp:keep");
    set("o_proj:method=gptq");
    const llmq_quantize_options o = options_of(LLMQ_METHOD_AWQ, "awq");
    llmq_quantize_report r = run_report(&o, NULL);
    check_module(&r, "model.layers.0.mlp.up_proj", "plain", 16, 0);
    ck_assert_ptr_nonnull(strstr(module_of(&r, "model.layers.1.self_attn.o_proj")->method, "gptq"));
    llmq_quantize_report_free(&r);
    check_result();
}
END_TEST

START_TEST(the_first_rule_counts_and_the_order_of_jobs_does_not) {
    set("layers\\.0\\..*down_proj:bits=8");
    set("down_proj:group=16,asym");
    llmq_quantize_options o = options_of(LLMQ_METHOD_GPTQ, "gptq");
    run_with_any_threads_and_memory(&o);
    run_interrupt(&o);
    llmq_quantize_report r = run_resume(&o);
    check_module(&r, "model.layers.0.mlp.down_proj", "gptq", 8, 32);
    check_module(&r, "model.layers.1.mlp.down_proj", "gptq", 4, 16);
    llmq_quantize_report_free(&r);
    check_result();
}
END_TEST

START_TEST(what_no_group_fits_is_kept) {
    llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, "gptq");
    o.group = 64; /* divides 64, not 96 */
    o.group_keep = true;
    llmq_quantize_report r = run_report(&o, NULL);
    check_module(&r, "model.layers.1.mlp.down_proj", "plain", 16, 0);
    check_module(&r, "model.layers.1.mlp.up_proj", "rtn", 4, 64);
    llmq_quantize_report_free(&r);
    check_result();
}
END_TEST

START_TEST(a_rule_may_ask_rounding_for_gptq) {
    set("down_proj:method=gptq,quality=fast");
    llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, "gptq");
    o.calib = calib;
    llmq_quantize_report r = run_report(&o, NULL);
    check_module(&r, "model.layers.0.mlp.down_proj", "gptq", 4, 32);
    check_module(&r, "model.layers.0.mlp.up_proj", "rtn", 4, 32);
    llmq_quantize_report_free(&r);
}
END_TEST

static double error_of(const llmq_quantize_report *r, const char *name) {
    for (size_t i = 0; i < r->module_count; i++)
        if (strcmp(r->modules[i].name, name) == 0)
            return r->modules[i].error;
    ck_abort_msg("no module %s", name);
    return 0;
}

/* The errors of a module whose rule says how ranges are found are those of a run that finds all
 * ranges so; the others stay as they are. */
START_TEST(a_rule_may_search_ranges_in_its_own_way) {
    static const char down[] = "model.layers.0.mlp.down_proj", up[] = "model.layers.0.mlp.up_proj";
    llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, "gptq");
    llmq_quantize_report plain, mixed, searched;
    plain = run_report(&o, NULL);
    set("down_proj:search=plain");
    mixed = run_report(&o, NULL);
    o.recipe = NULL;
    o.search = LLMQ_RANGE_PLAIN;
    searched = run_report(&o, NULL);
    ck_assert_double_eq(error_of(&mixed, down), error_of(&searched, down));
    ck_assert_double_eq(error_of(&mixed, up), error_of(&plain, up));
    ck_assert_double_lt(error_of(&searched, down), error_of(&plain, down));
    ck_assert_double_lt(error_of(&searched, up), error_of(&plain, up));
    llmq_quantize_report_free(&plain);
    llmq_quantize_report_free(&mixed);
    llmq_quantize_report_free(&searched);
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

static void refused(const char *format, enum llmq_status code, const char *message,
                    const char *hint) {
    const llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, format);
    err = run_refused(&o, code, message);
    ck_assert_msg(strstr(err.hint, hint) != NULL, "hint lacks '%s': %s", hint, err.hint);
    llmq_recipe_free(&recipe);
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
}

START_TEST(what_cannot_be_is_refused_with_a_way_out) {
    set("dwn_proj:bits=8");
    refused("gptq", LLMQ_E_USAGE, "rule 'dwn_proj:bits=8' matches no module",
            "model.layers.0.mlp.down_proj");
    set("proj:bits=8");
    set("down_proj:bits=4");
    refused("gptq", LLMQ_E_USAGE, "'down_proj:bits=4' matches no module that a rule before it",
            "put it before the others");
    set("k_proj:bits=8");
    refused("gptq", LLMQ_E_UNSUPPORTED, "k_proj: 8 bits, groups of 32, symmetric; expected",
            "let rule 'k_proj:bits=8' match all of them");
    set("gate_proj:keep");
    refused("compressed-tensors", LLMQ_E_UNSUPPORTED, "merge, with others, into gate_up_proj",
            "--format gguf and --format onnx");
    set("down_proj:bits=8");
    refused("awq", LLMQ_E_UNSUPPORTED, "down_proj: expected 4 bits", "");
    set("down_proj:group=16");
    refused("awq", LLMQ_E_UNSUPPORTED, "hold one group size", "");
    set("down_proj:asym");
    refused("gguf", LLMQ_E_UNSUPPORTED, "down_proj: asymmetric: gguf files hold", "");
    set("down_proj:group=36");
    refused("gptq", LLMQ_E_USAGE, "down_proj: group 36 does not divide in_features 96",
            "rule 'down_proj:group=36' asks for it");
    set("down_proj:quality=best");
    refused("gptq", LLMQ_E_USAGE, "quality is gptq's", "method=gptq too");
    set("proj:keep");
    refused("gptq", LLMQ_E_USAGE, "nothing is left to quantize", "--keep");
}
END_TEST

START_TEST(loaders_that_keep_linears_apart_take_them_apart) {
    static const char *const formats[] = {"gguf", "onnx"};
    set("k_proj:bits=8");
    set("gate_proj:keep");
    for (int i = 0; i < 2; i++) {
        const llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, formats[i]);
        run_quantize(&o);
        check_result();
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("recipe");
    TCase *t = tcase_create("recipe");
    tcase_add_checked_fixture(t, begin, end);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, text_and_json_say_the_same);
    tcase_add_test(t, mistakes_in_rules_are_told);
    tcase_add_test(t, mistakes_in_files_are_told);
    tcase_add_test(t, each_format_holds_a_mixed_recipe);
    tcase_add_test(t, formats_with_one_grid_hold_what_is_kept);
    tcase_add_test(t, the_first_rule_counts_and_the_order_of_jobs_does_not);
    tcase_add_test(t, what_no_group_fits_is_kept);
    tcase_add_test(t, a_rule_may_ask_rounding_for_gptq);
    tcase_add_test(t, a_rule_may_search_ranges_in_its_own_way);
    tcase_add_test(t, what_cannot_be_is_refused_with_a_way_out);
    tcase_add_test(t, loaders_that_keep_linears_apart_take_them_apart);
    suite_add_tcase(s, t);
    return run_suite(s);
}
