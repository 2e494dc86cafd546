/* SPDX-License-Identifier: Apache-2.0 */
/* Real tokenizers against ids computed by the reference library (cases.json): some hundred texts
 * chosen to be awkward, with and without special tokens, and a whole book by its hash. The data is
 * not part of the project: without it these tests are skipped. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "support.h"
#include "text/tokenizer.h"

static const struct {
    const char *name, *tokenizer;
} references[] = {
    {"gpt2", "tokenizers/gpt2/tokenizer.json"},
    {"llama2", "models/stories15M/tokenizer.json"},
    {"llama3", "tokenizers/llama3/tokenizer.json"},
    {"minimind2", "models/minimind2-small/tokenizer.json"},
    {"qwen2_5", "tokenizers/qwen2_5/tokenizer.json"},
};

static llmq_error err;

/* What one tokenizer's tests work on. */
struct reference {
    struct tokenizer *tok;
    struct json *expected;
    char *cases; /* the text of cases.json: some texts hold NUL, which the tree cannot give */
    size_t cases_len;
};

/* False, with a message, where the shared data is absent. */
static bool reference_open(int index, struct reference *r) {
    char name[128];
    *r = (struct reference){0};
    snprintf(name, sizeof name, "tokenizers/%s/cases.json", references[index].name);
    char *cases = shared_path(name), *tokenizer = shared_path(references[index].tokenizer);
    bool found = cases && tokenizer;
    if (found) {
        ck_assert_ok(file_read(cases, 1 << 30, &r->cases, &r->cases_len, &err), &err);
        ck_assert_ok(json_parse(r->cases, r->cases_len, name, &r->expected, &err), &err);
        ck_assert_ok(tokenizer_load(tokenizer, &r->tok, &err), &err);
    }
    free(cases);
    free(tokenizer);
    return found;
}

static void reference_close(struct reference *r) {
    tokenizer_free(&r->tok);
    json_free(&r->expected);
    free(r->cases);
}

static void assert_ids(const struct reference *r, const char *text, size_t len, bool special,
                       const struct json *expected) {
    struct id_list ids = {0};
    size_t i = 0;
    ck_assert_ok(tokenizer_encode(r->tok, text, len, special, &ids, &err), &err);
    for (const struct json *v = json_first(expected); v; v = json_next(v), i++) {
        int64_t id = -1;
        ck_assert(json_as_int64(v, &id));
        ck_assert_msg(i < ids.count && ids.ids[i] == id, "id %zu of '%s'", i, text);
    }
    ck_assert_msg(i == ids.count, "%zu ids instead of %zu for '%s'", ids.count, i, text);
    id_list_free(&ids);
}

START_TEST(test_awkward_texts_equal_the_reference) {
    struct reference r;
    if (!reference_open(_i, &r))
        return;
    const struct json *expected = json_first(json_get(r.expected, "cases"));
    struct json_scan scan;
    struct json_token token = {.type = JSON_TOKEN_NULL};
    int count = 0;
    json_scan_init(&scan, r.cases, r.cases_len, JSON_MAX_DEPTH);
    while (token.type != JSON_TOKEN_END) {
        ck_assert_ok(json_scan_next(&scan, &token, &err), &err);
        if (token.type != JSON_TOKEN_KEY || !json_token_is(&scan, &token, "text"))
            continue;
        char *text = NULL;
        size_t len = 0;
        ck_assert_ok(json_scan_next(&scan, &token, &err), &err);
        ck_assert_ok(json_scan_unescape(&scan, &token, &text, &len, &err), &err);
        assert_ids(&r, text, len, false, json_get(expected, "ids"));
        assert_ids(&r, text, len, true, json_get(expected, "ids_with_special"));
        free(text);
        expected = json_next(expected);
        count++;
    }
    ck_assert_int_gt(count, 100);
    ck_assert_ptr_null(expected);
    reference_close(&r);
}
END_TEST

/* The hash is over the ids as 32-bit little-endian integers. */
static void hash_ids(const struct id_list *ids, char out[65]) {
    unsigned char *bytes = malloc(ids->count * 4);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < ids->count; i++)
        for (unsigned b = 0; b < 4; b++)
            bytes[4 * i + b] = (unsigned char)((uint32_t)ids->ids[i] >> (8 * b));
    sha256_hex(bytes, ids->count * 4, out);
    free(bytes);
}

START_TEST(test_a_whole_file_equals_the_reference) {
    struct reference r;
    if (!reference_open(_i, &r))
        return;
    const struct json *whole = json_get(r.expected, "wiki_test_raw");
    struct id_list ids = {0};
    char *path = shared_path("text/wiki.test.raw"), *text = NULL, hash[65];
    size_t len = 0;
    int64_t tokens = 0;
    ck_assert_ptr_nonnull(path);
    ck_assert_ok(file_read(path, 1 << 30, &text, &len, &err), &err);
    free(path);
    ck_assert_ok(tokenizer_encode(r.tok, text, len, true, &ids, &err), &err);
    ck_assert(json_as_int64(json_get(whole, "tokens"), &tokens));
    ck_assert_int_eq((int64_t)ids.count, tokens);
    hash_ids(&ids, hash);
    ck_assert_str_eq(hash, json_string(json_get(whole, "sha256_of_u32le_ids")));
    free(text);
    id_list_free(&ids);
    reference_close(&r);
}
END_TEST

int main(void) {
    const int count = (int)(sizeof references / sizeof references[0]);
    Suite *suite = suite_create("tokenizer_cases");
    TCase *tcase = tcase_create("reference");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_awkward_texts_equal_the_reference, 0, count);
    tcase_add_loop_test(tcase, test_a_whole_file_equals_the_reference, 0, count);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
