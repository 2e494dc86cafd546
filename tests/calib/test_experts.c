/* SPDX-License-Identifier: Apache-2.0 */
/* Experts in calibration, on a tiny mixture made on the spot: the moments of the tokens that reach
 * each expert against sums in double precision, few tokens and none, both streams, what becomes of
 * the block's output, and that neither files nor passing over the tasks changes it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/calib.h"
#include "graph/pass.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"
#include "tiny_mixture.h"

enum { LENGTH = 24, WINDOWS = 4, TOKENS = LENGTH * WINDOWS };
enum { HIDDEN = MIXTURE_HIDDEN, FFN = MIXTURE_FFN, EXPERTS = MIXTURE_EXPERTS };
enum { FEW = 50 }; /* more tokens than any expert gets by itself, less than all */

#define GATE 1e-5 /* relative, Frobenius norm */

struct fixture {
    struct model model;
    struct arena *weights;
    struct block block;
    int32_t ids[TOKENS];
    int64_t offsets[WINDOWS + 1];
    struct calib_tokens tokens;
};

static void fixture_open(struct fixture *f) {
    llmq_error err = {0};
    uint64_t state = 11;
    mixture_write(scratch_path("mixture"), 3);
    ck_assert_ok(model_open(scratch_path("mixture"), &f->model, &err), &err);
    ck_assert_ok(arena_create("weights", &f->weights, &err), &err);
    for (int64_t i = 0; i < TOKENS; i++)
        f->ids[i] = (int32_t)(random_next(&state) % MIXTURE_VOCAB);
    for (int64_t i = 0; i <= WINDOWS; i++)
        f->offsets[i] = i * LENGTH;
    f->tokens = (struct calib_tokens){f->ids, f->offsets, WINDOWS, 0};
    ck_assert_ok(block_load(&f->model, 0, LOAD_PLAIN, f->weights, &f->block, &err), &err);
}

static void fixture_close(struct fixture *f) {
    block_release(&f->block);
    arena_free(&f->weights);
    model_close(&f->model);
}

/* --- what a block does, by itself ------------------------------------------------------------- */

/* The stream beside the experts, what they read, and the router's weights, 0: not sent there. */
struct routed {
    float Y[TOKENS * HIDDEN], X[TOKENS * HIDDEN], weight[TOKENS * EXPERTS];
};

static void route(struct fixture *f, const struct block *block, struct routed *out) {
    llmq_error err = {0};
    struct schedule schedule;
    struct forward forward = {0};
    const struct batch all = {f->offsets, WINDOWS};
    struct homes homes = {.count = 3};
    homes.of[V_X] = homes.of[V_Y] = 1;
    homes.of[V_MLP_IN] = 2;
    homes.of[V_ROUTE] = 3;
    schedule_make(block->graph, value_set_of(V_X),
                  value_set_with(value_set_with(value_set_of(V_Y), V_MLP_IN), V_ROUTE), &homes,
                  &schedule);
    const struct forward_size size = {TOKENS, LENGTH, schedule.width, LLMQ_COMPUTE_F32};
    const struct pass pass = {
        &forward, &schedule, block, &all, {NULL, out->Y, out->X, out->weight}};
    ck_assert_ok(forward_create(&f->model.config, f->model.blocks, &size, &forward, &err), &err);
    ck_assert_ok(model_embed(&f->model, f->ids, &all, out->Y, &err), &err);
    ck_assert_ok(pass_run(&pass, &err), &err);
    forward_free(&forward);
}

/* An expert's weights, times `scale`. */
struct expert {
    double gate[FFN * HIDDEN], up[FFN * HIDDEN], down[HIDDEN * FFN];
};

static void take(const struct block *b, enum value made, double scale, double *out) {
    const struct linear *l = &b->node[b->graph->producer[made]].linear;
    for (int64_t i = 0; i < l->n * l->k; i++)
        out[i] = scale * (double)l->w[i];
}

static void expert_take(struct fixture *f, int64_t index, double scale, struct expert *out) {
    llmq_error err = {0};
    struct block b;
    struct arena *arena = NULL;
    ck_assert_ok(arena_create("an expert", &arena, &err), &err);
    ck_assert_ok(expert_load(&f->model, 0, index, LOAD_PLAIN, arena, &b, &err), &err);
    take(&b, V_GATE, scale, out->gate);
    take(&b, V_UP, scale, out->up);
    take(&b, V_E_OUT, scale, out->down);
    block_release(&b);
    arena_free(&arena);
}

static double dot(const double *w, const float *x, int64_t k) {
    double sum = 0;
    for (int64_t i = 0; i < k; i++)
        sum += w[i] * (double)x[i];
    return sum;
}

