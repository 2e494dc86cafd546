/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrences with a state for every channel against the plain ones in double precision, at any
 * length and at the edges of blocks of channels. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "graph/selective.h"
#include "linalg/linalg.h"
#include "ops_check.h"
#include "support.h"

static const int64_t lengths[] = {1, 2, 63, 64, 65, 1000};
enum { LENGTHS = sizeof lengths / sizeof lengths[0], STATE = 5, MOST = 1000 };

/* --- Mamba-1 ---------------------------------------------------------------------------------- */

struct selective_case {
    struct selective s;
    int64_t length;
    float *x, *b, *c, *step, *A_log, *D, *scratch, *out;
};

static struct selective_case selective_case_of(int64_t channels, int64_t length) {
    struct selective_case c = {{.channels = channels, .state = STATE}, .length = length};
    c.x = random_row(1, length * channels, 1);
    c.b = random_row(2, length * STATE, 1);
    c.c = random_row(3, length * STATE, 1);
    c.step = random_row(4, length * channels, 1);
    c.A_log = random_row(5, channels * STATE, 3);
    c.D = random_row(6, channels, 1);
    c.scratch = random_row(7, selective_scratch(&c.s), 1);
    c.out = random_row(8, length * channels, 1);
    for (int64_t i = 0; i < length * channels; i++)
        c.step[i] = c.step[i] * c.step[i]; /* most are small */
    c.s.A_log = c.A_log;
    c.s.D = c.D;
    return c;
}

static void selective_case_run(const struct selective_case *c) {
    const struct selective_input in = {c->x, c->b, c->c, c->step};
    selective_sequence(&c->s, c->length, &in, c->scratch, c->out);
}

static void selective_case_free(struct selective_case *c) {
    free(c->x), free(c->b), free(c->c), free(c->step);
    free(c->A_log), free(c->D), free(c->scratch), free(c->out);
}

/* y [length] of one channel, by the formula. */
static void want_channel(const struct selective_case *c, int64_t channel, double *want) {
    double S[STATE] = {0};
    for (int64_t t = 0; t < c->length; t++) {
        const int64_t at = t * c->s.channels + channel;
        const double step = (double)c->step[at], x = (double)c->x[at];
        double y = (double)c->D[channel] * x;
        for (int64_t j = 0; j < STATE; j++) {
            const double rate = exp((double)c->A_log[channel * STATE + j]);
            S[j] = exp(-rate * step) * S[j] + step * x * (double)c->b[t * STATE + j];
            y += S[j] * (double)c->c[t * STATE + j];
        }
        want[t] = y;
    }
}

static void check_channel(const struct selective_case *c, int64_t channel) {
    double want[MOST];
    want_channel(c, channel, want);
    for (int64_t t = 0; t < c->length; t++)
        ck_assert_near(c->out[t * c->s.channels + channel], want[t], 1e-5 * (1 + fabs(want[t])));
}

START_TEST(channels_give_what_the_recurrence_gives) {
    static const int64_t channels[] = {1, 31, 32, 33, 70};
    for (int i = 0; i < 5; i++) {
        struct selective_case c = selective_case_of(channels[i], lengths[_i]);
        selective_case_run(&c);
        for (int64_t channel = 0; channel < channels[i]; channel++)
            check_channel(&c, channel);
        selective_case_free(&c);
    }
}
END_TEST

/* --- RG-LRU ----------------------------------------------------------------------------------- */

enum { HEADS = 3, WIDTH = 6, WIDE = HEADS * WIDTH };

struct lru_case {
    struct lru l;
    int64_t length;
    float *weights[2], *biases[2], *parameter, *u, *scratch, *out;
};

static struct lru_case lru_case_of(int64_t length) {
    struct lru_case c = {.length = length};
    for (uint64_t i = 0; i < 2; i++) {
        c.weights[i] = random_row(1 + i, HEADS * WIDTH * WIDTH, 1);
        c.biases[i] = random_row(3 + i, WIDE, 1);
    }
    c.parameter = random_row(5, WIDE, 6);
    c.l = (struct lru){
        HEADS, WIDTH, c.weights[0], c.biases[0], c.weights[1], c.biases[1], c.parameter, NULL, 0};
    c.u = random_row(6, length * WIDE, 1);
    c.scratch = random_row(7, lru_scratch(&c.l), 1);
    c.out = random_row(8, length * WIDE, 1);
    lru_sequence(&c.l, length, c.u, c.scratch, c.out);
    return c;
}

