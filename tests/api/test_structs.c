/* SPDX-License-Identifier: Apache-2.0 */
/* Structs that callers fill: every entry of the library asks for their size, takes smaller and
 * larger ones as llmq/llmq.h says, and refuses the rest before it does anything. */
#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/sized.h"
#include "llmq/llmq.h"
#include "support.h"

static llmq_error err;

/* --- the rule --------------------------------------------------------------------------------- */

struct grown {
    size_t size;
    int64_t first;
    const char *second; /* added later */
};
#define FIRST_SIZE offsetof(struct grown, second)

static struct grown defaults(void) {
    return (struct grown){.size = sizeof(struct grown), .first = 1, .second = "default"};
}

START_TEST(a_smaller_struct_has_the_defaults_of_what_it_lacks) {
    const struct grown given = {.size = FIRST_SIZE, .first = 2, .second = "not the struct's"};
    struct grown own = defaults();
    ck_assert_ok(SIZED_READ(struct grown, &given, &own, &err), &err);
    ck_assert_int_eq(own.first, 2);
    ck_assert_str_eq(own.second, "default");
    ck_assert_uint_eq(own.size, sizeof own);
}
END_TEST

START_TEST(a_larger_struct_may_not_say_more) {
    struct {
        struct grown known;
        unsigned char more[16];
    } given = {.known = {.size = sizeof given, .first = 2}};
    struct grown own = defaults();
    ck_assert_ok(SIZED_READ(struct grown, &given, &own, &err), &err);
    ck_assert_int_eq(own.first, 2);
    ck_assert_ptr_null(own.second);
    given.more[15] = 1;
    ck_assert_fails(SIZED_READ(struct grown, &given, &own, &err), LLMQ_E_USAGE,
                    "struct grown: byte 39 of 40 is set", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "version of libllmq"));
}
END_TEST

START_TEST(defaults_go_to_a_struct_of_any_size) {
    const struct grown usual = defaults();
    unsigned char bytes[2 * sizeof usual];
    struct grown small = {.second = "as it was"};
    size_t size = 0;
    sized_write(&usual, sizeof usual, &small, FIRST_SIZE);
    ck_assert_uint_eq(small.size, FIRST_SIZE);
    ck_assert_int_eq(small.first, 1);
    ck_assert_str_eq(small.second, "as it was");
    memset(bytes, 1, sizeof bytes);
    sized_write(&usual, sizeof usual, bytes, sizeof bytes);
    memcpy(&size, bytes, sizeof size);
    ck_assert_uint_eq(size, sizeof bytes);
    for (size_t i = sizeof usual; i < sizeof bytes; i++)
        ck_assert_int_eq(bytes[i], 0);
}
END_TEST

/* --- every entry ------------------------------------------------------------------------------ */

static const int32_t ids[2] = {1, 2};

static enum llmq_status to_bench(const void *o, const llmq_context *ctx) {
    llmq_bench_report report;
    return llmq_bench(o, ctx, &report, &err);
}

static enum llmq_status to_convert(const void *o, const llmq_context *ctx) {
    llmq_convert_report report;
    const enum llmq_status status = llmq_convert(o, ctx, &report, &err);
    llmq_convert_report_free(&report);
    return status;
}

static enum llmq_status to_eval(const void *o, const llmq_context *ctx) {
    llmq_eval_result result;
    return llmq_eval(o, ctx, &result, &err);
}

static enum llmq_status to_score(const void *o, const llmq_context *ctx) {
    double logprobs[1];
    return llmq_score(o, ids, 2, ctx, logprobs, &err);
}

static enum llmq_status to_compare(const void *o, const llmq_context *ctx) {
    llmq_compare_result result;
    const enum llmq_status status = llmq_compare(o, ctx, &result, &err);
    llmq_compare_result_free(&result);
    return status;
}

static enum llmq_status to_generate(const void *o, const llmq_context *ctx) {
    llmq_generate_result result;
    const enum llmq_status status = llmq_generate(o, ids, 2, ctx, &result, &err);
    llmq_generate_result_free(&result);
    return status;
}

static enum llmq_status to_generate_against(const void *o, const llmq_context *ctx) {
    llmq_against_result result;
    const enum llmq_status status = llmq_generate_against(o, ids, 2, ctx, &result, &err);
    llmq_against_result_free(&result);
    return status;
}

