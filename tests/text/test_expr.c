/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions: matches as the reference's engine finds them. The expected values were
 * computed by Oniguruma 6.9.10 with its own syntax, the way the reference walks through a text. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "support.h"
#include "text/expr.h"
#include "text/utf8.h"

static llmq_error err;

static const struct {
    const char *expression, *text;
    const char *marked; /* the text with its matches in angle brackets */
} cases[] = {
    /* clang-format off */
    {"\\p{Han}+", "\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82" "ab", "<\xe4\xbd\xa0\xe5\xa5\xbd>\xe3\x80\x82" "ab"},
    {"[\\p{Han}]+", "\xe4\xb8\x96\xe7\x95\x8c\xef\xbc\x8c\xe3\x83\xbc\xe3\x80\x87", "<\xe4\xb8\x96\xe7\x95\x8c>\xef\xbc\x8c\xe3\x83\xbc<\xe3\x80\x87>"},
    {"\\p{^L}+", "a1b", "a<1>b"},
    {"\\P{Lowercase_Letter}", "aB", "a<B>"},
    {"\\p{ greek }+", "\xce\xb1\xce\xb2" "c", "<\xce\xb1\xce\xb2>c"},
    {"\\p{Grek}", "\xce\xa9" "a", "<\xce\xa9>a"},
    {"\\p{Letter}\\p{M}*", "e\xcc\x81" "a", "<e\xcc\x81><a>"},
    {"\\p{Emoji}+", "a\xf0\x9f\xa9\xb7" "1", "a<\xf0\x9f\xa9\xb7" "1>"},
    {"\\p{InBasicLatin}+", "a\xc3\xa9", "<a>\xc3\xa9"},
    {"\\p{So}", "\xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9", "<\xf0\x9f\xa9\xb7><\xf0\x9f\xab\xa9>"},
    {"\\p{So}", "\xf0\x9f\xab\xaa", "\xf0\x9f\xab\xaa"},
    {"[[:punct:]]+", "a$+~\xe3\x80\x82\xc2\xab" "b", "a<$+~\xe3\x80\x82\xc2\xab>b"},
    {"\\p{Punct}+", "a$+~\xe3\x80\x82\xc2\xab" "b", "a$+~<\xe3\x80\x82\xc2\xab>b"},
    {"[[:^space:]]+", "a b\xe3\x80\x80" "c", "<a> <b>\xe3\x80\x80<c>"},
    {"[[:word:]]+", "a\xc2\xb2\xc3\xa9_", "<a>\xc2\xb2<\xc3\xa9_>"},
    {"\\w+", "a\xc2\xb2\xc3\xa9_-", "<a\xc2\xb2\xc3\xa9_>-"},
    {"[\\w]+", "a\xc2\xb2\xc3\xa9_-", "<a>\xc2\xb2<\xc3\xa9_>-"},
    {"\\p{Word}+", "a\xc2\xb2", "<a\xc2\xb2>"},
    {"[a-c[x-z]]+", "abxyq", "<abxy>q"},
    {"[^a-c[^b]]", "abd", "abd"},
    {"[a-z&&[^aeiou]]+", "hello", "<h>e<ll>o"},
    {"[a-f&&c-z&&[d]]", "cde", "c<d>e"},
    {"[^a&&b]", "ab", "<a><b>"},
    {"[]a]+", "a]b", "<a]>b"},
    {"[a-]+", "a-b", "<a->b"},
    {"[-a]+", "a-b", "<a->b"},
    {"[a-c-e]+", "b-ed", "<b-e>d"},
    {"[a\\-c]+", "a-bc", "<a->b<c>"},
    {"[\\]\\\\]", "]\\", "<]><\\>"},
    {"[&a]&&", "a&&", "<a&&>"},
    {"\\d{1,3}", "1234567", "<123><456><7>"},
    {"\\d{1,3}+", "1234567", "<1234567>"},
    {"(?:\\d{2})?+\\d", "12", "1<2>"},
    {"a{2}?", "aaa", "<aa>a<>"},
    {"a{1,2}?", "aaa", "<a><a><a>"},
    {"a{,2}", "aaa", "<aa><a>"},
    {"a{,}", "a{,}", "<a{,}>"},
    {"a{2,}", "aaaa", "<aaaa>"},
    {"a{3,1}a", "aaa", "aaa"},
    {"a++a", "aaa", "aaa"},
    {"a*+b", "aab", "<aab>"},
    {"a?+b", "ab", "<ab>"},
    {"(a|ab)(c|bcd)", "abcd", "<abcd>"},
    {"(?>a|ab)c", "abc", "abc"},
    {"(?:a|b)*?c", "abac", "<abac>"},
    {"(a*)*b", "aab", "<aab>"},
    {"(?i:'s|'t)", "'S'\xc5\xbf't", "<'S><'\xc5\xbf><'t>"},
    {"(?i:strasse)", "STRA\xc3\x9f" "E", "<STRA\xc3\x9f" "E>"},
    {"(?i:\xc3\x9f)", "ss\xe1\xba\x9eS\xc5\xbf", "<ss><\xe1\xba\x9e><S\xc5\xbf>"},
    {"(?i:sss)", "s\xc3\x9f\xc3\x9fs", "s\xc3\x9f<\xc3\x9fs>"},
    {"(?i:ffi)", "\xef\xac\x83" "f\xef\xac\x81" "FFI", "<\xef\xac\x83>f\xef\xac\x81<FFI>"},
    {"(?i)k|A", "Kka", "<K><k><a>"},
    {"a(?i)b|c", "aBaCC", "<aB><aC>C"},
    {"(?i:a(?-i:b))", "AbAB", "<Ab>AB"},
    {"(?i:[^s])", "sS\xc5\xbft", "sS\xc5\xbf<t>"},
    {"(?i:[\xc3\x9f])", "ss\xe1\xba\x9e", "<ss><\xe1\xba\x9e>"},
    {"(?i:[a-c])+", "aBK", "<aB>K"},
    {"(?i:\\p{Lu})", "aA", "a<A>"},
    {"(?i:[\\p{Lu}])", "aA1", "<a><A>1"},
    {"\\s+(?!\\S)|\\s+", "a   b  ", "a<  >< >b<  >"},
    {"(?<=a)b", "abb", "a<b>b"},
    {"(?<!a)b", "abb", "ab<b>"},
    {"(?<=a|bc)d", "adbcdd", "a<d>bc<d>d"},
    {"(?<=a{1,3})b", "aab", "aa<b>"},
    {"x(?=y)", "xyxz", "<x>yxz"},
    {"x(?!y)", "xyxz", "xy<x>z"},
    {"(?=a+b)a", "aab", "<a><a>b"},
    {"^a", "a\na\n", "<a>\n<a>\n"},
    {"a$", "a\nab\na", "<a>\nab\n<a>"},
    {"\\Aa", "aa", "<a>a"},
    {"a\\z", "a\na", "a\n<a>"},
    {"a\\Z", "a\na\n", "a\n<a>\n"},
    {"\\bab\\b", "ab abc", "<ab> abc"},
    {"\\Bb", "ab b", "a<b> b"},
    {"a.c", "a\nca-c", "a\nc<a-c>"},
    {"(?m:a.c)", "a\nc", "<a\nc>"},
    {"\\N+", "a\nb", "<a>\n<b>"},
    {"\\O+", "a\nb", "<a\nb>"},
    {"\\R", "\r\n\n\xe2\x80\xa8\r", "<\r\n><\n><\xe2\x80\xa8><\r>"},
    {"\\h+", "beef stew", "<beef> st<e>w"},
    {"\\H", "aG", "a<G>"},
    {"\\u00e9\\x41\\x{1F600}", "\xc3\xa9" "A\xf0\x9f\x98\x80", "<\xc3\xa9" "A\xf0\x9f\x98\x80>"},
    {"\\xc3\\xa9", "\xc3\xa9", "<\xc3\xa9>"},
    {"\\t\\n\\f", "\t\n\x0c", "<\t\n\x0c>"},
    {"\\pL", "pL", "<pL>"},
    {"a(?#no)b", "ab", "<ab>"},
    {"(?<n>a)b", "ab", "<ab>"},
    {"\\p{L}+|\\p{N}", "\xc3\xa9\xd9\xa3\xe2\x85\xb7", "<\xc3\xa9><\xd9\xa3><\xe2\x85\xb7>"},
    {"[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+", "Hi  you're 12345\n\n x.\n", "<Hi>< >< you><'re>< ><123><45><\n\n>< x><.\n>"},
    {"a|b||c", "cab", "<>c<a><b>"},
    {"(?:)", "ab", "<>a<>b<>"},
    {"x*", "axxb", "<>a<xx>b<>"},
    /* clang-format on */
};

