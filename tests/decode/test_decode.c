/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing tokens, and text that grows token by token. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/sampler.h"
#include "decode/text_stream.h"
#include "support.h"

static llmq_error err;

/* --- drawing ---------------------------------------------------------------------------------- */

enum { VOCAB = 5, DRAWS = 4000 };
/* Probabilities 1/2, 1/4, 1/8, 1/16, 1/16 of tokens 2, 0, 4, 1 and 3. */
static const float logits[VOCAB] = {-0.6931472F, -2.0794415F, 0, -2.0794415F, -1.3862944F};

static void count_draws(struct sampler *s, int64_t seen[VOCAB]) {
    memset(seen, 0, VOCAB * sizeof *seen);
    for (int i = 0; i < DRAWS; i++) {
        int32_t id = -1;
        ck_assert_ok(sampler_next(s, logits, VOCAB, &id, &err), &err);
        seen[id]++;
    }
}

static struct sampler sampler_of(double temperature) {
    struct sampler s;
    ck_assert_ok(sampler_create(VOCAB, &s, &err), &err);
    s.temperature = temperature;
    s.state = 7;
    return s;
}

START_TEST(without_a_temperature_the_first_of_the_best) {
    static const float equal[VOCAB] = {1, 3, 3, 0, 3};
    struct sampler s = sampler_of(0);
    int32_t id = -1, best[2];
    ck_assert_ok(sampler_next(&s, equal, VOCAB, &id, &err), &err);
    ck_assert_int_eq(id, 1);
    sampler_best_two(logits, VOCAB, best);
    ck_assert_int_eq(best[0], 2);
    ck_assert_int_eq(best[1], 0);
    ck_assert_double_eq_tol(exp(sampler_logprob(logits, VOCAB, 4)), 0.125, 1e-6);
    sampler_free(&s);
}
END_TEST

START_TEST(tokens_are_drawn_by_their_probabilities) {
    static const double probability[VOCAB] = {0.25, 0.0625, 0.5, 0.0625, 0.125};
    struct sampler s = sampler_of(1);
    int64_t seen[VOCAB];
    count_draws(&s, seen);
    for (int i = 0; i < VOCAB; i++)
        ck_assert_double_eq_tol((double)seen[i] / DRAWS, probability[i], 0.03);
    sampler_free(&s);
}
END_TEST

START_TEST(the_seed_alone_says_what_is_drawn) {
    struct sampler a = sampler_of(2), b = sampler_of(2);
    for (int i = 0; i < 100; i++) {
        int32_t left = -1, right = -1;
        ck_assert_ok(sampler_next(&a, logits, VOCAB, &left, &err), &err);
        ck_assert_ok(sampler_next(&b, logits, VOCAB, &right, &err), &err);
        ck_assert_int_eq(left, right);
    }
    sampler_free(&a);
    sampler_free(&b);
}
END_TEST

START_TEST(rare_tokens_are_left_out) {
    struct sampler s = sampler_of(1);
    int64_t seen[VOCAB];
    s.top_k = 2;
    count_draws(&s, seen);
    ck_assert_int_eq(seen[0] + seen[2], DRAWS);
    ck_assert_double_eq_tol((double)seen[2] / DRAWS, 2.0 / 3, 0.03);
    s.top_k = 0;
    s.top_p = 0.8;
    count_draws(&s, seen);
    ck_assert_int_eq(seen[0] + seen[2] + seen[4], DRAWS);
    ck_assert_int_gt(seen[4], 0);
    sampler_free(&s);
}
END_TEST

START_TEST(what_is_not_finite_is_an_error) {
    static const float bad[VOCAB] = {0, 1, NAN, 0, 0};
    struct sampler s = sampler_of(0);
    int32_t id = -1;
    ck_assert_fails(sampler_next(&s, bad, VOCAB, &id, &err), LLMQ_E_NUMERIC, "token 2", &err);
    sampler_free(&s);
}
END_TEST

/* --- text ------------------------------------------------------------------------------------- */

/* What is given out after the bytes. */
static void expect(struct text_stream *s, const char *bytes, bool ends, const char *given) {
    size_t len = 0;
    text_stream_add(s, bytes, strlen(bytes));
    const char *text = text_stream_take(s, ends, &len);
    ck_assert_uint_eq(len, strlen(given));
    ck_assert(memcmp(text, given, len) == 0);
}

START_TEST(characters_come_whole) {
    struct text_stream s = {.stops = NULL};
    expect(&s, "a\xe2", false, "a");
    expect(&s, "\x82", false, "");
    expect(&s,
           "\xac"
           "b\xf0\x9f",
           false,
           "\xe2\x82\xac"
           "b");
    expect(&s, "x", false,
           "\xef\xbf\xbd"
           "x");
    expect(&s, "\xe2", true, "\xef\xbf\xbd");
    ck_assert_str_eq(s.text.data, "a\xe2\x82\xac"
                                  "b\xef\xbf\xbd"
                                  "x\xef\xbf\xbd");
    text_stream_free(&s);
}
END_TEST

START_TEST(a_stop_ends_the_text) {
    static const char *const stops[] = {"\nUser:", "END"};
    struct text_stream s = {.stops = stops, .stop_count = 2};
    expect(&s, "one\n", false, "one");
    expect(&s, "Us", false, "");
    expect(&s, "ual E", false, "\nUsual ");
    expect(&s, "ND more\nUser:", false, "");
    ck_assert(s.stopped);
    expect(&s, "after", true, "");
    ck_assert_str_eq(s.text.data, "one\nUsual ");
    text_stream_free(&s);
}
END_TEST

START_TEST(what_may_be_a_stop_is_given_in_the_end) {
    static const char *const stops[] = {"abc"};
    struct text_stream s = {.stops = stops, .stop_count = 1};
    expect(&s, "xab", false, "x");
    expect(&s, "", true, "ab");
    ck_assert(!s.stopped);
    text_stream_free(&s);
}
END_TEST

int main(void) {
    Suite *s = suite_create("decode");
    TCase *t = tcase_create("decode");
    tcase_add_test(t, without_a_temperature_the_first_of_the_best);
    tcase_add_test(t, tokens_are_drawn_by_their_probabilities);
    tcase_add_test(t, the_seed_alone_says_what_is_drawn);
    tcase_add_test(t, rare_tokens_are_left_out);
    tcase_add_test(t, what_is_not_finite_is_an_error);
    tcase_add_test(t, characters_come_whole);
    tcase_add_test(t, a_stop_ends_the_text);
    tcase_add_test(t, what_may_be_a_stop_is_given_in_the_end);
    suite_add_tcase(s, t);
    return run_suite(s);
}
