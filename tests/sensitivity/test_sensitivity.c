/* SPDX-License-Identifier: Apache-2.0 */
/* Sensitivity: each estimate against what it stands for, the parts that formats keep together, and
 * recipes that come out as large as they were said to. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "calib/tiny_mixture.h"
#include "linalg/linalg.h"
#include "llmq/model.h"
#include "llmq/sensitivity.h"
#include "pipeline/tiny_model.h"
#include "pipeline/tiny_run.h"
#include "support.h"

static llmq_error err;
static const llmq_precision in_groups[] = {{2, 32}, {3, 32}, {4, 32}, {8, 32}};

/* Of the last options_of. */
static llmq_quantize_options studied;

static llmq_sensitivity_options options_of(enum llmq_method method, enum llmq_estimate estimate) {
    llmq_sensitivity_options o;
    llmq_sensitivity_options_init(&o);
    studied = run_options(method);
    studied.calib = calib;
    o.quantize = &studied;
    o.candidates = in_groups;
    o.candidate_count = 4;
    o.estimate = estimate;
    o.windows = 4;
    return o;
}

static llmq_sensitivity measure(const llmq_sensitivity_options *o) {
    llmq_sensitivity s;
    err = (llmq_error){0};
    ck_assert_ok(llmq_sensitivity_measure(o, NULL, &s, &err), &err);
    return s;
}

static llmq_allocation allocate_bits(const llmq_sensitivity *s, double bits) {
    const llmq_target target = {.bits = bits};
    llmq_allocation a;
    err = (llmq_error){0};
    ck_assert_ok(llmq_sensitivity_allocate(s, &target, &a, &err), &err);
    return a;
}

static const llmq_part_settings *part_with(const llmq_sensitivity *s, const char *module) {
    for (size_t p = 0; p < s->part_count; p++)
        for (size_t i = 0; i < s->parts[p].module_count; i++)
            if (strcmp(s->parts[p].modules[i], module) == 0)
                return &s->parts[p];
    ck_abort_msg("no part has %s", module);
    return NULL;
}

/* --- estimates -------------------------------------------------------------------------------- */

/* The divergence of a checkpoint in which nothing but the part was quantized, on the window that
 * was measured on, which is the calibration's last. */
static double divergence_with(const llmq_sensitivity_options *o, const char *modules, int bits) {
    llmq_recipe *recipe = NULL;
    llmq_compare_options compare;
    llmq_compare_result result;
    llmq_quantize_options run = *o->quantize;
    char rule[128], *all = NULL;
    size_t len = 0;
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    snprintf(rule, sizeof rule, "%s:bits=%d,group=32", modules, bits);
    ck_assert_ok(llmq_recipe_add(recipe, rule, &err), &err);
    ck_assert_ok(llmq_recipe_keep(recipe, ".", &err), &err);
    run.recipe = recipe;
    run_quantize(&run);
    llmq_recipe_free(&recipe);

    ck_assert_ok(file_read(calib, 1 << 20, &all, &len, &err), &err);
    char *last = strrchr(all, '[');
    ck_assert_ptr_nonnull(last);
    last[-1] = '[';
    put_file("last.json", last - 1, strlen(last - 1));
    llmq_compare_options_init(&compare);
    compare.model = out;
    compare.reference = source;
    compare.text = scratch_path("last.json");
    ck_assert_ok(llmq_compare(&compare, NULL, &result, &err), &err);
    free(all);
    const double kl = result.kl_mean;
    llmq_compare_result_free(&result);
    return kl;
}

START_TEST(kl_is_what_quantizing_the_part_alone_does) {
    llmq_sensitivity_options o = options_of(LLMQ_METHOD_RTN, LLMQ_ESTIMATE_KL);
    o.windows = 1;
    llmq_sensitivity s = measure(&o);
    const llmq_part_settings *down = part_with(&s, "model.layers.0.mlp.down_proj");
    const llmq_part_settings *qkv = part_with(&s, "model.layers.1.self_attn.k_proj");
    ck_assert_uint_eq(down->module_count, 1);
    ck_assert_uint_eq(qkv->module_count, 3);
    const double alone = divergence_with(&o, "layers\\.0\\.mlp\\.down", 3);
    const double three = divergence_with(&o, "layers\\.1\\.self_attn\\.[qkv]_", 2);
    ck_assert_double_eq_tol(down->settings[1].cost, alone, 2e-3 * alone);
    ck_assert_double_eq_tol(qkv->settings[0].cost, three, 2e-3 * three);
    llmq_sensitivity_free(&s);
}
END_TEST

