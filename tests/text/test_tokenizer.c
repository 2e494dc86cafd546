/* SPDX-License-Identifier: Apache-2.0 */
/* The components of a tokenizer, one by one, on tokenizers small enough to check by eye. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/strbuf.h"
#include "support.h"
#include "tests/text/tokenizer_json.h"
#include "text/tokenizer.h"

static llmq_error err;

static struct tokenizer *load(const char *text) {
    struct tokenizer *tok = NULL;
    put_file("tokenizer.json", text, strlen(text));
    enum llmq_status status = tokenizer_load(scratch_path("tokenizer.json"), &tok, &err);
    ck_assert_msg(status == LLMQ_OK, "%s\n%s", err.message, text);
    return tok;
}

/* The tokens of `text`, joined by bars; the caller frees it. */
static char *tokens_of(const struct tokenizer *tok, const char *text, size_t len, bool special) {
    struct id_list ids = {0};
    struct strbuf b = {0};
    ck_assert_ok(tokenizer_encode(tok, text, len, special, &ids, &err), &err);
    for (size_t i = 0; i < ids.count; i++) {
        strbuf_puts(&b, i ? "|" : "");
        strbuf_puts(&b, tokenizer_token(tok, ids.ids[i]));
    }
    id_list_free(&ids);
    return strbuf_take(&b);
}

static void assert_tokens(const struct tokenizer *tok, const char *text, const char *expected) {
    char *found = tokens_of(tok, text, strlen(text), false);
    ck_assert_str_eq(found, expected);
    free(found);
}

/* A fragment of JSON, or null. */
static const char *or_null(const char *json) {
    return json ? json : "null";
}

/* --- how components cut ----------------------------------------------------------------------- */

/* Each case is a tokenizer whose vocabulary is exactly the tokens expected and "?" for everything
 * else, with ignore_merges: a piece that is cut anywhere else shows as question marks. */
struct component_case {
    const char *normalizer, *pre_tokenizer, *added; /* JSON, NULL for null */
    const char *text;
    const char *expected; /* tokens joined by bars */
};

