/* SPDX-License-Identifier: Apache-2.0 */
/* From ids to texts. What is expected was computed by the reference library. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "support.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static llmq_error err;

#define TOKENIZER                                                                                  \
    "{\"added_tokens\":[{\"id\":12,\"content\":\"<\xc3\xa9 x>\",\"special\":true}],"               \
    "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"\xe2\x96\x81"                  \
    "b\":1,"                                                                                       \
    "\"<0xE2>\":2,\"<0x82>\":3,\"<0xAC>\":4,\"c</w>\":5,\"\xc4\xa0"                                \
    "d\":6,\"\xc3\x83\":7,"                                                                        \
    "\"\xc2\xa9\":8,\"\xe2\x96\x81\":9,\"\xc3\xa9\":10,\"<0xGG>\":11}},\"decoder\":"

static struct tokenizer *load(const char *decoder) {
    struct tokenizer *tok = NULL;
    struct strbuf text = {0};
    strbuf_printf(&text, "%s%s}", TOKENIZER, decoder);
    put_file("tokenizer.json", text.data, text.len);
    ck_assert_ok(tokenizer_load(scratch_path("tokenizer.json"), &tok, &err), &err);
    strbuf_free(&text);
    return tok;
}

enum { IDS = 5 };
struct text_case {
    const char *decoder;
    int32_t ids[IDS];
    size_t count;
    const char *text;
};

#define BLANKS(scheme)                                                                             \
    "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"" scheme "\"}"
#define PIECES                                                                                     \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"          \
    "\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"        \
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"
#define ONE(type) "{\"type\":\"" type "\"}"
#define SUFFIX    "{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}"
#define REPLACED  "\xef\xbf\xbd"

static const struct text_case text_cases[] = {
    /* clang-format off */
    {"null", {9, 1, 0, 1}, 4, ("\xe2\x96\x81 \xe2\x96\x81" "b a \xe2\x96\x81" "b")},
    {ONE("ByteLevel"), {6, 7, 8, 10, 12}, 5, (" d\xc3\xa9" REPLACED "<\xc3\xa9 x>")},
    {ONE("ByteLevel"), {0, 0, 11, 9}, 4, "aa<0xGG>\xe2\x96\x81"},
    {BLANKS("always"), {9, 1, 0, 1}, 4, " ba b"},
    {BLANKS("never"), {9, 1, 0, 1}, 4, "  ba b"},
    {SUFFIX, {5, 0, 5}, 3, "c ac"},
    {PIECES, {9, 1, 0, 1}, 4, " ba b"},
    {PIECES, {2, 3, 4, 0}, 4, ("\xe2\x82\xac" "a")},
    {PIECES, {2, 3, 0, 4}, 4, (REPLACED REPLACED "a" REPLACED)},
    {PIECES, {0, 0, 11, 9}, 4, "aa<0xGG> "},
    {PIECES, {0}, 0, ""},
    /* clang-format on */
};

START_TEST(test_texts_equal_the_reference) {
    const struct text_case *c = &text_cases[_i];
    struct tokenizer *tok = load(c->decoder);
    struct strbuf out = {0};
    ck_assert_ok(tokenizer_decode_all(tok, c->ids, c->count, true, &out, &err), &err);
    char *text = strbuf_take(&out);
    ck_assert_str_eq(text, c->text);
    free(text);
    tokenizer_free(&tok);
}
END_TEST

START_TEST(test_special_tokens_are_left_out) {
    static const int32_t ids[] = {12, 0, 12};
    struct tokenizer *tok = load(PIECES);
    struct strbuf out = {0};
    ck_assert_ok(tokenizer_decode_all(tok, ids, 3, false, &out, &err), &err);
    ck_assert_str_eq(out.data, "a");
    strbuf_free(&out);
    tokenizer_free(&tok);
}
END_TEST

/* Within a text nothing is stripped, and bytes are bytes. */
START_TEST(test_single_tokens) {
    struct tokenizer *tok = load(PIECES);
    struct strbuf out = {0};
    tokenizer_decode(tok, 1, &out);
    tokenizer_decode(tok, 2, &out);
    tokenizer_decode(tok, 12, &out);
    ck_assert_str_eq(out.data, " b\xe2<\xc3\xa9 x>");
    strbuf_free(&out);
    tokenizer_free(&tok);
}
END_TEST

START_TEST(test_what_is_refused) {
    static const int32_t ids[] = {0, 1, 99};
    struct tokenizer *tok = load(PIECES);
    struct strbuf out = {0};
    ck_assert_fails(tokenizer_decode_all(tok, ids, 3, true, &out, &err), LLMQ_E_USAGE,
                    "id 99 at position 2 is no token", &err);
    tokenizer_free(&tok);
    tok = load(ONE("WordPiece"));
    ck_assert_fails(tokenizer_decode_all(tok, ids, 2, true, &out, &err), LLMQ_E_UNSUPPORTED,
                    "decoder WordPiece", &err);
    tokenizer_free(&tok);
    strbuf_free(&out);
}
END_TEST

START_TEST(test_characters_that_are_not_whole) {
    struct strbuf out = {0};
    utf8_append_repaired(&out,
                         "a\xe2\x82"
                         "b\xff\xf0\x9f\x98\x80\xed\xa0\x80\xf0\x9f",
                         14);
    ck_assert_str_eq(out.data, "a" REPLACED "b" REPLACED
                               "\xf0\x9f\x98\x80" REPLACED REPLACED REPLACED REPLACED);
    strbuf_free(&out);
    ck_assert_uint_eq(utf8_open_end("ab", 2), 0);
    ck_assert_uint_eq(utf8_open_end("a\xe2\x82", 3), 2);
    ck_assert_uint_eq(utf8_open_end("\xf0\x9f\x98", 3), 3);
    ck_assert_uint_eq(utf8_open_end("\xe2\x82\xac", 3), 0);
    ck_assert_uint_eq(utf8_open_end("a\x82", 2), 0);
    ck_assert_uint_eq(utf8_open_end("", 0), 0);
}
END_TEST

static Suite *decoder_suite(void) {
    Suite *s = suite_create("decoder");
    TCase *t = tcase_create("texts");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, test_texts_equal_the_reference, 0,
                        (int)(sizeof text_cases / sizeof text_cases[0]));
    tcase_add_test(t, test_special_tokens_are_left_out);
    tcase_add_test(t, test_single_tokens);
    tcase_add_test(t, test_what_is_refused);
    tcase_add_test(t, test_characters_that_are_not_whole);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return run_suite(decoder_suite());
}
