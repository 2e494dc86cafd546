/* SPDX-License-Identifier: Apache-2.0 */
/* Attention against plain double precision: every kind of mask, score and head, at the
 * edges of tiles, windows and chunks. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/attention.h"
#include "graph/index.h"
#include "linalg/linalg.h"
#include "ops_check.h"
#include "support.h"

static bool sees(const struct attention *a, int64_t query, int64_t key) {
    return (a->window == 0 || query - key < a->window) &&
           (a->chunk == 0 || query / a->chunk == key / a->chunk);
}

static double want_score(const struct attention *a, int64_t head, int64_t t, int64_t j,
                         const float *q, const float *k) {
    const int64_t kv_head = head / (a->heads / a->kv_heads);
    const double scale = (double)a->scale, cap = (double)a->cap;
    double s = 0;
    for (int64_t i = 0; i < a->width; i++)
        s += (double)q[(t * a->heads + head) * a->width + i] *
             (double)k[(j * a->kv_heads + kv_head) * a->width + i];
    s *= scale;
    if (a->temperature > 0)
        s *= 1 + a->temperature * log(1 + floor(((double)t + a->first) / a->floor));
    if (cap > 0)
        s = cap * tanh(s / cap);
    if (a->slopes)
        s += (double)a->slopes[head] * (double)j * (a->slopes_before_scale ? scale : 1);
    if (a->lift)
        s += (double)a->lift[j * a->kv_heads + kv_head];
    return s;
}

/* Context of one query: p [length] is scratch. */
static void want_context(const struct attention *a, int64_t head, int64_t t, const float *q,
                         const float *k, const float *v, double *p, double *out) {
    const int64_t kv_head = head / (a->heads / a->kv_heads);
    double sink = a->sinks ? (double)a->sinks[head] : -(double)INFINITY, max = sink;
    for (int64_t j = 0; j <= t; j++) {
        p[j] = sees(a, t, j) ? want_score(a, head, t, j, q, k) : -(double)INFINITY;
        max = fmax(max, p[j]);
    }
    double sum = exp(sink - max);
    for (int64_t j = 0; j <= t; j++)
        sum += p[j] = exp(p[j] - max);
    for (int64_t i = 0; i < a->value_width; i++)
        out[i] = 0;
    for (int64_t j = 0; j <= t; j++)
        for (int64_t i = 0; i < a->value_width; i++)
            out[i] += (double)a->gain * p[j] / sum *
                      (double)v[(j * a->kv_heads + kv_head) * a->value_width + i];
}

static float *run_attention(const struct attention *a, int64_t length, const float *q,
                            const float *k, const float *v) {
    const int64_t stride = length + 1, threads = omp_get_max_threads();
    float *out = random_row(3, length * a->heads * a->value_width, 1);
    float *scores = random_row(4, threads * ATTENTION_TILE * stride, 1);
    attention_sequence(a, length, q, k, v, scores, stride, out);
    free(scores);
    return out;
}

static void check_attention(const struct attention *a, int64_t length) {
    float *q = random_row(5, length * a->heads * a->width, 2);
    float *k = random_row(6, length * a->kv_heads * a->width, 2);
    float *v = random_row(7, length * a->kv_heads * a->value_width, 1);
    float *out = run_attention(a, length, q, k, v);
    double *p = malloc((size_t)length * sizeof *p), *want = malloc(64 * sizeof *want);
    for (int64_t t = 0; t < length; t++)
        for (int64_t h = 0; h < a->heads; h++) {
            want_context(a, h, t, q, k, v, p, want);
            for (int64_t i = 0; i < a->value_width; i++)
                ck_assert_near(out[(t * a->heads + h) * a->value_width + i], want[i], 1e-5);
        }
    free(q), free(k), free(v), free(out), free(p), free(want);
}

static const float sinks[] = {0.5F, -1, 3, 0.25F}, slopes[] = {0.5F, 0.1F, 0.25F, 1};
static float lifts[4 * 129]; /* from fill_lifts */

static void fill_lifts(void) {
    for (int i = 0; i < 4 * 129; i++)
        lifts[i] = (float)(i * 37 % 101) / 40;
}