static const struct component_case component_cases[] = {
    /* clang-format off */
    /* Split: every behavior, as documented by the reference on this very text, and inverted. */
    {NULL, SPLIT(DASH, "Isolated", "false"), NULL, "the-final--countdown", "the|-|final|-|-|countdown"},
    {NULL, SPLIT(DASH, "Removed", "false"), NULL, "the-final--countdown", "the|final|countdown"},
    {NULL, SPLIT(DASH, "MergedWithPrevious", "false"), NULL, "the-final--countdown", "the-|final-|-|countdown"},
    {NULL, SPLIT(DASH, "MergedWithNext", "false"), NULL, "the-final--countdown", "the|-final|-|-countdown"},
    {NULL, SPLIT(DASH, "Contiguous", "false"), NULL, "the-final--countdown", "the|-|final|--|countdown"},
    {NULL, SPLIT(DASH, "Removed", "true"), NULL, "the-final--countdown", "-|-|-"},
    {NULL, SPLIT(DASH, "Isolated", "false"), NULL, "-", "-"},
    {NULL, SPLIT("{\"Regex\":\"x*\"}", "Isolated", "false"), NULL, "axxb", "a|xx|b"},
    {NULL, SPLIT("{\"String\":\"\"}", "Isolated", "false"), NULL, "abc", "a|b|c"},
    /* Regular expressions: where engines differ. */
    {NULL, REGEX_SPLIT("\\\\s+"), NULL, "a\xe1\xa0\x8e" "b c", "a\xe1\xa0\x8e" "b| |c"},
    {NULL, REGEX_SPLIT("\\\\S+"), NULL, "a\xe1\xa0\x8e" "b c", "a\xe1\xa0\x8e" "b| |c"},
    {NULL, REGEX_SPLIT("\\\\w+"), NULL, "a\xe2\x80\xbf" "e\xcc\x81+", "a\xe2\x80\xbf" "e\xcc\x81|+"},
    {NULL, REGEX_SPLIT("\\\\w+"), NULL, "-a\xc2\xb2\xe2\x91\xa0", "-|a\xc2\xb2|\xe2\x91\xa0"},
    {NULL, REGEX_SPLIT("\\\\h+"), NULL, "beef stew", "beef| st|e|w"},
    {NULL, REGEX_SPLIT("(?m:a.)"), NULL, "a\nb", "a\n|b"},
    {NULL, REGEX_SPLIT("a."), NULL, "a\nab", "a\n|ab"},
    {NULL, REGEX_SPLIT("^b"), NULL, "ab\nb", "ab\n|b"},
    {NULL, REGEX_SPLIT(LLAMA3), NULL, "I'LL go 12345 km!\r\n  now", "I|'LL| go| |123|45| km|!\r\n| | now"},
    /* ByteLevel: GPT-2's cuts and alphabet. */
    {NULL, GPT2("false"), NULL, "Hi  you's \xc3\xa9", "Hi|\xc4\xa0|\xc4\xa0you|'s|\xc4\xa0\xc3\x83\xc2\xa9"},
    {NULL, GPT2("true"), NULL, "Hi", "\xc4\xa0Hi"},
    {NULL, GPT2("true"), NULL, " Hi", "\xc4\xa0Hi"},
    {NULL, BYTES, NULL, "a b\n\x7f", "a\xc4\xa0" "b\xc4\x8a\xc4\xa1"},
    {PLAIN("ByteLevel"), NULL, NULL, "a b", "a\xc4\xa0" "b"},
    /* Metaspace, both spellings. */
    {NULL, META(""), NULL, "a b", "_a|_b"},
    {NULL, META(",\"add_prefix_space\":true"), NULL, "a b", "_a|_b"},
    {NULL, META(",\"prepend_scheme\":\"never\""), NULL, "a b", "a|_b"},
    {NULL, META(",\"add_prefix_space\":false,\"prepend_scheme\":\"never\""), NULL, "a b", "a|_b"},
    {NULL, META(",\"split\":false"), NULL, "a b", "_a_b"},
    {NULL, META(""), NULL, " a", "_a"},
    {NULL, META(",\"prepend_scheme\":\"first\""), "[" ADDED("#", LITERAL) "]", "a#b c", "_a|#|b|_c"},
    {NULL, META(",\"prepend_scheme\":\"always\""), "[" ADDED("#", LITERAL) "]", "a#b c", "_a|#|_b|_c"},
    {STRIP("true", "false"), META(",\"prepend_scheme\":\"first\""), NULL, " a", "a"},
    /* The smaller pre-tokenizers. */
    {NULL, "{\"type\":\"Digits\",\"individual_digits\":true}", NULL, "a12\xc2\xbd", "a|1|2|\xc2\xbd"},
    {NULL, "{\"type\":\"Digits\",\"individual_digits\":false}", NULL, "a12b", "a|12|b"},
    {NULL, PLAIN("Punctuation"), NULL, "a,b$\xc2\xab", "a|,|b|$|\xc2\xab"},
    {NULL, "{\"type\":\"Punctuation\",\"behavior\":\"Removed\"}", NULL, "a,b", "a|b"},
    {NULL, PLAIN("Whitespace"), NULL, "Hi, you_1 \xe2\x82\xac", "Hi|,|you_1|\xe2\x82\xac"},
    {NULL, PLAIN("WhitespaceSplit"), NULL, " Hi, \xe3\x80\x80you\n", "Hi,|you"},
    {NULL, "{\"type\":\"CharDelimiterSplit\",\"delimiter\":\",\"}", NULL, "a,,b", "a|b"},
    {NULL, PRESEQ(PLAIN("WhitespaceSplit"), "{\"type\":\"Digits\"}"), NULL, "a12 3", "a|12|3"},
    /* Normalizers. */
    {SEQ("{\"type\":\"Prepend\",\"prepend\":\"_\"}", REPLACE("{\"String\":\" \"}", "_")), NULL, NULL, "a b", "_a_b"},
    {REPLACE("{\"Regex\":\"\\\\s+\"}", "."), NULL, NULL, "a \n b ", "a.b."},
    {REPLACE("{\"String\":\"aa\"}", ""), NULL, NULL, "aaab", "ab"},
    {PLAIN("NFC"), NULL, NULL, "e\xcc\x81", "\xc3\xa9"},
    {PLAIN("NFD"), NULL, NULL, "\xc3\xa9", "e\xcc\x81"},
    {PLAIN("NFKC"), NULL, NULL, "\xef\xac\x81", "fi"},
    {PLAIN("NFKD"), NULL, NULL, "\xe2\x91\xa0\xc3\xa9", "1e\xcc\x81"},
    {PLAIN("Lowercase"), NULL, NULL, "A\xc3\x89\xce\xa3\xc4\xb0", "a\xc3\xa9\xcf\x83i\xcc\x87"},
    {PLAIN("StripAccents"), NULL, NULL, "e\xcc\x81" "a", "ea"},
    {STRIP("true", "true"), NULL, NULL, " \n\xe3\x80\x80 a b\t", "a b"},
    {STRIP("false", "true"), NULL, NULL, " a ", " a"},
    {STRIP("true", "true"), NULL, NULL, " \n ", ""},
    /* Added tokens: the longest wins, flags, and matching before or after normalization. */
    {NULL, NULL, "[" ADDED("<a", LITERAL) "," ADDED("<a>", LITERAL) "]", "x<a>y<ay", "x|<a>|y|<a|y"},
    {NULL, NULL, "[" ADDED("cat", LITERAL ",\"single_word\":true") "]", "cat cats cat", "cat| cats |cat"},
    {NULL, NULL, "[" ADDED("cat", LITERAL ",\"single_word\":true") "]", "cat\xcc\x81 cat", "cat\xcc\x81 |cat"},
    {NULL, NULL, "[" ADDED("#", LITERAL ",\"lstrip\":true") "]", "a \n# b", "a|#| b"},
    {NULL, NULL, "[" ADDED("#", LITERAL ",\"rstrip\":true") "]", "a # \tb", "a |#|b"},
    {NULL, NULL, "[" ADDED("#", LITERAL ",\"lstrip\":true,\"rstrip\":true") "]", "# #a", "#|#|a"},
    {PLAIN("Lowercase"), NULL, "[" ADDED("Cat", ",\"normalized\":true") "]", "aCATb", "a|Cat|b"},
    {PLAIN("Lowercase"), NULL, "[" ADDED("Cat", LITERAL) "]", "aCATbCat", "acatb|Cat"},
    {NULL, NULL, "[" ADDED("", LITERAL) "," ADDED("#", LITERAL) "]", "a#", "a|#"},
    /* clang-format on */
};

