/* SPDX-License-Identifier: Apache-2.0 */
/* Corpora: how files become windows, and that no token goes missing uncounted. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "text/letters.h"

static llmq_error err;

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
    ck_assert_ok(letters_load(path, letters, 27, &options, &c, &err), &err);
    assert_windows(&c, windows);
    ck_assert_int_eq(c.tokens_dropped, dropped);
    corpus_free(&c);
    ck_assert_ptr_null(c.ids);
}

static void assert_refused(const char *path, struct corpus_options options, enum llmq_status code,
                           const char *part) {
    struct corpus c = {0};
    ck_assert_fails(letters_load(path, letters, 27, &options, &c, &err), code, part, &err);
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
    assert_corpus(path, (struct corpus_options){.longest = 3}, "abc|de|fgh", 0);
    struct corpus c = {0};
    struct corpus_options all = {0};
    ck_assert_ok(letters_load(path, NULL, 9, &all, &c, &err), &err);
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
        ck_assert_ok(letters_load(path, letters, 27, &o, &a, &err), &err);
        ck_assert_ok(letters_load(path, letters, 27, &o, &b, &err), &err);
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

/* Of 20 windows: with 5 stretches of 4 each, with 8 of 2 or 3, every second one longer. */
static const struct stretches {
    int count, begin[9];
} stretches[] = {{5, {0, 4, 8, 12, 16, 20}}, {8, {0, 2, 5, 7, 10, 12, 15, 17, 20}}, {1, {0, 20}}};

START_TEST(test_stratified_windows_come_one_out_of_each_stretch) {
    const struct stretches *s = &stretches[_i];
    char text[1000];
    int chosen[20] = {0};
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + i / 50);
    text[sizeof text - 1] = '\0';
    const char *path = write_text("a.txt", text);
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct corpus_options o = {.window = 50,
                                   .max_windows = s->count,
                                   .sample = true,
                                   .stratified = true,
                                   .seed = seed};
        struct corpus c = {0};
        ck_assert_ok(letters_load(path, letters, 27, &o, &c, &err), &err);
        ck_assert_int_eq(c.count, s->count);
        for (int w = 0; w < s->count; w++) {
            const int window = c.ids[50 * w + 1];
            ck_assert(window >= s->begin[w] && window < s->begin[w + 1]);
            chosen[window]++;
        }
        corpus_free(&c);
    }
    for (int w = 0; w < s->count; w++) { /* equally often, within five standard deviations */
        const double share = 1.0 / (s->begin[w + 1] - s->begin[w]);
        for (int i = s->begin[w]; i < s->begin[w + 1]; i++)
            ck_assert_double_eq_tol(chosen[i], 400 * share, 50);
    }
}
END_TEST

