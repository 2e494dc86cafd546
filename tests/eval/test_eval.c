/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluation: means and their error, conventions, independence of windows, and scores of a real
 * model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/logprobs.h"
#include "llmq/evaluate.h"
#include "support.h"

/* Windows of 3, 2 and 4 tokens with log-probabilities easy to add up. */
static int64_t offsets[] = {0, 3, 5, 9};
static double logprobs[] = {-1, -2, 0, -3, 0, -1, -1, -4, 0};
static const struct corpus three = {.offsets = offsets, .count = 3, .max_len = 4, .tokens_used = 9};

START_TEST(mean_and_error_by_hand) {
    struct eval_mean m = eval_mean_nll(&three, logprobs, EVAL_GPTQ);
    ck_assert_int_eq(m.tokens, 6);
    ck_assert_double_eq_tol(m.nll, 12.0 / 6, 1e-15);
    /* deviations: 3 - 2*2 = -1, 3 - 2*1 = 1, 6 - 2*3 = 0 */
    ck_assert_double_eq_tol(m.standard_error, sqrt(2.0 * 3 / 2) / 6, 1e-15);
}
END_TEST

START_TEST(llamacpp_scores_the_second_half) {
    struct eval_mean m = eval_mean_nll(&three, logprobs, EVAL_LLAMACPP);
    /* lengths 3, 2, 4: entries from 1, 1, 2 on */
    ck_assert_int_eq(m.tokens, 1 + 0 + 1);
    ck_assert_double_eq_tol(m.nll, (2.0 + 4.0) / 2, 1e-15);
}
END_TEST

START_TEST(one_window_has_no_error_estimate) {
    struct corpus one = {.offsets = offsets, .count = 1, .max_len = 3, .tokens_used = 3};
    struct eval_mean m = eval_mean_nll(&one, logprobs, EVAL_GPTQ);
    ck_assert_double_eq_tol(m.nll, 1.5, 1e-15);
    ck_assert_double_eq(m.standard_error, 0);
}
END_TEST

/* A token's score depends on its own window only, not on what is evaluated beside it. */
START_TEST(score_equals_eval_of_the_same_window) {
    llmq_error err = {0};
    static const int32_t ids[] = {5, 17, 3, 99, 42, 7, 64, 23};
    double scores[7], sum = 0;
    char *model = source_path("tests/golden/qwen3");
    const llmq_score_options plain = {.size = sizeof plain, .model = model};
    ck_assert_ok(llmq_score(&plain, ids, 8, NULL, scores, &err), &err);
    for (int i = 0; i < 7; i++)
        sum -= scores[i];
    put_file("w.json", "[[5,17,3,99,42,7,64,23]]", 24);
    llmq_eval_options o;
    llmq_eval_result r;
    llmq_eval_options_init(&o);
    o.model = model;
    o.text = scratch_path("w.json");
    ck_assert_ok(llmq_eval(&o, NULL, &r, &err), &err);
    ck_assert_double_eq_tol(r.nll, sum / 7, 1e-7);
    ck_assert_double_eq_tol(r.ppl, exp(r.nll), 1e-12 * r.ppl);
    static const char many[] = "[[1,2,3],[5,17,3,99,42,7,64,23],[9,9,9,9,9]]";
    put_file("many.json", many, sizeof many - 1);
    double before = r.nll * (double)r.tokens;
    o.text = scratch_path("many.json");
    ck_assert_ok(llmq_eval(&o, NULL, &r, &err), &err);
    ck_assert_int_eq(r.tokens, 2 + 7 + 4);
    double others = 0;
    static const int32_t first[] = {1, 2, 3}, last[] = {9, 9, 9, 9, 9};
    ck_assert_ok(llmq_score(&plain, first, 3, NULL, scores, &err), &err);
    others -= scores[0] + scores[1];
    ck_assert_ok(llmq_score(&plain, last, 5, NULL, scores, &err), &err);
    others -= scores[0] + scores[1] + scores[2] + scores[3];
    ck_assert_double_eq_tol(r.nll * 13, before + others, 1e-5);
    free(model);
}
END_TEST

START_TEST(wrong_requests_are_refused) {
    llmq_error err = {0};
    static const int32_t ids[] = {1, 128};
    double scores[1];
    char *model = source_path("tests/golden/qwen3");
    const llmq_score_options plain = {.size = sizeof plain, .model = model};
    ck_assert_fails(llmq_score(&plain, ids, 1, NULL, scores, &err), LLMQ_E_USAGE, "at least 2",
                    &err);
    ck_assert_fails(llmq_score(&plain, ids, 2, NULL, scores, &err), LLMQ_E_USAGE,
                    "token id 128 at position 1", &err);
    llmq_eval_options o;
    llmq_eval_result r;
    llmq_eval_options_init(&o);
    o.model = model;
    /* the bundled text needs a tokenizer */
    ck_assert_fails(llmq_eval(&o, NULL, &r, &err), LLMQ_E_NOT_FOUND, "tokenizer.json", &err);
    put_file("id.json", "[[1,200]]", 9);
    o.text = scratch_path("id.json");
    ck_assert_fails(llmq_eval(&o, NULL, &r, &err), LLMQ_E_INPUT, "200", &err);
    put_file("t.txt", "no tokenizer here", 17);
    o.text = scratch_path("t.txt");
    ck_assert_fails(llmq_eval(&o, NULL, &r, &err), LLMQ_E_NOT_FOUND, "tokenizer.json", &err);
    free(model);
}
END_TEST

START_TEST(logits_file_is_a_safetensors_file) {
    llmq_error err = {0};
    static const int32_t ids[] = {5, 17, 3};
    double scores[2];
    char *model = source_path("tests/golden/qwen3");
    const llmq_score_options written = {
        .size = sizeof written, .model = model, .logits = scratch_path("l.safetensors")};
    struct st_set *set = NULL;
    ck_assert_ok(llmq_score(&written, ids, 3, NULL, scores, &err), &err);
    ck_assert_ok(st_open_file(scratch_path("l.safetensors"), &set, &err), &err);
    const struct st_tensor *t = st_find(set, "logits");
    ck_assert(t && t->dtype == DTYPE_F32 && t->shape[0] == 3 && t->shape[1] == 128);
    float row[128];
    double total = 0;
    ck_assert_ok(st_read(set, t, 0, sizeof row, row, &err), &err);
    for (int i = 0; i < 128; i++)
        total += exp((double)row[i]);
    ck_assert_double_eq_tol(scores[0], (double)row[17] - log(total), 1e-6);
    st_close(&set);
    free(model);
}
END_TEST

int main(void) {
    Suite *s = suite_create("eval");
    TCase *t = tcase_create("eval");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, mean_and_error_by_hand);
    tcase_add_test(t, llamacpp_scores_the_second_half);
    tcase_add_test(t, one_window_has_no_error_estimate);
    tcase_add_test(t, score_equals_eval_of_the_same_window);
    tcase_add_test(t, wrong_requests_are_refused);
    tcase_add_test(t, logits_file_is_a_safetensors_file);
    suite_add_tcase(s, t);
    return run_suite(s);
}
