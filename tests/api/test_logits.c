/* SPDX-License-Identifier: Apache-2.0 */
/* Logits of windows by a callback: the same as llmq_score's, window by window, plain and packed. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llmq/evaluate.h"
#include "llmq/logits.h"
#include "pipeline/tiny_model.h"
#include "pipeline/tiny_run.h"
#include "support.h"

static llmq_error err;
static const int32_t first[] = {5, 17, 3, 33, 42, 7}, second[] = {9, 9, 1}, third[] = {60};
static const llmq_token_window windows[] = {{first, 6}, {second, 3}, {third, 1}};

/* What came. */
struct seen {
    size_t rows, most;
    double logprobs[3][6]; /* of the token that follows */
};

static bool take(void *user, const llmq_logits_row *row) {
    struct seen *s = user;
    const llmq_token_window *w = &windows[row->window];
    double top = -HUGE_VAL, sum = 0;
    ck_assert_int_eq(row->vocab, TINY_VOCAB);
    for (int64_t i = 0; i < row->vocab; i++)
        top = fmax(top, (double)row->logits[i]);
    for (int64_t i = 0; i < row->vocab; i++)
        sum += exp((double)row->logits[i] - top);
    if (row->position + 1 < w->count)
        s->logprobs[row->window][row->position] =
            (double)row->logits[w->ids[row->position + 1]] - top - log(sum);
    return ++s->rows < s->most;
}

static llmq_logits_options options_of(const char *model, struct seen *seen) {
    llmq_logits_options o;
    llmq_logits_options_init(&o);
    o.model = model;
    o.user = seen;
    o.row = take;
    return o;
}

static void check_scores(const char *model, const struct seen *seen) {
    llmq_score_options o;
    llmq_score_options_init(&o);
    o.model = model;
    for (size_t w = 0; w < 2; w++) {
        double scores[6];
        ck_assert_ok(llmq_score(&o, windows[w].ids, windows[w].count, NULL, scores, &err), &err);
        for (size_t t = 0; t + 1 < windows[w].count; t++)
            ck_assert_double_eq_tol(seen->logprobs[w][t], scores[t], 1e-5);
    }
}

START_TEST(logits_are_those_that_scores_are_made_of) {
    struct seen seen = {.most = 100};
    llmq_logits_options o = options_of(source, &seen);
    ck_assert_ok(llmq_logits(&o, windows, 3, NULL, &err), &err);
    ck_assert_uint_eq(seen.rows, 10);
    check_scores(source, &seen);

    llmq_quantize_options q = run_options(LLMQ_METHOD_RTN);
    run_quantize(&q);
    seen = (struct seen){.most = 100};
    o = options_of(out, &seen);
    ck_assert_ok(llmq_logits(&o, windows, 3, NULL, &err), &err);
    check_scores(out, &seen);
    o.activations = LLMQ_ACTIVATIONS_INT8;
    ck_assert_ok(llmq_logits(&o, windows, 1, NULL, &err), &err);
}
END_TEST

START_TEST(the_caller_ends_it) {
    struct seen seen = {.most = 4};
    const llmq_logits_options o = options_of(source, &seen);
    ck_assert_ok(llmq_logits(&o, windows, 3, NULL, &err), &err);
    ck_assert_uint_eq(seen.rows, 4);
}
END_TEST

START_TEST(wrong_requests_are_refused) {
    static const int32_t beyond[] = {1, TINY_VOCAB}, negative[] = {-1};
    const llmq_token_window bad[] = {{first, 6}, {beyond, 2}}, below = {negative, 1},
                            empty = {first, 0}, missing = {NULL, 4};
    struct seen seen = {.most = 100};
    llmq_logits_options o = options_of(source, &seen);
    ck_assert_fails(llmq_logits(&o, windows, 0, NULL, &err), LLMQ_E_USAGE, "no windows", &err);
    ck_assert_fails(llmq_logits(&o, bad, 2, NULL, &err), LLMQ_E_USAGE, "token id 64 at position 1",
                    &err);
    ck_assert_fails(llmq_logits(&o, &below, 1, NULL, &err), LLMQ_E_USAGE, "token id -1", &err);
    ck_assert_fails(llmq_logits(&o, &empty, 1, NULL, &err), LLMQ_E_USAGE, "window 0 is empty",
                    &err);
    ck_assert_fails(llmq_logits(&o, &missing, 1, NULL, &err), LLMQ_E_USAGE, "window 0 is empty",
                    &err);
    o.activations = LLMQ_ACTIVATIONS_INT8;
    ck_assert_fails(llmq_logits(&o, windows, 1, NULL, &err), LLMQ_E_USAGE, "not quantized", &err);
    o = options_of(source, &seen);
    o.max_mem = 1000;
    ck_assert_fails(llmq_logits(&o, windows, 1, NULL, &err), LLMQ_E_MEMORY, "bytes", &err);
    o.row = NULL;
    ck_assert_fails(llmq_logits(&o, windows, 1, NULL, &err), LLMQ_E_USAGE, "callback", &err);
    ck_assert_uint_eq(seen.rows, 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("api_logits");
    TCase *t = tcase_create("logits");
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, logits_are_those_that_scores_are_made_of);
    tcase_add_test(t, the_caller_ends_it);
    tcase_add_test(t, wrong_requests_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