static enum llmq_status to_quantize(const void *o, const llmq_context *ctx) {
    llmq_quantize_report report;
    const enum llmq_status status = llmq_quantize(o, ctx, &report, &err);
    llmq_quantize_report_free(&report);
    return status;
}

static enum llmq_status to_windows(const void *o, const llmq_context *ctx) {
    llmq_windows windows;
    const enum llmq_status status = llmq_calibration_windows(o, 1, ctx, &windows, &err);
    llmq_windows_free(&windows);
    return status;
}

static enum llmq_status to_report(const void *o, const llmq_context *ctx) {
    const char *const models[1] = {"nowhere"};
    llmq_report *report = NULL;
    return llmq_report_make(o, models, 1, ctx, &report, &err);
}

static enum llmq_status to_sensitivity(const void *o, const llmq_context *ctx) {
    llmq_sensitivity s;
    const enum llmq_status status = llmq_sensitivity_measure(o, ctx, &s, &err);
    llmq_sensitivity_free(&s);
    return status;
}

static enum llmq_status to_verify(const void *o, const llmq_context *ctx) {
    llmq_verify_report report;
    const enum llmq_status status = llmq_verify(o, ctx, &report, &err);
    llmq_verify_report_free(&report);
    return status;
}

static enum llmq_status to_logits(const void *o, const llmq_context *ctx) {
    const llmq_token_window window = {ids, 2};
    return llmq_logits(o, &window, 1, ctx, &err);
}

static enum llmq_status to_matrix_options(const void *o, const llmq_context *ctx) {
    llmq_matrix matrix;
    llmq_matrix_result result;
    llmq_matrix_init(&matrix);
    return llmq_matrix_quantize(o, &matrix, ctx, &result, &err);
}

static enum llmq_status to_matrix(const void *m, const llmq_context *ctx) {
    llmq_matrix_options options;
    llmq_matrix_result result;
    llmq_matrix_options_init(&options, LLMQ_METHOD_RTN);
    return llmq_matrix_quantize(&options, m, ctx, &result, &err);
}

static enum llmq_status to_qmat(const void *o, const llmq_context *ctx) {
    llmq_qmat *q = NULL;
    (void)ctx;
    return llmq_qmat_create(o, &q, &err);
}

static const struct entry {
    const char *name;
    size_t size;
    enum llmq_status (*call)(const void *options, const llmq_context *ctx);
    bool lends; /* takes a context */
} entries[] = {
    {"llmq_bench_options", sizeof(llmq_bench_options), to_bench, true},
    {"llmq_convert_options", sizeof(llmq_convert_options), to_convert, true},
    {"llmq_eval_options", sizeof(llmq_eval_options), to_eval, true},
    {"llmq_score_options", sizeof(llmq_score_options), to_score, true},
    {"llmq_compare_options", sizeof(llmq_compare_options), to_compare, true},
    {"llmq_generate_options", sizeof(llmq_generate_options), to_generate, true},
    {"llmq_generate_options", sizeof(llmq_generate_options), to_generate_against, true},
    {"llmq_quantize_options", sizeof(llmq_quantize_options), to_quantize, true},
    {"llmq_quantize_options", sizeof(llmq_quantize_options), to_windows, true},
    {"llmq_report_options", sizeof(llmq_report_options), to_report, true},
    {"llmq_sensitivity_options", sizeof(llmq_sensitivity_options), to_sensitivity, true},
    {"llmq_verify_options", sizeof(llmq_verify_options), to_verify, true},
    {"llmq_logits_options", sizeof(llmq_logits_options), to_logits, true},
    {"llmq_matrix_options", sizeof(llmq_matrix_options), to_matrix_options, true},
    {"llmq_matrix", sizeof(llmq_matrix), to_matrix, true},
    {"llmq_qmat_desc", sizeof(llmq_qmat_desc), to_qmat, false},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

/* The struct of an entry, zero but for its size; room for a few bytes more. */
struct filled {
    _Alignas(8) unsigned char bytes[1024];
};

static struct filled filled(size_t size) {
    struct filled f = {{0}};
    memcpy(f.bytes, &size, sizeof size);
    return f;
}

/* _i: the entry. */
START_TEST(a_struct_that_was_not_initialised_is_refused) {
    const struct entry *e = &entries[_i];
    const size_t wrong[] = {0, sizeof(size_t), e->size + 1, (size_t)1 << 40};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct filled f = filled(wrong[i]);
        ck_assert_fails(e->call(&f, NULL), LLMQ_E_USAGE, e->name, &err);
        ck_assert_ptr_nonnull(strstr(err.message, "its size is"));
        ck_assert_ptr_nonnull(strstr(err.hint, "_init"));
    }
    ck_assert_fails(e->call(NULL, NULL), LLMQ_E_USAGE, e->name, &err);
}
END_TEST