START_TEST(test_stratified_windows_are_no_choice_among_ids) {
    const char *path = write_text("a.json", "[[1,2],[3,4]]");
    const struct corpus_options o = {.window = 2, .sample = true, .stratified = true};
    struct corpus c = {0};
    ck_assert_fails(letters_load(path, NULL, 27, &o, &c, &err), LLMQ_E_USAGE,
                    "--select would change nothing", &err);
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
        {"a.json", "{}", LLMQ_E_INPUT, "a.json: line 1: no \"text\""},
        {"a.json", "{\n\"text\": \"a\"}", LLMQ_E_INPUT, "a.json: not an array of arrays"},
        {"a.json", "7", LLMQ_E_INPUT, "a.json: not an array of arrays"},
        {"a.json", "[{\"text\": \"ab\"}]", LLMQ_E_INPUT, "a.json: not an array of arrays"},
        {"a.json", "[1,2,3]", LLMQ_E_INPUT, "a.json: not an array of arrays"},
        {"a.json", "[]", LLMQ_E_INPUT, "do not make a single window"},
        {"a.json", "[[1,2]", LLMQ_E_INPUT, "a.json"},
        {"a.jsonl", "{\"text\":\"ab\"}\n{\"text\":7}\n", LLMQ_E_INPUT,
         "a.jsonl: line 2: \"text\" is a number, not"},
        {"a.jsonl", "{\"text\":\"ab\"}\n\n{\"txt\":\"a\"}", LLMQ_E_INPUT, "line 3: no \"text\""},
        {"a.jsonl", "{\"text\":\"ab\"}\n{\"text\":", LLMQ_E_INPUT, "line 2: JSON"},
        {"a.jsonl", "{\"text\":\"a\",\"text\":\"b\"}", LLMQ_E_INPUT, "'text' is given twice"},
        {"a.jsonl", "{\"text\":\"a\",\"t\\u0065xt\":\"b\"}", LLMQ_E_INPUT, "given twice"},
        {"a.jsonl", "{\"text\":\"a\",\"m\":{\"x\":1,\"x\":1}}", LLMQ_E_INPUT, "'m.x'"},
        {"a.jsonl", "{\"messages\":[{\"role\":\"user\"}],\"id\":1}", LLMQ_E_INPUT,
         "the model has no chat template"},
        {"a.jsonl", "{\"prompt\":\"a\",\"id\":1}", LLMQ_E_INPUT,
         "expected {\"text\": ...} or {\"messages\": [...]}, found the keys \"prompt\", \"id\""},
        {"a.json", "{\"text\":\"ab\"}\n{\"prompt\":\"cd\"}\n", LLMQ_E_INPUT, "line 2: no \"text\""},
        {"a", "{\"messages\":[]}\n{\"messages\":[]}\n", LLMQ_E_INPUT, "line 1: no messages"},
        {"a.jsonl", "{\"text\":\"ab\"} x", LLMQ_E_INPUT, "line 1: JSON"},
        {"a.jsonl", "[1]\n[2]", LLMQ_E_INPUT, "line 1: not a JSON object"},
        {"a.txt", "ab\xff", LLMQ_E_INPUT, "a.txt: the text is not UTF-8: byte 2"},
        {"a.txt", "", LLMQ_E_INPUT, "a.txt: the file is empty"},
        {"a.txt", "\xef\xbb\xbf", LLMQ_E_INPUT, "a.txt: the file is empty"},
        {"a.txt", "\xef\xbb\xbf\xff", LLMQ_E_INPUT, "byte 3 is 0xff"},
        {"a.txt", "ab", LLMQ_E_INPUT, "a.txt: 3 tokens do not make a single window of 4"},
        {"a.jsonl", "{\"text\":\"\"}\n{\"text\":\"\"}", LLMQ_E_INPUT, "2 of 2 texts are empty"},
        {"a.jsonl", "\n \n", LLMQ_E_INPUT, "0 tokens do not make"},
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

/* --- what a file holds, by its content -------------------------------------------------------- */

START_TEST(test_kinds_are_told_by_content) {
    static const struct {
        const char *name, *text, *windows;
    } cases[] = {
        {"A.JSONL", "{\"text\":\"abc\"}", "#abc"},
        {"a.JsonLines", "\xef\xbb\xbf{\"text\":\"abc\"}\n", "#abc"},
        {"a.ndjson", "\n{\"n\":NaN,\"text\":\"abc\"}\n", "#abc"},
        {"a.json", "{\"text\":\"abc\"}\n{\"text\":\"def\"}\n", "#abc|#def"},
        {"a.json", "{\"te\\u0078t\":\"abc\"}", "#abc"},
        {"a.txt", "{\"text\":\"abc\"}\n{\"text\":\"def\"}\n", "#abc|#def"},
        {"a", "\xef\xbb\xbf{\"text\":\"abc\"}\r\n", "#abc"},
        {"a.JSON", "[[0,1,2,3]]", "abcd"},
        {"a.json", "\xef\xbb\xbf[[0,1,2,3]]", "abcd"},
        {"a.jsonl", "[[0,1,2,3]]\n", "abcd"},
        {"a.txt", " [ [0,1,2,3] ] ", "abcd"},
        {"a.txt", "\xef\xbb\xbfxyz", "#xyz"},
        {"a.jsonl", "{\"text\":\"abc\"}\n\xef\xbb\xbf{\"text\":\"def\"}\n", "#abc|#def"},
        {"json", "abc", "#abc"},
        {"a.jsonl.txt", "abc", "#abc"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_corpus(write_text(cases[i].name, cases[i].text),
                      (struct corpus_options){.window = 4}, cases[i].windows, 0);
}
END_TEST

/* Text that looks like JSON only at its beginning is text: the tokenizer leaves out the braces. */
START_TEST(test_text_that_begins_like_json_is_text) {
    static const char *const texts[] = {"{ab} cd",
                                        "{\n\"text\": \"ab\"\n} or so",
                                        "{\"text\":1}\nab",
                                        "[[1]] [[ab]]",
                                        "[[1,2]",
                                        "[ab]",
                                        "[1]\nSee there.",
                                        "{}\n[...]",
                                        "GGUF is a kind of file",
                                        "PAR1 is a gene",
                                        "BZhang wrote this",
                                        "ARROW1 flew"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct corpus_file file = {0};
        ck_assert_ok(
            corpus_file_open(write_text("a.md", texts[i]), &(struct reading){0}, &file, &err),
            &err);
        ck_assert_int_eq(file.kind, CORPUS_TEXT);
        ck_assert_str_eq(file.text, texts[i]);
        corpus_file_free(&file);
    }
}
END_TEST

/* "hello" packed by gzip, the same with a wrong sum, packed in
 * two parts (one file after the other), and packed twice. */
static const unsigned char packed_hello[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02,
                                             0xff, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x86,
                                             0xa6, 0x10, 0x36, 0x05, 0x00, 0x00, 0x00};
static const unsigned char packed_bad[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02,
                                           0xff, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x87,
                                           0xa6, 0x10, 0x36, 0x05, 0x00, 0x00, 0x00};
static const unsigned char packed_parts[] = {
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xcb, 0x48, 0xcd, 0x01, 0x00,
    0x1b, 0xf1, 0x0b, 0xe5, 0x03, 0x00, 0x00, 0x00, 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x02, 0xff, 0xcb, 0xc9, 0x07, 0x00, 0x9d, 0x4a, 0x9c, 0x55, 0x02, 0x00, 0x00, 0x00};
static const unsigned char packed_twice[] = {
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0x93, 0xef, 0xe6, 0x60,
    0x00, 0x01, 0xa6, 0xff, 0xa7, 0x3d, 0xce, 0x9e, 0x3c, 0xc9, 0xce, 0xd0, 0xb6, 0x4c,
    0xc0, 0x8c, 0x15, 0x28, 0x00, 0x00, 0x82, 0xe2, 0x0d, 0x61, 0x19, 0x00, 0x00, 0x00};

START_TEST(test_what_gzip_packed_is_read_as_what_it_holds) {
    put_file("a.txt", packed_hello, sizeof packed_hello);
    assert_corpus(scratch_path("a.txt"), (struct corpus_options){.window = 3}, "#he|llo", 0);
    put_file("b.gz", packed_parts, sizeof packed_parts);
    assert_corpus(scratch_path("b.gz"), (struct corpus_options){.window = 3}, "#he|llo", 0);
}
END_TEST

START_TEST(test_what_is_no_text_is_refused_with_the_way_out) {
    static const struct {
        const char *name, *bytes;
        size_t len;
        const char *part, *hint;
    } cases[] = {
        {"a.parquet", "PAR1\x15\0..PAR1", 12, "a Parquet file", "read_parquet"},
        {"a.jsonl", "PAR1\x15\0..PAR1", 12, "a Parquet file", "read_parquet"},
        {"a.arrow", "ARROW1\0\0", 8, "an Arrow file", "read_feather"},
        {"a.txt", "\x1f\x8b\x08\0...", 7, "a.txt: ", "gzip -t"},
        {"cut.gz", (const char *)packed_hello, sizeof packed_hello - 6, "is missing", "gzip -t"},
        {"bad.gz", (const char *)packed_bad, sizeof packed_bad, "is damaged", "gzip -t"},
        {"twice.gz", (const char *)packed_twice, sizeof packed_twice, "gzip twice", "gzip -dc "},
        {"a.json", "\x28\xb5\x2f\xfd.", 5, "compressed with Zstandard", "zstd -dc "},
        {"a.xz",
         "\xfd"
         "7zXZ\0",
         6, "compressed with xz", "xz -dc "},
        {"a.bz2", "BZh91AY&SY\xee", 11, "compressed with bzip2", "bzip2 -dc "},
        {"a.txt", "PK\x03\x04", 4, "a zip archive", "unzip "},
        {"a.txt", "%PDF-1.7\n", 9, "a PDF file", "pdftotext "},
        {"a.CSV", "text,id\nab,1\n", 13, "a table", "read_csv"},
        {"a.tsv", "text\tid\n", 8, "a table", "read_csv"},
        {"a.txt",
         "\xff\xfe"
         "a\0b\0",
         6, "the text is UTF-16", "iconv -f UTF-16 "},
        {"a.jsonl", "\xfe\xff\0{\0}", 6, "the text is UTF-16", "iconv -f UTF-16 "},
        {"a.txt", "a\0b\0c\0d\0", 8, "the text is UTF-16LE", "iconv -f UTF-16LE "},
        {"a.txt", "\0a\0b\0c\0d", 8, "the text is UTF-16BE", "iconv -f UTF-16BE "},
        {"a.txt", "\xff\xfe\0\0a\0\0\0", 8, "the text is UTF-32", "iconv -f UTF-32 "},
        {"a.txt", "\0\0\xfe\xff\0\0\0a", 8, "the text is UTF-32", "iconv -f UTF-32 "},
        {"a.txt", "a\0\0\0b\0\0\0", 8, "the text is UTF-32LE", "iconv -f UTF-32LE "},
        {"a.txt", "\0\0\0a\0\0\0b", 8, "the text is UTF-32BE", "iconv -f UTF-32BE "},
        {"a.txt", "some words\0and more", 19, "byte 10 is NUL", "tr -d"},
        {"a.json", "[[1,2]]\0", 8, "byte 7 is NUL", "tr -d"},
        {"a.txt", "caf\xe9 au lait", 12, "byte 3 is 0xe9", "iconv -f WINDOWS-1252"},
        {"a.json", "[{\"text\":\"a\"}]", 14, "not an array of arrays", "jq -c '.[]'"},
        {"a.json", "{\"data\":\n[]}", 12, "not an array of arrays", "jq -c ."},
        {"a.json", "[\"a\",\"b\"]", 9, "not an array of arrays", "{text: .}"},
        {"a.jsonl", "{\"messages\":[]}", 15, "no messages", ""},
        {"a.jsonl", "{\"prompt\":\"a\",\"completion\":\"b\"}", 31, "no chat template",
         "chat_template.jinja"},
        {"a.txt", "[{\"text\":\n\"a\"}]", 15, "not an array of arrays", "jq -c '.[]'"},
        {"a", "[\n\"a\"]", 6, "not an array of arrays", "{text: .}"},
        {"a.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 57,
         "a Git LFS pointer", "lfs pull"},
        {"a.txt", "[1,2,3]", 7, "not an array of arrays", "[[1, 2, 3]]"},
        {"a.jsonl", "{\"text\":\n\"a\"}", 13, "not an array of arrays", "jq -c ."},
        {"a.txt", "[1,2]\n[3,4]", 11, "line 1: not a JSON object", "jq -s . "},
        {"a.jsonl", "[1,2]\n[3,4]", 11, "line 1: not a JSON object", "jq -s . "},
        {"a.jsonl", "\"a\"\n\"b\"", 7, "line 1: not a JSON object", "{text: .}"},
        {"a.jsonl", "{\"input_ids\":[1]}", 17, "no \"text\"", "map(.input_ids)"},
        {"a.jsonl", "{\"text\":null}", 13, "\"text\" is null", "select("},
        {"a.jsonl", "{\"text\":5}", 10, "\"text\" is a number", "select("},
        {"a.jsonl", "{\"text\":[\"a\"]}", 14, "\"text\" is an array", "select("},
        {"a.json", "Some words", 10, "expected a value", "text.txt"},
        {"a.jsonl", "{\"prompt\":\"a\"}", 14, "no \"text\"", "--calib-field KEY"},
    };
    struct corpus_options o = {.window = 4};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct corpus c = {0};
        put_file(cases[i].name, cases[i].bytes, cases[i].len);
        ck_assert_fails(letters_load(scratch_path(cases[i].name), letters, 27, &o, &c, &err),
                        LLMQ_E_INPUT, cases[i].part, &err);
        ck_assert_ptr_nonnull(strstr(err.message, cases[i].name));
        ck_assert_msg(strstr(err.hint, cases[i].hint), "%s: hint lacks '%s': %s", cases[i].name,
                      cases[i].hint, err.hint);
    }
}
END_TEST

START_TEST(test_hints_quote_paths_for_a_shell) {
    static const char *const cases[][3] = {
        {"it's a.txt", "\xff\xfe", "/it'\\''s a.txt' > text"},
        {"a$b", "\x28\xb5\x2f\xfd", "/a$b' > text"},
        {"a b.csv", "x", "/a b.csv'"},
        {"a;b.json", "[\"a\"]", "/a;b.json' > text.jsonl"},
    };
    struct corpus_options o = {.window = 4};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct corpus c = {0};
        ck_assert_fails(
            letters_load(write_text(cases[i][0], cases[i][1]), letters, 27, &o, &c, &err),
            LLMQ_E_INPUT, cases[i][0], &err);
        ck_assert_msg(strstr(err.hint, cases[i][2]) && strstr(err.hint, " '/"), "%s", err.hint);
    }
}
END_TEST

START_TEST(test_options_that_would_change_nothing_are_refused) {
    static const struct {
        struct corpus_options options;
        const char *part;
    } cases[] = {
        {{.special = LLMQ_SPECIAL_MODEL, .window_given = true, .window_option = "--ctx"}, "--ctx"},
        {{.special = LLMQ_SPECIAL_MODEL, .seed_given = true}, "--seed"},
        {{.special = LLMQ_SPECIAL_MODEL, .field = "x", .field_option = "--f"}, "--f"},
        {{.special = LLMQ_SPECIAL_BOS}, "--bos"},
        {{.special = LLMQ_SPECIAL_NONE}, "--no-special"},
    };
    struct corpus_file file = {0};
    struct corpus c = {0};
    ck_assert_ok(
        corpus_file_open(write_text("a.json", "[[1,2,3]]"), &(struct reading){0}, &file, &err),
        &err);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_fails(corpus_load(&file, NULL, 9, &cases[i].options, &c, &err), LLMQ_E_USAGE,
                        cases[i].part, &err);
    corpus_file_free(&file);
}
END_TEST

START_TEST(test_a_limit_is_told_from_a_short_text) {
    struct corpus_options o = {.window = 4, .max_tokens = 3, .window_option = "--ctx"};
    const char *path = write_text("a.txt", "abcdefghij");
    assert_refused(path, o, LLMQ_E_USAGE, "--max-tokens 3 leaves no whole window");
    ck_assert_ptr_nonnull(strstr(err.hint, "--max-tokens 4 or more, or --ctx 3"));
    path = write_text("b.txt", "a");
    assert_refused(path, o, LLMQ_E_INPUT, "2 tokens do not make a single window of 4");
    ck_assert_ptr_nonnull(strstr(err.hint, "--ctx 2 or less"));
    path = write_text("a.json", "[[1,2,3,4],[5,6,7]]");
    assert_refused(path, (struct corpus_options){.max_tokens = 3}, LLMQ_E_USAGE,
                   "--max-tokens 3 leaves no whole window");
    struct corpus c = {0};
    o = (struct corpus_options){.window = 4, .max_tokens = 6};
    ck_assert_ok(letters_load(write_text("a.txt", "abcdefghij"), letters, 27, &o, &c, &err), &err);
    ck_assert_int_eq(c.tokens_used, 4);
    ck_assert_int_eq(c.tokens_dropped, 7);
    ck_assert_int_eq(c.tokens_beyond, 5);
    corpus_free(&c);
    path = write_text("a.json", "[[1,2,3,4],[5,6,7]]");
    ck_assert_ok(letters_load(path, NULL, 9, &o, &c, &err), &err);
    ck_assert_int_eq(c.windows_beyond, 1);
    ck_assert_int_eq(c.tokens_beyond, 3);
    corpus_free(&c);
    o = (struct corpus_options){.max_windows = 1};
    ck_assert_ok(letters_load(path, NULL, 9, &o, &c, &err), &err);
    ck_assert_int_eq(c.windows_beyond, 1);
    ck_assert_int_eq(c.tokens_beyond, 0);
    corpus_free(&c);
}
END_TEST

START_TEST(test_text_without_a_tokenizer_is_a_usage_error) {
    struct corpus c = {0};
    struct corpus_options o = {.window = 4};
    const char *path = write_text("a.txt", "abc");
    ck_assert_fails(letters_load(path, NULL, 27, &o, &c, &err), LLMQ_E_USAGE, "needs a tokenizer",
                    &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("corpus");
    TCase *tcase = tcase_create("corpus");
    tcase_add_checked_fixture(tcase, letters_setup, letters_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_text_is_tokenized_whole_and_cut);
    tcase_add_test(tcase, test_jsonl_documents_are_joined_each_with_its_special_tokens);
    tcase_add_test(tcase, test_json_windows_are_used_as_they_are);
    tcase_add_loop_test(tcase, test_stratified_windows_come_one_out_of_each_stretch, 0, 3);
    tcase_add_test(tcase, test_stratified_windows_are_no_choice_among_ids);
    tcase_add_test(tcase, test_sampled_windows_keep_their_order_and_depend_on_the_seed_alone);
    tcase_add_test(tcase, test_sampling_more_than_there_are_takes_all);
    tcase_add_test(tcase, test_bad_corpora_are_refused_with_the_place);
    tcase_add_test(tcase, test_kinds_are_told_by_content);
    tcase_add_test(tcase, test_text_that_begins_like_json_is_text);
    tcase_add_test(tcase, test_what_gzip_packed_is_read_as_what_it_holds);
    tcase_add_test(tcase, test_what_is_no_text_is_refused_with_the_way_out);
    tcase_add_test(tcase, test_hints_quote_paths_for_a_shell);
    tcase_add_test(tcase, test_options_that_would_change_nothing_are_refused);
    tcase_add_test(tcase, test_a_limit_is_told_from_a_short_text);
    tcase_add_test(tcase, test_text_without_a_tokenizer_is_a_usage_error);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
