/* Corpora: how files become windows, and that no token goes missing uncounted. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "text/corpus.h"

static llmq_error err;
static struct tokenizer *tok;

/* Letters a to z are the ids 0 to 25, "#" is 26 and goes before every document. */
static void setup(void) {
    char text[1024];
    size_t len = 0;
    scratch_setup();
    for (int i = 0; i < 26; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "\"%c\":%d,", 'a' + i, i);
    char file[2048];
    int n =
        snprintf(file, sizeof file,
                 "{\"model\":{\"vocab\":{%s\"#\":26},\"merges\":[]},\"post_processor\":"
                 "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"#\"}},"
                 "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"#\":{\"ids\":[26]}}}}",
                 text);
    put_file("tokenizer.json", file, (size_t)n);
    ck_assert_ok(tokenizer_load(scratch_path("tokenizer.json"), &tok, &err), &err);
}

static void teardown(void) {
    tokenizer_free(&tok);
    scratch_teardown();
}

static const char *write_text(const char *name, const char *text) {
    put_file(name, text, strlen(text));
    return scratch_path(name);
}

/* The windows as letters, joined by bars. */
static void assert_windows(const struct corpus *c, const char *expected) {
    char found[4096];
    size_t len = 0;
    int64_t longest = 0;
    for (int64_t w = 0; w < c->count; w++) {
        int64_t n = c->offsets[w + 1] - c->offsets[w];
        longest = n > longest ? n : longest;
        if (w)
            found[len++] = '|';
        for (int64_t i = c->offsets[w]; i < c->offsets[w + 1]; i++)
            found[len++] = c->ids[i] == 26 ? '#' : (char)('a' + c->ids[i]);
    }
    found[len] = '\0';
    ck_assert_str_eq(found, expected);
    ck_assert_int_eq(c->offsets[0], 0);
    ck_assert_int_eq(c->max_len, longest);
    ck_assert_int_eq(c->tokens_used, c->offsets[c->count]);
}

static void assert_corpus(const char *path, struct corpus_options options, const char *windows,
                          int64_t dropped) {
    struct corpus c = {0};
    ck_assert_ok(corpus_load(path, tok, 27, &options, &c, &err), &err);
    assert_windows(&c, windows);
    ck_assert_int_eq(c.tokens_dropped, dropped);
    corpus_free(&c);
    ck_assert_ptr_null(c.ids);
}

static void assert_refused(const char *path, struct corpus_options options, enum llmq_status code,
                           const char *part) {
    struct corpus c = {0};
    ck_assert_fails(corpus_load(path, tok, 27, &options, &c, &err), code, part, &err);
    ck_assert_ptr_null(c.ids);
    ck_assert_ptr_null(c.offsets);
}

START_TEST(test_text_is_tokenized_whole_and_cut) {
    const char *path = write_text("a.txt", "abcdefghij"); /* 11 tokens */
    assert_corpus(path, (struct corpus_options){.window = 4}, "#abc|defg", 3);
    assert_corpus(path, (struct corpus_options){.window = 4, .keep_tail = true}, "#abc|defg|hij",
                  0);
    assert_corpus(path, (struct corpus_options){.window = 5, .keep_tail = true}, "#abcd|efghi", 1);
    assert_corpus(path, (struct corpus_options){.window = 4, .max_windows = 1}, "#abc", 7);
    assert_corpus(path, (struct corpus_options){.window = 2, .max_tokens = 5}, "#a|bc", 7);
    assert_corpus(path, (struct corpus_options){.window = 3, .max_tokens = 5, .keep_tail = true},
                  "#ab|cd", 6);
    assert_corpus(path, (struct corpus_options){.window = 50, .keep_tail = true}, "#abcdefghij", 0);
}
END_TEST

START_TEST(test_jsonl_documents_are_joined_each_with_its_special_tokens) {
    const char *path = write_text("a.jsonl", "{\"text\": \"abc\", \"id\": [1, {\"text\": "
                                             "\"z\"}]}\r\n\n  \n{\"n\":1,\"text\":\"d\\u0065\"}");
    assert_corpus(path, (struct corpus_options){.window = 3, .keep_tail = true}, "#ab|c#d", 1);
}
END_TEST

START_TEST(test_json_windows_are_used_as_they_are) {
    const char *path = write_text("a.json", "[[0,1,2],[3,4],[5,6,7,8]]");
    assert_corpus(path, (struct corpus_options){.window = 2}, "abc|de|fghi", 0);
    assert_corpus(path, (struct corpus_options){.max_windows = 2, .sample = true}, "abc|de", 4);
    assert_corpus(path, (struct corpus_options){.max_tokens = 5}, "abc|de", 4);
    assert_corpus(path, (struct corpus_options){.max_tokens = 4}, "abc", 6);
    struct corpus c = {0};
    struct corpus_options all = {0};
    ck_assert_ok(corpus_load(path, NULL, 9, &all, &c, &err), &err);
    corpus_free(&c);
}
END_TEST