static void lru_case_free(struct lru_case *c) {
    free(c->weights[0]), free(c->weights[1]), free(c->biases[0]), free(c->biases[1]);
    free(c->parameter), free(c->u), free(c->scratch), free(c->out);
}

static double gate(const struct lru_case *c, int which, int64_t t, int64_t h, int64_t i) {
    double sum = (double)c->biases[which][h * WIDTH + i];
    for (int64_t k = 0; k < WIDTH; k++)
        sum += (double)c->u[t * WIDE + h * WIDTH + k] *
               (double)c->weights[which][(h * WIDTH + k) * WIDTH + i];
    return 1 / (1 + exp(-sum));
}

/* h [length] of one entry, by the formula. */
static void want_unit(const struct lru_case *c, int64_t h, int64_t i, double *want) {
    const int64_t at = h * WIDTH + i;
    const double rate = 8 * log1p(exp((double)c->parameter[at]));
    double state = 0;
    for (int64_t t = 0; t < c->length; t++) {
        const double a = exp(-rate * gate(c, 1, t, h, i));
        const double m = t == 0 ? 1 : sqrt(1 - a * a);
        want[t] = state = a * state + m * gate(c, 0, t, h, i) * (double)c->u[t * WIDE + at];
    }
}

START_TEST(units_give_what_the_recurrence_gives) {
    struct lru_case c = lru_case_of(lengths[_i]);
    double want[MOST];
    for (int64_t at = 0; at < WIDE; at++) {
        want_unit(&c, at / WIDTH, at % WIDTH, want);
        for (int64_t t = 0; t < c.length; t++)
            ck_assert_near(c.out[t * WIDE + at], want[t], 1e-5 * (1 + fabs(want[t])));
    }
    lru_case_free(&c);
}
END_TEST

START_TEST(threads_change_no_bit) {
    struct selective_case c = selective_case_of(70, 100);
    struct lru_case l = lru_case_of(100);
    float *first = malloc(7000 * sizeof *first);
    ck_assert_ptr_nonnull(first);
    selective_case_run(&c);
    memcpy(first, c.out, 7000 * sizeof *first);
    omp_set_num_threads(1);
    selective_case_run(&c);
    ck_assert_same(first, c.out, 7000);
    memcpy(first, l.out, 100 * WIDE * sizeof *first);
    lru_sequence(&l.l, 100, l.u, l.scratch, l.out);
    ck_assert_same(first, l.out, 100 * WIDE);
    free(first);
    selective_case_free(&c);
    lru_case_free(&l);
}
END_TEST

/* --- the way back ----------------------------------------------------------------------------- */

struct loss_case {
    struct selective_case c;
    struct lru_case l;
    float *dy;
};

static double selective_loss(const void *of) {
    const struct loss_case *l = of;
    double sum = 0, want[MOST];
    for (int64_t channel = 0; channel < l->c.s.channels; channel++) {
        want_channel(&l->c, channel, want);
        for (int64_t t = 0; t < l->c.length; t++)
            sum += (double)l->dy[t * l->c.s.channels + channel] * want[t];
    }
    return sum;
}

static void run_selective_back(const struct loss_case *l, float *dx, float *db, float *dc,
                               float *dstep, double *sums) {
    const struct selective_case *c = &l->c;
    const struct selective_input in = {c->x, c->b, c->c, c->step};
    const struct selective_back back = {
        l->dy, dx, db, dc, dstep, sums, sums + c->s.channels * STATE};
    float *rest = random_row(9, selective_back_scratch(&c->s, c->length), 1);
    selective_back(&c->s, c->length, &in, &back, rest);
    free(rest);
}

static void check_selective_back(int64_t channels, int64_t length) {
    struct loss_case l = {.c = selective_case_of(channels, length)};
    struct selective_case *c = &l.c;
    const int64_t wide = length * channels, narrow = length * STATE;
    to_grid(c->x, wide), to_grid(c->b, narrow), to_grid(c->c, narrow), to_grid(c->step, wide);
    to_grid(c->A_log, channels * STATE), to_grid(c->D, channels);
    l.dy = random_row(10, wide, 1);
    float *d = calloc((size_t)(2 * wide + 2 * narrow), sizeof *d);
    double *sums = calloc((size_t)(channels * (STATE + 1)), sizeof *sums);
    const struct slope slope = {selective_loss, &l};
    run_selective_back(&l, d, d + 2 * wide, d + 2 * wide + narrow, d + wide, sums);
    assert_gradient(&slope, c->x, d, wide);
    assert_gradient(&slope, c->step, d + wide, wide);
    assert_gradient(&slope, c->b, d + 2 * wide, narrow);
    assert_gradient(&slope, c->c, d + 2 * wide + narrow, narrow);
    assert_gradient_sums(&slope, c->A_log, sums, channels * STATE);
    assert_gradient_sums(&slope, c->D, sums + channels * STATE, channels);
    free(d), free(sums), free(l.dy);
    selective_case_free(c);
}

