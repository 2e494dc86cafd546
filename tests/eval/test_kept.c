/* SPDX-License-Identifier: Apache-2.0 */
/* References kept in a file: what they say against the model itself, and files that are damaged, of
 * something else, or hostile. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/reference_file.h"
#include "base/fileio.h"
#include "eval/kept_entries.h"
#include "llmq/evaluate.h"
#include "pipeline/tiny_model.h"
#include "support.h"

enum { WINDOWS = 6, LENGTH = 24 };

static char *model_dir, *reference_dir;
static char kept[512], windows[512];
static llmq_error err;

static void setup(void) {
    scratch_setup();
    model_dir = source_path("tests/golden/qwen3");
    reference_dir = source_path("tests/golden/llama-base");
    snprintf(kept, sizeof kept, "%s", scratch_path("kept"));
    snprintf(windows, sizeof windows, "%s", scratch_path("w.json"));
    tiny_windows_write(windows, WINDOWS, LENGTH, 5);
}

static void teardown(void) {
    free(model_dir);
    free(reference_dir);
    scratch_teardown();
}

static llmq_compare_options options_of(const char *reference, const char *text) {
    llmq_compare_options o;
    llmq_compare_options_init(&o);
    o.model = model_dir;
    o.reference = reference;
    o.text = text;
    return o;
}

static bool is_kept(const char *path) {
    bool is = false;
    ck_assert_ok(reference_file_look(path, &is, &err), &err);
    return is;
}

/* The comparison with the model itself, which is kept. */
static llmq_compare_result compare_and_keep(void) {
    llmq_compare_options o = options_of(reference_dir, windows);
    llmq_compare_result r;
    o.save_reference = kept;
    ck_assert_ok(llmq_compare(&o, NULL, &r, &err), &err);
    return r;
}

START_TEST(a_kept_reference_says_the_same) {
    const llmq_compare_options o = options_of(kept, NULL);
    llmq_compare_result exact = compare_and_keep(), r;
    ck_assert_ok(llmq_compare(&o, NULL, &r, &err), &err);
    ck_assert_double_eq_tol(r.kl_mean, exact.kl_mean, 4 * r.kl_sampling_error + 1e-5);
    ck_assert_double_eq_tol(r.kl_max, exact.kl_max, 1e-2);
    ck_assert_double_eq(exact.kl_sampling_error, 0);
    ck_assert_double_lt(r.kl_sampling_error, 5e-4); /* 138 tokens, a KL of 3.6 */
    ck_assert_double_eq_tol(r.delta_nll, exact.delta_nll, 1e-6);
    ck_assert_double_eq_tol(r.ppl_reference, exact.ppl_reference, 1e-4);
    ck_assert_double_eq(r.ppl, exact.ppl);
    ck_assert_double_eq(r.top1_agreement, exact.top1_agreement);
    ck_assert_double_eq_tol(r.delta_p.p01, exact.delta_p.p01, 1e-6);
    ck_assert_int_eq(r.tokens, exact.tokens);
    ck_assert_int_eq(r.worst[0].token, exact.worst[0].token);
    ck_assert(r.kept && !exact.kept);
    ck_assert(isnan(r.kl_reverse_mean));
    ck_assert_int_eq(r.block_count, 0);
    ck_assert_uint_eq(r.reference_bytes, exact.reference_bytes);
    ck_assert_str_eq(r.reference, "llama-base");
    const llmq_token_context *a = &r.contexts[0], *b = &exact.contexts[0];
    ck_assert_uint_eq(a->reference_count, b->reference_count);
    for (size_t i = 0; i < a->reference_count; i++) {
        ck_assert_int_eq(a->reference[i].token, b->reference[i].token);
        ck_assert_double_eq_tol(a->reference[i].p, b->reference[i].p, 1e-4);
    }
    llmq_compare_result_free(&exact);
    llmq_compare_result_free(&r);
}
END_TEST

START_TEST(the_text_it_was_cut_from_may_be_given) {
    llmq_compare_result exact = compare_and_keep(), r, again;
    llmq_compare_options o = options_of(kept, NULL);
    ck_assert_ok(llmq_compare(&o, NULL, &r, &err), &err);
    o.text = windows;
    ck_assert_ok(llmq_compare(&o, NULL, &again, &err), &err);
    ck_assert_double_eq(r.kl_mean, again.kl_mean);
    o.model = reference_dir; /* itself */
    llmq_compare_result_free(&again);
    ck_assert_ok(llmq_compare(&o, NULL, &again, &err), &err);
    ck_assert_double_eq_tol(again.kl_mean, 0, 2e-5);
    ck_assert_double_eq(again.top1_agreement, 1);
    llmq_compare_result_free(&exact);
    llmq_compare_result_free(&r);
    llmq_compare_result_free(&again);
}
END_TEST

