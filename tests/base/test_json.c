/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: what the scanner accepts and refuses, exact integers, trees, edits of text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "support.h"

static enum llmq_status scan_all(const char *text, size_t len, llmq_error *err) {
    struct json_scan s;
    struct json_token t = {.type = JSON_TOKEN_NULL};
    enum llmq_status status = LLMQ_OK;
    json_scan_init(&s, text, len, 8);
    while (status == LLMQ_OK && t.type != JSON_TOKEN_END)
        status = json_scan_next(&s, &t, err);
    return status;
}

START_TEST(grammar_accepts) {
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "0",
                                        "-0.5e+10",
                                        "\"\"",
                                        "true",
                                        "false",
                                        "null",
                                        " \t\r\n[1, 2 ,3] ",
                                        "{\"a\":{\"b\":[{}]}}",
                                        "\"\\u00e9\\ud83d\\ude00\\n\\/\"",
                                        "\"\xc3\xa9\xf0\x9f\x99\x82\"",
                                        "[[[[[[[[1]]]]]]]]"};
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert_msg(scan_all(texts[i], strlen(texts[i]), &err) == LLMQ_OK, "%s: %s", texts[i],
                      err.message);
}
END_TEST

START_TEST(grammar_refuses) {
    static const char *const texts[] = {"",
                                        " ",
                                        "{",
                                        "[",
                                        "[1",
                                        "[1,",
                                        "[1,]",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{\"a\":1,}",
                                        "{a:1}",
                                        "{'a':1}",
                                        "[1 2]",
                                        "01",
                                        "1.",
                                        ".5",
                                        "+1",
                                        "1e",
                                        "--1",
                                        "nan",
                                        "Infinity",
                                        "tru",
                                        "\"",
                                        "\"\\x\"",
                                        "\"\\u12\"",
                                        "\"\\ud800\"",
                                        "\"\\udc00\"",
                                        "\"\\ud800\\u0041\"",
                                        "\"a\nb\"",
                                        "{}{}",
                                        "{} x",
                                        "\"\xff\"",
                                        "\"\xc0\x80\"",
                                        "\"\xed\xa0\x80\"",
                                        "\"\xf4\x90\x80\x80\"",
                                        "[[[[[[[[[1]]]]]]]]]",
                                        "\xef\xbb\xbf{}",
                                        "]",
                                        "[}",
                                        "{]"};
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert_msg(scan_all(texts[i], strlen(texts[i]), &err) == LLMQ_E_INPUT, "accepted: %s",
                      texts[i]);
    ck_assert_int_eq(scan_all("{}\0", 3, &err), LLMQ_E_INPUT);
}
END_TEST

START_TEST(errors_name_line_and_column) {
    llmq_error err = {0};
    ck_assert_fails(scan_all("{\n  \"a\": x}", 11, &err), LLMQ_E_INPUT, "line 2 column 8", &err);
    ck_assert_fails(scan_all("[\"\\ud83d!\"]", 11, &err), LLMQ_E_INPUT,
                    "line 1 column 3: half of a surrogate pair", &err);
    ck_assert_fails(scan_all("[\"\\u12g4\"]", 10, &err), LLMQ_E_INPUT, "invalid escape", &err);
    ck_assert_fails(scan_all("[\"\\u", 4, &err), LLMQ_E_INPUT, "invalid escape", &err);
    ck_assert_fails(scan_all("[NaN]", 5, &err), LLMQ_E_INPUT, "NaN and Infinity are not JSON",
                    &err);
}
END_TEST

START_TEST(integers_are_exact_to_64_bits) {
    static const struct {
        const char *text;
        bool fits;
        uint64_t value;
    } rows[] = {{"0", true, 0},
                {"18446744073709551615", true, UINT64_MAX},
                {"18446744073709551616", false, 0},
                {"9007199254740993", true, 9007199254740993u},
                {"-1", false, 0},
                {"1.0", false, 0},
                {"1e3", false, 0}};
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_scan s;
        struct json_token t;
        uint64_t value = 0;
        json_scan_init(&s, rows[i].text, strlen(rows[i].text), 8);
        ck_assert_ok(json_scan_next(&s, &t, &err), &err);
        ck_assert_int_eq(json_token_u64(&s, &t, &value), rows[i].fits);
        ck_assert(!rows[i].fits || value == rows[i].value);
    }
}
END_TEST

