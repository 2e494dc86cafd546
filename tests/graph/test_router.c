/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of experts against a reference that sorts, the lists of who goes where, and single
 * rows of a store. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "graph/router.h"
#include "graph/routing.h"
#include "ops_check.h"
#include "support.h"

enum { TOKENS = 200, MOST = 64 };

/* --- weights ---------------------------------------------------------------------------------- */

static const struct router routers[] = {
    {SCORE_SOFTMAX, GROUP_BEST_TWO, 8, 2, 1, 0, true, 1, NULL, 0,
     NULL}, /* Mixtral, gpt-oss, Granite */
    {SCORE_SOFTMAX, GROUP_BEST_TWO, 60, 4, 1, 0, false, 1, NULL, 0, NULL},  /* Qwen2-MoE */
    {SCORE_SOFTMAX, GROUP_BEST, 64, 6, 8, 3, false, 16, NULL, 0, NULL},     /* DeepSeek V2 */
    {SCORE_SIGMOID, GROUP_BEST_TWO, 64, 8, 8, 4, true, 2.5, NULL, 0, NULL}, /* DeepSeek V3 */
    {SCORE_SIGMOID, GROUP_BEST_TWO, 16, 1, 1, 0, false, 1, NULL, 0, NULL},  /* Llama 4 */
    {SCORE_SIGMOID, GROUP_BEST_TWO, 6, 6, 6, 6, true, 1, NULL, 0, NULL}, /* all, in groups of one */
    {SCORE_SIGMOID, GROUP_BEST_TWO, 5, 2, 1, 0, true, 1.5, NULL, 0.25, NULL}, /* LFM2, by more */
};
enum { ROUTERS = sizeof routers / sizeof routers[0] };

/* Entries by size, the largest first; of equal ones the first. */
struct entry {
    double x;
    int at;
};

static int by_size(const void *a, const void *b) {
    const struct entry *p = a, *q = b;
    return p->x > q->x ? -1 : p->x < q->x ? 1 : p->at - q->at;
}

static void sort(const double *x, int count, struct entry *out) {
    for (int i = 0; i < count; i++)
        out[i] = (struct entry){x[i], i};
    qsort(out, (size_t)count, sizeof *out, by_size);
}

static void want_scores(const struct router *r, const float *logits, double *score) {
    double sum = 0;
    for (int e = 0; e < r->experts; e++)
        sum += exp((double)logits[e]);
    for (int e = 0; e < r->experts; e++)
        score[e] = r->score == SCORE_SOFTMAX ? exp((double)logits[e]) / sum
                                             : 1 / (1 + exp(-(double)logits[e]));
}

/* Experts of other groups are never picked. */
static void want_groups(const struct router *r, double *pick) {
    const int size = (int)(r->experts / r->groups);
    struct entry member[MOST], group[MOST];
    double best[MOST];
    for (int g = 0; g < r->groups; g++) {
        sort(pick + g * size, size, member);
        best[g] = member[0].x + (r->group_score == GROUP_BEST_TWO && size > 1 ? member[1].x : 0);
    }
    sort(best, (int)r->groups, group);
    for (int64_t g = r->top_groups; g < r->groups; g++)
        for (int i = 0; i < size; i++)
            pick[group[g].at * size + i] = -1e9;
}

static void want_weights(const struct router *r, const float *logits, double *want) {
    double score[MOST], pick[MOST], sum = r->rest;
    struct entry order[MOST];
    want_scores(r, logits, score);
    for (int e = 0; e < r->experts; e++)
        pick[e] = score[e] + (r->choice_bias ? (double)r->choice_bias[e] : 0);
    if (r->groups > 1)
        want_groups(r, pick);
    sort(pick, (int)r->experts, order);
    memset(want, 0, MOST * sizeof *want);
    for (int64_t k = 0; k < r->top_k; k++)
        sum += score[order[k].at];
    for (int64_t k = 0; k < r->top_k; k++)
        want[order[k].at] = r->gain * score[order[k].at] / (r->renormalised ? sum : 1);
}