/* The text with each match in brackets; an empty match right after another is passed over. */
static char *mark(const struct expr *e, const char *text, size_t len) {
    struct expr_scratch *memory = NULL;
    struct strbuf out = {0};
    struct expr_span span = {0};
    size_t done = 0, last = SIZE_MAX;
    ck_assert_ok(expr_scratch_create(&memory, &err), &err);
    for (size_t at = 0; at <= len;) {
        bool found = false;
        uint32_t cp = 0;
        ck_assert_ok(expr_find(e, memory, text, len, at, &span, &found, &err), &err);
        if (!found)
            break;
        if (span.begin == span.end && span.end == last) {
            at += at < len ? utf8_decode(text + at, &cp) : 1;
            continue;
        }
        strbuf_append(&out, text + done, span.begin - done);
        strbuf_puts(&out, "<");
        strbuf_append(&out, text + span.begin, span.end - span.begin);
        strbuf_puts(&out, ">");
        done = at = last = span.end;
    }
    strbuf_append(&out, text + done, len - done);
    expr_scratch_free(&memory);
    return strbuf_take(&out);
}

START_TEST(test_matches_are_those_of_the_reference) {
    const char *text = cases[_i].text;
    struct expr *e = NULL;
    ck_assert_ok(expr_compile(cases[_i].expression, strlen(cases[_i].expression), &e, &err), &err);
    char *found = mark(e, text, strlen(text));
    ck_assert_msg(strcmp(found, cases[_i].marked) == 0, "%s: %s, expected %s", cases[_i].expression,
                  found, cases[_i].marked);
    free(found);
    expr_free(&e);
}
END_TEST

