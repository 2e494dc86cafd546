/* SPDX-License-Identifier: Apache-2.0 */
/* What a comparison says beside its means: against plain double precision and by hand, the t
 * distribution against its integral, and several models at once. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/student.h"
#include "eval/summary.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/evaluate.h"
#include "support.h"

enum { TOKENS = 8, VOCAB = 128 };

static const int32_t tokens[TOKENS] = {5, 17, 3, 99, 42, 7, 64, 23};
static const char window[] = "[[5,17,3,99,42,7,64,23]]";
static char *model_dir, *reference_dir;
static char text[512];
static llmq_error err;

static void setup(void) {
    scratch_setup();
    model_dir = source_path("tests/golden/qwen3");
    reference_dir = source_path("tests/golden/llama-base");
}

static void teardown(void) {
    free(model_dir);
    free(reference_dir);
    scratch_teardown();
}

static llmq_compare_options on_window(void) {
    llmq_compare_options o;
    llmq_compare_options_init(&o);
    put_file("w.json", window, sizeof window - 1);
    o.model = model_dir;
    o.reference = reference_dir;
    snprintf(text, sizeof text, "%s", scratch_path("w.json"));
    o.text = text;
    return o;
}

/* log softmax of a model's logits [TOKENS, VOCAB]. */
static void log_softmax_of(const char *model, double out[TOKENS][VOCAB]) {
    static float logits[TOKENS][VOCAB];
    double scores[TOKENS - 1];
    struct st_set *set = NULL;
    const llmq_score_options options = {
        .size = sizeof options, .model = model, .logits = scratch_path("l.safetensors")};
    ck_assert_ok(llmq_score(&options, tokens, TOKENS, NULL, scores, &err), &err);
    ck_assert_ok(st_open_file(options.logits, &set, &err), &err);
    ck_assert_ok(st_read(set, st_find(set, "logits"), 0, sizeof logits, logits, &err), &err);
    st_close(&set);
    for (int t = 0; t < TOKENS; t++) {
        double sum = 0;
        for (int i = 0; i < VOCAB; i++)
            sum += exp((double)logits[t][i]);
        for (int i = 0; i < VOCAB; i++)
            out[t][i] = (double)logits[t][i] - log(sum);
    }
}

/* How many ids are more likely than p. */
static int rank_of(const double *row, double p) {
    int rank = 0;
    for (int i = 0; i < VOCAB; i++)
        rank += exp(row[i]) > p + 1e-6;
    return rank;
}

static void check_likely(const llmq_likely_token *list, size_t count, const double *row) {
    ck_assert_uint_eq(count, LLMQ_COMPARE_TOP);
    for (size_t i = 0; i < count; i++) {
        ck_assert_double_eq_tol(list[i].p, exp(row[list[i].token]), 1e-6);
        ck_assert_int_le(rank_of(row, list[i].p), (int)i);
    }
}

START_TEST(equal_to_plain_double_precision) {
    static double p[TOKENS][VOCAB], q[TOKENS][VOCAB];
    const llmq_compare_options o = on_window();
    llmq_compare_result r;
    double reverse = 0, mean = 0, squares = 0;
    log_softmax_of(reference_dir, p);
    log_softmax_of(model_dir, q);
    ck_assert_ok(llmq_compare(&o, NULL, &r, &err), &err);
    for (int t = 0; t < TOKENS - 1; t++) {
        const double change = exp(q[t][tokens[t + 1]]) - exp(p[t][tokens[t + 1]]);
        for (int i = 0; i < VOCAB; i++)
            reverse += exp(q[t][i]) * (q[t][i] - p[t][i]);
        mean += change;
        squares += change * change;
    }
    ck_assert_double_gt(r.kl_reverse_mean, 0.01);
    ck_assert_double_eq_tol(r.kl_reverse_mean, reverse / 7, 1e-6);
    ck_assert_double_eq_tol(r.delta_p.mean, mean / 7, 1e-7);
    ck_assert_double_eq_tol(r.delta_p.rms, sqrt(squares / 7), 1e-7);
    ck_assert(isnan(r.delta_nll_p_value)); /* one window */
    ck_assert_double_eq(r.kl_max, r.worst[0].kl);
    for (size_t i = 0; i < r.worst_count; i++) {
        const int64_t t = r.worst[i].position - 1;
        check_likely(r.contexts[i].model, r.contexts[i].model_count, q[t]);
        check_likely(r.contexts[i].reference, r.contexts[i].reference_count, p[t]);
        ck_assert_ptr_null(r.contexts[i].text); /* there is no tokenizer */
    }
    llmq_compare_result_free(&r);
}
END_TEST

/* --- by hand ---------------------------------------------------------------------------------- */

static int64_t offsets[] = {0, 4, 7};
static int32_t hand_ids[] = {10, 11, 12, 13, 20, 21, 22};
static const struct corpus hand = {
    .ids = hand_ids, .offsets = offsets, .count = 2, .max_len = 4, .tokens_used = 7};