START_TEST(escapes_decode) {
    const char *text = "\"a\\\"\\\\\\n\\u00e9\\ud83d\\ude00\\u0000z\"";
    llmq_error err = {0};
    struct json_scan s;
    struct json_token t;
    char *out = NULL;
    size_t len = 0;
    json_scan_init(&s, text, strlen(text), 8);
    ck_assert_ok(json_scan_next(&s, &t, &err), &err);
    ck_assert_ok(json_scan_unescape(&s, &t, &out, &len, &err), &err);
    const char expected[] = "a\"\\\n\xc3\xa9\xf0\x9f\x98\x80\0z";
    ck_assert_uint_eq(len, sizeof expected - 1);
    ck_assert_int_eq(memcmp(out, expected, len), 0);
    free(out);
}
END_TEST

START_TEST(trees_read_by_type) {
    const char *text = "{\"i\":3,\"d\":0.5,\"s\":\"x\",\"b\":true,\"n\":null,\"a\":[1,2]}";
    llmq_error err = {0};
    struct json *doc = NULL;
    int64_t i = 0;
    double d = 0;
    bool b = false;
    ck_assert_ok(json_parse(text, strlen(text), "test", &doc, &err), &err);
    ck_assert(json_as_int64(json_get(doc, "i"), &i) && i == 3);
    ck_assert(!json_as_int64(json_get(doc, "d"), &i));
    ck_assert(json_as_double(json_get(doc, "d"), &d) && d == 0.5);
    ck_assert(json_as_bool(json_get(doc, "b"), &b) && b);
    ck_assert(!json_as_bool(json_get(doc, "i"), &b));
    ck_assert_str_eq(json_string(json_get(doc, "s")), "x");
    ck_assert_ptr_null(json_string(json_get(doc, "i")));
    ck_assert_int_eq(json_type(json_get(doc, "absent")), JSON_NULL);
    ck_assert_ptr_null(json_get(json_get(doc, "absent"), "deeper"));
    ck_assert_uint_eq(json_count(json_get(doc, "a")), 2);
    ck_assert_str_eq(json_key(json_first(doc)), "i");
    json_free(&doc);
    ck_assert_fails(json_parse("{", 1, "file.json", &doc, &err), LLMQ_E_INPUT, "file.json", &err);
}
END_TEST

/* --- a key twice ------------------------------------------------------------------------------ */

static enum llmq_status parse_and_drop(const char *text, size_t len, llmq_error *err) {
    struct json *doc = NULL;
    enum llmq_status status = json_parse(text, len, "file.json", &doc, err);
    json_free(&doc);
    return status;
}

START_TEST(a_key_twice_is_refused_by_path_and_lines) {
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"{\"a\":1,\"a\":1}", "line 1 column 8: the key 'a' is given twice, first on line 1"},
        {"{\"a\":1,\n\"b\":{\"c\":[0,{\"d\":1,\n \"d\":2}]}}",
         "file.json: JSON, line 3 column 2: the key 'b.c[1].d' is given twice, first on line 2"},
        {"[[],[{},{\"x\":1,\"x\":2}]]", "'[1][1].x'"},
        {"{\"a\":1,\"\\u0061\":2}", "'\\u0061'"},
        {"{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}", "twice"},
        {"{\"\\/\":1,\"/\":2}", "twice"},
        {"{\"\":1,\"\":2}", "''"},
        {"{\"a\":1,\"b\":{\"a\":2},\"a\":3}", "'a'"},
        {"{\"k\":{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"10\":0,"
         "\"11\":0,\"12\":0,\"13\":0,\"14\":0,\"15\":0,\"16\":0,\"17\":0,\"\\u0034\":0}}",
         "'k.\\u0034'"},
    };
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_fails(parse_and_drop(rows[i].text, strlen(rows[i].text), &err), LLMQ_E_INPUT,
                        rows[i].part, &err);
}
END_TEST