/* Escape a token for JSON through the JSON writer itself. */
static void append_json_string(struct strbuf *b, const char *text, size_t len) {
    char copy[64];
    ck_assert_uint_lt(len, sizeof copy);
    memcpy(copy, text, len);
    copy[len] = '\0';
    struct json *array = json_new_array();
    json_add_string(array, NULL, copy);
    char *printed = json_print(array, false); /* ["text"] */
    strbuf_append(b, strchr(printed, '"'),
                  (size_t)(strrchr(printed, '"') - strchr(printed, '"')) + 1);
    free(printed);
    json_free(&array);
}

/* "token": id members for the tokens in `joined`, each once, after "?": 0. */
static void append_vocab(struct strbuf *b, const char *joined) {
    int id = 1;
    strbuf_puts(b, "\"?\":0");
    for (const char *at = joined; *at;) {
        size_t len = strcspn(at, "|");
        bool seen = false;
        for (const char *p = joined; p < at; p += strcspn(p, "|") + 1)
            seen = seen || (strcspn(p, "|") == len && memcmp(p, at, len) == 0);
        if (!seen) {
            strbuf_puts(b, ",");
            append_json_string(b, at, len);
            strbuf_printf(b, ":%d", id++);
        }
        at += len + (at[len] == '|');
    }
}

START_TEST(test_component_cuts_as_the_reference_does) {
    const struct component_case *c = &component_cases[_i];
    struct strbuf b = {0};
    strbuf_printf(
        &b, "{\"version\":\"1.0\",\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,",
        c->added ? c->added : "[]", or_null(c->normalizer), or_null(c->pre_tokenizer));
    strbuf_puts(
        &b, "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"ignore_merges\":true,\"merges\":[],"
            "\"vocab\":{");
    append_vocab(&b, c->expected);
    strbuf_puts(&b, "}}}");
    char *text = strbuf_take(&b);
    struct tokenizer *tok = load(text);
    assert_tokens(tok, c->text, c->expected);
    tokenizer_free(&tok);
    free(text);
}
END_TEST

/* --- the model -------------------------------------------------------------------------------- */

