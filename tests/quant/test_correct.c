/* SPDX-License-Identifier: Apache-2.0 */
/* Corrected targets against the normal equations in double precision, and the choice of strengths
 * against a search over the held-back error itself. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/correct.h"
#include "support.h"

enum { N = 20, K = 24, TOKENS = 400, HELD = 80 }; /* the last HELD tokens are held back */

/* Inputs of both models, streams of both, the moments over the tokens that are not held back, and
 * what is handed over of the others. */
struct scene {
    float W[N * K];
    double X[TOKENS * K], Xo[TOKENS * K], S[TOKENS * N], So[TOKENS * N];
    float H[K * K], D[K * K], WD[N * K], R[N * K], B[N * K];
    float X_held[HELD * K], X_lack[HELD * K], S_lack[HELD * N];
    struct correct_lack lack;
};

/* M [rows, K] = (2/T) (A - B)^T X over the tokens that are not held back. */
static void moment(const double *A, const double *B, int64_t rows, const double *X, float *M) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < K; j++) {
            double sum = 0;
            for (int64_t t = 0; t < TOKENS - HELD; t++)
                sum += (A[t * rows + i] - (B ? B[t * rows + i] : 0)) * X[t * K + j];
            M[i * K + j] = (float)(2 * sum / (double)(TOKENS - HELD));
        }
}

/* out [HELD, width] = A - B of the tokens held back. */
static void hold(const double *A, const double *B, int64_t width, float *out) {
    const int64_t begin = (TOKENS - HELD) * width;
    for (int64_t i = 0; i < HELD * width; i++)
        out[i] = (float)(A[begin + i] - (B ? B[begin + i] : 0));
}

/* Correlated inputs; the quantized model's deviate partly in ways that they tell (`told`), partly
 * by noise. */
static struct scene *scene_create(double told, double noise, bool with_stream) {
    struct scene *s = calloc(1, sizeof *s);
    problem_seed(5);
    for (int64_t i = 0; i < (int64_t)N * K; i++)
        s->W[i] = normal();
    for (int64_t t = 0; t < TOKENS; t++) {
        double common = (double)normal();
        for (int64_t j = 0; j < K; j++) {
            double x = (double)normal() + common;
            s->X[t * K + j] = x;
            s->Xo[t * K + j] = x + told * s->X[t * K + (j + K - 1) % K] + noise * (double)normal();
        }
        for (int64_t i = 0; i < N; i++) {
            s->S[t * N + i] = (double)normal();
            s->So[t * N + i] = s->S[t * N + i] + told * s->X[t * K + i] + noise * (double)normal();
        }
    }
    moment(s->X, NULL, K, s->X, s->H);
    moment(s->Xo, s->X, K, s->X, s->D);
    moment(s->So, s->S, N, s->X, s->R);
    hold(s->X, NULL, K, s->X_held);
    hold(s->Xo, s->X, K, s->X_lack);
    hold(s->So, s->S, N, s->S_lack);
    s->lack = (struct correct_lack){.D = s->D,
                                    .B = with_stream ? s->B : NULL,
                                    .held = HELD,
                                    .X = s->X_held,
                                    .X_lack = s->X_lack,
                                    .S_lack = with_stream ? s->S_lack : NULL};
    return s;
}

/* The target in `target`, made as a run makes it. */
static void correct(struct scene *s, const struct gptq_factor *f, bool choose,
                    struct correction *strength, float *target) {
    llmq_error err = {0};
    memcpy(target, s->W, sizeof s->W);
    memcpy(s->B, s->R, sizeof s->B);
    ck_assert_ok(correct_stream(f, N, s->B, &err), &err);
    ck_assert_ok(correct_weights(f, N, &s->lack, choose, strength, target, &err), &err);
}

static struct gptq_factor *factor_of(const struct scene *s, enum act_order order) {
    llmq_error err = {0};
    struct gptq_factor *f = NULL;
    const struct quant_options options = {.act_order = order, .damp = 0.01};
    ck_assert_ok(gptq_factor_create(s->H, K, 8, &options, &f, &err), &err);
    ck_assert(gptq_factor_usable(f));
    return f;
}