#define PLAIN .heads = 4, .kv_heads = 2, .width = 8, .value_width = 8, .scale = 0.3F, .gain = 1
static const struct attention attentions[] = {
    {PLAIN},
    {.heads = 4, .kv_heads = 4, .width = 12, .value_width = 7, .scale = 0.3F, .gain = 1},
    {.heads = 4, .kv_heads = 1, .width = 5, .value_width = 9, .scale = 0.3F, .gain = 1},
    {PLAIN, .window = 1},
    {PLAIN, .window = 7},
    {PLAIN, .window = 64},
    {PLAIN, .window = 65},
    {PLAIN, .chunk = 1},
    {PLAIN, .chunk = 8},
    {PLAIN, .chunk = 48},
    {PLAIN, .chunk = 64},
    {PLAIN, .chunk = 65},
    {PLAIN, .chunk = 30, .window = 11},
    {PLAIN, .cap = 2},
    {PLAIN, .sinks = sinks},
    {PLAIN, .sinks = sinks, .window = 5},
    {PLAIN, .sinks = sinks, .cap = 5},
    {PLAIN, .lift = lifts},
    {PLAIN, .lift = lifts, .window = 20, .sinks = sinks},
    {PLAIN, .lift = lifts, .cap = 3, .temperature = 0.1, .floor = 4, .first = 1},
    {PLAIN, .slopes = slopes},
    {PLAIN, .slopes = slopes, .slopes_before_scale = true},
    {PLAIN, .temperature = 0.1, .floor = 4, .first = 1},
    {.heads = 4, .kv_heads = 2, .width = 8, .value_width = 12, .scale = 0.3F, .gain = 0.7F},
    {PLAIN, .temperature = 0.4, .floor = 4, .first = 0},
    {PLAIN, .temperature = 0.1, .floor = 4, .first = 1, .cap = 3, .window = 20},
};
enum { ATTENTIONS = sizeof attentions / sizeof attentions[0] };

START_TEST(contexts_of_every_kind_at_any_length) {
    static const int64_t lengths[] = {1, 2, 7, 63, 64, 65, 129};
    for (int i = 0; i < 7; i++)
        check_attention(&attentions[_i], lengths[i]);
}
END_TEST

START_TEST(contexts_do_not_depend_on_threads) {
    const struct attention *a = &attentions[_i];
    float *q = random_row(8, 100 * a->heads * a->width, 2);
    float *k = random_row(9, 100 * a->kv_heads * a->width, 2);
    float *v = random_row(10, 100 * a->kv_heads * a->value_width, 1);
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    float *one = run_attention(a, 100, q, k, v);
    omp_set_num_threads(3);
    float *three = run_attention(a, 100, q, k, v);
    omp_set_num_threads(before);
    ck_assert_same(one, three, 100 * a->heads * a->value_width);
    free(q), free(k), free(v), free(one), free(three);
}
END_TEST

struct loss_case {
    struct attention a;
    int64_t length;
    float *q, *k, *v, *dy, *sinks, *lift;
};

static double attention_loss(const void *of) {
    const struct loss_case *c = of;
    double p[128], want[64], sum = 0;
    for (int64_t t = 0; t < c->length; t++)
        for (int64_t h = 0; h < c->a.heads; h++) {
            want_context(&c->a, h, t, c->q, c->k, c->v, p, want);
            sum +=
                products(c->dy + (t * c->a.heads + h) * c->a.value_width, want, c->a.value_width);
        }
    return sum;
}

static void run_attention_back(const struct loss_case *c, const struct attention_back *b) {
    const int64_t tile = ATTENTION_TILE * (c->length + 1);
    float *rest = random_row(30, ATTENTION_BACK_TILES * tile, 1);
    for (int64_t h = 0; h < c->a.kv_heads; h++)
        attention_back(&c->a, c->length, h, b, rest);
    free(rest);
}

static void check_attention_back(const struct attention *a, int64_t length) {
    const int64_t q = length * a->heads * a->width, k = length * a->kv_heads * a->width;
    const int64_t v = length * a->kv_heads * a->value_width;
    struct loss_case c = {*a,
                          length,
                          grid_row(31, q, 2),
                          grid_row(32, k, 2),
                          grid_row(33, v, 1),
                          random_row(34, length * a->heads * a->value_width, 1),
                          grid_row(35, a->heads, 2),
                          grid_row(40, length * a->kv_heads, 2)};
    float *d = calloc((size_t)(q + k + v), sizeof *d), *dsinks = calloc(8, sizeof *dsinks);
    float *dlift = calloc((size_t)(length * a->kv_heads), sizeof *dlift);
    const struct attention_back back = {c.q, c.k, c.v, c.dy, d, d + q, d + q + k, dsinks, dlift};
    const struct slope slope = {attention_loss, &c};
    c.a.sinks = a->sinks ? c.sinks : NULL;
    c.a.lift = a->lift ? c.lift : NULL;
    run_attention_back(&c, &back);
    assert_gradient(&slope, c.q, d, q);
    assert_gradient(&slope, c.k, d + q, k);
    assert_gradient(&slope, c.v, d + q + k, v);
    if (a->sinks)
        assert_gradient(&slope, c.sinks, dsinks, a->heads);
    if (a->lift)
        assert_gradient(&slope, c.lift, dlift, length * a->kv_heads);
    free(c.lift), free(dlift);
    free(c.q), free(c.k), free(c.v), free(c.dy), free(c.sinks), free(d), free(dsinks);
}