START_TEST(test_merges_go_by_rank_then_left_to_right) {
    static const char vocab[] = "\"a\":0,\"b\":1,\"c\":2,\"bc\":3,\"ab\":4,\"aa\":5,\"abc\":6";
    static const struct {
        const char *merges, *text, *expected;
    } cases[] = {
        {"\"b c\",\"a b\"", "abc", "a|bc"},
        {"\"a b\",\"b c\"", "abc", "ab|c"},
        {"\"a b\",\"ab c\"", "abcab", "abc|ab"},
        {"[\"a\",\"b\"],[\"ab\",\"c\"]", "abcab", "abc|ab"},
        {"\"#version: 0.2\",\"a a\"", "aaaaa", "aa|aa|a"},
        {"\"a b\",\"b c\",\"a b\"", "abc", "a|bc"}, /* given twice: the last rank counts */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct strbuf b = {0};
        strbuf_printf(&b, MODEL("", "%s", "%s"), vocab, cases[i].merges);
        struct tokenizer *tok = load(b.data);
        assert_tokens(tok, cases[i].text, cases[i].expected);
        tokenizer_free(&tok);
        strbuf_free(&b);
    }
}
END_TEST

START_TEST(test_characters_outside_the_vocabulary) {
    static const char vocab[] = "\"a\":0,\"?\":1,\"<0xC3>\":2,\"<0xA9>\":3,\"<0x0A>\":4";
    static const struct {
        const char *options, *text, *expected;
    } cases[] = {
        {"",
         "a\xc3\xa9"
         "a",
         "a|a"}, /* no unknown token: dropped, as in the reference */
        {"\"unk_token\":\"?\",", "zza", "?|?|a"},
        {"\"unk_token\":\"?\",\"fuse_unk\":true,", "zzaz", "?|a|?"},
        {"\"unk_token\":\"?\",\"byte_fallback\":true,", "a\xc3\xa9\nz", "a|<0xC3>|<0xA9>|<0x0A>|?"},
        {"\"unk_token\":\"?\",\"byte_fallback\":true,", "z\na", "<0x0A>|?|a"}, /* bytes overtake */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct strbuf b = {0};
        strbuf_printf(&b, MODEL("%s", "%s", ""), cases[i].options, vocab);
        struct tokenizer *tok = load(b.data);
        assert_tokens(tok, cases[i].text, cases[i].expected);
        tokenizer_free(&tok);
        strbuf_free(&b);
    }
}
END_TEST

START_TEST(test_unknown_token_missing_is_an_error_only_when_needed) {
    struct id_list ids = {0};
    struct tokenizer *tok = load(MODEL("\"unk_token\":\"?\",", "\"a\":0", ""));
    assert_tokens(tok, "aa", "a|a");
    ck_assert_fails(tokenizer_encode(tok, "az", 2, false, &ids, &err), LLMQ_E_INPUT, "U+007A",
                    &err);
    id_list_free(&ids);
    tokenizer_free(&tok);
}
END_TEST

/* --- against a naive implementation ----------------------------------------------------------- */

enum { LETTERS = 5, TOKENS_MAX = 60, NAIVE_MAX = 300 };

struct naive {
    char tokens[TOKENS_MAX][40];
    int count;
    int left[TOKENS_MAX], right[TOKENS_MAX]; /* of token i, for i >= LETTERS; rank is i */
};

/* Random merges over the letters a to e. */
static void naive_random(struct naive *n, uint64_t *seed) {
    n->count = LETTERS;
    for (int i = 0; i < LETTERS; i++)
        snprintf(n->tokens[i], sizeof n->tokens[i], "%c", 'a' + i);
    for (int tries = 0; tries < 200 && n->count < TOKENS_MAX; tries++) {
        int l = (int)(random_next(seed) % (uint64_t)n->count);
        int r = (int)(random_next(seed) % (uint64_t)n->count);
        bool known = strlen(n->tokens[l]) + strlen(n->tokens[r]) >= 20;
        char joined[80];
        snprintf(joined, sizeof joined, "%.39s%.39s", n->tokens[l], n->tokens[r]);
        for (int i = 0; i < n->count; i++)
            known = known || strcmp(n->tokens[i], joined) == 0;
        if (known)
            continue;
        memcpy(n->tokens[n->count], joined, strlen(joined) + 1);
        n->left[n->count] = l;
        n->right[n->count++] = r;
    }
}

