/* SPDX-License-Identifier: Apache-2.0 */
/* Long corpora: read in parts, they are what they are when read whole. */
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/strbuf.h"
#include "support.h"
#include "text/letters.h"

/* Sanitizers keep what is freed for a while. */
#ifdef __SANITIZE_ADDRESS__
enum { ROOM = 160 << 20 };
#else
enum { ROOM = 24 << 20 };
#endif

static const struct reading no_limits;
static llmq_error err;

/* Letters with blanks, which the tokenizer knows nothing of, between them. */
static char *long_text(size_t len, unsigned seed) {
    char *text = malloc(len + 1);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245 + 12345;
        const unsigned n = (seed >> 16) % 32;
        text[i] = (char)(n < 26 ? 'a' + (int)n : n < 31 ? ' ' : '\n');
    }
    text[len] = '\0';
    return text;
}

static void load_limited(const char *path, const struct reading *limits,
                         const struct corpus_options *o, struct corpus *out) {
    struct corpus_file file = {0};
    ck_assert_ok(corpus_file_open(path, limits, &file, &err), &err);
    ck_assert_ok(corpus_load(&file, letters, 27, o, out, &err), &err);
    corpus_file_free(&file);
}

/* With a limit parts are small, and a text that does not fit into its share is read twice. */
static void assert_same_when_limited(const char *path, const struct corpus_options *o) {
    struct corpus whole = {0}, parts = {0};
    load_limited(path, &no_limits, o, &whole);
    const struct reading limits = {.max_mem = memory_resident() + ROOM};
    load_limited(path, &limits, o, &parts);
    ck_assert_int_eq(parts.count, whole.count);
    ck_assert(parts.held == whole.held && parts.held == o->held);
    ck_assert_int_eq(parts.tokens_used, whole.tokens_used);
    ck_assert_mem_eq(parts.ids, whole.ids, (size_t)whole.tokens_used * sizeof *whole.ids);
    ck_assert_mem_eq(parts.offsets, whole.offsets,
                     (size_t)(whole.count + 1) * sizeof *whole.offsets);
    ck_assert_int_eq(parts.tokens_dropped, whole.tokens_dropped);
    ck_assert_int_eq(parts.tokens_beyond, whole.tokens_beyond);
    ck_assert_int_eq(parts.texts, whole.texts);
    ck_assert_int_eq(parts.texts_begun, whole.texts_begun);
    ck_assert_int_eq(parts.texts_empty, whole.texts_empty);
    ck_assert_int_eq(parts.bos, whole.bos);
    corpus_free(&whole);
    corpus_free(&parts);
}

START_TEST(test_long_texts_are_the_same_within_a_limit) {
    enum { LEN = 1200000 };
    const struct corpus_options options[] = {
        {.special = LLMQ_SPECIAL_MODEL, .window = 64},
        {.special = LLMQ_SPECIAL_MODEL, .window = 64, .max_tokens = 300000, .keep_tail = true},
        {.special = LLMQ_SPECIAL_MODEL, .window = 100, .max_windows = 50, .sample = true},
        {.special = LLMQ_SPECIAL_NONE, .window = 1000, .max_windows = 100, .keep_tail = true},
        {.special = LLMQ_SPECIAL_MODEL, .window = 7, .max_windows = 9, .sample = true, .seed = 5},
        {.special = LLMQ_SPECIAL_MODEL,
         .window = 30,
         .max_windows = 70,
         .sample = true,
         .stratified = true},
        {.special = LLMQ_SPECIAL_MODEL,
         .window = 90,
         .max_windows = 11,
         .sample = true,
         .held = 5,
         .held_length = 200},
    };
    char *text = long_text(LEN, 1);
    put_file("a.txt", text, LEN);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        assert_same_when_limited(scratch_path("a.txt"), &options[i]);
    free(text);
}
END_TEST

/* A line that is itself of many parts, short ones, and an empty one. */
START_TEST(test_long_lines_are_the_same_within_a_limit) {
    enum { LEN = 700000, LINES = 9 };
    const struct corpus_options o = {
        .special = LLMQ_SPECIAL_MODEL, .window = 50, .max_windows = 40, .sample = true};
    struct strbuf lines = {0};
    for (int i = 0; i < LINES; i++) {
        char *text = long_text(i == 3 ? LEN : i == 5 ? 0 : 100000, (unsigned)i);
        for (char *c = text; (c = strchr(c, '\n'));)
            *c = ' ';
        strbuf_printf(&lines, "{\"text\":\"%s\"}\n", text);
        free(text);
    }
    ck_assert(strbuf_ok(&lines));
    put_file("a.jsonl", lines.data, lines.len);
    assert_same_when_limited(scratch_path("a.jsonl"), &o);
    strbuf_free(&lines);
}
END_TEST