START_TEST(a_struct_of_a_newer_version_is_refused_if_it_says_more) {
    const struct entry *e = &entries[_i];
    struct filled f = filled(e->size + 8);
    f.bytes[e->size + 7] = 1;
    ck_assert_fails(e->call(&f, NULL), LLMQ_E_USAGE, e->name, &err);
    ck_assert_ptr_nonnull(strstr(err.message, "is set, a member that this version"));
}
END_TEST

START_TEST(a_context_that_was_not_initialised_is_refused) {
    const struct entry *e = &entries[_i];
    const struct filled f = filled(e->size);
    const llmq_context ctx = {.threads = 1};
    if (e->lends)
        ck_assert_fails(e->call(&f, &ctx), LLMQ_E_USAGE, "llmq_context: its size is 0", &err);
}
END_TEST

/* What is given by a pointer within another struct is one, too. */
START_TEST(nested_options_are_asked_as_well) {
    const llmq_compare_options compare = {.size = 0};
    const llmq_quantize_options quantize = {.size = 0};
    llmq_report_options report;
    llmq_sensitivity_options sensitivity;
    llmq_report_options_init(&report);
    llmq_sensitivity_options_init(&sensitivity);
    ck_assert_fails(to_report(&report, NULL), LLMQ_E_USAGE, "llmq_compare_options", &err);
    ck_assert_fails(to_sensitivity(&sensitivity, NULL), LLMQ_E_USAGE, "llmq_quantize_options",
                    &err);
    report.compare = &compare;
    sensitivity.quantize = &quantize;
    ck_assert_fails(to_report(&report, NULL), LLMQ_E_USAGE, "llmq_compare_options", &err);
    ck_assert_fails(to_sensitivity(&sensitivity, NULL), LLMQ_E_USAGE, "llmq_quantize_options",
                    &err);
}
END_TEST

START_TEST(a_program_for_an_older_version_gets_the_default) {
    char *demo = source_path("models/demo");
    llmq_verify_report report;
    llmq_verify_options o;
    llmq_verify_options_init_sized(&o, offsetof(llmq_verify_options, against));
    ck_assert_uint_eq(o.size, offsetof(llmq_verify_options, against));
    o.model = demo;
    o.against = "nowhere: not a member of that version";
    ck_assert_ok(llmq_verify(&o, NULL, &report, &err), &err);
    ck_assert_ptr_null(report.against);
    llmq_verify_report_free(&report);
    llmq_free(demo);
}
END_TEST

START_TEST(a_model_that_is_missing_is_said_to_be) {
    llmq_verify_options o;
    llmq_verify_options_init(&o);
    ck_assert_fails(to_verify(&o, NULL), LLMQ_E_USAGE, "the model's name is missing", &err);
}
END_TEST

START_TEST(versions_agree) {
    ck_assert_str_eq(llmq_version(), LLMQ_VERSION);
    ck_assert_int_eq(llmq_version_number(), LLMQ_VERSION_NUMBER);
    ck_assert_int_lt(LLMQ_VERSION_NUMBER, LLMQ_VERSION_MAKE(LLMQ_VERSION_MAJOR + 1, 0, 0));
    llmq_free(NULL);
}
END_TEST

int main(void) {
    Suite *s = suite_create("api_structs");
    TCase *t = tcase_create("structs");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_smaller_struct_has_the_defaults_of_what_it_lacks);
    tcase_add_test(t, a_larger_struct_may_not_say_more);
    tcase_add_test(t, defaults_go_to_a_struct_of_any_size);
    tcase_add_loop_test(t, a_struct_that_was_not_initialised_is_refused, 0, ENTRIES);
    tcase_add_loop_test(t, a_struct_of_a_newer_version_is_refused_if_it_says_more, 0, ENTRIES);
    tcase_add_loop_test(t, a_context_that_was_not_initialised_is_refused, 0, ENTRIES);
    tcase_add_test(t, nested_options_are_asked_as_well);
    tcase_add_test(t, a_program_for_an_older_version_gets_the_default);
    tcase_add_test(t, a_model_that_is_missing_is_said_to_be);
    tcase_add_test(t, versions_agree);
    suite_add_tcase(s, t);
    return run_suite(s);
}