/* x [K] = b (H + 0.01 mean diag I)^-1 by Gaussian elimination with pivoting; dead inputs as 1. */
static void solve(const float *H, const double *b, double *x) {
    double A[K][K + 1], mean = 0;
    for (int64_t i = 0; i < K; i++)
        mean += (H[i * K + i] == 0 ? 1 : (double)H[i * K + i]) / K;
    for (int64_t i = 0; i < K; i++) {
        for (int64_t j = 0; j < K; j++)
            A[i][j] = (double)H[i * K + j];
        A[i][i] = (H[i * K + i] == 0 ? 1 : A[i][i]) + 0.01 * mean;
        A[i][K] = b[i];
    }
    for (int64_t c = 0; c < K; c++) {
        int64_t pivot = c;
        for (int64_t r = c; r < K; r++)
            if (fabs(A[r][c]) > fabs(A[pivot][c]))
                pivot = r;
        for (int64_t j = 0; j <= K; j++) {
            double swap = A[c][j];
            A[c][j] = A[pivot][j];
            A[pivot][j] = swap;
        }
        for (int64_t r = 0; r < K; r++)
            for (int64_t j = K; r != c && j >= c; j--)
                A[r][j] -= A[r][c] / A[c][c] * A[c][j];
    }
    for (int64_t i = 0; i < K; i++)
        x[i] = A[i][K] / A[i][i];
}

/* Row `row` of W + alpha W D (H + ..)^-1 + beta R (H + ..)^-1. */
static void expected_row(const struct scene *s, int64_t row, struct correction strength,
                         double *out) {
    double b[K], x[K];
    for (int64_t j = 0; j < K; j++) {
        b[j] = s->lack.B ? strength.beta * (double)s->R[row * K + j] : 0;
        for (int64_t i = 0; i < K; i++)
            b[j] += strength.alpha * (double)s->W[row * K + i] * (double)s->D[i * K + j];
    }
    solve(s->H, b, x);
    for (int64_t j = 0; j < K; j++)
        out[j] = (double)s->W[row * K + j] + x[j];
}

static void check_fixed(bool with_stream, bool dead, enum act_order order) {
    struct scene *s = scene_create(0.1, 0.1, with_stream);
    struct correction strength = {0.7, 0.3};
    float target[N * K];
    for (int64_t i = 0; dead && i < K; i++) /* input 3 is never active */
        s->H[3 * K + i] = s->H[i * K + 3] = s->D[i * K + 3] = 0;
    for (int64_t i = 0; dead && i < N; i++)
        s->R[i * K + 3] = 0;
    struct gptq_factor *f = factor_of(s, order);
    correct(s, f, false, &strength, target);
    ck_assert(strength.alpha == 0.7 && strength.beta == 0.3);
    for (int64_t r = 0; r < N; r++) {
        double want[K];
        expected_row(s, r, strength, want);
        for (int64_t j = 0; j < K; j++)
            ck_assert_double_eq_tol((double)target[r * K + j], want[j], 1e-4);
    }
    gptq_factor_free(&f);
    free(s);
}

START_TEST(fixed_strengths_solve_the_normal_equations) {
    check_fixed(false, false, ACT_ORDER_NONE);
    check_fixed(true, false, ACT_ORDER_NONE);
    check_fixed(true, false, ACT_ORDER_STATIC);
    check_fixed(true, false, ACT_ORDER_GROUP_AWARE);
    check_fixed(true, true, ACT_ORDER_STATIC);
}
END_TEST

START_TEST(a_product_that_is_given_is_not_made_again) {
    struct scene *s = scene_create(0.1, 0.1, true);
    struct correction made = {0}, given = {0};
    float a[N * K], b[N * K];
    struct gptq_factor *f = factor_of(s, ACT_ORDER_STATIC);
    correct(s, f, true, &made, a);
    linalg_gemm_nn(N, K, K, 1, s->W, K, s->D, K, 0, s->WD, K);
    s->lack.D = NULL;
    s->lack.WD = s->WD;
    correct(s, f, true, &given, b);
    ck_assert_double_eq_tol(made.alpha, given.alpha, 1e-5);
    ck_assert_double_eq_tol(made.beta, given.beta, 1e-5);
    for (int64_t i = 0; i < (int64_t)N * K; i++)
        ck_assert_double_eq_tol((double)a[i], (double)b[i], 1e-5);
    gptq_factor_free(&f);
    free(s);
}
END_TEST

/* Squared error on the held-back tokens at this strength. */
static double held_error(const struct scene *s, struct correction strength) {
    double sum = 0;
    for (int64_t r = 0; r < N; r++) {
        double w[K];
        expected_row(s, r, strength, w);
        for (int64_t t = TOKENS - HELD; t < TOKENS; t++) {
            double e = s->lack.B ? s->So[t * N + r] - s->S[t * N + r] : 0;
            for (int64_t j = 0; j < K; j++)
                e += (double)s->W[r * K + j] * s->Xo[t * K + j] - w[j] * s->X[t * K + j];
            sum += e * e;
        }
    }
    return sum;
}

