/* SPDX-License-Identifier: Apache-2.0 */
/* The damping chosen on rows held back: what it is with few and with many tokens, that it pays, and
 * that the factor it leaves is the one a caller would have made. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/damping.h"
#include "quant/gptq.h"
#include "support.h"

enum { N = 96, K = 64, SHARED = 48, HELD = 512, MOST = 64 * K };

/* Inputs: directions that all columns share, ever weaker ones, and a little noise. */
struct inputs {
    float X[(MOST + HELD) * K];
    float W[N * K];
    float H[K * K];
};

static struct inputs *inputs_create(void) {
    struct inputs *in = calloc(1, sizeof *in);
    float mix[SHARED * K];
    ck_assert_ptr_nonnull(in);
    problem_seed(11);
    for (int i = 0; i < SHARED * K; i++)
        mix[i] = normal();
    for (int i = 0; i < N * K; i++)
        in->W[i] = normal();
    for (int64_t t = 0; t < MOST + HELD; t++) {
        float common[SHARED];
        for (int c = 0; c < SHARED; c++)
            common[c] = normal() / (float)(1 + c);
        for (int i = 0; i < K; i++) {
            float x = 0.05f * normal();
            for (int c = 0; c < SHARED; c++)
                x += common[c] * mix[c * K + i];
            in->X[t * K + i] = x;
        }
    }
    return in;
}

/* H of the first `tokens` rows. */
static void make_moment(struct inputs *in, int64_t tokens) {
    for (int i = 0; i < K; i++)
        for (int j = 0; j < K; j++) {
            double sum = 0;
            for (int64_t t = 0; t < tokens; t++)
                sum += (double)in->X[t * K + i] * (double)in->X[t * K + j];
            in->H[i * K + j] = (float)(2 * sum / (double)tokens);
        }
}

static const struct quant_grid grid = {.bits = 4, .group = 32, .zmax = 15, .storage = SCALE_F32};

static struct gptq_factor *factor_of(const struct inputs *in, double lambda) {
    const struct quant_options options = {.damp = lambda};
    struct gptq_factor *f = NULL;
    llmq_error err = {0};
    ck_assert_ok(gptq_factor_create(in->H, K, 32, &options, &f, &err), &err);
    return f;
}

static struct gptq_factor *chosen_factor(struct inputs *in, int64_t tokens) {
    const struct damping_linear linear = {&grid, in->W, N};
    const struct damping_trial trial = {
        .H = in->H, .linears = &linear, .count = 1, .held = {.X = in->X + MOST * K, .count = HELD}};
    llmq_error err = {0};
    make_moment(in, tokens);
    struct gptq_factor *f = factor_of(in, DAMPING_FIRST);
    ck_assert_ok(damping_choose(&trial, f, &err), &err);
    ck_assert(gptq_factor_usable(f));
    return f;
}

/* Error on the inputs that neither H nor the choice has seen. */
static double fresh_error(const struct inputs *in, const struct gptq_factor *f) {
    const struct quant_inputs fresh = {.X = in->X + MOST / 2 * K, .count = MOST / 2};
    struct quant_outcome outcome;
    struct qlinear q;
    double error = 0;
    ck_assert_int_eq(gptq_quantize(&grid, f, in->W, in->H, N, &q, &outcome, NULL), LLMQ_OK);
    ck_assert_int_eq(quant_error(in->W, &q, &fresh, &error, NULL), LLMQ_OK);
    qlinear_free(&q);
    return error;
}

START_TEST(test_few_tokens_ask_for_more_damping_and_gain_by_it) {
    struct inputs *in = inputs_create();
    double last = (double)INFINITY;
    for (int64_t tokens = K / 8; tokens <= MOST / 2; tokens *= 8) {
        struct gptq_factor *f = chosen_factor(in, tokens), *plain = factor_of(in, 0.01);
        const double chosen = fresh_error(in, f), usual = fresh_error(in, plain);
        ck_assert_double_le(f->damp, last);
        ck_assert_double_le(chosen, 1.01 * usual);
        if (tokens < K) {
            ck_assert_double_ge(f->damp, 0.1);
            ck_assert_double_lt(chosen, 0.9 * usual);
        }
        last = f->damp;
        gptq_factor_free(&f);
        gptq_factor_free(&plain);
    }
    ck_assert_double_le(last, 0.03);
    free(in);
}
END_TEST