START_TEST(test_sampled_windows_keep_their_order_and_depend_on_the_seed_alone) {
    char text[1000];
    int32_t chosen[1000] = {0};
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + i / 50); /* window i of 50 tokens begins at letter (50 i - 1) / 50 */
    text[sizeof text - 1] = '\0';
    const char *path = write_text("a.txt", text);
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct corpus_options o = {.window = 50, .max_windows = 5, .sample = true, .seed = seed};
        struct corpus a = {0}, b = {0};
        ck_assert_ok(corpus_load(path, tok, 27, &o, &a, &err), &err);
        ck_assert_ok(corpus_load(path, tok, 27, &o, &b, &err), &err);
        ck_assert_int_eq(a.count, 5);
        ck_assert_int_eq(a.tokens_used + a.tokens_dropped, 1000);
        ck_assert_mem_eq(a.ids, b.ids, (size_t)a.tokens_used * sizeof *a.ids);
        for (int w = 0; w < 5; w++) {
            int32_t window = a.ids[50 * w + 1]; /* the second token tells the windows apart */
            chosen[window]++;
            if (w > 0)
                ck_assert_int_gt(window, a.ids[50 * (w - 1) + 1]);
        }
        corpus_free(&a);
        corpus_free(&b);
    }
    for (int i = 0; i < 20; i++) /* 400 * 5 / 20 = 100 expected, standard deviation 8.7 */
        ck_assert_msg(chosen[i] > 55 && chosen[i] < 145, "window %d chosen %d times", i, chosen[i]);
}
END_TEST

START_TEST(test_sampling_more_than_there_are_takes_all) {
    const char *path = write_text("a.txt", "abcdefg");
    struct corpus_options o = {.window = 4, .max_windows = 9, .sample = true, .seed = 3};
    assert_corpus(path, o, "#abc|defg", 0);
}
END_TEST

START_TEST(test_bad_corpora_are_refused_with_the_place) {
    static const struct {
        const char *name, *text;
        enum llmq_status status;
        const char *part;
    } cases[] = {
        {"a.json", "[[1,2],[3,27]]", LLMQ_E_INPUT,
         "a.json: window 1, position 1: id 27 is not in [0, 27)"},
        {"a.json", "[[1,-2]]", LLMQ_E_INPUT, "window 0, position 1: id -2"},
        {"a.json", "[[1,2.5]]", LLMQ_E_INPUT, "window 0, position 1: not a token id"},
        {"a.json", "[[1,\"2\"]]", LLMQ_E_INPUT, "window 0, position 1: not a token id"},
        {"a.json", "[[1,2],[3]]", LLMQ_E_INPUT, "window 1 has 1 tokens, at least 2"},
        {"a.json", "[[1,2],7]", LLMQ_E_INPUT, "window 1 is not an array"},
        {"a.json", "{}", LLMQ_E_INPUT, "a.json: not an array of arrays"},
        {"a.json", "[]", LLMQ_E_INPUT, "do not make a single window"},
        {"a.json", "[[1,2]", LLMQ_E_INPUT, "a.json"},
        {"a.jsonl", "{\"text\":\"ab\"}\n{\"text\":7}\n", LLMQ_E_INPUT,
         "a.jsonl: line 2: \"text\" is not"},
        {"a.jsonl", "{\"text\":\"ab\"}\n\n{\"txt\":\"a\"}", LLMQ_E_INPUT, "line 3: no \"text\""},
        {"a.jsonl", "{\"text\":\"ab\"}\n{\"text\":", LLMQ_E_INPUT, "line 2: JSON"},
        {"a.jsonl", "{\"text\":\"a\",\"text\":\"b\"}", LLMQ_E_INPUT,
         "line 1: \"text\" appears twice"},
        {"a.jsonl", "{\"text\":\"ab\"} x", LLMQ_E_INPUT, "line 1: JSON"},
        {"a.jsonl", "[1]", LLMQ_E_INPUT, "line 1: not a JSON object"},
        {"a.txt", "ab\xff", LLMQ_E_INPUT, "a.txt: the text is not UTF-8: byte 2"},
        {"a.txt", "", LLMQ_E_INPUT, "a.txt: 1 tokens do not make a single window"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(write_text(cases[i].name, cases[i].text),
                       (struct corpus_options){.window = 4}, cases[i].status, cases[i].part);
    assert_refused(scratch_path("absent.txt"), (struct corpus_options){.window = 4},
                   LLMQ_E_NOT_FOUND, "absent.txt");
    assert_refused(write_text("a.txt", "abc"), (struct corpus_options){.window = 1}, LLMQ_E_USAGE,
                   "windows of 1 tokens");
}
END_TEST

START_TEST(test_text_without_a_tokenizer_is_a_usage_error) {
    struct corpus c = {0};
    struct corpus_options o = {.window = 4};
    const char *path = write_text("a.txt", "abc");
    ck_assert_fails(corpus_load(path, NULL, 27, &o, &c, &err), LLMQ_E_USAGE, "needs a tokenizer",
                    &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("corpus");
    TCase *tcase = tcase_create("corpus");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_text_is_tokenized_whole_and_cut);
    tcase_add_test(tcase, test_jsonl_documents_are_joined_each_with_its_special_tokens);
    tcase_add_test(tcase, test_json_windows_are_used_as_they_are);
    tcase_add_test(tcase, test_sampled_windows_keep_their_order_and_depend_on_the_seed_alone);
    tcase_add_test(tcase, test_sampling_more_than_there_are_takes_all);
    tcase_add_test(tcase, test_bad_corpora_are_refused_with_the_place);
    tcase_add_test(tcase, test_text_without_a_tokenizer_is_a_usage_error);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
