/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a run's options names every one of them, and those that count keep a run from going
 * on as another. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "pipeline/quantize_fields.h"
#include "support.h"
#include "tiny_run.h"

static size_t alignment_of(const struct quantize_field *f) {
    return f->kind == FIELD_CORRECT ? _Alignof(llmq_correct) : f->size;
}

/* All but the first member, the size. */
START_TEST(rows_tile_the_struct_of_options) {
    size_t count = 0, end = sizeof(size_t);
    const struct quantize_field *fields = quantize_fields(&count);
    for (size_t i = 0; i < count; i++) {
        const size_t alignment = alignment_of(&fields[i]);
        const size_t begin = (end + alignment - 1) / alignment * alignment;
        ck_assert_msg(fields[i].offset == begin, "before %s: %zu, not %zu", fields[i].name,
                      fields[i].offset, begin);
        end = begin + fields[i].size;
    }
    const size_t alignment = _Alignof(llmq_quantize_options);
    ck_assert_uint_eq((end + alignment - 1) / alignment * alignment, sizeof(llmq_quantize_options));
}
END_TEST

/* A recipe of one rule, which lives as long as the program. */
static const llmq_recipe *one_rule(void) {
    static llmq_recipe *recipe = NULL;
    llmq_error err = {0};
    if (recipe)
        return recipe;
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_keep(recipe, "layers.0.", &err), &err);
    return recipe;
}

/* Other values than those of run_options, which are possible too. */
static void set_other(const char *name, llmq_quantize_options *o) {
    static const struct {
        const char *name, *value;
        double number;
    } others[] = {
        {"method", NULL, LLMQ_METHOD_AWQ},
        {"family", "mistral", 0},
        {"source-quantized", NULL, LLMQ_SOURCE_KEEP},
        {"mtp", NULL, LLMQ_MTP_QUANTIZE},
        {"format", "compressed-tensors", 0},
        {"bits", NULL, 8},
        {"group", NULL, 16},
        {"group auto-fit", NULL, 1},
        {"sym", NULL, 0},
        {"awq", NULL, 0},
        {"equalize", NULL, 1},
        {"scales", NULL, LLMQ_SCALES_F16},
        {"act-order", NULL, LLMQ_ACT_ORDER_NONE},
        {"search", NULL, LLMQ_RANGE_PLAIN},
        {"search percentile", NULL, 98},
        {"correct", NULL, LLMQ_CORRECT_OFF},
        {"group keep", NULL, 1},
        {"descent", NULL, 2},
        {"rounds", NULL, 1},
        {"curvature", NULL, LLMQ_CURVATURE_ON},
        {"curvature-tokens", NULL, 96},
        {"restarts", NULL, 1},
        {"token-weights", NULL, 0.5},
        {"damp", NULL, 0.02},
        {"tune", NULL, LLMQ_TUNE_SCALES},
        {"tune-windows", NULL, 8},
        {"tune-rate", NULL, 0.01},
        {"expert-tokens", NULL, 64},
        {"compute", NULL, LLMQ_COMPUTE_BF16},
        {"recipe", NULL, 0},
        {"shard-size", NULL, 20000},
    };
    size_t count = 0;
    const struct quantize_field *f = quantize_fields(&count);
    while (strcmp(f->name, name) != 0)
        f++;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        void *at = (char *)o + f->offset;
        if (strcmp(others[i].name, name) != 0)
            continue;
        if (f->kind == FIELD_RECIPE)
            *(const llmq_recipe **)at = one_rule();
        else if (f->kind == FIELD_TEXT)
            *(const char **)at = others[i].value;
        else if (f->kind == FIELD_DAMP || f->kind == FIELD_REAL)
            *(double *)at = others[i].number;
        else if (f->size == 8)
            *(int64_t *)at = (int64_t)others[i].number;
        else if (f->size == 1)
            *(bool *)at = others[i].number != 0;
        else
            *(int *)at = (int)others[i].number; /* of llmq_correct the mode */
        return;
    }
    ck_abort_msg("no other value for %s", name);
}

static void refuse_other(const llmq_quantize_options *o, const struct quantize_field *f) {
    llmq_quantize_options other = *o;
    llmq_quantize_report report;
    llmq_error err = {0};
    char part[64];
    set_other(f->name, &other);
    if (other.curvature == LLMQ_CURVATURE_ON || other.token_weights > 0)
        other.awq = false; /* which they do not go with */
    other.resume = true;
    enum llmq_status status = llmq_quantize(&other, NULL, &report, &err);
    llmq_quantize_report_free(&report);
    if (status == LLMQ_E_UNSUPPORTED && strcmp(f->name, "compute") == 0)
        return; /* a machine without bf16 */
    if (status == LLMQ_E_UNSUPPORTED && strcmp(f->name, "mtp") == 0)
        return; /* the model has no such layers: see test_drafts.c */
    snprintf(part, sizeof part, "%s%s was ", strcmp(f->name, "method") == 0 ? "" : "--", f->name);
    ck_assert_fails(status, LLMQ_E_INPUT, part, &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "--force"));
}

START_TEST(every_option_that_counts_is_compared_by_name) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    size_t count = 0;
    const struct quantize_field *fields = quantize_fields(&count);
    o.awq = true; /* some go with it */
    run_interrupt(&o);
    for (size_t i = 0; i < count; i++)
        if (fields[i].effect == EFFECT_RESULT)
            refuse_other(&o, &fields[i]);
    llmq_quantize_report report = run_resume(&o); /* nothing was spoiled by it */
    llmq_quantize_report_free(&report);
}
END_TEST

static char *options_text(const llmq_quantize_options *o) {
    struct json *object = quantize_fields_json(o, "gptq", 64, true);
    char *printed = json_print(object, false);
    json_free(&object);
    ck_assert_ptr_nonnull(printed);
    return printed;
}

START_TEST(places_and_manner_do_not_count) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ), other = o;
    other.model = "elsewhere";
    other.out = "somewhere";
    other.calib = "again";
    other.max_mem = 1 << 30;
    other.resume = other.force = other.dry_run = true;
    other.format = NULL; /* the layout's name counts */
    other.seqlen = 64;   /* what 0 stands for */
    char *a = options_text(&o), *b = options_text(&other);
    ck_assert_str_eq(a, b);
    free(b);
    other.seed = UINT64_MAX;
    other.correct = (llmq_correct){LLMQ_CORRECT_FIXED, 0.5, 0.25};
    other.rounds = 4;
    b = options_text(&other);
    ck_assert_ptr_nonnull(strstr(b, "\"seed\":\"18446744073709551615\""));
    ck_assert_ptr_nonnull(strstr(b, "\"correct\":[0.5,0.25]"));
    ck_assert_ptr_nonnull(strstr(b, "\"descent\":\"auto\",\"rounds\":4"));
    free(a);
    free(b);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quantize_fields");
    TCase *t = tcase_create("fields");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, rows_tile_the_struct_of_options);
    tcase_add_test(t, every_option_that_counts_is_compared_by_name);
    tcase_add_test(t, places_and_manner_do_not_count);
    suite_add_tcase(s, t);
    return run_suite(s);
}