static double sum_of(const llmq_sensitivity *s, int setting) {
    double sum = 0;
    for (size_t p = 0; p < s->part_count; p++)
        sum += s->parts[p].settings[setting].cost;
    return sum;
}

/* Of all parts together: the labels that are drawn make that of each uncertain. */
START_TEST(curvature_foresees_small_divergences) {
    const enum llmq_method methods[] = {LLMQ_METHOD_RTN, LLMQ_METHOD_GPTQ};
    for (int i = 0; i < 2; i++) {
        const llmq_sensitivity_options kl = options_of(methods[i], LLMQ_ESTIMATE_KL);
        const llmq_sensitivity_options curvature = options_of(methods[i], LLMQ_ESTIMATE_CURVATURE);
        llmq_sensitivity measured = measure(&kl), foreseen = measure(&curvature);
        const double ratio = sum_of(&foreseen, 2) / sum_of(&measured, 2);
        ck_assert_msg(ratio > 0.5 && ratio < 2, "%d: %g", i, ratio);
        llmq_sensitivity_free(&measured);
        llmq_sensitivity_free(&foreseen);
    }
}
END_TEST

START_TEST(errors_fall_with_bits_in_every_estimate) {
    for (int e = LLMQ_ESTIMATE_CURVATURE; e <= LLMQ_ESTIMATE_KL; e++) {
        const llmq_sensitivity_options o = options_of(LLMQ_METHOD_GPTQ, (enum llmq_estimate)e);
        llmq_sensitivity s = measure(&o);
        ck_assert_uint_eq(s.part_count, 8);
        for (size_t p = 0; p < s.part_count; p++) {
            const llmq_part_settings *part = &s.parts[p];
            ck_assert_uint_eq(part->setting_count, 4);
            ck_assert_msg(part->settings[3].cost >= 0 &&
                              part->settings[3].cost < 0.05 * part->settings[0].cost,
                          "%d: %s", e, part->modules[0]);
            ck_assert(p == 0 || part->settings[0].cost <= s.parts[p - 1].settings[0].cost);
        }
        llmq_sensitivity_free(&s);
    }
}
END_TEST

static void check_same(const llmq_sensitivity_options *o, const llmq_context *ctx,
                       const llmq_sensitivity *as) {
    llmq_sensitivity s;
    ck_assert_ok(llmq_sensitivity_measure(o, ctx, &s, &err), &err);
    ck_assert_int_eq(s.spill_bytes > 0, o->quantize->max_mem > 0);
    for (size_t p = 0; p < s.part_count; p++)
        for (size_t c = 0; c < s.parts[p].setting_count; c++)
            ck_assert(memcmp(&as->parts[p].settings[c].cost, &s.parts[p].settings[c].cost,
                             sizeof(double)) == 0);
    llmq_sensitivity_free(&s);
}

/* Several batches, of which nearly all are measured on: the way back takes the most. */
START_TEST(the_table_does_not_depend_on_threads_and_memory) {
    tiny_windows_write(calib, 120, 48, 2);
    for (int e = LLMQ_ESTIMATE_CURVATURE; e <= LLMQ_ESTIMATE_KL; e += 3) {
        llmq_sensitivity_options o = options_of(LLMQ_METHOD_GPTQ, (enum llmq_estimate)e);
        const llmq_context one = {.size = sizeof one, .threads = 1};
        o.windows = e == LLMQ_ESTIMATE_CURVATURE ? 110 : 4;
        o.candidate_count = 2;
        llmq_sensitivity s = measure(&o);
        check_same(&o, &one, &s);
        studied.max_mem = s.plan_ram_bytes - 1;
        check_same(&o, NULL, &s);
        llmq_sensitivity_free(&s);
    }
}
END_TEST