START_TEST(a_key_in_different_objects_is_not_twice) {
    static const char *const texts[] = {
        "{\"a\":{\"a\":{\"a\":1}}}",         "[{\"a\":1},{\"a\":1}]",
        "{\"a\":{\"b\":1},\"b\":{\"b\":1}}", "{\"a\":1,\"A\":1,\"a \":1}",
        "{\"a\":1,\"a\\u0000\":1}",          "{\"\\\\u0061\":1,\"a\":1}"};
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert_ok(parse_and_drop(texts[i], strlen(texts[i]), &err), &err);
}
END_TEST

/* Two keys that one of many is equal to: a vocabulary has hundreds of thousands. */
START_TEST(a_key_twice_among_many_is_found) {
    enum { KEYS = 300000, ENTRY = 24 };
    llmq_error err = {0};
    char *text = malloc((size_t)KEYS * ENTRY + ENTRY);
    ck_assert_ptr_nonnull(text);
    for (int repeat = -1; repeat < KEYS; repeat += KEYS / 2) {
        size_t len = 1;
        text[0] = '{';
        for (int i = 0; i < KEYS; i++)
            len += (size_t)snprintf(text + len, ENTRY, "%s\"t%d\":%d", i ? "," : "", i, i);
        if (repeat >= 0)
            len += (size_t)snprintf(text + len, ENTRY, ",\"\\u0074%d\":0", repeat);
        text[len++] = '}';
        enum llmq_status status = parse_and_drop(text, len, &err);
        ck_assert_int_eq(status, repeat < 0 ? LLMQ_OK : LLMQ_E_INPUT);
    }
    free(text);
}
END_TEST

/* --- what Python's json module writes --------------------------------------------------------- */

START_TEST(numbers_that_are_not_finite_are_no_doubles) {
    const char *text = "\xef\xbb\xbf[Infinity, -Infinity,NaN ,1e999,{\"a\":-Infinity},7]";
    llmq_error err = {0};
    struct json *doc = NULL;
    double d = 0;
    int64_t i = 0;
    ck_assert_ok(json_parse(text, strlen(text), "file.json", &doc, &err), &err);
    ck_assert_uint_eq(json_count(doc), 6);
    const struct json *v = json_first(doc);
    for (int n = 0; n < 4; n++, v = json_next(v)) {
        ck_assert_int_eq(json_type(v), n == 2 ? JSON_NULL : JSON_NUMBER);
        ck_assert(!json_as_double(v, &d) && !json_as_int64(v, &i));
        ck_assert(json_as_limit(v, &d) == (n != 2));
    }
    ck_assert_int_eq(json_type(json_get(v, "a")), JSON_NUMBER);
    ck_assert(json_as_int64(json_next(v), &i) && i == 7);
    json_free(&doc);
    ck_assert_fails(parse_and_drop("[Inf]", 5, &err), LLMQ_E_INPUT, "expected a value", &err);
    ck_assert_fails(parse_and_drop("{} {}", 5, &err), LLMQ_E_INPUT, "after the document", &err);
    ck_assert_fails(parse_and_drop("\xef\xbb\xbf\xef\xbb\xbf{}", 8, &err), LLMQ_E_INPUT,
                    "expected a value", &err);
}
END_TEST

START_TEST(trees_print) {
    struct json *o = json_new_object(), *a = json_new_array();
    json_add_int64(a, NULL, 1);
    json_add_double(a, NULL, 0.1);
    json_add_double(a, NULL, (double)NAN);
    json_add_string(o, "s", "tab\t");
    json_add(o, "a", a);
    char *text = json_print(o, false);
    ck_assert_str_eq(text, "{\"s\":\"tab\\t\",\"a\":[1,0.1,null]}");
    free(text);
    text = json_print(o, true);
    ck_assert_str_eq(text, "{\n  \"s\": \"tab\\t\",\n  \"a\": [1, 0.1, null]\n}\n");
    free(text);
    json_add(o, "lost", NULL); /* what an allocation failure looks like */
    ck_assert_ptr_null(json_print(o, false));
    json_free(&o);
}
END_TEST