START_TEST(gradients_of_channels) {
    static const int64_t few[] = {1, 2, 63, 64, 65, 130};
    check_selective_back(3, few[_i]);
    check_selective_back(33, few[_i]);
}
END_TEST

/* More blocks of channels than shares. */
START_TEST(gradients_of_many_channels) {
    check_selective_back(17 * 32 + 1, 5);
}
END_TEST

static double lru_loss(const void *of) {
    const struct loss_case *l = of;
    double sum = 0, want[MOST];
    for (int64_t at = 0; at < WIDE; at++) {
        want_unit(&l->l, at / WIDTH, at % WIDTH, want);
        for (int64_t t = 0; t < l->l.length; t++)
            sum += (double)l->dy[t * WIDE + at] * want[t];
    }
    return sum;
}

START_TEST(gradients_of_units) {
    static const int64_t few[] = {1, 2, 63, 64, 65, 130};
    struct loss_case l = {.l = lru_case_of(few[_i])};
    const int64_t count = l.l.length * WIDE;
    to_grid(l.l.u, count);
    lru_sequence(&l.l.l, l.l.length, l.l.u, l.l.scratch, l.l.out);
    l.dy = random_row(11, count, 1);
    float *du = calloc((size_t)count, sizeof *du),
          *rest = random_row(12, lru_back_scratch(&l.l.l), 1);
    const struct lru_back back = {l.l.u, l.l.out, l.dy, du};
    const struct slope slope = {lru_loss, &l};
    lru_back(&l.l.l, l.l.length, &back, rest);
    assert_gradient(&slope, l.l.u, du, count);
    free(du), free(rest), free(l.dy);
    lru_case_free(&l.l);
}
END_TEST

START_TEST(gradients_do_not_depend_on_threads) {
    enum { COUNT = 70 * 100, NARROW = 100 * STATE, ALL = 2 * COUNT + 2 * NARROW };
    omp_set_num_threads(3);
    struct loss_case l = {.c = selective_case_of(70, 100), .l = lru_case_of(100)};
    float *d[2], du[2][100 * WIDE] = {{0}};
    double sums[2][70 * (STATE + 1)] = {{0}};
    l.dy = random_row(10, COUNT, 1);
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i == 0 ? 3 : 1);
        float *rest = random_row(12, lru_back_scratch(&l.l.l), 1);
        const struct lru_back back = {l.l.u, l.l.out, l.dy, du[i]};
        d[i] = calloc(ALL, sizeof **d);
        run_selective_back(&l, d[i], d[i] + 2 * COUNT, d[i] + 2 * COUNT + NARROW, d[i] + COUNT,
                           sums[i]);
        lru_back(&l.l.l, 100, &back, rest);
        free(rest);
    }
    ck_assert_same(d[0], d[1], ALL);
    ck_assert_same(du[0], du[1], 100 * WIDE);
    ck_assert(memcmp(sums[0], sums[1], sizeof sums[0]) == 0);
    free(d[0]), free(d[1]), free(l.dy);
    selective_case_free(&l.c);
    lru_case_free(&l.l);
}
END_TEST

int main(void) {
    linalg_init();
    omp_set_num_threads(3);
    Suite *suite = suite_create("selective");
    TCase *t = tcase_create("a state for every channel");
    tcase_add_loop_test(t, channels_give_what_the_recurrence_gives, 0, LENGTHS);
    tcase_add_loop_test(t, units_give_what_the_recurrence_gives, 0, LENGTHS);
    tcase_add_test(t, threads_change_no_bit);
    tcase_add_loop_test(t, gradients_of_channels, 0, LENGTHS);
    tcase_add_test(t, gradients_of_many_channels);
    tcase_add_loop_test(t, gradients_of_units, 0, LENGTHS);
    tcase_add_test(t, gradients_do_not_depend_on_threads);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