static void check_router(const struct router *r) {
    float *x = random_row(1, TOKENS * r->experts, 6), *got = random_row(1, TOKENS * r->experts, 6);
    double want[MOST];
    router_weights(r, TOKENS, got);
    for (int64_t t = 0; t < TOKENS; t++) {
        want_weights(r, x + t * r->experts, want);
        for (int64_t e = 0; e < r->experts; e++)
            ck_assert_near(got[t * r->experts + e], want[e], 1e-6 * fabs(want[e]));
    }
    free(x), free(got);
}

START_TEST(weights_of_every_kind_of_router) {
    struct router r = routers[_i];
    float *bias = random_row(2, r.experts, 0.5);
    check_router(&r);
    r.choice_bias = bias;
    check_router(&r);
    free(bias);
}
END_TEST

/* The bias is so large that it alone chooses, and is not seen in the weights. */
START_TEST(the_bias_chooses_and_does_not_weigh) {
    const float bias[4] = {0, 0, 9, 0};
    const struct router r = {SCORE_SIGMOID, GROUP_BEST_TWO, 4, 1, 1, 0, false, 1, bias, 0, NULL};
    float x[4] = {5, 4, 0, 3};
    router_weights(&r, 1, x);
    ck_assert_near(x[2], 0.5, 0);
    ck_assert_near(x[0] + x[1] + x[3], 0, 0);
}
END_TEST

/* Each expert's weight times a number of its own. */
START_TEST(weights_have_gains) {
    enum { EXPERTS = 8 };
    static const float gains[EXPERTS] = {1, 2, 0.5F, 3, 0.25F, 1.5F, 4, 0.75F};
    struct router r = routers[0];
    float *plain = random_row(41, TOKENS * EXPERTS, 3), *x = malloc(TOKENS * EXPERTS * sizeof *x);
    for (int i = 0; i < TOKENS * EXPERTS; i++)
        x[i] = plain[i];
    r.gains = gains;
    router_weights(&r, TOKENS, x);
    router_weights(&routers[0], TOKENS, plain);
    for (int i = 0; i < TOKENS * EXPERTS; i++)
        ck_assert_near(x[i], (double)plain[i] * (double)gains[i % EXPERTS], 1e-6);
    free(plain), free(x);
}
END_TEST

/* The weights' formula for a choice that stays. */
struct loss_case {
    const struct router *r;
    float *x, *dy, *weights; /* 0 of those not chosen */
};

static double router_loss(const void *of) {
    const struct loss_case *c = of;
    const struct router *r = c->r;
    double score[MOST], total = 0;
    for (int64_t t = 0; t < TOKENS; t++) {
        double sum = r->rest, made = 0;
        want_scores(r, c->x + t * r->experts, score);
        for (int64_t e = 0; e < r->experts; e++)
            if (c->weights[t * r->experts + e] > 0) {
                sum += score[e];
                made += (double)c->dy[t * r->experts + e] * score[e] *
                        (r->gains ? (double)r->gains[e] : 1);
            }
        total += r->gain * made / (r->renormalised ? sum : 1);
    }
    return total;
}

static void check_router_back(const struct router *r) {
    const int64_t count = TOKENS * r->experts;
    struct loss_case c = {r, grid_row(1, count, 4), random_row(2, count, 1), NULL};
    const struct slope slope = {router_loss, &c};
    float *dx = random_row(2, count, 1);
    c.weights = malloc((size_t)count * sizeof *c.weights);
    memcpy(c.weights, c.x, (size_t)count * sizeof *c.weights);
    router_weights(r, TOKENS, c.weights);
    router_back(r, TOKENS, c.x, dx);
    assert_gradient(&slope, c.x, dx, count);
    free(c.x), free(c.dy), free(c.weights), free(dx);
}