/* Nothing on a grid over the unit square does better than the chosen strengths. */
static struct correction check_chosen(double told, double noise, bool with_stream) {
    struct scene *s = scene_create(told, noise, with_stream);
    struct gptq_factor *f = factor_of(s, ACT_ORDER_STATIC);
    struct correction chosen = {0};
    float target[N * K];
    correct(s, f, true, &chosen, target);
    ck_assert(chosen.alpha >= 0 && chosen.alpha <= 1 && chosen.beta >= 0 && chosen.beta <= 1);
    double best = held_error(s, chosen);
    for (int a = 0; a <= 10; a++)
        for (int b = 0; b <= (with_stream ? 10 : 0); b++)
            ck_assert_double_le(best, held_error(s, (struct correction){a / 10.0, b / 10.0}) *
                                          (1 + 1e-5));
    gptq_factor_free(&f);
    free(s);
    return chosen;
}

START_TEST(chosen_strengths_are_the_best_on_held_back_tokens) {
    struct correction told = check_chosen(0.2, 0.01, true);
    ck_assert_double_ge(told.alpha, 0.9); /* nearly all of the error can be told */
    ck_assert_double_ge(told.beta, 0.9);
    struct correction mixed = check_chosen(0.03, 0.5, true);
    ck_assert(mixed.alpha < told.alpha && mixed.beta < told.beta);
    check_chosen(0.1, 0.3, false);
    check_chosen(0, 0.5, true); /* nothing to learn */
}
END_TEST

/* Of more than 512 tokens every so many-th chooses: strengths are those that it alone chooses, and
 * the others do not matter. */
START_TEST(of_many_held_back_tokens_evenly_spaced_ones_choose) {
    enum { MANY = 1100, STEP = 3, FEW = 367 };
    static float X[2][MANY * K], X_lack[2][MANY * K], S_lack[2][MANY * N];
    struct scene *s = scene_create(0.1, 0.3, true);
    struct gptq_factor *f = factor_of(s, ACT_ORDER_STATIC);
    struct correction chosen[2] = {0};
    float target[N * K];
    ck_assert_int_eq(correct_judges(MANY), FEW);
    ck_assert_int_eq(correct_judges(FEW), FEW);
    for (int64_t i = 0; i < MANY * K; i++)
        X[0][i] = X_lack[0][i] = 1e6F;
    for (int64_t i = 0; i < MANY * N; i++)
        S_lack[0][i] = -1e6F;
    for (int64_t t = 0; t < FEW; t++)
        for (int which = 0; which < 2; which++) {
            const int64_t to = which ? t : STEP * t, from = t % HELD;
            memcpy(X[which] + to * K, s->X_held + from * K, K * sizeof **X);
            memcpy(X_lack[which] + to * K, s->X_lack + from * K, K * sizeof **X_lack);
            memcpy(S_lack[which] + to * N, s->S_lack + from * N, N * sizeof **S_lack);
        }
    for (int which = 0; which < 2; which++) {
        s->lack.held = which ? FEW : MANY;
        s->lack.X = X[which];
        s->lack.X_lack = X_lack[which];
        s->lack.S_lack = S_lack[which];
        correct(s, f, true, &chosen[which], target);
    }
    ck_assert_double_eq_tol(chosen[0].alpha, chosen[1].alpha, 1e-6);
    ck_assert_double_eq_tol(chosen[0].beta, chosen[1].beta, 1e-6);
    ck_assert(chosen[0].alpha > 0 && chosen[0].alpha < 1);
    gptq_factor_free(&f);
    free(s);
}
END_TEST

START_TEST(without_held_back_tokens_strengths_are_moderate) {
    struct scene *s = scene_create(0.1, 0.1, true);
    struct gptq_factor *f = factor_of(s, ACT_ORDER_NONE);
    struct correction chosen = {0};
    float target[N * K];
    s->lack.held = 0;
    s->lack.X = s->lack.X_lack = s->lack.S_lack = NULL;
    correct(s, f, true, &chosen, target);
    ck_assert(chosen.alpha == 0.75 && chosen.beta == 0.75);
    gptq_factor_free(&f);
    free(s);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quant_correct");
    TCase *t = tcase_create("correct");
    linalg_init();
    tcase_add_test(t, fixed_strengths_solve_the_normal_equations);
    tcase_add_test(t, a_product_that_is_given_is_not_made_again);
    tcase_add_test(t, chosen_strengths_are_the_best_on_held_back_tokens);
    tcase_add_test(t, of_many_held_back_tokens_evenly_spaced_ones_choose);
    tcase_add_test(t, without_held_back_tokens_strengths_are_moderate);
    suite_add_tcase(s, t);
    return run_suite(s);
}
