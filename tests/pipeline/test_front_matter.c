/* SPDX-License-Identifier: Apache-2.0 */
/* Front matter of model cards: what is understood, what is not, and that what is written again is
 * the same to whoever reads it. */
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "pipeline/front_matter.h"
#include "support.h"

static llmq_error err;
static struct front_matter f;

static void read_card(const char *text) {
    ck_assert_ok(front_matter_read(text, strlen(text), &f, &err), &err);
}

/* The items of a key, joined; "-" where it was not understood. */
static void assert_value(const char *key, const char *expected) {
    struct strbuf b = {0};
    const struct front_value *v = front_matter_find(&f, key);
    for (size_t i = 0; v && i < v->count; i++)
        strbuf_printf(&b, "%s%s", i ? "|" : v->list ? "*" : "", v->items[i]);
    char *text = strbuf_take(&b);
    ck_assert_msg(strcmp(v ? text : "-", expected) == 0, "%s: %s", key, v ? text : "-");
    free(text);
}

START_TEST(what_cards_have_is_understood) {
    read_card("---\r\nlicense: other # see below\r\nlicense_name: 'it''s \"mine\"'\n"
              "language:\n- en\n- \"no\"\n  # between\ntags: [a, 'b c', d]\n"
              "datasets:\n    - org/name\nlicense_link: https://example.org/a#b\nempty:\n"
              "base_model: \"org\\/x\\u00e9\"\n---\n# Title\n\nbody\n");
    ck_assert_int_eq(f.form, FRONT_READ);
    assert_value("license", "other");
    assert_value("license_name", "it's \"mine\"");
    assert_value("language", "*en|no");
    assert_value("tags", "*a|b c|d");
    assert_value("datasets", "*org/name");
    assert_value("license_link", "https://example.org/a#b");
    assert_value("base_model", "org/x\xc3\xa9");
    assert_value("empty", "-");
    ck_assert_uint_eq(f.count, 8);
    ck_assert_uint_eq(f.body_len, strlen("# Title\n\nbody\n"));
    ck_assert(memcmp(f.body, "# Title", 7) == 0);
    front_matter_free(&f);
}
END_TEST

START_TEST(values_of_other_forms_are_not) {
    static const char *const values[] = {
        "*anchor",
        "&a b",
        "!!python/object:os.system x",
        "|\n  text\n  more",
        "{a: b}",
        "a: b",
        "\n- a: b",
        "\n- - a",
        "[a, [b]]",
        "\"a\\qb\"",
        "'a'b'",
        "a\n  b",
        "\n- a\n  b",
        "\"a\nb\"",
        "\x1b[31mred",
        "\xff",
        "\xe2\x80\xaereversed",
        "- a",
        "? a",
        "@a",
        "`a`",
        "%a",
        "[a, 'b, c']",
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct strbuf b = {0};
        strbuf_printf(&b, "---\nlanguage: en\nlicense: %s\n---\nbody", values[i]);
        read_card(b.data);
        ck_assert_msg(!front_matter_find(&f, "license"), "%s", values[i]);
        if (f.form == FRONT_READ)
            assert_value("language", "en");
        front_matter_free(&f);
        strbuf_free(&b);
    }
}
END_TEST

START_TEST(blocks_of_other_forms_are_not) {
    static const char *const blocks[] = {
        "- a\n- b\n",         "  a: b\n",    "license: mit\nlicense: mit\n",
        "{license: mit}\n",   "license\n",   "\"license\": mit\n",
        "? license\n: mit\n", "%YAML 1.2\n", "1: a\n",
    };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        struct strbuf b = {0};
        strbuf_printf(&b, "---\n%s---\nbody", blocks[i]);
        read_card(b.data);
        ck_assert_msg(f.form == FRONT_STRANGE, "%s", blocks[i]);
        ck_assert(!front_matter_find(&f, "license"));
        ck_assert_uint_eq(f.body_len, 4);
        front_matter_free(&f);
        strbuf_free(&b);
    }
}
END_TEST

START_TEST(cards_without_a_block_are_all_body) {
    static const char *const cards[] = {
        "", "# Title\n", "---", "---\nlicense: mit\n", "----\na: b\n---\n", " ---\na: b\n---\n"};
    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++) {
        read_card(cards[i]);
        ck_assert_int_eq(f.form, FRONT_NONE);
        ck_assert_uint_eq(f.body_len, strlen(cards[i]));
        ck_assert(!front_matter_find(&f, "license"));
        front_matter_free(&f);
    }
    read_card("\xef\xbb\xbf---\na: b\n---\n");
    assert_value("a", "b");
    front_matter_free(&f);
}
END_TEST

/* Whatever a text is, it is read again as itself. */
START_TEST(what_is_written_is_read_again) {
    static const char *const texts[] = {
        "mit", "no",       "4-bit", "a: b", "#x",  "it's",        "say \"x\"", "\\", "-", "- a",
        "*a",  "org/name", "1.0",   "a, b", "[a]", "caf\xc3\xa9", "true",      "~",  " x"};
    struct strbuf b = {0};
    strbuf_puts(&b, "---\nlist:\n");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        front_matter_put_item(&b, texts[i]);
    front_matter_put(&b, "text", "a \"b\": c");
    strbuf_puts(&b, "---\n");
    read_card(b.data);
    const struct front_value *v = front_matter_find(&f, "list");
    ck_assert_ptr_nonnull(v);
    ck_assert_uint_eq(v->count, sizeof texts / sizeof texts[0]);
    for (size_t i = 0; i < v->count; i++)
        ck_assert_str_eq(v->items[i], texts[i]);
    assert_value("text", "a \"b\": c");
    front_matter_free(&f);
    strbuf_free(&b);
}
END_TEST

int main(void) {
    Suite *s = suite_create("front matter");
    TCase *t = tcase_create("front matter");
    tcase_add_test(t, what_cards_have_is_understood);
    tcase_add_test(t, values_of_other_forms_are_not);
    tcase_add_test(t, blocks_of_other_forms_are_not);
    tcase_add_test(t, cards_without_a_block_are_all_body);
    tcase_add_test(t, what_is_written_is_read_again);
    suite_add_tcase(s, t);
    return run_suite(s);
}