START_TEST(test_nul_is_a_character_like_others) {
    struct expr *e = NULL;
    ck_assert_ok(expr_compile("a\0|[^\0b]", 9, &e, &err), &err);
    struct expr_scratch *memory = NULL;
    struct expr_span span = {0};
    bool found = false;
    ck_assert_ok(expr_scratch_create(&memory, &err), &err);
    ck_assert_ok(expr_find(e, memory, "\0ba\0c", 5, 0, &span, &found, &err), &err);
    ck_assert(found);
    ck_assert_uint_eq(span.begin, 2);
    ck_assert_uint_eq(span.end, 4);
    expr_scratch_free(&memory);
    expr_free(&e);
}
END_TEST

/* Pieces of syntax in any order: each expression compiles or gives an error, and ends. */
START_TEST(test_random_expressions_do_no_harm) {
    static const char *const parts[] = {"(",        ")",     "(?:",
                                        "(?i:",     "(?=",   "(?<!",
                                        "(?>",      "[",     "]",
                                        "[^",       "&&",    "-",
                                        "|",        "*",     "+",
                                        "?",        "{2}",   "{1,",
                                        "}",        "a",     "b",
                                        "\xc3\x9f", "s",     "\\",
                                        "\\p{L}",   "\\p{",  "[:alpha:]",
                                        "^",        "$",     "\\b",
                                        "\\x",      "\\u00", ".",
                                        "(?#",      "(?x)",  "\\R",
                                        "{,9}",     "\\w",   "\xf0\x9f\xa9\xb7"};
    struct expr_scratch *memory = NULL;
    uint64_t seed = 11;
    int sound = 0;
    printf("seed %llu\n", (unsigned long long)seed);
    ck_assert_ok(expr_scratch_create(&memory, &err), &err);
    for (int round = 0; round < 20000; round++) {
        char text[256] = "";
        size_t len = 0;
        for (uint64_t n = 1 + random_next(&seed) % 12; n > 0; n--) {
            const char *part = parts[random_next(&seed) % (sizeof parts / sizeof *parts)];
            memcpy(text + len, part, strlen(part));
            len += strlen(part);
        }
        struct expr *e = NULL;
        struct expr_span span = {0};
        bool found = false;
        if (expr_compile(text, len, &e, &err) != LLMQ_OK)
            continue;
        sound++;
        if (expr_find(e, memory, "abs\xc3\x9f \n", 7, 0, &span, &found, &err) == LLMQ_OK && found)
            ck_assert(span.begin <= span.end && span.end <= 7);
        expr_free(&e);
    }
    ck_assert_int_gt(sound, 1000);
    expr_scratch_free(&memory);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("expr");
    TCase *tcase = tcase_create("matches");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_matches_are_those_of_the_reference, 0,
                        (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, test_nul_is_a_character_like_others);
    tcase_add_test(tcase, test_random_expressions_do_no_harm);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