START_TEST(gradients_of_every_kind_of_router) {
    struct router r = routers[_i];
    float *bias = random_row(2, r.experts, 0.5), *gains = random_row(3, r.experts, 1);
    check_router_back(&r);
    for (int64_t e = 0; e < r.experts; e++)
        gains[e] += 1.5F;
    r.choice_bias = bias;
    r.gains = gains;
    check_router_back(&r);
    free(bias), free(gains);
}
END_TEST

START_TEST(of_equal_scores_the_first_is_taken) {
    const struct router r = {SCORE_SOFTMAX, GROUP_BEST_TWO, 4, 2, 1, 0, true, 1, NULL, 0, NULL};
    float x[4] = {-1, 2, 2, 2};
    router_weights(&r, 1, x);
    ck_assert_near(x[1], 0.5, 0);
    ck_assert_near(x[2], 0.5, 0);
    ck_assert_near(x[0] + x[3], 0, 0);
}
END_TEST

START_TEST(logits_that_are_not_finite_show) {
    for (int i = 0; i < ROUTERS; i++) {
        float *x = random_row(3, routers[i].experts, 1);
        bool shows = false;
        for (int64_t e = 0; e < routers[i].experts; e++)
            x[e] = NAN;
        router_weights(&routers[i], 1, x);
        for (int64_t e = 0; e < routers[i].experts; e++)
            shows |= isnan(x[e]);
        ck_assert(shows);
        free(x);
    }
}
END_TEST

/* Logits far apart: what is chosen has no weight that can be stored, and nothing is divided by 0.
 */
START_TEST(scores_of_nothing_make_no_weights) {
    const struct router r = {SCORE_SIGMOID, GROUP_BEST_TWO, 2, 1, 1, 0, true, 1, NULL, 0, NULL};
    float x[2] = {-1000, -2000};
    router_weights(&r, 1, x);
    ck_assert_near(x[0], 0, 0);
    ck_assert_near(x[1], 0, 0);
}
END_TEST

START_TEST(weights_do_not_depend_on_threads) {
    const struct router *r = &routers[3];
    float *one = random_row(4, TOKENS * r->experts, 4),
          *three = random_row(4, TOKENS * r->experts, 4);
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    router_weights(r, TOKENS, one);
    omp_set_num_threads(3);
    router_weights(r, TOKENS, three);
    omp_set_num_threads(before);
    ck_assert_same(one, three, TOKENS * r->experts);
    free(one), free(three);
}
END_TEST

/* --- lists ------------------------------------------------------------------------------------ */

/* Four experts, of which nobody takes the third; one token takes one expert only. */
static const float route[5][4] = {
    {0.75F, 0.25F, 0, 0}, {0, 0.5F, 0, 0.5F},  {0, 0, 0, 1},
    {0.125F, 0, 0, NAN},  {0, 0.25F, 0, 0.5F},
};

static void check_list(const struct routing *r, int64_t expert, int count, const int *rows) {
    ck_assert_int_eq(r->offsets[expert + 1] - r->offsets[expert], count);
    for (int i = 0; i < count; i++) {
        const int64_t at = r->offsets[expert] + i;
        ck_assert_int_eq(r->row[at], rows[i]);
        ck_assert(memcmp(&r->weight[at], &route[rows[i]][expert], sizeof(float)) == 0);
    }
}

static void check_lists(const struct routing *r) {
    check_list(r, 0, 2, (const int[]){0, 3});
    check_list(r, 1, 3, (const int[]){0, 1, 4});
    check_list(r, 2, 0, NULL);
    check_list(r, 3, 4, (const int[]){1, 2, 3, 4});
}

/* In two batches, and then again: what was noted before is forgotten. */
START_TEST(lists_of_who_goes_where) {
    llmq_error err = {0};
    struct routing r;
    ck_assert_ok(routing_create(5, 4, 2, &r, &err), &err);
    for (int time = 0; time < 2; time++) {
        routing_note(&r, 3, 2, route[3]);
        routing_note(&r, 0, 3, route[0]);
        routing_sort(&r);
        check_lists(&r);
    }
    ck_assert_uint_eq(routing_bytes(5, 4, 2), 5 * 2 * 16 + 5 * 8);
    routing_free(&r);
}
END_TEST