/* M [T, FFN], what the expert's last linear reads of X. */
static void middle(const struct expert *e, const float *X, float *M) {
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t i = 0; i < FFN; i++) {
            const double g = dot(e->gate + i * HIDDEN, X + t * HIDDEN, HIDDEN);
            const double u = dot(e->up + i * HIDDEN, X + t * HIDDEN, HIDDEN);
            M[t * FFN + i] = (float)(g / (1 + exp(-g)) * u);
        }
}

/* --- who is counted --------------------------------------------------------------------------- */

/* The tokens of an expert: its own, and others evenly spread up to the floor. */
struct counted {
    bool own[TOKENS], borrowed[TOKENS];
    int64_t count, lent;
};

static void count_tokens_of(const struct routed *r, int64_t expert, int64_t begin, int64_t end,
                            int64_t floor, struct counted *out) {
    const int64_t all = end - begin;
    *out = (struct counted){0};
    for (int64_t t = begin; t < end; t++)
        out->count += out->own[t] = r->weight[t * EXPERTS + expert] != 0;
    out->lent = floor > out->count ? floor - out->count : 0;
    for (int64_t i = 0; i < out->lent; i++) {
        int64_t t = i * all / out->lent;
        while (out->own[begin + t] || out->borrowed[begin + t])
            t = (t + 1) % all;
        out->borrowed[begin + t] = true;
    }
    out->count += out->lent;
}

static void count_tokens(const struct routed *r, int64_t expert, int64_t floor,
                         struct counted *out) {
    count_tokens_of(r, expert, 0, TOKENS, floor, out);
}

/* ||M - (2 / count) sum of A^T B over the tokens|| / ||the same||, A and B [T, k]. */
static double moment_error(const float *M, const float *A, const float *B, int64_t k,
                           const bool tokens[TOKENS], int64_t count) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) {
            double sum = 0;
            for (int64_t t = 0; t < TOKENS; t++)
                sum += tokens[t] ? (double)A[t * k + i] * (double)B[t * k + j] : 0;
            sum *= 2.0 / (double)count;
            difference += (sum - (double)M[i * k + j]) * (sum - (double)M[i * k + j]);
            norm += sum * sum;
        }
    return sqrt(norm > 0 ? difference / norm : difference);
}

/* --- the tests -------------------------------------------------------------------------------- */

static void start(struct fixture *f, const struct calib_options *options, struct block *original,
                  struct calib **c) {
    llmq_error err = {0};
    ck_assert_ok(calib_create(&f->model, &f->tokens, options, NULL, c, &err), &err);
    calib_begin_block(*c, &f->block, original);
}

/* The next task of an expert; false: there is none. */
static bool next_of_experts(struct calib *c, struct calib_task *task) {
    llmq_error err = {0};
    do {
        ck_assert_ok(calib_next(c, task, &err), &err);
    } while (task->linears && task->expert < 0);
    return task->linears != NULL;
}

static void check_task(struct fixture *f, const struct routed *r, const struct calib_task *task,
                       int64_t floor) {
    struct counted tokens;
    static float M[TOKENS * FFN];
    struct expert e;
    bool either[TOKENS];
    const bool first = task->linears->source == V_E;
    count_tokens(r, task->expert, floor, &tokens);
    ck_assert_int_eq(task->tokens, tokens.count);
    ck_assert_int_eq(task->borrowed, tokens.lent);
    ck_assert_int_eq(task->moments.k, first ? HIDDEN : FFN);
    ck_assert_ptr_null(task->moments.R);
    expert_take(f, task->expert, 1, &e);
    middle(&e, r->X, M);
    for (int64_t t = 0; t < TOKENS; t++)
        either[t] = tokens.own[t] || tokens.borrowed[t];
    const float *X = first ? r->X : M;
    ck_assert_double_le(moment_error(task->moments.H, X, X, task->moments.k, either, tokens.count),
                        GATE);
}

START_TEST(moments_are_of_the_tokens_that_reach_an_expert) {
    static const int64_t floors[] = {1, FEW, TOKENS, 10 * TOKENS};
    const int64_t floor = floors[_i] < TOKENS ? floors[_i] : TOKENS;
    const struct calib_options options = {.expert_tokens = floors[_i]};
    static struct routed r;
    struct fixture f;
    struct calib *c = NULL;
    struct calib_task task;
    int tasks = 0;
    int64_t own = 0;
    fixture_open(&f);
    route(&f, &f.block, &r);
    start(&f, &options, NULL, &c);
    for (; next_of_experts(c, &task); tasks++) {
        check_task(&f, &r, &task, floor);
        own += task.tokens - task.borrowed;
        ck_assert(task.expert != MIXTURE_IDLE || task.tokens == task.borrowed);
    }
    ck_assert_int_eq(tasks, 2 * EXPERTS);
    ck_assert_int_eq(own, 2 * TOKENS * MIXTURE_TOP_K);
    calib_free(&c);
    fixture_close(&f);
}
END_TEST