START_TEST(memory_is_planned_and_refused) {
    llmq_sensitivity_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_ESTIMATE_KL);
    llmq_sensitivity s;
    tiny_windows_write(calib, 120, 48, 2);
    studied.dry_run = true;
    s = measure(&o);
    studied.max_mem = s.plan_ram_bytes;
    llmq_sensitivity_free(&s);
    s = measure(&o);
    ck_assert_uint_eq(s.spill_bytes, 0);
    llmq_sensitivity_free(&s);
    studied.max_mem--;
    s = measure(&o);
    ck_assert(s.spill_bytes > 0 && s.plan_ram_bytes <= studied.max_mem);
    llmq_sensitivity_free(&s);
    studied.max_mem = 1000;
    ck_assert_fails(llmq_sensitivity_measure(&o, NULL, &s, &err), LLMQ_E_MEMORY,
                    "--max-mem 1000 bytes: measuring takes", &err);
    llmq_sensitivity_free(&s);
}
END_TEST

/* --- allocation ------------------------------------------------------------------------------- */

static llmq_recipe *read_recipe(const llmq_allocation *a) {
    llmq_recipe *recipe = NULL;
    const char *path = scratch_path("recipe.json");
    ck_assert_ok(llmq_allocation_write(a, path, &err), &err);
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_read(recipe, path, &err), &err);
    return recipe;
}

/* Every module has what was chosen for it, and the result is as large as was said. */
static void check_result(const llmq_sensitivity *s, const llmq_allocation *a,
                         const llmq_quantize_options *o) {
    llmq_recipe *recipe = read_recipe(a);
    llmq_quantize_options run = *o;
    llmq_inspect_report seen;
    run.recipe = recipe;
    llmq_quantize_report r = run_report(&run, NULL);
    size_t modules = 0;
    for (size_t p = 0; p < s->part_count; p++)
        modules += s->parts[p].module_count;
    ck_assert_uint_eq(r.module_count, modules);
    for (size_t i = 0; i < r.module_count; i++) {
        const llmq_part_settings *part = part_with(s, r.modules[i].name);
        const llmq_setting *setting = &part->settings[a->chosen[part - s->parts]];
        ck_assert_msg(r.modules[i].bits == setting->bits && r.modules[i].group == setting->group,
                      "%s", r.modules[i].name);
    }
    ck_assert_ok(llmq_inspect(out, NULL, &seen, &err), &err);
    ck_assert_uint_eq(seen.bytes, a->bytes);
    llmq_inspect_report_free(&seen);
    llmq_quantize_report_free(&r);
    llmq_recipe_free(&recipe);
}

START_TEST(recipes_give_what_was_chosen_in_the_size_that_was_said) {
    static const struct {
        const char *format;
        size_t parts;
        double bits;
    } cases[] = {{"gptq", 8, 4.3},
                 {"gptq_v2", 8, 4.3},
                 {"compressed-tensors", 8, 6.0},
                 {"gguf", 14, 5.5},
                 {"onnx", 14, 4.5}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        llmq_sensitivity_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_ESTIMATE_HESSIAN);
        studied.format = cases[i].format;
        o.candidates = NULL;
        llmq_sensitivity s = measure(&o);
        ck_assert_uint_eq(s.part_count, cases[i].parts);
        llmq_allocation a = allocate_bits(&s, cases[i].bits);
        ck_assert_msg(a.bits <= cases[i].bits && a.bits > cases[i].bits - 0.7, "%s: %g",
                      cases[i].format, a.bits);
        check_result(&s, &a, o.quantize);
        llmq_allocation_free(&a);
        llmq_sensitivity_free(&s);
    }
}
END_TEST