START_TEST(gradients_of_contexts_of_every_kind) {
    check_attention_back(&attentions[_i], 1);
    check_attention_back(&attentions[_i], 70);
}
END_TEST

/* The third key of every query in sight, and its own: what is not chosen gets nothing. */
START_TEST(gradients_through_a_choice) {
    enum { LONG = 70 };
    float choice[LONG * 2];
    struct attention chosen = {PLAIN, .choice = choice, .choices = 2};
    float *q = random_row(36, LONG * 32, 2), *k = random_row(37, LONG * 16, 2);
    float *v = random_row(38, LONG * 16, 1), *dy = random_row(39, LONG * 32, 1);
    float d[LONG * 64] = {0}, near[LONG * 64] = {0};
    for (int t = 0; t < LONG; t++) {
        choice[2 * t] = t > 0 ? (float)t - 1 : 0;
        choice[2 * t + 1] = t > 0 ? (float)t : -1;
    }
    struct loss_case c = {chosen, LONG, q, k, v, dy, NULL, NULL};
    const struct attention_back back = {q, k, v, dy, d, d + LONG * 32, d + LONG * 48, NULL, NULL};
    run_attention_back(&c, &back);
    c.a = (struct attention){PLAIN, .window = 2};
    const struct attention_back other = {q,    k,   v, dy, near, near + LONG * 32, near + LONG * 48,
                                         NULL, NULL};
    run_attention_back(&c, &other);
    for (int i = 0; i < LONG * 64; i++)
        ck_assert_near(d[i], near[i], 1e-6);
    free(q), free(k), free(v), free(dy);
}
END_TEST

/* What a window or a chunk hides is not even read: infinities there leave no trace. */
START_TEST(rows_out_of_sight_are_not_read) {
    static const struct attention hiding[] = {{PLAIN, .window = 10}, {PLAIN, .chunk = 64}};
    enum { L = 150, HIDDEN = 64 };
    for (int i = 0; i < 2; i++) {
        float *q = random_row(11, L * 32, 2), *k = random_row(12, L * 16, 2);
        float *v = random_row(13, L * 16, 1);
        float *want = run_attention(&hiding[i], L, q, k, v);
        for (int j = 0; j < HIDDEN * 16; j++)
            k[j] = v[j] = INFINITY;
        float *out = run_attention(&hiding[i], L, q, k, v);
        const int64_t from = 128 * 32; /* the last tile */
        ck_assert_same(out + from, want + from, (L - 128) * 32);
        free(q), free(k), free(v), free(want), free(out);
    }
}
END_TEST

/* --- chosen keys ------------------------------------------------------------------------------ */

static double want_index(const struct index *x, const struct index_input *in, int64_t t,
                         int64_t s) {
    double sum = 0;
    for (int64_t h = 0; h < x->heads; h++) {
        double product = 0;
        for (int64_t i = 0; i < x->width; i++)
            product +=
                (double)in->q[(t * x->heads + h) * x->width + i] * (double)in->k[s * x->width + i];
        sum += (double)in->gain[t * x->heads + h] / sqrt((double)x->heads) *
               fmax(product / sqrt((double)x->width), 0);
    }
    return sum;
}

/* The choice of a query: of as many keys as it may take, ascending, each with no better one left
 * out. */
static void check_choice(const struct index *x, const struct index_input *in, int64_t t,
                         const float *chosen) {
    const int64_t count = t + 1 < x->top ? t + 1 : x->top;
    double least = (double)INFINITY;
    int64_t next = 0;
    for (int64_t i = 0; i < count; i++) {
        ck_assert(chosen[i] >= 0 && chosen[i] <= (float)t && (i == 0 || chosen[i] > chosen[i - 1]));
        least = fmin(least, want_index(x, in, t, (int64_t)chosen[i]));
    }
    for (int64_t i = count; i < x->top; i++)
        ck_assert(chosen[i] < 0);
    for (int64_t s = 0; s <= t; s++) {
        const bool taken = next < count && (int64_t)chosen[next] == s;
        next += taken;
        if (!taken)
            ck_assert(want_index(x, in, t, s) <= least + 1e-5);
    }
}

static void check_index(const struct index *x, int64_t length, int64_t seed) {
    const int64_t stride = length + 1;
    float *q = random_row((uint64_t)seed, length * x->heads * x->width, 1);
    float *k = random_row((uint64_t)seed + 1, length * x->width, 1);
    float *gain = random_row((uint64_t)seed + 2, length * x->heads, 1);
    float *out = random_row(24, length * x->top, 1);
    float *room = random_row(25, omp_get_max_threads() * ATTENTION_TILE * stride, 1);
    const struct index_input in = {q, k, gain};
    index_sequence(x, length, &in, room, stride, out);
    for (int64_t t = 0; t < length; t++)
        check_choice(x, &in, t, out + t * x->top);
    free(q), free(k), free(gain), free(out), free(room);
}