/* The last window is held back: fitted to and judged on are tokens of the one part and of the
 * other, of the latter a sixteenth as many at least. */
static void check_parts(struct fixture *f, const struct routed *r, const struct calib_task *task) {
    struct counted fitted, held;
    struct expert e;
    static float M[TOKENS * FFN];
    bool either[TOKENS];
    double sum = 0, wanted = 0;
    const struct calib_moments *m = &task->moments;
    const bool first = task->linears->source == V_E;
    const float *X = first ? r->X : M;
    count_tokens_of(r, task->expert, 0, TOKENS - LENGTH, FEW, &fitted);
    count_tokens_of(r, task->expert, TOKENS - LENGTH, TOKENS, FEW / 16, &held);
    ck_assert_int_eq(task->tokens, fitted.count);
    ck_assert_int_eq(task->borrowed, fitted.lent);
    ck_assert_int_eq(m->held.count, held.count);
    expert_take(f, task->expert, 1, &e);
    middle(&e, r->X, M);
    for (int64_t t = 0; t < TOKENS; t++)
        either[t] = fitted.own[t] || fitted.borrowed[t];
    ck_assert_double_le(moment_error(m->H, X, X, m->k, either, fitted.count), GATE);
    for (int64_t i = 0; i < TOKENS * m->k; i++)
        if (held.own[i / m->k] || held.borrowed[i / m->k])
            wanted += pow((double)X[i], 2);
    for (int64_t i = 0; i < held.count * m->k; i++)
        sum += pow((double)m->held.X[i], 2);
    ck_assert_double_eq_tol(sum, wanted, GATE * wanted);
}

START_TEST(experts_are_judged_on_windows_that_are_held_back) {
    const struct calib_options options = {.hold_back = true, .expert_tokens = FEW};
    static struct routed r;
    struct fixture f;
    struct calib *c = NULL;
    struct calib_task task;
    fixture_open(&f);
    route(&f, &f.block, &r);
    f.tokens.held = 1;
    start(&f, &options, NULL, &c);
    while (next_of_experts(c, &task))
        check_parts(&f, &r, &task);
    calib_free(&c);
    fixture_close(&f);
}
END_TEST

/* Tokens that both models send to the expert; the others count as no difference. */
static void check_cross(struct fixture *f, const struct routed *q, const struct routed *o,
                        const struct calib_task *task, int64_t *alone) {
    struct counted ours, theirs;
    static float M[TOKENS * FFN], M_o[TOKENS * FFN], lack[TOKENS * HIDDEN];
    struct expert e;
    bool both[TOKENS];
    const bool first = task->linears->source == V_E;
    const int64_t k = task->moments.k;
    count_tokens(q, task->expert, FEW, &ours);
    count_tokens(o, task->expert, FEW, &theirs);
    expert_take(f, task->expert, 1, &e);
    middle(&e, q->X, M);
    middle(&e, o->X, M_o);
    const float *X = first ? q->X : M, *X_o = first ? o->X : M_o;
    for (int64_t i = 0; i < TOKENS * k; i++)
        lack[i] = X_o[i] - X[i];
    for (int64_t t = 0; t < TOKENS; t++) {
        both[t] = ours.own[t] && theirs.own[t];
        *alone += ours.own[t] && !theirs.own[t];
    }
    ck_assert_ptr_nonnull(task->moments.D);
    ck_assert_double_le(moment_error(task->moments.D, lack, X, k, both, ours.count), 10 * GATE);
}

START_TEST(differences_are_of_tokens_that_both_models_send) {
    llmq_error err = {0};
    const struct calib_options options = {.paired = true, .expert_tokens = FEW};
    static struct routed q, o;
    struct fixture f;
    struct calib *c = NULL;
    struct calib_task task;
    struct block original;
    int64_t alone = 0;
    fixture_open(&f);
    ck_assert_ok(block_load(&f.model, 0, LOAD_PLAIN, f.weights, &original, &err), &err);
    struct linear *out = &f.block.node[f.block.graph->producer[V_ATTN_OUT]].linear;
    for (int64_t i = 0; i < out->n * out->k; i++)
        out->w[i] *= 1.0F + 0.5F * (float)(i % 3);
    route(&f, &f.block, &q);
    route(&f, &original, &o);
    start(&f, &options, &original, &c);
    while (next_of_experts(c, &task))
        check_cross(&f, &q, &o, &task, &alone);
    ck_assert_int_gt(alone, 0); /* there is something to get wrong */
    calib_free(&c);
    block_release(&original);
    fixture_close(&f);
}
END_TEST