/* A string goes on after U+0000, and is printed as it was written. */
START_TEST(nul_in_strings_and_keys_is_kept) {
    static const char text[] = "{\"k\\u0000\":\"a\\u0000b\\\\u0000\"}";
    struct json *doc = NULL;
    llmq_error err = {0};
    char copy[16];
    ck_assert_ok(json_parse(text, strlen(text), "doc", &doc, &err), &err);
    const struct json *member = json_first(doc);
    ck_assert_str_eq(json_key(member), "k\xc0\x80");
    ck_assert_str_eq(json_string(member), "a\xc0\x80"
                                          "b\\u0000");
    memcpy(copy, json_string(member), strlen(json_string(member)) + 1);
    ck_assert_uint_eq(json_unpack(copy), 9);
    ck_assert_int_eq(memcmp(copy, "a\0b\\u0000", 10), 0);
    char *printed = json_print(doc, false);
    ck_assert_str_eq(printed, text);
    free(printed);
    json_free(&doc);
}
END_TEST

START_TEST(edits_keep_every_other_byte) {
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"{}", "{\n  \"q\": [1]\n}"},
        {"{\"eps\": 1e-05, \"x\":500000.0}", "{\"eps\": 1e-05, \"x\":500000.0,\n  \"q\": [1]}"},
        {"{\"q\": {\"old\": [1, {}]}, \"z\": 2}", "{\"q\": [1], \"z\": 2}"},
        {"{\"q\":\"text\"}\n", "{\"q\":[1]}\n"},
        {"{\"a\":{\"q\":5}}", "{\"a\":{\"q\":5},\n  \"q\": [1]}"},
        {"\xef\xbb\xbf{\"a\":Infinity,\"\\u0071\":5}", "{\"a\":Infinity,\"\\u0071\":[1]}"},
    };
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *out = NULL;
        ck_assert_ok(json_text_set(rows[i].text, strlen(rows[i].text), "q", "[1]", &out, &err),
                     &err);
        ck_assert_str_eq(out, rows[i].expected);
        free(out);
    }
    char *out = NULL;
    ck_assert_ok(json_text_set("{\"a\": 1}", 8, "q", "{\n  \"b\": 2\n}\n", &out, &err), &err);
    ck_assert_str_eq(out, "{\"a\": 1,\n  \"q\": {\n    \"b\": 2\n  }}");
    free(out);
    ck_assert_int_eq(json_text_set("[]", 2, "q", "1", &out, &err), LLMQ_E_INPUT);
    ck_assert_int_eq(json_text_set("{} x", 4, "q", "1", &out, &err), LLMQ_E_INPUT);
}
END_TEST

START_TEST(removals_keep_every_other_byte) {
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"{}", "{}"},
        {"{\"a\": 1e-05,\n  \"q\": [1, {}],\n  \"z\":2 }\n", "{\"a\": 1e-05,\n  \"z\":2 }\n"},
        {"{\n  \"q\": \"x\" ,\n  \"z\": 2\n}", "{\n  \"z\": 2\n}"},
        {"{\"a\": 1, \"q\": {\"b\": 2}\n}", "{\"a\": 1\n}"},
        {"{ \"q\": null }", "{ }"},
        {"{\"a\": {\"q\": 1}}", "{\"a\": {\"q\": 1}}"},
    };
    llmq_error err = {0};
    char *out = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_ok(json_text_remove(rows[i].text, strlen(rows[i].text), "q", &out, &err), &err);
        ck_assert_str_eq(out, rows[i].expected);
        free(out);
    }
    ck_assert_int_eq(json_text_remove("[]", 2, "q", &out, &err), LLMQ_E_INPUT);
}
END_TEST

int main(void) {
    Suite *s = suite_create("json");
    TCase *t = tcase_create("json");
    tcase_add_test(t, grammar_accepts);
    tcase_add_test(t, grammar_refuses);
    tcase_add_test(t, errors_name_line_and_column);
    tcase_add_test(t, integers_are_exact_to_64_bits);
    tcase_add_test(t, escapes_decode);
    tcase_add_test(t, trees_read_by_type);
    tcase_add_test(t, a_key_twice_is_refused_by_path_and_lines);
    tcase_add_test(t, a_key_in_different_objects_is_not_twice);
    tcase_add_test(t, a_key_twice_among_many_is_found);
    tcase_add_test(t, numbers_that_are_not_finite_are_no_doubles);
    tcase_add_test(t, trees_print);
    tcase_add_test(t, nul_in_strings_and_keys_is_kept);
    tcase_add_test(t, edits_keep_every_other_byte);
    tcase_add_test(t, removals_keep_every_other_byte);
    suite_add_tcase(s, t);
    return run_suite(s);
}