START_TEST(lists_piece_by_piece) {
    llmq_error err = {0};
    struct routing r;
    struct row_list rows = {0};
    ck_assert_ok(routing_create(5, 4, 2, &r, &err), &err);
    routing_note(&r, 0, 5, route[0]);
    routing_sort(&r);
    ck_assert(routing_next(&r, 3, 3, &rows));
    ck_assert_int_eq(rows.count, 3);
    ck_assert_int_eq(rows.row[2], 3);
    ck_assert(routing_next(&r, 3, 3, &rows));
    ck_assert_int_eq(rows.count, 1);
    ck_assert_int_eq(rows.row[0], 4);
    ck_assert_near(rows.weight[0], 0.5, 0);
    ck_assert(!routing_next(&r, 3, 3, &rows));
    rows = (struct row_list){0};
    ck_assert(!routing_next(&r, 2, 3, &rows));
    routing_free(&r);
}
END_TEST

/* --- single rows ------------------------------------------------------------------------------ */

enum { ROWS = 9000, WIDTH = 3 };

static const int32_t some[] = {0, 1, 2, 7, 4000, 4001, 8999};
static const float factors[] = {1, 2, 3, -1, 0.5F, 0, 4};
enum { SOME = sizeof some / sizeof some[0] };

/* In memory and in a file alike: cleared, rows added twice, and read again. */
START_TEST(rows_of_a_store) {
    const char *dir = _i ? scratch_path("") : NULL;
    const struct row_list rows = {some, factors, SOME}, plain = {some, NULL, SOME};
    llmq_error err = {0};
    struct acts a;
    float *y = random_row(5, SOME * WIDTH, 1), buf[SOME * WIDTH], got[SOME * WIDTH];
    float *all = random_row(6, ROWS * WIDTH, 1), *at = NULL;
    ck_assert_ok(acts_create(ROWS, WIDTH, dir, &a, &err), &err);
    memcpy(acts_target(&a, 0, all), all, ROWS * WIDTH * sizeof *all);
    ck_assert_ok(acts_store(&a, 0, ROWS, all, &err), &err);
    ck_assert_ok(acts_clear(&a, &err), &err);
    ck_assert_ok(acts_add(&a, &rows, y, buf, &err), &err);
    ck_assert_ok(acts_add(&a, &plain, y, buf, &err), &err);
    ck_assert_ok(acts_gather(&a, &rows, got, &err), &err);
    for (int i = 0; i < SOME * WIDTH; i++)
        ck_assert_near(got[i], factors[i / WIDTH] * y[i] + y[i], 0);
    ck_assert_ok(acts_load(&a, 3, 2, buf, &at, &err), &err);
    for (int i = 0; i < 2 * WIDTH; i++)
        ck_assert_near(at[i], 0, 0);
    ck_assert_ok(acts_write(&a, 3, 2, y, &err), &err);
    ck_assert_ok(acts_read(&a, 3, 2, got, &err), &err);
    ck_assert_mem_eq(got, y, 2 * WIDTH * sizeof *y);
    acts_free(&a);
    free(y), free(all);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("router");
    TCase *t = tcase_create("router");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, weights_of_every_kind_of_router, 0, ROUTERS);
    tcase_add_test(t, the_bias_chooses_and_does_not_weigh);
    tcase_add_test(t, weights_have_gains);
    tcase_add_loop_test(t, gradients_of_every_kind_of_router, 0, ROUTERS);
    tcase_add_test(t, of_equal_scores_the_first_is_taken);
    tcase_add_test(t, logits_that_are_not_finite_show);
    tcase_add_test(t, scores_of_nothing_make_no_weights);
    tcase_add_test(t, weights_do_not_depend_on_threads);
    tcase_add_test(t, lists_of_who_goes_where);
    tcase_add_test(t, lists_piece_by_piece);
    tcase_add_loop_test(t, rows_of_a_store, 0, 2);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