START_TEST(a_size_counts_all_tensors) {
    const llmq_sensitivity_options o = options_of(LLMQ_METHOD_RTN, LLMQ_ESTIMATE_CURVATURE);
    llmq_sensitivity s = measure(&o);
    llmq_allocation some = allocate_bits(&s, 4.2), same;
    const llmq_target target = {.bytes = some.bytes}, none = {0}, both = {4, 1 << 20};
    llmq_target little = {.bytes = s.fixed_bytes + 10};
    ck_assert_ok(llmq_sensitivity_allocate(&s, &target, &same, &err), &err);
    ck_assert_uint_eq(same.bytes, some.bytes);
    ck_assert(same.cost <= some.cost);
    check_result(&s, &same, o.quantize);
    llmq_allocation_free(&same);
    ck_assert_fails(llmq_sensitivity_allocate(&s, &little, &same, &err), LLMQ_E_USAGE,
                    "tensors that are not quantized", &err);
    ck_assert_fails(llmq_sensitivity_allocate(&s, &none, &same, &err), LLMQ_E_USAGE,
                    "a target is a number of bits or of bytes", &err);
    ck_assert_fails(llmq_sensitivity_allocate(&s, &both, &same, &err), LLMQ_E_USAGE,
                    "a target is a number of bits or of bytes", &err);
    llmq_allocation_free(&some);
    llmq_sensitivity_free(&s);
}
END_TEST

/* The experts of a block are one part, and one rule. */
START_TEST(experts_of_a_block_go_together) {
    static const llmq_precision candidates[] = {{4, 8}, {8, 8}};
    llmq_sensitivity_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_ESTIMATE_KL);
    mixture_write(source, 3);
    studied.format = "compressed-tensors";
    studied.group = 8;
    o.candidates = candidates;
    o.candidate_count = 2;
    for (int e = 0; e < 2; e++) {
        o.estimate = e ? LLMQ_ESTIMATE_CURVATURE : LLMQ_ESTIMATE_KL;
        llmq_sensitivity s = measure(&o);
        const llmq_part_settings *experts =
            part_with(&s, "model.layers.0.block_sparse_moe.experts.3.w2");
        ck_assert_uint_eq(experts->module_count, 3 * MIXTURE_EXPERTS);
        ck_assert(experts->settings[0].cost > experts->settings[1].cost &&
                  experts->settings[1].cost > 0);
        llmq_allocation a = allocate_bits(&s, 8);
        ck_assert_ptr_nonnull(strstr(a.recipe, "experts\\\\.\\\\d+\\\\.w1|"));
        check_result(&s, &a, o.quantize);
        llmq_allocation_free(&a);
        llmq_sensitivity_free(&s);
    }
}
END_TEST

/* Rules of the run stay before those that are chosen, and their modules are no parts. */
START_TEST(rules_of_the_run_are_kept) {
    llmq_sensitivity_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_ESTIMATE_HESSIAN);
    llmq_recipe *rules = NULL;
    ck_assert_ok(llmq_recipe_create(&rules, &err), &err);
    ck_assert_ok(llmq_recipe_keep(rules, "layers\\.0\\.mlp", &err), &err);
    studied.recipe = rules;
    llmq_sensitivity s = measure(&o);
    ck_assert_uint_eq(s.part_count, 6);
    llmq_allocation a = allocate_bits(&s, 4);
    const char *kept = strstr(a.recipe, "\"keep\""), *chosen = strstr(a.recipe, "\"bits\"");
    ck_assert(kept && chosen && kept < chosen);
    llmq_recipe *recipe = read_recipe(&a);
    studied.recipe = recipe;
    llmq_inspect_report seen;
    run_quantize(o.quantize);
    ck_assert_ok(llmq_inspect(out, NULL, &seen, &err), &err);
    ck_assert_uint_eq(seen.bytes, a.bytes);
    llmq_inspect_report_free(&seen);
    llmq_recipe_free(&recipe);
    llmq_recipe_free(&rules);
    llmq_allocation_free(&a);
    llmq_sensitivity_free(&s);
}
END_TEST