/* All of a text is asked for, and has no room: told before it is held, with a size that is enough.
 */
START_TEST(test_a_text_that_has_no_room_says_how_much_it_takes) {
    enum { LEN = 6000000 };
    const struct corpus_options o = {.special = LLMQ_SPECIAL_MODEL, .window = 64};
    char *text = long_text(LEN, 2);
    put_file("a.txt", text, LEN);
    free(text);
    const struct reading limits = {.max_mem = memory_resident() + (8 << 20), .later = 900 << 20};
    struct corpus_file file = {0};
    struct corpus c = {0};
    ck_assert_ok(corpus_file_open(scratch_path("a.txt"), &limits, &file, &err), &err);
    ck_assert_fails(corpus_load(&file, letters, 27, &o, &c, &err), LLMQ_E_MEMORY,
                    "a.txt takes about", &err);
    ck_assert_str_eq(err.hint, "give at least --max-mem 902M");
    corpus_file_free(&file);
}
END_TEST

/* The end of a long file is read as its begin is. */
START_TEST(test_bytes_out_of_place_are_found_far_inside) {
    enum { LEN = 300000, AT = 290000 };
    static const struct {
        char byte;
        const char *part;
    } cases[] = {{'\0', "byte 290000 is NUL"}, {'\xff', "byte 290000 is 0xff"}};
    const struct corpus_options o = {.special = LLMQ_SPECIAL_MODEL, .window = 64};
    char *text = long_text(LEN, 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct corpus c = {0};
        text[AT] = cases[i].byte;
        put_file("a.txt", text, LEN);
        ck_assert_fails(letters_load(scratch_path("a.txt"), letters, 27, &o, &c, &err),
                        LLMQ_E_INPUT, cases[i].part, &err);
    }
    text[AT] = 'a';
    text[LEN - 1] = '\xc3'; /* a character that is cut off */
    struct corpus c = {0};
    put_file("a.txt", text, LEN);
    ck_assert_fails(letters_load(scratch_path("a.txt"), letters, 27, &o, &c, &err), LLMQ_E_INPUT,
                    "byte 299999 is 0xc3", &err);
    free(text);
}
END_TEST

/* More ids than a tree of JSON could have. */
START_TEST(test_windows_are_not_limited_by_their_number_of_ids) {
    enum { WINDOWS = 3000, LENGTH = 200, ROW = 2 * LENGTH + 2 };
    char *text = malloc((size_t)WINDOWS * ROW + 2), *at = text;
    struct corpus_options o = {.window = 4};
    struct corpus c = {0};
    ck_assert_ptr_nonnull(text);
    for (int w = 0; w < WINDOWS; w++) {
        *at++ = w ? ',' : '[';
        *at++ = '[';
        for (int i = 0; i < LENGTH; i++) {
            *at++ = (char)('0' + i % 10);
            *at++ = i + 1 < LENGTH ? ',' : ']';
        }
    }
    *at++ = ']';
    put_file("many.json", text, (size_t)(at - text));
    free(text);
    ck_assert_ok(letters_load(scratch_path("many.json"), NULL, 27, &o, &c, &err), &err);
    ck_assert_int_eq(c.tokens_used, (int64_t)WINDOWS * LENGTH);
    ck_assert_int_eq(c.ids[LENGTH + 7], 7);
    corpus_free(&c);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("corpus_parts");
    TCase *tcase = tcase_create("corpus_parts");
    tcase_add_checked_fixture(tcase, letters_setup, letters_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_long_texts_are_the_same_within_a_limit);
    tcase_add_test(tcase, test_long_lines_are_the_same_within_a_limit);
    tcase_add_test(tcase, test_a_text_that_has_no_room_says_how_much_it_takes);
    tcase_add_test(tcase, test_bytes_out_of_place_are_found_far_inside);
    tcase_add_test(tcase, test_windows_are_not_limited_by_their_number_of_ids);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