static double kl[] = {0.5, 0.1, 0.3, 0, 0, 11, 0};
static double reverse[] = {1, 1, 1, 0, 3, 4, 0};
static bool agree[7];

/* log of 0.5 0.25 1 | 0.125 0.5 and of 0.25 0.25 0.5 | 0.25 1 */
#define LOG2 (-0.69314718055994531)
static double logprobs[] = {LOG2, 2 * LOG2, 0, 0, 3 * LOG2, LOG2, 0};
static double reference_logprobs[] = {2 * LOG2, 2 * LOG2, LOG2, 0, 2 * LOG2, 0, 0};
static const struct divergence by_hand = {.kl = kl,
                                          .reverse = reverse,
                                          .agree = agree,
                                          .logprobs = logprobs,
                                          .reference_logprobs = reference_logprobs,
                                          .sampling_variance = 0.25};

START_TEST(summary_by_hand) {
    struct divergence_summary s;
    ck_assert_ok(divergence_summarize(&hand, &by_hand, EVAL_GPTQ, &s, &err), &err);
    /* in order: 0 0.1 0.3 0.5 11 */
    ck_assert_double_eq_tol(s.kl_p90, 0.5 + 0.6 * 10.5, 1e-12);
    ck_assert_double_eq_tol(s.kl_p999, 0.5 + 0.996 * 10.5, 1e-12);
    ck_assert_double_eq(s.kl_max, 11);
    ck_assert_double_eq_tol(s.reverse.nll, 2, 1e-15);
    ck_assert_double_eq_tol(s.kl_sampling_error, 0.1, 1e-15);
    /* changes of p in order: -0.5 -0.125 0 0.25 0.5 */
    ck_assert_double_eq_tol(s.delta_p.mean, 0.125 / 5, 1e-12);
    ck_assert_double_eq_tol(s.delta_p.rms, sqrt((0.5 + 0.015625 + 0.0625) / 5), 1e-12);
    ck_assert_double_eq_tol(s.delta_p.p01, -0.5 + 0.04 * 0.375, 1e-12);
    ck_assert_double_eq_tol(s.delta_p.p05, -0.5 + 0.2 * 0.375, 1e-12);
    ck_assert_double_eq_tol(s.delta_p.median, 0, 1e-12);
    ck_assert_double_eq_tol(s.delta_p.p95, 0.25 + 0.8 * 0.25, 1e-12);
    ck_assert_double_eq_tol(s.delta_p.p99, 0.25 + 0.96 * 0.25, 1e-12);
    /* 0 | 0.1 from 10^-1 | 0.3 likewise | 0.5 from 10^-0.5 | 11 in the last */
    ck_assert_int_eq(s.histogram[0], 1);
    ck_assert_int_eq(s.histogram[11], 2);
    ck_assert_int_eq(s.histogram[12], 1);
    ck_assert_int_eq(s.histogram[LLMQ_COMPARE_BINS - 1], 1);
    /* a stretch for each of the positions 1, 2 and 3 */
    static const double at[] = {0.25, 5.55, 0.3};
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(s.stretches[i].first, i + 1);
        ck_assert_int_eq(s.stretches[i].last, i + 1);
        ck_assert_int_eq(s.stretches[i].tokens, i < 2 ? 2 : 1);
        ck_assert_double_eq_tol(s.stretches[i].kl, at[i], 1e-12);
    }
    ck_assert_int_eq(s.stretches[3].first, 0);
    /* nll differences in units of log 2: -1 0 -1 | 1 1: mean 0, so no difference at all */
    ck_assert_double_eq_tol(s.delta_p_value, 1, 1e-12);
}
END_TEST

START_TEST(windows_by_hand) {
    llmq_window_divergence w[2], other[2];
    double mean = 0, spread = 0;
    divergence_by_window(&hand, &by_hand, EVAL_GPTQ, w);
    ck_assert_int_eq(w[0].tokens, 3);
    ck_assert_int_eq(w[1].tokens, 2);
    ck_assert_double_eq_tol((3 * w[0].kl + 2 * w[1].kl) / 5, 11.9 / 5, 1e-12);
    ck_assert_double_eq_tol(3 * w[0].delta_nll, 2 * LOG2, 1e-12);
    ck_assert_double_eq_tol(2 * w[1].delta_nll, -2 * LOG2, 1e-12);
    /* 0.5 and 1 more: 3.5 of 5 tokens; 0.7 of each would be 2.1 and 1.4: off by 0.6 each */
    memcpy(other, w, sizeof w);
    other[0].kl += 0.5;
    other[1].kl += 1;
    divergence_beside(w, other, 2, &mean, &spread);
    ck_assert_double_eq_tol(mean, 0.7, 1e-12);
    ck_assert_double_eq_tol(spread, sqrt(2 * (0.36 + 0.36)) / 5, 1e-12);
    divergence_beside(w, other, 1, &mean, &spread);
    ck_assert_double_eq_tol(mean, 0.5, 1e-12);
    ck_assert(isnan(spread));
}
END_TEST