static struct tokenizer *naive_tokenizer(const struct naive *n) {
    struct strbuf b = {0};
    strbuf_puts(&b, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < n->count; i++)
        strbuf_printf(&b, "%s\"%s\":%d", i ? "," : "", n->tokens[i], i);
    strbuf_puts(&b, "},\"merges\":[");
    for (int i = LETTERS; i < n->count; i++)
        strbuf_printf(&b, "%s\"%s %s\"", i > LETTERS ? "," : "", n->tokens[n->left[i]],
                      n->tokens[n->right[i]]);
    strbuf_puts(&b, "]}}");
    struct tokenizer *tok = load(b.data);
    strbuf_free(&b);
    return tok;
}

/* Merge the best pair until there is none: quadratic, and obviously right. */
static int naive_encode(const struct naive *n, const char *text, int len, int *ids) {
    for (int i = 0; i < len; i++)
        ids[i] = text[i] - 'a';
    for (;;) {
        int best = n->count, at = 0;
        for (int i = 0; i + 1 < len; i++)
            for (int m = LETTERS; m < best; m++)
                if (n->left[m] == ids[i] && n->right[m] == ids[i + 1]) {
                    best = m;
                    at = i;
                }
        if (best == n->count)
            return len;
        ids[at] = best;
        memmove(ids + at + 1, ids + at + 2, (size_t)(len - at - 2) * sizeof *ids);
        len--;
    }
}

START_TEST(test_equals_a_naive_implementation_on_random_merges_and_texts) {
    uint64_t seed = 20240607;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 200; round++) {
        struct naive n;
        naive_random(&n, &seed);
        struct tokenizer *tok = naive_tokenizer(&n);
        for (int text_number = 0; text_number < 5; text_number++) {
            char text[NAIVE_MAX];
            int expected[NAIVE_MAX], len = 1 + (int)(random_next(&seed) % NAIVE_MAX);
            for (int i = 0; i < len; i++)
                text[i] = (char)('a' + random_next(&seed) % LETTERS);
            int count = naive_encode(&n, text, len, expected);
            struct id_list ids = {0};
            ck_assert_ok(tokenizer_encode(tok, text, (size_t)len, false, &ids, &err), &err);
            ck_assert_uint_eq(ids.count, (size_t)count);
            for (int i = 0; i < count; i++)
                ck_assert_int_eq(ids.ids[i], expected[i]);
            id_list_free(&ids);
        }
        tokenizer_free(&tok);
    }
}
END_TEST

/* A quadratic implementation would need hours for this. */
START_TEST(test_a_megabyte_without_a_cut_is_encoded) {
    enum { N = 1 << 20 };
    struct id_list ids = {0};
    struct tokenizer *tok = load(
        MODEL("", "\"a\":0,\"aa\":1,\"aaaa\":2,\"aaaaaaaa\":3", "\"a a\",\"aa aa\",\"aaaa aaaa\""));
    char *text = malloc(N);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', N);
    ck_assert_ok(tokenizer_encode(tok, text, N, false, &ids, &err), &err);
    ck_assert_uint_eq(ids.count, N / 8);
    for (size_t i = 0; i < ids.count; i++)
        ck_assert_int_eq(ids.ids[i], 3);
    free(text);
    id_list_free(&ids);
    tokenizer_free(&tok);
}
END_TEST

/* --- special tokens, ids, text ---------------------------------------------------------------- */