/* --- the sample ------------------------------------------------------------------------------- */

START_TEST(codes_are_fine_where_p_is_large) {
    for (int i = 0; i <= 3200; i++) {
        const double x = i / 100.0, off = kept_value(kept_code(x)) - x;
        ck_assert_double_lt(fabs(off) * exp(-x), 4e-5);
        ck_assert_double_lt(fabs(off), 6e-4);
    }
    ck_assert_uint_eq(kept_code(-1e-9), 0);
    ck_assert_uint_eq(kept_code(1000), 65535);
    ck_assert(kept_certain(kept_code(log(2040))) && !kept_certain(kept_code(log(2060))));
}
END_TEST

START_TEST(entries_read_back) {
    static const struct kept_entry entries[] = {{0, 7}, {1, 8}, {300, 65535}, {2000000, 0}};
    struct strbuf b = {0};
    struct kept_cursor c;
    kept_append(&b, entries, 4);
    ck_assert(kept_begin((unsigned char *)b.data, (unsigned char *)b.data + b.len, &c));
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(c.id, entries[i].id);
        ck_assert_uint_eq(c.code, entries[i].code);
        ck_assert(kept_next(&c));
    }
    ck_assert_int_eq(c.id, INT64_MAX);
    for (size_t len = 0; len < b.len; len++) { /* cut anywhere: one of the steps fails */
        bool whole = kept_begin((unsigned char *)b.data, (unsigned char *)b.data + len, &c);
        while (whole && c.id != INT64_MAX)
            whole = kept_next(&c);
        ck_assert(!whole);
    }
    strbuf_free(&b);
}
END_TEST

/* Of a distribution flatter than any model's: all is tail, drawn with equal chances. */
START_TEST(the_tail_is_right_on_average) {
    enum { IDS = 20000 };
    static double p[IDS], q[IDS];
    uint64_t state = 3;
    double sum_p = 0, sum_q = 0, exact = 0, found = 0, start = 0.37, gone = 0;
    for (int i = 0; i < IDS; i++) {
        sum_p += p[i] = 1 + (double)(random_next(&state) % 1000) / 1000;
        sum_q += q[i] = 1 + (double)(random_next(&state) % 1000) / 1000;
    }
    for (int i = 0; i < IDS; i++) {
        const double ratio = log(p[i] / sum_p * sum_q / q[i]);
        exact += p[i] / sum_p * ratio;
        const double before = KEPT_DENSITY * gone + start;
        gone += p[i] / sum_p;
        if (floor(KEPT_DENSITY * gone + start) > floor(before))
            found += ratio / KEPT_DENSITY;
    }
    ck_assert_double_gt(exact, 0.01);
    ck_assert_double_eq_tol(found, exact, 0.02); /* 3 times 0.28 / sqrt(2048) */
}
END_TEST

/* --- refusals --------------------------------------------------------------------------------- */

static void refused(const llmq_compare_options *o, enum llmq_status code, const char *part) {
    llmq_compare_result r;
    ck_assert_fails(llmq_compare(o, NULL, &r, &err), code, part, &err);
    llmq_compare_result_free(&r);
}

START_TEST(what_does_not_go_with_it_is_refused) {
    llmq_compare_result exact = compare_and_keep();
    llmq_compare_options o = options_of(kept, scratch_path("other.json"));
    llmq_compare_result_free(&exact);
    tiny_windows_write(o.text, WINDOWS, LENGTH, 6);
    refused(&o, LLMQ_E_USAGE, "another text");
    tiny_windows_write(o.text, WINDOWS, LENGTH - 1, 5);
    refused(&o, LLMQ_E_USAGE, "6 windows of up to 23");
    o = options_of(kept, NULL);
    o.ctx = 12;
    refused(&o, LLMQ_E_USAGE, "holds the windows");
    o = options_of(kept, NULL);
    o.convention = LLMQ_CONVENTION_LLAMACPP;
    refused(&o, LLMQ_E_USAGE, "by the convention gptq");
    o = options_of(kept, NULL);
    o.save_reference = scratch_path("again");
    refused(&o, LLMQ_E_USAGE, "kept reference already");
    o = options_of(kept, NULL);
    char *demo = source_path("models/demo");
    o.model = demo;
    refused(&o, LLMQ_E_USAGE, "tokens in its vocabulary");
    free(demo);
    o = options_of(reference_dir, windows);
    char inside[1024];
    snprintf(inside, sizeof inside, "%s/kept", reference_dir);
    o.save_reference = inside;
    refused(&o, LLMQ_E_USAGE, "lies in the model's folder");
}
END_TEST