START_TEST(stretches_cover_every_position_once) {
    enum { LONGEST = 40 };
    static int64_t long_offsets[] = {0, LONGEST};
    static int32_t ids[LONGEST];
    static double values[LONGEST], zeros[LONGEST];
    static bool agrees[LONGEST];
    const struct corpus corpus = {.ids = ids,
                                  .offsets = long_offsets,
                                  .count = 1,
                                  .max_len = LONGEST,
                                  .tokens_used = LONGEST};
    const struct divergence d = {
        .kl = values, .agree = agrees, .logprobs = zeros, .reference_logprobs = zeros};
    struct divergence_summary s;
    for (int i = 0; i < LONGEST - 1; i++)
        values[i] = i + 1; /* its position */
    ck_assert_ok(divergence_summarize(&corpus, &d, EVAL_GPTQ, &s, &err), &err);
    int64_t next = 1;
    for (int i = 0; i < LLMQ_COMPARE_STRETCHES; i++) {
        const llmq_kl_stretch *part = &s.stretches[i];
        ck_assert_int_eq(part->first, next);
        ck_assert_int_eq(part->tokens, part->last - part->first + 1);
        ck_assert_double_eq_tol(part->kl, (double)(part->first + part->last) / 2, 1e-12);
        next = part->last + 1;
    }
    ck_assert_int_eq(next, LONGEST);
}
END_TEST

/* --- the t distribution ------------------------------------------------------------------------
 */

/* 1 - the integral of the density from -t to t, by Simpson's rule. */
static double integrated(double t, double freedom) {
    enum { STEPS = 20000 };
    const double scale = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) /
                         sqrt(freedom * 3.14159265358979323846);
    const double h = t / STEPS;
    double sum = 0;
    for (int i = 0; i <= STEPS; i++) {
        const double x = i * h, weight = i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2;
        sum += weight * scale * pow(1 + x * x / freedom, -(freedom + 1) / 2);
    }
    return 1 - 2 * sum * h / 3;
}

START_TEST(two_sided_equals_the_integral) {
    static const double freedoms[] = {1, 2, 3, 10, 119, 239, 2000}, ts[] = {0.01, 0.3, 1, 2.5, 4};
    for (size_t i = 0; i < sizeof freedoms / sizeof *freedoms; i++)
        for (size_t j = 0; j < sizeof ts / sizeof *ts; j++) {
            const double p = student_two_sided(ts[j], freedoms[i]);
            ck_assert_double_eq_tol(p, integrated(ts[j], freedoms[i]), 1e-10);
            ck_assert_double_eq(p, student_two_sided(-ts[j], freedoms[i]));
        }
    ck_assert_double_eq(student_two_sided(0, 5), 1);
    ck_assert_double_eq_tol(student_two_sided(1, 1), 0.5, 1e-14); /* Cauchy's */
    ck_assert_double_lt(student_two_sided(60, 200), 1e-100);
}
END_TEST

/* --- several models ----------------------------------------------------------------------------
 */

START_TEST(several_models_equal_each_alone) {
    const llmq_compare_options o = on_window();
    const char *const models[] = {model_dir, reference_dir, model_dir};
    llmq_compare_result r[3];
    ck_assert_ok(llmq_compare_all(&o, models, 3, NULL, r, &err), &err);
    for (int i = 0; i < 3; i++) {
        llmq_compare_options alone = o;
        llmq_compare_result one;
        alone.model = models[i];
        ck_assert_ok(llmq_compare(&alone, NULL, &one, &err), &err);
        ck_assert_double_eq(r[i].kl_mean, one.kl_mean);
        ck_assert_double_eq(r[i].kl_reverse_mean, one.kl_reverse_mean);
        ck_assert_double_eq(r[i].ppl, one.ppl);
        ck_assert_int_eq(r[i].block_count, one.block_count);
        ck_assert_str_eq(r[i].model, models[i]);
        llmq_compare_result_free(&one);
    }
    ck_assert_double_eq(r[1].kl_mean, 0);
    ck_assert_double_eq(r[0].kl_beside_first, 0);
    ck_assert_double_eq_tol(r[1].kl_beside_first, -r[0].kl_mean, 1e-12);
    ck_assert_double_eq(r[2].kl_beside_first, 0);
    ck_assert_double_eq_tol(r[0].by_window[0].kl, r[0].kl_mean, 1e-12);
    ck_assert_double_eq_tol(r[0].by_window[0].delta_nll, r[0].delta_nll, 1e-12);
    for (int i = 0; i < 3; i++)
        llmq_compare_result_free(&r[i]);
}
END_TEST

int main(void) {
    Suite *s = suite_create("compare_statistics");
    TCase *t = tcase_create("compare_statistics");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, equal_to_plain_double_precision);
    tcase_add_test(t, summary_by_hand);
    tcase_add_test(t, windows_by_hand);
    tcase_add_test(t, stretches_cover_every_position_once);
    tcase_add_test(t, two_sided_equals_the_integral);
    tcase_add_test(t, several_models_equal_each_alone);
    suite_add_tcase(s, t);
    return run_suite(s);
}