START_TEST(the_best_keys_are_chosen) {
    static const struct index indexes[] = {{3, 5, 1, 0}, {4, 8, 7, 0}, {1, 16, 40, 0}};
    static const int64_t lengths[] = {1, 6, 7, 8, 31, 33, 65, 130};
    for (int64_t i = 0; i < 8; i++)
        check_index(&indexes[_i], lengths[i], 21 + i);
}
END_TEST

/* Scores of zero are many, since they are never below: of equal ones the first are taken. */
START_TEST(of_equal_keys_the_first_are_chosen) {
    static const struct index x = {1, 2, 3, 0};
    enum { L = 12 };
    float q[L * 2], k[L * 2], gain[L], out[L * 3];
    float *room = random_row(26, omp_get_max_threads() * ATTENTION_TILE * L, 1);
    for (int t = 0; t < L; t++) {
        q[2 * t] = k[2 * t] = gain[t] = 1;
        q[2 * t + 1] = k[2 * t + 1] = 0;
    }
    k[2 * 5] = 2;
    index_sequence(&x, L, &(struct index_input){q, k, gain}, room, L, out);
    const float early[] = {0, 1, 2}, late[] = {0, 1, 5};
    ck_assert_same(out + 4 * 3, early, 3);
    ck_assert_same(out + 11 * 3, late, 3);
    free(room);
}
END_TEST

/* Attention over chosen keys is attention over those alone: the others' values leave no trace. */
START_TEST(only_chosen_keys_weigh) {
    enum { L = 70, TOP = 5 };
    struct attention a = {PLAIN};
    float choice[L * TOP];
    float *q = random_row(31, L * 32, 2), *k = random_row(32, L * 16, 2);
    float *v = random_row(33, L * 16, 1);
    double p[L], want[8];
    for (int t = 0; t < L; t++)
        for (int i = 0; i < TOP; i++) /* every third, as far as there are */
            choice[t * TOP + i] = 3 * i + t % 3 <= t ? (float)(3 * i + t % 3) : -1;
    a.choice = choice;
    a.choices = TOP;
    float *out = run_attention(&a, L, q, k, v);
    for (int64_t t = 0; t < L; t++)
        for (int64_t h = 0; h < 4; h++) {
            double sum = 0;
            memset(want, 0, sizeof want);
            for (int64_t j = 0; j <= t; j++)
                sum += p[j] =
                    j % 3 == t % 3 && j < 3 * TOP ? exp(want_score(&a, h, t, j, q, k)) : 0;
            for (int64_t j = 0; j <= t; j++)
                for (int i = 0; i < 8; i++)
                    want[i] += p[j] / sum * (double)v[(j * 2 + h / 2) * 8 + i];
            for (int i = 0; i < 8; i++)
                ck_assert_near(out[(t * 4 + h) * 8 + i], want[i], 1e-5);
        }
    free(q), free(k), free(v), free(out);
}
END_TEST

/* get_slopes of the authors of ALiBi for 8 heads; 12 heads are those and every second of 16. */
START_TEST(slopes_of_any_number_of_heads) {
    float eight[8], twelve[12], one[1];
    attention_slopes(1, one);
    attention_slopes(8, eight);
    attention_slopes(12, twelve);
    ck_assert_near(one[0], pow(2, -8), 1e-9);
    for (int h = 0; h < 8; h++) {
        ck_assert_near(eight[h], pow(2, -(h + 1)), 1e-9);
        ck_assert_near(twelve[h], pow(2, -(h + 1)), 1e-9);
    }
    for (int h = 8; h < 12; h++)
        ck_assert_near(twelve[h], pow(2, -0.5 * (2 * (h - 8) + 1)), 1e-7);
}
END_TEST

int main(void) {
    fill_lifts();
    Suite *suite = suite_create("attention");
    TCase *t = tcase_create("attention");
    linalg_init();
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, contexts_of_every_kind_at_any_length, 0, ATTENTIONS);
    tcase_add_loop_test(t, contexts_do_not_depend_on_threads, 0, ATTENTIONS);
    tcase_add_loop_test(t, gradients_of_contexts_of_every_kind, 0, ATTENTIONS);
    tcase_add_test(t, gradients_through_a_choice);
    tcase_add_test(t, rows_out_of_sight_are_not_read);
    tcase_add_loop_test(t, the_best_keys_are_chosen, 0, 3);
    tcase_add_test(t, of_equal_keys_the_first_are_chosen);
    tcase_add_test(t, only_chosen_keys_weigh);
    tcase_add_test(t, slopes_of_any_number_of_heads);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
