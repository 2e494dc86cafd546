/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrences in chunks against the plain ones in double precision, at the edges of chunks. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "graph/scan.h"
#include "linalg/linalg.h"
#include "ops_check.h"
#include "support.h"

static const int64_t lengths[] = {1, 2, 63, 64, 65, 1000};
enum { LENGTHS = sizeof lengths / sizeof lengths[0] };

/* --- a matrix for a state (Mamba-2) ----------------------------------------------------------- */

static const struct scan shapes[] = {
    {.heads = 3, .groups = 1, .width = 5, .state = 7},
    {.heads = 4, .groups = 2, .width = 16, .state = 8},
    {.heads = 2, .groups = 2, .width = 1, .state = 1},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* Time steps as in trained models: most tokens fade slowly, some heads forget at once. */
struct scan_case {
    struct scan shape;
    int64_t length;
    float *x, *b, *c, *dt, *bias, *A_log, *skip;
    float *decay, *gain, *scratch, *out;
    struct scan_steps steps;
};

static struct scan_case scan_case_of(struct scan shape, int64_t length, double min, double max) {
    const int64_t heads = shape.heads, wide = heads * shape.width;
    struct scan_case c = {.shape = shape, .length = length};
    c.x = random_row(1, length * wide, 1);
    c.b = random_row(2, length * shape.groups * shape.state, 1);
    c.c = random_row(3, length * shape.groups * shape.state, 1);
    c.dt = random_row(4, length * heads, 2);
    c.bias = random_row(5, heads, 3);
    c.A_log = random_row(6, heads, 2);
    c.skip = random_row(7, heads, 1);
    c.decay = random_row(8, length * heads, 1);
    c.gain = random_row(9, length * heads, 1);
    c.scratch = random_row(10, scan_scratch(&shape, length), 1);
    c.out = random_row(11, length * wide, 1);
    c.steps = (struct scan_steps){heads, c.bias, c.A_log, min, max};
    return c;
}

static void run(void *of) {
    struct scan_case *c = of;
    c->shape.skip = c->skip;
    const struct scan_input in = {c->x, c->b, c->c, c->decay, c->gain};
    scan_steps(&c->steps, c->length, c->dt, c->decay, c->gain);
    scan_sequence(&c->shape, c->length, &in, c->scratch, c->out);
}

static void scan_case_free(struct scan_case *c) {
    float *all[] = {c->x,    c->b,     c->c,    c->dt,      c->bias, c->A_log,
                    c->skip, c->decay, c->gain, c->scratch, c->out};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static double step_of(const struct scan_case *c, int64_t t, int64_t h) {
    const double dt = (double)c->dt[t * c->shape.heads + h] + (double)c->bias[h];
    return fmin(fmax(log1p(exp(dt)), c->steps.min), c->steps.max);
}

/* One token of one head: the formula of scan.h. */
static void want_token(const void *of, int64_t t, int64_t h, double *S, double *out) {
    const struct scan_case *c = of;
    const struct scan *s = &c->shape;
    const int64_t group = h / (s->heads / s->groups), n = s->state;
    const float *x = c->x + (t * s->heads + h) * s->width;
    const float *b = c->b + (t * s->groups + group) * n, *C = c->c + (t * s->groups + group) * n;
    const double dt = step_of(c, t, h), fade = exp(-exp((double)c->A_log[h]) * dt);
    for (int64_t i = 0; i < s->width; i++) {
        out[i] = (double)c->skip[h] * (double)x[i];
        for (int64_t j = 0; j < n; j++) {
            S[i * n + j] = fade * S[i * n + j] + dt * (double)x[i] * (double)b[j];
            out[i] += S[i * n + j] * (double)C[j];
        }
    }
}

static void check_scan(struct scan_case *c) {
    const struct scan *s = &c->shape;
    const struct recurrence r = {.length = c->length,
                                 .heads = s->heads,
                                 .width = s->width,
                                 .state = s->width * s->state,
                                 .token = want_token,
                                 .c = c};
    run(c);
    assert_recurrence(&r, c->out);
}

START_TEST(chunks_give_what_the_recurrence_gives) {
    for (int shape = 0; shape < SHAPES; shape++) {
        struct scan_case c = scan_case_of(shapes[shape], lengths[_i], 0, (double)INFINITY);
        check_scan(&c);
        scan_case_free(&c);
    }
}
END_TEST

START_TEST(time_steps_stay_within_their_limits) {
    struct scan_case c = scan_case_of(shapes[1], 65, 0.3, 0.9);
    check_scan(&c);
    scan_case_free(&c);
}
END_TEST

/* A state that is forgotten at once, and one that never is: nothing overflows. */
START_TEST(extreme_decays_stay_finite) {
    for (int fast = 0; fast < 2; fast++) {
        struct scan_case c = scan_case_of(shapes[0], 200, 0, (double)INFINITY);
        for (int64_t h = 0; h < 3; h++)
            c.A_log[h] = fast ? 20 : -80;
        check_scan(&c);
        scan_case_free(&c);
    }
}
END_TEST

START_TEST(threads_change_no_bit) {
    struct scan_case c = scan_case_of(shapes[1], 300, 0, (double)INFINITY);
    const int64_t count = c.length * c.shape.heads * c.shape.width;
    assert_threads_change_nothing(run, &c, c.out, count);
    scan_case_free(&c);
}
END_TEST

/* --- the way back ----------------------------------------------------------------------------- */

struct loss_case {
    struct scan_case c;
    float *dy;
};

static double scan_loss(const void *of) {
    const struct loss_case *l = of;
    const struct scan *s = &l->c.shape;
    const struct recurrence r = {.length = l->c.length,
                                 .heads = s->heads,
                                 .width = s->width,
                                 .state = s->width * s->state,
                                 .token = want_token,
                                 .c = &l->c};
    return recurrence_loss(&r, l->dy);
}

struct scan_gradients {
    float *x, *b, *c, *dt, *decay, *gain;
    double *skip, *bias, *A_log;
};

static void run_back(struct loss_case *l, const struct scan_gradients *d) {
    struct scan_case *c = &l->c;
    const struct scan_input in = {c->x, c->b, c->c, c->decay, c->gain};
    const struct scan_back back = {l->dy, d->x, d->b, d->c, d->decay, d->gain, d->skip};
    const struct scan_steps_back steps = {c->dt, d->decay, d->gain, d->dt, d->bias, d->A_log};
    float *rest = random_row(12, scan_back_scratch(&c->shape, c->length), 1);
    run(c);
    scan_back(&c->shape, c->length, &in, &back, rest);
    scan_steps_back(&c->steps, c->length, &steps);
    free(rest);
}

static void check_back(struct scan shape, int64_t length, double min, double max) {
    struct loss_case l = {.c = scan_case_of(shape, length, min, max)};
    const int64_t steps = length * shape.heads, wide = steps * shape.width;
    const int64_t narrow = length * shape.groups * shape.state;
    struct scan_case *c = &l.c;
    to_grid(c->x, wide), to_grid(c->b, narrow), to_grid(c->c, narrow), to_grid(c->dt, steps);
    to_grid(c->bias, shape.heads), to_grid(c->A_log, shape.heads), to_grid(c->skip, shape.heads);
    l.dy = random_row(13, wide, 1);
    float *room = calloc((size_t)(wide + 2 * narrow + 3 * steps), sizeof *room);
    double *sums = calloc((size_t)(3 * shape.heads), sizeof *sums);
    const struct scan_gradients d = {room,
                                     room + wide,
                                     room + wide + narrow,
                                     room + wide + 2 * narrow,
                                     room + wide + 2 * narrow + steps,
                                     room + wide + 2 * narrow + 2 * steps,
                                     sums,
                                     sums + shape.heads,
                                     sums + 2 * shape.heads};
    const struct slope slope = {scan_loss, &l};
    run_back(&l, &d);
    assert_gradient(&slope, c->x, d.x, wide);
    assert_gradient(&slope, c->b, d.b, narrow);
    assert_gradient(&slope, c->c, d.c, narrow);
    assert_gradient(&slope, c->dt, d.dt, steps);
    assert_gradient_sums(&slope, c->skip, d.skip, shape.heads);
    assert_gradient_sums(&slope, c->bias, d.bias, shape.heads);
    assert_gradient_sums(&slope, c->A_log, d.A_log, shape.heads);
    free(room), free(sums), free(l.dy);
    scan_case_free(c);
}

START_TEST(gradients_are_those_of_the_recurrence) {
    static const int64_t few[] = {1, 2, 63, 64, 65, 150};
    for (int shape = 0; shape < SHAPES; shape++)
        check_back(shapes[shape], few[_i], 0, (double)INFINITY);
}
END_TEST

/* More heads of a group than shares; time steps at both limits. */
START_TEST(gradients_of_many_heads_and_within_limits) {
    check_back((struct scan){.heads = 20, .groups = 1, .width = 3, .state = 4}, 70, 0,
               (double)INFINITY);
    check_back(shapes[1], 65, 0.3017, 0.9031);
}
END_TEST

START_TEST(gradients_do_not_depend_on_threads) {
    const struct scan shape = {.heads = 20, .groups = 2, .width = 3, .state = 4};
    enum {
        STEPS = 100 * 20,
        WIDE = STEPS * 3,
        NARROW = 100 * 8,
        ALL = WIDE + 2 * NARROW + 3 * STEPS
    };
    omp_set_num_threads(3);
    struct loss_case l = {.c = scan_case_of(shape, 100, 0, (double)INFINITY)};
    float *d[2];
    double sums[2][60] = {{0}};
    l.dy = random_row(13, WIDE, 1);
    for (int i = 0; i < 2; i++) {
        float *at = d[i] = calloc(ALL, sizeof *at);
        const struct scan_gradients g = {at,
                                         at + WIDE,
                                         at + WIDE + NARROW,
                                         at + WIDE + 2 * NARROW,
                                         at + WIDE + 2 * NARROW + STEPS,
                                         at + WIDE + 2 * NARROW + 2 * STEPS,
                                         sums[i],
                                         sums[i] + 20,
                                         sums[i] + 40};
        omp_set_num_threads(i == 0 ? 3 : 1);
        run_back(&l, &g);
    }
    ck_assert_same(d[0], d[1], ALL);
    ck_assert(memcmp(sums[0], sums[1], sizeof sums[0]) == 0);
    free(d[0]), free(d[1]), free(l.dy);
    scan_case_free(&l.c);
}
END_TEST

int main(void) {
    linalg_init();
    omp_set_num_threads(3);
    Suite *suite = suite_create("scan");
    TCase *matrix = tcase_create("a matrix for a state");
    tcase_add_loop_test(matrix, chunks_give_what_the_recurrence_gives, 0, LENGTHS);
    tcase_add_test(matrix, time_steps_stay_within_their_limits);
    tcase_add_test(matrix, extreme_decays_stay_finite);
    tcase_add_test(matrix, threads_change_no_bit);
    tcase_add_loop_test(matrix, gradients_are_those_of_the_recurrence, 0, LENGTHS);
    tcase_add_test(matrix, gradients_of_many_heads_and_within_limits);
    tcase_add_test(matrix, gradients_do_not_depend_on_threads);
    suite_add_tcase(suite, matrix);
    return run_suite(suite);
}
