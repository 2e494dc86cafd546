/* SPDX-License-Identifier: Apache-2.0 */
/* The gated delta rule in chunks against the plain recurrence in double precision, at the edges of
 * chunks. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "graph/delta.h"
#include "linalg/linalg.h"
#include "ops_check.h"
#include "support.h"

static const int64_t lengths[] = {1, 2, 63, 64, 65, 1000};
enum { LENGTHS = sizeof lengths / sizeof lengths[0] };

static const struct delta shapes[] = {
    {.key_heads = 2, .value_heads = 4, .key = 8, .value = 12, .scale = 0.35F},
    {.key_heads = 3, .value_heads = 3, .key = 16, .value = 5, .scale = 0.25F},
    {.key_heads = 1, .value_heads = 2, .key = 1, .value = 1, .scale = 1},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

struct delta_case {
    struct delta shape;
    int64_t length;
    float *q, *k, *v, *decay, *beta, *scratch, *out;
};

/* Keys and queries of length 1, as the models make them. */
static void shorten(float *x, int64_t count, int64_t width) {
    for (int64_t r = 0; r < count; r++) {
        double square = 1e-6;
        for (int64_t i = 0; i < width; i++)
            square += (double)x[r * width + i] * (double)x[r * width + i];
        for (int64_t i = 0; i < width; i++)
            x[r * width + i] = (float)((double)x[r * width + i] / sqrt(square));
    }
}

/* Decays between 0 and -`fade`, each cubed: most tokens fade slowly. */
static struct delta_case delta_case_of(struct delta shape, int64_t length, float fade,
                                       double most) {
    const int64_t keys = length * shape.key_heads, values = length * shape.value_heads;
    struct delta_case c = {.shape = shape, .length = length};
    c.q = random_row(1, keys * shape.key, 1);
    c.k = random_row(2, keys * shape.key, 1);
    c.v = random_row(3, values * shape.value, 2);
    c.decay = random_row(4, values, 1);
    c.beta = random_row(5, values, most / 2);
    c.scratch = random_row(6, delta_scratch(&shape, length), 1);
    c.out = random_row(7, values * shape.value, 1);
    shorten(c.q, keys, shape.key);
    shorten(c.k, keys, shape.key);
    for (int64_t i = 0; i < values; i++) {
        c.decay[i] = -fade * fabsf(c.decay[i] * c.decay[i] * c.decay[i]);
        c.beta[i] += (float)most / 2;
    }
    return c;
}

static void run(void *of) {
    struct delta_case *c = of;
    const struct delta_input in = {c->q, c->k, c->v, c->decay, c->beta};
    delta_sequence(&c->shape, c->length, &in, c->scratch, c->out);
}