START_TEST(tables_are_read_back) {
    const llmq_sensitivity_options o = options_of(LLMQ_METHOD_RTN, LLMQ_ESTIMATE_HESSIAN);
    llmq_sensitivity s = measure(&o), again;
    llmq_allocation a = allocate_bits(&s, 4);
    char *json = llmq_sensitivity_json(&s, &a);
    put_file("table.json", json, strlen(json));
    ck_assert_ok(llmq_sensitivity_read(scratch_path("table.json"), &again, &err), &err);
    llmq_allocation b = allocate_bits(&again, 4);
    ck_assert_str_eq(a.recipe, b.recipe);
    ck_assert_uint_eq(a.bytes, b.bytes);
    ck_assert_double_eq_tol(a.cost, b.cost, 1e-12);
    llmq_sensitivity_free(&again);
    char *cost = strstr(json, "\"cost\"");
    memcpy(cost, "\"most\"", 6);
    put_file("table.json", json, strlen(json));
    ck_assert_fails(llmq_sensitivity_read(scratch_path("table.json"), &again, &err), LLMQ_E_INPUT,
                    "settings: expected what llmq sensitivity --json prints", &err);
    free(json);
    llmq_allocation_free(&a);
    llmq_allocation_free(&b);
    llmq_sensitivity_free(&s);
}
END_TEST

/* --- plans and refusals ----------------------------------------------------------------------- */

START_TEST(a_plan_measures_nothing) {
    llmq_sensitivity_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_ESTIMATE_KL);
    const llmq_target target = {.bits = 4};
    llmq_allocation a;
    studied.dry_run = true;
    llmq_sensitivity s = measure(&o);
    ck_assert(isnan(s.parts[0].settings[0].cost));
    /* 4 parts of 4 settings for each of 2 blocks: through 2 and 1 of them, and once without error
     */
    ck_assert_double_eq_tol(s.passes, 16 * 1.5 + 1, 1e-9);
    ck_assert_fails(llmq_sensitivity_allocate(&s, &target, &a, &err), LLMQ_E_USAGE, "not measured",
                    &err);
    llmq_sensitivity_free(&s);
}
END_TEST

static void refused(const llmq_sensitivity_options *o, const char *message, const char *hint) {
    llmq_sensitivity s;
    err = (llmq_error){0};
    ck_assert_fails(llmq_sensitivity_measure(o, NULL, &s, &err), LLMQ_E_USAGE, message, &err);
    ck_assert_msg(strstr(err.hint, hint) != NULL, "%s", err.hint);
    llmq_sensitivity_free(&s);
}

START_TEST(what_cannot_be_is_refused) {
    static const llmq_precision odd[] = {{4, 32}, {4, 7}}, few[] = {{5, 32}}, unfit[] = {{4, 64}};
    llmq_sensitivity_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_ESTIMATE_KL);
    o.windows = 12;
    refused(&o, "--windows 12: the calibration has 12", "--samples");
    o.windows = 0;
    o.candidates = odd;
    o.candidate_count = 2;
    refused(&o, "candidate 4:7 fits no module", "");
    o.candidates = few;
    o.candidate_count = 1;
    refused(&o, "candidate 5:32: bits are 2, 3, 4 or 8", "");
    o.candidates = unfit;
    refused(&o, "model.layers.0.mlp.down_proj [64, 96]: no candidate fits", "--group auto-fit");
    o.candidates = NULL;
    studied.format = "awq";
    refused(&o, "awq files have one setting for all modules", "--format gptq");
    studied.format = NULL;
    studied.method = LLMQ_METHOD_AWQ;
    refused(&o, "awq scales what several modules read", "--method gptq");
    studied.method = LLMQ_METHOD_GPTQ;
    studied.restarts = 2;
    refused(&o, "rounded by the errors of its own outputs", "--quality best to llmq gptq");
}
END_TEST

int main(void) {
    Suite *s = suite_create("sensitivity");
    TCase *t = tcase_create("sensitivity");
    linalg_init();
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, kl_is_what_quantizing_the_part_alone_does);
    tcase_add_test(t, curvature_foresees_small_divergences);
    tcase_add_test(t, errors_fall_with_bits_in_every_estimate);
    tcase_add_test(t, the_table_does_not_depend_on_threads_and_memory);
    tcase_add_test(t, memory_is_planned_and_refused);
    tcase_add_test(t, recipes_give_what_was_chosen_in_the_size_that_was_said);
    tcase_add_test(t, a_size_counts_all_tensors);
    tcase_add_test(t, experts_of_a_block_go_together);
    tcase_add_test(t, rules_of_the_run_are_kept);
    tcase_add_test(t, tables_are_read_back);
    tcase_add_test(t, a_plan_measures_nothing);
    tcase_add_test(t, what_cannot_be_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
