/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json files that are wrong: each must give a clear error and do no harm. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "support.h"
#include "tests/text/tokenizer_json.h"
#include "text/pieces.h"
#include "text/tokenizer.h"

static llmq_error err;

#define OK_MODEL         "\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}"
#define WITH(key, value) "{\"" key "\":" value "," OK_MODEL "}"

static const struct {
    const char *text;
    enum llmq_status status;
    const char *part; /* of the message */
} hostile_cases[] = {
    /* clang-format off */
    {"", LLMQ_E_INPUT, "tokenizer.json"},
    {"[]", LLMQ_E_INPUT, "not a JSON object"},
    {"{}", LLMQ_E_INPUT, "'model' must be an object"},
    {"{\"model\":3}", LLMQ_E_INPUT, "'model' must be an object"},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", LLMQ_E_UNSUPPORTED, "'Unigram'"},
    {"{\"model\":{\"type\":5}}", LLMQ_E_UNSUPPORTED, "only BPE"},
    {"{\"model\":{\"type\":\"BPE\"}}", LLMQ_E_INPUT, "'vocab' must be an object"},
    {"{\"model\":{\"vocab\":[],\"merges\":[]}}", LLMQ_E_INPUT, "'vocab' must be an object"},
    {"{\"model\":{\"vocab\":{},\"merges\":[]}}", LLMQ_E_INPUT, "the vocabulary is empty"},
    {"{\"model\":{\"vocab\":{\"a\":0}}}", LLMQ_E_INPUT, "'merges' must be an array"},
    {MODEL("", "\"a\":-1", ""), LLMQ_E_INPUT, "'a' is -1"},
    {MODEL("", "\"a\":2000000000", ""), LLMQ_E_INPUT, "'a' is 2000000000"},
    {MODEL("", "\"a\":1e300", ""), LLMQ_E_INPUT, "'a' is not an integer"},
    {MODEL("", "\"a\":0.5", ""), LLMQ_E_INPUT, "'a' is not an integer"},
    {MODEL("", "\"a\":\"0\"", ""), LLMQ_E_INPUT, "'a' is not an integer"},
    {MODEL("", "\"a\":0,\"b\":0", ""), LLMQ_E_INPUT, "'a' and 'b' have the same id 0"},
    {MODEL("", "\"a\":0,\"a\":1", ""), LLMQ_E_INPUT, "'model.vocab.a' is given twice"},
    {MODEL("", "\"a\":0", "\"a b\""), LLMQ_E_INPUT, "merge 1: token 'b' is not in the vocabulary"},
    {MODEL("", "\"a\":0,\"b\":1", "\"a b\""), LLMQ_E_INPUT, "merge 1: token 'ab' is not in"},
    {MODEL("", "\"a\":0,\"aa\":1", "\"a a\",\"aa\""), LLMQ_E_INPUT, "merge 2 is neither"},
    {MODEL("", "\"a\":0", "\"a b c\""), LLMQ_E_INPUT, "merge 1 is neither"},
    {MODEL("", "\"a\":0", "[\"a\"]"), LLMQ_E_INPUT, "merge 1 is neither"},
    {MODEL("", "\"a\":0", "[\"a\",\"a\",\"a\"]"), LLMQ_E_INPUT, "merge 1 is neither"},
    {MODEL("", "\"a\":0", "[\"a\",1]"), LLMQ_E_INPUT, "merge 1 is neither"},
    {MODEL("", "\"a\":0", "7"), LLMQ_E_INPUT, "merge 1 is neither"},
    {MODEL("\"dropout\":0.1,", "\"a\":0", ""), LLMQ_E_UNSUPPORTED, "'dropout'"},
    {MODEL("\"end_of_word_suffix\":\"</w>\",", "\"a\":0", ""), LLMQ_E_UNSUPPORTED, "end_of_word"},
    {MODEL("\"byte_fallback\":1,", "\"a\":0", ""), LLMQ_E_INPUT, "'byte_fallback' must be"},
    {MODEL("\"unk_token\":1,", "\"a\":0", ""), LLMQ_E_INPUT, "'unk_token' must be"},
    {WITH("version", "\"2.0\""), LLMQ_E_UNSUPPORTED, "version '2.0'"},
    {WITH("normalizer", "{\"type\":\"Precompiled\"}"), LLMQ_E_UNSUPPORTED, "normalizer 'Precompiled'"},
    {WITH("normalizer", "7"), LLMQ_E_INPUT, "'type' must be a string"},
    {WITH("normalizer", "{\"type\":\"Sequence\"}"), LLMQ_E_INPUT, "'normalizers' must be an array"},
    {WITH("normalizer", "{\"type\":\"Prepend\"}"), LLMQ_E_INPUT, "'prepend' must be a string"},
    {WITH("normalizer", REPLACE("{}", "x")), LLMQ_E_INPUT, "'pattern' must be"},
    {WITH("normalizer", REPLACE("{\"Regex\":\"(\"}", "x")), LLMQ_E_INPUT, "regular expression '('"},
    {WITH("pre_tokenizer", PLAIN("UnicodeScripts")), LLMQ_E_UNSUPPORTED, "pre-tokenizer 'UnicodeScripts'"},
    {WITH("pre_tokenizer", REGEX_SPLIT("[a")), LLMQ_E_INPUT, "regular expression '[a'"},
    {WITH("pre_tokenizer", REGEX_SPLIT("a\\\\")), LLMQ_E_INPUT, "regular expression"},
    {WITH("pre_tokenizer", REGEX_SPLIT("a\\\\p{Klingon}")), LLMQ_E_UNSUPPORTED, "'Klingon' (at byte 3)"},
    {WITH("pre_tokenizer", REGEX_SPLIT("\\\\p{Script=Greek}")), LLMQ_E_UNSUPPORTED, "'Script=Greek'"},
    {WITH("pre_tokenizer", REGEX_SPLIT("\\\\p{:word16}")), LLMQ_E_UNSUPPORTED, "no property"},
    {WITH("pre_tokenizer", REGEX_SPLIT("\\\\p{L")), LLMQ_E_INPUT, "no property 'L'"},
    {WITH("pre_tokenizer", REGEX_SPLIT("(a)\\\\1")), LLMQ_E_UNSUPPORTED, "a reference to a group (at byte 3)"},
    {WITH("pre_tokenizer", REGEX_SPLIT("\\\\X")), LLMQ_E_UNSUPPORTED, "text segments"},
    {WITH("pre_tokenizer", REGEX_SPLIT("(?~a)")), LLMQ_E_UNSUPPORTED, "this kind of group"},
    {WITH("pre_tokenizer", REGEX_SPLIT("(?s:a)")), LLMQ_E_UNSUPPORTED, "this kind of group"},
    {WITH("pre_tokenizer", REGEX_SPLIT("a|*")), LLMQ_E_INPUT, "nothing to repeat (at byte 2)"},
    {WITH("pre_tokenizer", REGEX_SPLIT("^+")), LLMQ_E_UNSUPPORTED, "a repeated anchor"},
    {WITH("pre_tokenizer", REGEX_SPLIT("a)b")), LLMQ_E_INPUT, "did not begin (at byte 1)"},
    {WITH("pre_tokenizer", REGEX_SPLIT("[[:vowel:]]")), LLMQ_E_INPUT, "no such POSIX bracket"},
    {WITH("pre_tokenizer", REGEX_SPLIT("[z-a]")), LLMQ_E_INPUT, "the range is empty"},
    {WITH("pre_tokenizer", REGEX_SPLIT("[\\\\w-a]")), LLMQ_E_INPUT, "a range begins with a class"},
    {WITH("pre_tokenizer", REGEX_SPLIT("[a-\\\\d]")), LLMQ_E_INPUT, "a range ends in a class"},
    {WITH("pre_tokenizer", REGEX_SPLIT("[]")), LLMQ_E_INPUT, "the class is empty"},
    {WITH("pre_tokenizer", REGEX_SPLIT("a{200000}")), LLMQ_E_INPUT, "repetitions is too large"},
    {WITH("pre_tokenizer", REGEX_SPLIT("(?:ab){99999}")), LLMQ_E_UNSUPPORTED, "too large"},
    {WITH("pre_tokenizer", REGEX_SPLIT("\\\\ud800")), LLMQ_E_INPUT, "not that of a character"},
    {WITH("pre_tokenizer", REGEX_SPLIT("\\\\xff")), LLMQ_E_INPUT, "do not make a character"},
    {WITH("pre_tokenizer", REGEX_SPLIT("(?<=a+\\\\b)")), LLMQ_E_UNSUPPORTED, "a lookbehind of several lengths"},
    {WITH("pre_tokenizer", "{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"ab\"}"), LLMQ_E_INPUT, "one character"},
    {WITH("pre_tokenizer", SPLIT(DASH, "Sideways", "false")), LLMQ_E_INPUT, "'Sideways'"},
    {WITH("pre_tokenizer", SPLIT(DASH, "Isolated", "3")), LLMQ_E_INPUT, "'invert' must be"},
    {WITH("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), LLMQ_E_INPUT, "one character"},
    {WITH("pre_tokenizer", META(",\"prepend_scheme\":\"last\"")), LLMQ_E_INPUT, "'prepend_scheme' must be"},
    {WITH("pre_tokenizer", META(",\"prepend_scheme\":\"first\",\"add_prefix_space\":false")),
     LLMQ_E_INPUT, "'prepend_scheme' must be"},
    {WITH("post_processor", PLAIN("Magic")), LLMQ_E_UNSUPPORTED, "post-processor 'Magic'"},
    {WITH_POST(TEMPLATE(PIECE("X"))), LLMQ_E_INPUT, "special token 'X' is not in"},
    {WITH_POST(TEMPLATE("{\"Sequence\":{\"id\":\"B\"}}")), LLMQ_E_INPUT, "nor Sequence A"},
    {WITH_POST("{\"type\":\"Sequence\",\"processors\":[" TEMPLATE(PIECE_A) "," TEMPLATE(PIECE_A) "]}"),
     LLMQ_E_UNSUPPORTED, "two post-processors"},
    {WITH("post_processor", CLS_SEP("BertProcessing")),
     LLMQ_E_INPUT, "adds id 2, but the vocabulary ends at 0"},
    {WITH("post_processor", "{\"type\":\"BertProcessing\",\"cls\":[\"x\"],\"sep\":[]}"),
     LLMQ_E_INPUT, "'cls' is not an integer"},
    {WITH("added_tokens", "{}"), LLMQ_E_INPUT, "'added_tokens' must be an array"},
    {WITH("added_tokens", "[7]"), LLMQ_E_INPUT, "'content' must be a string"},
    {WITH("added_tokens", "[{\"content\":\"x\"}]"), LLMQ_E_INPUT, "'x' is not an integer"},
    {WITH("added_tokens", "[{\"content\":\"x\",\"id\":-4}]"), LLMQ_E_INPUT, "'x' is -4"},
    {WITH("added_tokens", "[{\"content\":\"x\",\"id\":1,\"lstrip\":2}]"), LLMQ_E_INPUT, "'lstrip' must be"},
    {"{\"normalizer\":" STRIP("true", "true") ",\"added_tokens\":[{\"content\":\" \",\"id\":1}]," OK_MODEL "}",
     LLMQ_E_INPUT, "empty once normalized"},
    /* clang-format on */
};

START_TEST(test_hostile_file_gives_a_clear_error) {
    struct tokenizer *tok = NULL;
    put_file("tokenizer.json", hostile_cases[_i].text, strlen(hostile_cases[_i].text));
    enum llmq_status status = tokenizer_load(scratch_path("tokenizer.json"), &tok, &err);
    ck_assert_fails(status, hostile_cases[_i].status, hostile_cases[_i].part, &err);
    ck_assert_ptr_null(tok);
}
END_TEST

START_TEST(test_absent_file_is_not_found) {
    struct tokenizer *tok = NULL;
    ck_assert_fails(tokenizer_load(scratch_path("absent.json"), &tok, &err), LLMQ_E_NOT_FOUND,
                    "absent.json", &err);
}
END_TEST

/* A loader that reads past what it checked would show under the sanitizers. */
START_TEST(test_truncated_and_mutated_files_do_no_harm) {
    /* clang-format off */
    static const char whole[] =
        "{\"version\":\"1.0\",\"added_tokens\":[" ADDED("<s>", LITERAL) "],"
        "\"normalizer\":" SEQ("{\"type\":\"Prepend\",\"prepend\":\"_\"}",
                              REPLACE("{\"String\":\" \"}", "_")) ","
        "\"pre_tokenizer\":" PRESEQ(REGEX_SPLIT("\\\\s+|[^a]"), META("")) ","
        "\"post_processor\":" TEMPLATE(PIECE("B") "," PIECE_A) ","
        "\"model\":{\"type\":\"BPE\",\"unk_token\":\"a\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},"
        "\"merges\":[\"a b\"]}}";
    /* clang-format on */
    uint64_t seed = 7;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 3000; round++) {
        char text[sizeof whole];
        size_t len = sizeof whole - 1;
        struct tokenizer *tok = NULL;
        struct id_list ids = {0};
        memcpy(text, whole, sizeof whole);
        if (round % 3 == 0)
            len = random_next(&seed) % sizeof whole;
        else
            text[random_next(&seed) % len] =
                (char)(random_next(&seed) % 2 ? random_next(&seed) : '"');
        put_file("tokenizer.json", text, len);
        if (tokenizer_load(scratch_path("tokenizer.json"), &tok, &err) == LLMQ_OK &&
            tokenizer_encode(tok, "ab <s> aab", 10, true, &ids, &err) == LLMQ_OK)
            for (size_t i = 0; i < ids.count; i++)
                ck_assert_int_lt(ids.ids[i], tokenizer_vocab_size(tok));
        id_list_free(&ids);
        tokenizer_free(&tok);
    }
}
END_TEST

/* Nested quantifiers backtrack exponentially; the limit of steps stops them. */
START_TEST(test_a_regular_expression_without_end_is_stopped) {
    static const char file[] = "{\"pre_tokenizer\":" REGEX_SPLIT(
        "(a|aa)+(a|aa)+(a|aa)+c") ",\"model\":{\"vocab\":{\"a\":0},"
                                  "\"merges\":[]}}";
    struct tokenizer *tok = NULL;
    struct id_list ids = {0};
    put_file("tokenizer.json", file, sizeof file - 1);
    ck_assert_ok(tokenizer_load(scratch_path("tokenizer.json"), &tok, &err), &err);
    char text[200];
    memset(text, 'a', sizeof text);
    memcpy(text + sizeof text - 2, "bc", 2); /* the c that must come is there, in vain */
    ck_assert_fails(tokenizer_encode(tok, text, sizeof text, false, &ids, &err), LLMQ_E_UNSUPPORTED,
                    "gives up", &err);
    ck_assert_uint_eq(ids.count, 0);
    tokenizer_free(&tok);
}
END_TEST

/* Ten letters for one, twelve times: a text that would fill any memory. */
START_TEST(test_replacements_that_feed_each_other_are_stopped) {
    struct tokenizer *tok = NULL;
    struct id_list ids = {0};
    struct strbuf file = {0};
    strbuf_puts(&file, "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 12; i++)
        strbuf_printf(&file, "%s" REPLACE("{\"String\":\"a\"}", "aaaaaaaaaa"), i ? "," : "");
    strbuf_puts(&file, "]}," OK_MODEL "}");
    put_file("tokenizer.json", file.data, file.len);
    ck_assert_ok(tokenizer_load(scratch_path("tokenizer.json"), &tok, &err), &err);
    ck_assert_fails(tokenizer_encode(tok, "aaaa", 4, false, &ids, &err), LLMQ_E_UNSUPPORTED,
                    "the normalizer lengthens a text without end", &err);
    ck_assert_uint_eq(ids.count, 0);
    tokenizer_free(&tok);
    strbuf_free(&file);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Nothing was appended then, which is not the same as nothing being there. */
START_TEST(pieces_that_memory_was_short_for_are_an_error) {
    struct piece_list list = {0};
    ck_assert_int_eq(piece_list_close(&list, 0, true, &err), LLMQ_OK); /* empty */
    ck_assert_uint_eq(list.count, 0);
    list.text.failed = true;
    ck_assert_int_eq(piece_list_close(&list, 0, true, &err), LLMQ_E_MEMORY);
    ck_assert_int_eq(piece_list_add_id(&list, 1, &err), LLMQ_E_MEMORY);
    piece_list_free(&list);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer_hostile");
    TCase *hostile = tcase_create("hostile");
    tcase_add_checked_fixture(hostile, scratch_setup, scratch_teardown);
    tcase_set_timeout(hostile, 120);
    tcase_add_loop_test(hostile, test_hostile_file_gives_a_clear_error, 0, COUNT(hostile_cases));
    tcase_add_test(hostile, pieces_that_memory_was_short_for_are_an_error);
    tcase_add_test(hostile, test_absent_file_is_not_found);
    tcase_add_test(hostile, test_truncated_and_mutated_files_do_no_harm);
    tcase_add_test(hostile, test_a_regular_expression_without_end_is_stopped);
    tcase_add_test(hostile, test_replacements_that_feed_each_other_are_stopped);
    suite_add_tcase(suite, hostile);
    return run_suite(suite);
}