static void delta_case_free(struct delta_case *c) {
    float *all[] = {c->q, c->k, c->v, c->decay, c->beta, c->scratch, c->out};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

/* One token of one head: the formula of delta.h. */
static void want_token(const void *of, int64_t t, int64_t h, double *S, double *out) {
    const struct delta_case *c = of;
    const struct delta *d = &c->shape;
    const int64_t head = h / (d->value_heads / d->key_heads);
    const float *q = c->q + (t * d->key_heads + head) * d->key;
    const float *k = c->k + (t * d->key_heads + head) * d->key;
    const float *v = c->v + (t * d->value_heads + h) * d->value;
    const double fade = exp((double)c->decay[h * c->length + t]);
    for (int64_t j = 0; j < d->value; j++) {
        double seen = 0, sum = 0;
        for (int64_t i = 0; i < d->key; i++) {
            S[i * d->value + j] *= fade;
            seen += S[i * d->value + j] * (double)k[i];
        }
        const double e = (double)c->beta[h * c->length + t] * ((double)v[j] - seen);
        for (int64_t i = 0; i < d->key; i++) {
            S[i * d->value + j] += (double)k[i] * e;
            sum += S[i * d->value + j] * (double)q[i];
        }
        out[j] = (double)d->scale * sum;
    }
}

static void check_delta(struct delta_case *c) {
    const struct delta *d = &c->shape;
    const struct recurrence r = {.length = c->length,
                                 .heads = d->value_heads,
                                 .width = d->value,
                                 .state = d->key * d->value,
                                 .token = want_token,
                                 .c = c};
    run(c);
    assert_recurrence(&r, c->out);
}

START_TEST(chunks_give_what_the_recurrence_gives) {
    for (int shape = 0; shape < SHAPES; shape++) {
        struct delta_case c = delta_case_of(shapes[shape], lengths[_i], 3, 1);
        check_delta(&c);
        delta_case_free(&c);
    }
}
END_TEST

/* A beta of more than 1 turns what a key says into its opposite. */
START_TEST(states_may_turn_their_sign) {
    for (int shape = 0; shape < SHAPES; shape++) {
        struct delta_case c = delta_case_of(shapes[shape], 300, 1, 2);
        check_delta(&c);
        delta_case_free(&c);
    }
}
END_TEST

/* A state that is forgotten at once, and one that never is: nothing overflows. */
START_TEST(extreme_decays_stay_finite) {
    for (int fast = 0; fast < 2; fast++) {
        struct delta_case c = delta_case_of(shapes[0], 200, fast ? 1e30F : 0, 1);
        check_delta(&c);
        delta_case_free(&c);
    }
}
END_TEST

START_TEST(threads_change_no_bit) {
    struct delta_case c = delta_case_of(shapes[0], 300, 3, 1);
    const int64_t count = c.length * c.shape.value_heads * c.shape.value;
    assert_threads_change_nothing(run, &c, c.out, count);
    delta_case_free(&c);
}
END_TEST

/* --- the way back ----------------------------------------------------------------------------- */

struct loss_case {
    struct delta_case c;
    float *dy;
};

static double delta_loss(const void *of) {
    const struct loss_case *l = of;
    const struct recurrence r = {.length = l->c.length,
                                 .heads = l->c.shape.value_heads,
                                 .width = l->c.shape.value,
                                 .state = l->c.shape.key * l->c.shape.value,
                                 .token = want_token,
                                 .c = &l->c};
    return recurrence_loss(&r, l->dy);
}

static void check_back(struct delta shape, int64_t length) {
    struct loss_case l = {.c = delta_case_of(shape, length, 1, 1)};
    const int64_t keys = length * shape.key_heads * shape.key, steps = length * shape.value_heads;
    const int64_t values = steps * shape.value;
    struct delta_case *c = &l.c;
    to_grid(c->q, keys), to_grid(c->k, keys), to_grid(c->v, values);
    to_grid(c->decay, steps), to_grid(c->beta, steps);
    l.dy = random_row(8, values, 1);
    float *dq = calloc((size_t)keys, sizeof *dq), *dk = calloc((size_t)keys, sizeof *dk);
    float *dv = calloc((size_t)values, sizeof *dv);
    float *ddecay = random_row(9, steps, 1), *dbeta = random_row(10, steps, 1);
    const struct delta_input in = {c->q, c->k, c->v, c->decay, c->beta};
    const struct delta_back back = {l.dy, dq, dk, dv, ddecay, dbeta};
    const struct slope slope = {delta_loss, &l};
    float *rest = random_row(11, delta_back_scratch(&shape, length), 1);
    delta_back(&shape, length, &in, &back, rest);
    assert_gradient(&slope, c->q, dq, keys);
    assert_gradient(&slope, c->k, dk, keys);
    assert_gradient(&slope, c->v, dv, values);
    assert_gradient(&slope, c->decay, ddecay, steps);
    assert_gradient(&slope, c->beta, dbeta, steps);
    free(dq), free(dk), free(dv), free(ddecay), free(dbeta), free(rest), free(l.dy);
    delta_case_free(c);
}

START_TEST(gradients_are_those_of_the_recurrence) {
    static const int64_t few[] = {1, 2, 63, 64, 65, 150};
    for (int shape = 0; shape < SHAPES; shape++)
        check_back(shapes[shape], few[_i]);
}
END_TEST

/* A gradient that was there is added to, and threads change no bit. */
START_TEST(gradients_are_added_the_same_by_any_number_of_threads) {
    omp_set_num_threads(3);
    struct delta_case c = delta_case_of(shapes[0], 100, 1, 1);
    const int64_t keys = 100 * c.shape.key_heads * c.shape.key;
    const int64_t values = 100 * c.shape.value_heads * c.shape.value;
    float *d[2], *dy = random_row(12, values, 1);
    float *rest = random_row(13, delta_back_scratch(&c.shape, 100), 1);
    const struct delta_input in = {c.q, c.k, c.v, c.decay, c.beta};
    for (int i = 0; i < 2; i++) {
        d[i] = random_row(14, 4 * values, 1);
        const struct delta_back back = {
            dy, d[i], d[i] + keys, d[i] + 2 * keys, d[i] + 3 * values, d[i] + 3 * values + 400};
        omp_set_num_threads(i == 0 ? 3 : 1);
        delta_back(&c.shape, 100, &in, &back, rest);
    }
    ck_assert_same(d[0], d[1], 4 * values);
    float *untouched = random_row(14, 4 * values, 1);
    ck_assert(fabsf(d[0][0] - untouched[0]) > 0);
    free(d[0]), free(d[1]), free(dy), free(rest), free(untouched);
    delta_case_free(&c);
}
END_TEST

int main(void) {
    linalg_init();
    omp_set_num_threads(3);
    Suite *suite = suite_create("delta");
    TCase *t = tcase_create("delta");
    tcase_add_loop_test(t, chunks_give_what_the_recurrence_gives, 0, LENGTHS);
    tcase_add_test(t, states_may_turn_their_sign);
    tcase_add_test(t, extreme_decays_stay_finite);
    tcase_add_test(t, threads_change_no_bit);
    tcase_add_loop_test(t, gradients_are_those_of_the_recurrence, 0, LENGTHS);
    tcase_add_test(t, gradients_are_added_the_same_by_any_number_of_threads);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