/* Every expert's linears shrink as their turn comes: the last ones see it, and so does the sum. */
START_TEST(experts_are_run_as_they_have_become) {
    llmq_error err = {0};
    const struct calib_options options = {.expert_tokens = 1};
    static struct routed r;
    static float M[TOKENS * FFN], Z[TOKENS * HIDDEN], expected[TOKENS * HIDDEN];
    struct fixture f;
    struct calib *c = NULL;
    struct calib_task task;
    fixture_open(&f);
    route(&f, &f.block, &r);
    start(&f, &options, NULL, &c);
    memcpy(expected, r.Y, sizeof expected);
    while (next_of_experts(c, &task)) {
        struct expert e;
        struct counted tokens;
        for (int i = 0; i < task.graph->count; i++)
            for (int64_t w = 0; task.linears->nodes >> i & 1 &&
                                w < task.params[i].linear.n * task.params[i].linear.k;
                 w++)
                task.params[i].linear.w[w] *= 0.5F;
        if (task.linears->source == V_E)
            continue;
        expert_take(&f, task.expert, 0.5, &e);
        middle(&e, r.X, M);
        count_tokens(&r, task.expert, 0, &tokens);
        for (int64_t i = 0; i < TOKENS; i++)
            for (int64_t h = 0; tokens.own[i] && h < HIDDEN; h++)
                expected[i * HIDDEN + h] += r.weight[i * EXPERTS + task.expert] *
                                            (float)dot(e.down + h * FFN, M + i * FFN, FFN);
        if (task.expert != MIXTURE_IDLE)
            ck_assert_double_le(moment_error(task.moments.H, M, M, FFN, tokens.own, tokens.count),
                                GATE);
    }
    ck_assert_ok(calib_end_block(c, &err), &err);
    ck_assert_ok(calib_residual(c, Z, &err), &err);
    for (int64_t i = 0; i < TOKENS * HIDDEN; i++)
        ck_assert_double_le(fabs((double)Z[i] - (double)expected[i]), 1e-4);
    calib_free(&c);
    fixture_close(&f);
}
END_TEST

/* The residual stream behind both blocks, with or without asking for their tasks. */
static void run_all(struct fixture *f, const char *spill_dir, bool ask, float *out) {
    llmq_error err = {0};
    const struct calib_options options = {.spill_dir = spill_dir, .expert_tokens = FEW};
    struct calib *c = NULL;
    struct arena *weights = NULL;
    ck_assert_ok(arena_create("weights", &weights, &err), &err);
    ck_assert_ok(calib_create(&f->model, &f->tokens, &options, NULL, &c, &err), &err);
    for (int64_t i = 0; i < MIXTURE_BLOCKS; i++) {
        struct block block;
        struct calib_task task;
        ck_assert_ok(block_load(&f->model, i, LOAD_PLAIN, weights, &block, &err), &err);
        calib_begin_block(c, &block, NULL);
        while (ask && next_of_experts(c, &task))
            ;
        ck_assert_ok(calib_end_block(c, &err), &err);
        block_release(&block);
        arena_reset(weights);
    }
    ck_assert_ok(calib_residual(c, out, &err), &err);
    calib_free(&c);
    arena_free(&weights);
}

START_TEST(files_and_replays_change_nothing) {
    static float asked[TOKENS * HIDDEN], other[TOKENS * HIDDEN];
    struct fixture f;
    fixture_open(&f);
    run_all(&f, NULL, true, asked);
    for (int kind = 0; kind < 3; kind++) {
        run_all(&f, kind > 0 ? scratch : NULL, kind == 1, other);
        ck_assert_int_eq(memcmp(asked, other, sizeof asked), 0);
    }
    fixture_close(&f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("experts");
    TCase *t = tcase_create("experts");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, moments_are_of_the_tokens_that_reach_an_expert, 0, 4);
    tcase_add_test(t, experts_are_judged_on_windows_that_are_held_back);
    tcase_add_test(t, differences_are_of_tokens_that_both_models_send);
    tcase_add_test(t, experts_are_run_as_they_have_become);
    tcase_add_test(t, files_and_replays_change_nothing);
    suite_add_tcase(s, t);
    return run_suite(s);
}
