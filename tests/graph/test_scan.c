/* Recurrences in chunks against the plain ones in double precision, at the edges of chunks. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>

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

int main(void) {
    linalg_init();
    omp_set_num_threads(3);
    Suite *suite = suite_create("scan");
    TCase *matrix = tcase_create("a matrix for a state");
    tcase_add_loop_test(matrix, chunks_give_what_the_recurrence_gives, 0, LENGTHS);
    tcase_add_test(matrix, time_steps_stay_within_their_limits);
    tcase_add_test(matrix, extreme_decays_stay_finite);
    tcase_add_test(matrix, threads_change_no_bit);
    suite_add_tcase(suite, matrix);
    return run_suite(suite);
}