static void same_factors(const struct gptq_factor *f, const struct gptq_factor *same) {
    ck_assert(f->damp == same->damp && f->damping == same->damping);
    ck_assert_int_eq(f->damp_retries, same->damp_retries);
    for (int64_t i = 0; i < K; i++) {
        ck_assert(f->loss[i] == same->loss[i]);
        ck_assert_mem_eq(f->U + i * K + i, same->U + i * K + i, (size_t)(K - i) * sizeof *f->U);
    }
}

/* Also where it is not the last that was tried. */
START_TEST(test_the_factor_is_the_one_of_that_damping) {
    struct inputs *in = inputs_create();
    for (int64_t tokens = K / 8; tokens <= MOST / 2; tokens *= 4) {
        struct gptq_factor *f = chosen_factor(in, tokens), *same = factor_of(in, f->damp);
        same_factors(f, same);
        gptq_factor_free(&f);
        gptq_factor_free(&same);
    }
    free(in);
}
END_TEST

static void redamp(struct gptq_factor *f, const struct inputs *in, double lambda, bool usable) {
    llmq_error err = {0};
    ck_assert_ok(gptq_factor_redamp(f, in->H, lambda, &err), &err);
    ck_assert(gptq_factor_usable(f) == usable);
}

START_TEST(test_a_redamped_factor_is_taken_back) {
    struct inputs *in = inputs_create();
    make_moment(in, K);
    struct gptq_factor *f = factor_of(in, 0.05), *same = factor_of(in, 0.05);
    for (int again = 0; again < 2; again++) {
        redamp(f, in, 0.25 + again, true);
        ck_assert(f->damp > 0.1);
        gptq_factor_take_back(f);
        same_factors(f, same);
        gptq_factor_take_back(f); /* nothing is left to take back */
        same_factors(f, same);
    }
    in->H[5] = in->H[5 * K] = NAN;
    redamp(f, in, 0.25, false);
    gptq_factor_take_back(f);
    same_factors(f, same);
    redamp(f, in, 0.25, false);
    redamp(f, in, 0.5, false);
    gptq_factor_take_back(f);
    ck_assert(!gptq_factor_usable(f));
    gptq_factor_free(&f);
    gptq_factor_free(&same);
    free(in);
}
END_TEST

START_TEST(test_the_choice_does_not_depend_on_threads) {
    struct inputs *in = inputs_create();
    const int threads = omp_get_max_threads();
    for (int64_t tokens = K / 4; tokens <= 16 * K; tokens *= 4) {
        omp_set_num_threads(1);
        struct gptq_factor *one = chosen_factor(in, tokens);
        omp_set_num_threads(3);
        struct gptq_factor *three = chosen_factor(in, tokens);
        ck_assert(one->damp == three->damp);
        gptq_factor_free(&one);
        gptq_factor_free(&three);
    }
    omp_set_num_threads(threads);
    free(in);
}
END_TEST

/* An H that is not a number has no factor at any damping: the choice leaves one that says so. */
START_TEST(test_no_factor_is_no_error) {
    struct inputs *in = inputs_create();
    const struct damping_linear linear = {&grid, in->W, N};
    const struct damping_trial trial = {in->H, &linear, 1, {.X = in->X, .count = HELD}};
    llmq_error err = {0};
    make_moment(in, K);
    in->H[5] = in->H[5 * K] = NAN;
    struct gptq_factor *f = factor_of(in, 0.01);
    ck_assert_ok(damping_choose(&trial, f, &err), &err);
    ck_assert(!gptq_factor_usable(f));
    gptq_factor_free(&f);
    free(in);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quant_damping");
    TCase *t = tcase_create("damping");
    linalg_init();
    tcase_add_test(t, test_few_tokens_ask_for_more_damping_and_gain_by_it);
    tcase_add_test(t, test_the_factor_is_the_one_of_that_damping);
    tcase_add_test(t, test_a_redamped_factor_is_taken_back);
    tcase_add_test(t, test_the_choice_does_not_depend_on_threads);
    tcase_add_test(t, test_no_factor_is_no_error);
    suite_add_tcase(s, t);
    return run_suite(s);
}