START_TEST(test_postprocessor_adds_special_tokens_only_when_asked) {
    static const struct {
        const char *text, *with, *without;
    } cases[] = {
        {WITH_POST("null"), "a", "a"},
        {WITH_POST(PLAIN("ByteLevel")), "a", "a"},
        {WITH_POST(TEMPLATE(PIECE("B") "," PIECE_A "," PIECE("E"))), "[|[|a|]", "a"},
        {WITH_POST(TEMPLATE(PIECE_A "," PIECE("E") "," PIECE_A)), "a|]|a", "a|a"},
        {WITH_POST("{\"type\":\"Sequence\",\"processors\":[" PLAIN("ByteLevel") "," TEMPLATE(
             PIECE_A "," PIECE("E")) "]}"),
         "a|]", "a"},
        {WITH_POST(CLS_SEP("RobertaProcessing")), "[|a|]", "a"},
        {WITH_POST(CLS_SEP("BertProcessing")), "[|a|]", "a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tokenizer *tok = load(cases[i].text);
        char *with = tokens_of(tok, "a", 1, true), *without = tokens_of(tok, "a", 1, false);
        ck_assert_str_eq(with, cases[i].with);
        ck_assert_str_eq(without, cases[i].without);
        free(with);
        free(without);
        tokenizer_free(&tok);
    }
}
END_TEST

START_TEST(test_added_tokens_take_the_vocabulary_id_or_the_next_free_one) {
    struct id_list ids = {0};
    struct tokenizer *tok =
        load("{\"added_tokens\":[{\"id\":77,\"content\":\"<x>\",\"normalized\":false},"
             "{\"id\":3,\"content\":\"b\",\"normalized\":false}],"
             "\"model\":{\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}");
    ck_assert_ok(tokenizer_encode(tok, "<x>ab", 5, false, &ids, &err), &err);
    ck_assert_uint_eq(ids.count, 3);
    ck_assert_int_eq(ids.ids[0], 2);
    ck_assert_int_eq(ids.ids[1], 0);
    ck_assert_int_eq(ids.ids[2], 1);
    ck_assert_int_eq(tokenizer_vocab_size(tok), 3);
    ck_assert_str_eq(tokenizer_token(tok, 2), "<x>");
    ck_assert_ptr_null(tokenizer_token(tok, 3));
    ck_assert_ptr_null(tokenizer_token(tok, -1));
    id_list_free(&ids);
    tokenizer_free(&tok);
}
END_TEST

START_TEST(test_ids_are_appended_and_text_may_hold_nul) {
    struct id_list ids = {0};
    struct tokenizer *tok =
        load("{\"pre_tokenizer\":" BYTES ",\"model\":{\"vocab\":{\"a\":0,\"\xc4\x80\":1},"
             "\"merges\":[]}}");
    ck_assert_ok(tokenizer_encode(tok, "a", 1, true, &ids, &err), &err);
    ck_assert_ok(tokenizer_encode(tok, "", 0, true, &ids, &err), &err);
    ck_assert_ok(tokenizer_encode(tok, "\0a", 2, true, &ids, &err), &err);
    ck_assert_uint_eq(ids.count, 3);
    ck_assert_int_eq(ids.ids[1], 1);
    ck_assert_int_eq(ids.ids[2], 0);
    id_list_free(&ids);
    tokenizer_free(&tok);
}
END_TEST

START_TEST(test_invalid_utf8_is_refused_with_its_offset) {
    static const struct {
        const char *text, *where;
    } cases[] = {
        {"ab\xff", "byte 2"},        {"\xc3\xa9\x80", "byte 2"},     {"a\xc0\x80", "byte 1"},
        {"a\xed\xa0\x80", "byte 1"}, {"\xf4\x90\x80\x80", "byte 0"}, {"a\xe2\x82", "byte 1"},
    };
    struct tokenizer *tok = load(MODEL("", "\"a\":0", ""));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct id_list ids = {0};
        ck_assert_fails(
            tokenizer_encode(tok, cases[i].text, strlen(cases[i].text), false, &ids, &err),
            LLMQ_E_INPUT, cases[i].where, &err);
        ck_assert_uint_eq(ids.count, 0);
    }
    tokenizer_free(&tok);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

int main(void) {
    Suite *suite = suite_create("tokenizer");
    TCase *parts = tcase_create("components");
    tcase_add_checked_fixture(parts, scratch_setup, scratch_teardown);
    tcase_set_timeout(parts, 120);
    tcase_add_loop_test(parts, test_component_cuts_as_the_reference_does, 0,
                        COUNT(component_cases));
    tcase_add_test(parts, test_merges_go_by_rank_then_left_to_right);
    tcase_add_test(parts, test_characters_outside_the_vocabulary);
    tcase_add_test(parts, test_unknown_token_missing_is_an_error_only_when_needed);
    tcase_add_test(parts, test_equals_a_naive_implementation_on_random_merges_and_texts);
    tcase_add_test(parts, test_a_megabyte_without_a_cut_is_encoded);
    tcase_add_test(parts, test_postprocessor_adds_special_tokens_only_when_asked);
    tcase_add_test(parts, test_added_tokens_take_the_vocabulary_id_or_the_next_free_one);
    tcase_add_test(parts, test_ids_are_appended_and_text_may_hold_nul);
    tcase_add_test(parts, test_invalid_utf8_is_refused_with_its_offset);
    suite_add_tcase(suite, parts);
    return run_suite(suite);
}