static void refuse_file(const void *data, size_t len) {
    struct reference_file f;
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("damaged"));
    put_file("damaged", data, len);
    memset(&err, 0, sizeof err);
    ck_assert(reference_file_read(path, &f, &err) != LLMQ_OK);
    ck_assert_msg(strstr(err.message, "damaged") != NULL, "%s", err.message);
    reference_file_free(&f);
}

START_TEST(damaged_files_are_refused) {
    llmq_compare_result exact = compare_and_keep();
    char *data = NULL;
    size_t len = 0;
    uint64_t header = 0;
    llmq_compare_result_free(&exact);
    ck_assert(is_kept(kept) && !is_kept(windows) && !is_kept(reference_dir));
    ck_assert(!is_kept(scratch_path("absent")));
    ck_assert_ok(file_read(kept, 1 << 24, &data, &len, &err), &err);
    memcpy(&header, data, sizeof header);
    for (size_t cut = 0; cut < len; cut += 997)
        refuse_file(data, cut);
    for (size_t at = sizeof header + (size_t)header; at < len; at += 601) {
        data[at] ^= 0x10;
        refuse_file(data, len);
        data[at] ^= 0x10;
    }
    char *version = strstr(data + sizeof header, "\"version\":\"1\"");
    version[sizeof "\"version\":\"" - 1] = '7';
    refuse_file(data, len);
    ck_assert_msg(strstr(err.message, "found 7") != NULL, "%s", err.message);
    free(data);
}
END_TEST

/* Entries of any bytes are refused or can be read; nothing beyond them is looked at. */
START_TEST(any_bytes_are_checked) {
    enum { COUNT = 40, SPACE = 400 };
    static int64_t offsets[] = {0, COUNT};
    static int32_t tops[COUNT];
    static float logprobs[COUNT], tails[COUNT];
    const struct corpus corpus = {.offsets = offsets, .count = 1, .tokens_used = COUNT};
    uint64_t state = 11;
    int accepted = 0;
    for (int round = 0; round < 4000; round++) {
        const size_t len = round % 2 ? COUNT : random_next(&state) % SPACE;
        unsigned char *bytes = malloc(len + 1);
        for (size_t i = 0; i < len; i++) /* often small: counts and gaps that fit */
            bytes[i] = (unsigned char)(random_next(&state) & (round % 3 ? 0x01 : 0xFF));
        if (round % 4 == 1)
            memset(bytes, 0, len); /* no entries at all: sound */
        struct kept_reference k = {.tokens = COUNT,
                                   .vocab = 50,
                                   .tops = tops,
                                   .logprobs = logprobs,
                                   .tails = tails,
                                   .bytes = bytes};
        ck_assert_ok(arena_create("a test", &k.arena, &err), &err);
        if (kept_check(&k, len, &corpus, &err) == LLMQ_OK) {
            struct candidates found;
            for (int64_t t = 0; t < COUNT; t++)
                kept_candidates(&k, t, &found);
            accepted++;
        }
        kept_free(&k);
        free(bytes);
    }
    ck_assert_int_ge(accepted, 1000);
    ck_assert_int_lt(accepted, 2000);
}
END_TEST

int main(void) {
    Suite *s = suite_create("kept");
    TCase *t = tcase_create("kept");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_kept_reference_says_the_same);
    tcase_add_test(t, the_text_it_was_cut_from_may_be_given);
    tcase_add_test(t, codes_are_fine_where_p_is_large);
    tcase_add_test(t, entries_read_back);
    tcase_add_test(t, the_tail_is_right_on_average);
    tcase_add_test(t, what_does_not_go_with_it_is_refused);
    tcase_add_test(t, damaged_files_are_refused);
    tcase_add_test(t, any_bytes_are_checked);
    suite_add_tcase(s, t);
    return run_suite(s);
}
