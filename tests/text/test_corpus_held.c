/* SPDX-License-Identifier: Apache-2.0 */
/* Windows that are held back: the same whatever else is asked for, and of no other's tokens. */
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "text/letters.h"

enum { LENGTH = 3000, HELD = 4, HELD_LENGTH = 40 };

static llmq_error err;

static const char *write_letters(size_t length) {
    static char text[LENGTH];
    uint64_t state = 7;
    for (size_t i = 0; i < length; i++)
        text[i] = (char)('a' + random_next(&state) % 26);
    put_file("a.txt", text, length);
    return scratch_path("a.txt");
}

static struct corpus load(const char *path, const struct corpus_options *o) {
    struct corpus c = {0};
    ck_assert_ok(letters_load(path, letters, 27, o, &c, &err), &err);
    return c;
}

static bool is_at(const struct corpus *all, int64_t at, const struct corpus *c, int64_t window) {
    const int64_t begin = c->offsets[window], length = c->offsets[window + 1] - begin;
    return memcmp(all->ids + at, c->ids + begin, (size_t)length * sizeof *c->ids) == 0;
}

/* Mark where a window lies in the text, where no other does; returns where it begins. */
static int64_t mark(const struct corpus *all, const struct corpus *c, int64_t window, bool *taken) {
    const int64_t length = c->offsets[window + 1] - c->offsets[window];
    int64_t at = 0;
    while (at + length <= all->tokens_used && !is_at(all, at, c, window))
        at++;
    ck_assert_int_le(at + length, all->tokens_used);
    for (int64_t i = at; i < at + length; i++) {
        ck_assert(!taken[i]);
        taken[i] = true;
    }
    return at;
}

/* Windows from `first` on lie one behind the other, and in none that was marked. */
static void check_order(const struct corpus *all, const struct corpus *c, int64_t first,
                        int64_t end, bool *taken) {
    int64_t last = -1;
    for (int64_t i = first; i < end; i++) {
        const int64_t at = mark(all, c, i, taken);
        ck_assert_int_gt(at, last);
        last = at;
    }
}

static const struct corpus_options wanted[] = {
    {.window = 100, .max_windows = 1, .sample = true},
    {.window = 100, .max_windows = 12, .sample = true},
    {.window = 64, .max_windows = 3, .sample = true, .seed = 9},
    {.window = 7, .max_windows = 200, .sample = true},
    {.window = 40, .max_windows = 60, .sample = true},
    {.window = 50, .max_windows = 8, .sample = true, .stratified = true},
    {.window = 30, .max_windows = 5},
};

START_TEST(what_is_held_back_is_the_same_for_all) {
    const char *path = write_letters(LENGTH - 1);
    struct corpus all = load(path, &(struct corpus_options){.window = LENGTH});
    struct corpus_options o = wanted[_i];
    o.held = HELD;
    o.held_length = HELD_LENGTH;
    struct corpus c = load(path, &o);
    struct corpus_options one = {
        .window = 20, .max_windows = 1, .held = HELD, .held_length = HELD_LENGTH, .seed = o.seed};
    struct corpus other = load(path, &one);
    bool taken[LENGTH] = {false};
    ck_assert_int_eq(c.held, HELD);
    ck_assert_int_eq(c.count, o.max_windows + HELD);
    ck_assert_int_eq(c.tokens_used, o.max_windows * o.window + HELD * HELD_LENGTH);
    ck_assert_int_eq(c.tokens_used + c.tokens_dropped, LENGTH);
    check_order(&all, &c, c.count - HELD, c.count, taken);
    check_order(&all, &c, 0, c.count - HELD, taken);
    ck_assert_mem_eq(c.ids + c.offsets[c.count - HELD], other.ids + other.offsets[1],
                     HELD * HELD_LENGTH * sizeof *c.ids);
    corpus_drop_held(&c);
    ck_assert_int_eq(c.count, o.max_windows);
    ck_assert_int_eq(c.tokens_used, o.max_windows * o.window);
    ck_assert_int_eq(c.tokens_used + c.tokens_dropped, LENGTH);
    corpus_free(&all);
    corpus_free(&c);
    corpus_free(&other);
}
END_TEST

/* A text that has not enough for both, and windows that were given. */
START_TEST(without_room_nothing_is_held_back) {
    const struct corpus_options plain = {.window = 30, .max_windows = 30, .sample = true};
    struct corpus_options o = plain;
    o.held = HELD;
    o.held_length = HELD_LENGTH;
    const char *path = write_letters(1000);
    struct corpus a = load(path, &plain), b = load(path, &o);
    ck_assert_int_eq(b.held, 0);
    ck_assert_int_eq(b.count, 30);
    ck_assert_mem_eq(a.ids, b.ids, (size_t)a.tokens_used * sizeof *a.ids);
    corpus_free(&a);
    corpus_free(&b);
    put_file("ids.json", "[[1,2],[3,4]]", 13);
    const struct corpus_options ids = {.max_windows = 1, .held = 1, .held_length = 2};
    a = load(scratch_path("ids.json"), &ids);
    ck_assert(a.held == 0 && a.count == 1);
    corpus_free(&a);
}
END_TEST

START_TEST(joined_what_is_held_back_comes_last) {
    const char *path = write_letters(LENGTH - 1);
    struct corpus_options o = {
        .window = 25, .max_windows = 3, .sample = true, .held = 2, .held_length = HELD_LENGTH};
    struct corpus a = load(path, &o), b = load(path, &o), both = {0};
    struct corpus copy = load(path, &o);
    ck_assert_ok(corpus_join(&both, &a, &err), &err);
    ck_assert_ok(corpus_join(&both, &b, &err), &err);
    ck_assert(both.count == 10 && both.held == 4);
    ck_assert_int_eq(both.tokens_used, 2 * copy.tokens_used);
    ck_assert_int_eq(both.offsets[6], 6 * 25);
    ck_assert_int_eq(both.offsets[10], both.tokens_used);
    for (int i = 0; i < 2; i++) {
        ck_assert_mem_eq(both.ids + i * 75, copy.ids, 75 * sizeof *copy.ids);
        ck_assert_mem_eq(both.ids + 150 + 80 * i, copy.ids + 75, 80 * sizeof *copy.ids);
    }
    corpus_free(&both);
    corpus_free(&copy);
}
END_TEST

int main(void) {
    Suite *s = suite_create("corpus_held");
    TCase *t = tcase_create("corpus_held");
    tcase_add_checked_fixture(t, letters_setup, letters_teardown);
    tcase_add_loop_test(t, what_is_held_back_is_the_same_for_all, 0,
                        sizeof wanted / sizeof *wanted);
    tcase_add_test(t, without_room_nothing_is_held_back);
    tcase_add_test(t, joined_what_is_held_back_comes_last);
    suite_add_tcase(s, t);
    return run_suite(s);
}
