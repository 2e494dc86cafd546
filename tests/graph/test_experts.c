/* SPDX-License-Identifier: Apache-2.0 */
/* A block with experts, run layer-major, against the sum over all experts in double precision: in
 * memory and from files, in batches of any size, with any number of threads. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "graph/experts.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "models/shapes.h"
#include "ops_check.h"
#include "support.h"

enum { TOKENS = 60, HIDDEN = 24, EXPERTS = 8, NOBODYS = 5, ROWS = 16 };

/* Sequences of a few tokens. */
static const int64_t offsets[] = {0, 5, 12, 13, 20, 34, 41, 55, TOKENS};
enum { SEQUENCES = sizeof offsets / sizeof offsets[0] - 1 };

struct problem {
    struct node rows[ROWS];
    struct blocks *blocks;
    struct model_config config;
    struct block block, expert[EXPERTS];
    struct arena *arena;
    float *x;
};

static float *numbers(struct problem *p, uint64_t seed, int64_t count, double limit) {
    llmq_error err = {0};
    float *random = random_row(seed, count, limit);
    float *out = arena_alloc(p->arena, (size_t)count, sizeof *out, &err);
    memcpy(out, random, (size_t)count * sizeof *out);
    free(random);
    return out;
}

static void fill(struct problem *p, const struct graph *g, uint64_t seed, struct block *out) {
    *out = (struct block){.graph = g, .expert = -1};
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        const int64_t k = g->width[n->in[0]];
        if (n->row->op == OP_NORM)
            out->node[i].weight = numbers(p, seed + (uint64_t)i, k, 1);
        if (n->row->op == OP_LINEAR || n->row->op == OP_ROUTER)
            out->node[i].linear =
                (struct linear){.n = n->width[0],
                                .k = k,
                                .w = numbers(p, seed + (uint64_t)i, n->width[0] * k, 0.4)};
    }
}

/* Qwen2-MoE's shape; `scales` as in Llama 4. No token is to take expert NOBODYS. */
static void make(struct problem *p, bool scales) {
    llmq_error err = {0};
    int r = 0;
    memset(p, 0, sizeof *p);
    do {
        p->rows[r] = shape_experts[r];
        p->rows[r].scales_input = scales && p->rows[r].op == OP_EXPERTS;
    } while (shape_experts[r++].op != OP_END);
    p->config.facts = shape_facts;
    p->config.facts.numbers[NUM_ROUTED] = 1.5;
    p->blocks = calloc(1, sizeof *p->blocks);
    struct graph *g = &p->blocks->kinds[0], *body = &p->blocks->kinds[1];
    ck_assert_ok(arena_create("weights", &p->arena, &err), &err);
    ck_assert_ok(graph_make(p->rows, T_ALWAYS, &p->config.facts, V_X, g, &err), &err);
    ck_assert_ok(graph_make(shape_expert, T_ALWAYS, &p->config.facts, V_E, body, &err), &err);
    g->body = body;
    p->blocks->kind_count = 1;
    fill(p, g, 100, &p->block);
    for (int e = 0; e < EXPERTS; e++)
        fill(p, body, 1000 + 100 * (uint64_t)e, &p->expert[e]);
    float *bias = numbers(p, 3, EXPERTS, 0.1);
    bias[NOBODYS] = -10;
    p->block.node[g->producer[V_ROUTE]].choice_bias = bias;
    p->x = random_row(4, TOKENS * HIDDEN, 2);
}

static void release(struct problem *p) {
    arena_free(&p->arena);
    free(p->blocks);
    free(p->x);
}

/* --- the reference ---------------------------------------------------------------------------- */

static void multiply(const struct block *b, enum value made, const double *x, double *y) {
    const struct linear *l = &b->node[b->graph->producer[made]].linear;
    for (int64_t i = 0; i < l->n; i++) {
        y[i] = 0;
        for (int64_t k = 0; k < l->k; k++)
            y[i] += (double)l->w[i * l->k + k] * x[k];
    }
}

static double silu(double x) {
    return x / (1 + exp(-x));
}

/* A gated MLP, whose parts make these values. */
static void want_mlp(const struct block *b, const enum value parts[3], const double *x, double *y) {
    double gate[64], up[64];
    multiply(b, parts[0], x, gate);
    multiply(b, parts[1], x, up);
    for (int64_t i = 0; i < b->graph->width[parts[1]]; i++)
        gate[i] = silu(gate[i]) * up[i];
    multiply(b, parts[2], gate, y);
}

static void want_weights(const struct problem *p, const double *in, double *w) {
    const float *bias = p->block.node[p->block.graph->producer[V_ROUTE]].choice_bias;
    double score[EXPERTS], sum = 0;
    multiply(&p->block, V_ROUTE, in, score);
    for (int e = 0; e < EXPERTS; e++) {
        score[e] = exp(score[e]);
        sum += score[e];
    }
    for (int e = 0; e < EXPERTS; e++) {
        int larger = 0;
        for (int o = 0; o < EXPERTS; o++)
            larger += score[o] / sum + (double)bias[o] > score[e] / sum + (double)bias[e];
        w[e] = larger < 2 ? 1.5 * score[e] / sum : 0;
    }
}

static void want_token(const struct problem *p, bool scales, const float *x, double *out) {
    static const enum value own[] = {V_GATE, V_UP, V_E_OUT};
    static const enum value shared[] = {V_SHARED_GATE, V_SHARED_UP, V_SHARED_OUT};
    const float *norm = p->block.node[p->block.graph->producer[V_MLP_IN]].weight;
    double in[HIDDEN], scaled[HIDDEN], y[HIDDEN], w[EXPERTS], square = 0, gate = 0;
    for (int i = 0; i < HIDDEN; i++)
        square += (double)x[i] * (double)x[i] / HIDDEN;
    for (int i = 0; i < HIDDEN; i++)
        in[i] = (double)x[i] / sqrt(square + 1e-6) * (double)norm[i];
    multiply(&p->block, V_SHARED_SWITCH, in, &gate);
    want_mlp(&p->block, shared, in, y);
    for (int i = 0; i < HIDDEN; i++)
        out[i] = (double)x[i] + silu(gate) * y[i];
    want_weights(p, in, w);
    for (int e = 0; e < EXPERTS; e++) {
        for (int i = 0; i < HIDDEN; i++)
            scaled[i] = in[i] * (scales ? w[e] : 1);
        want_mlp(&p->expert[e], own, scaled, y);
        for (int i = 0; i < HIDDEN && w[e] > 0; i++)
            out[i] += (scales ? 1 : w[e]) * y[i];
    }
}

/* --- the way of the program ------------------------------------------------------------------- */

struct setup {
    int64_t batch; /* rows at most */
    const char *spill_dir;
    int threads;
};

struct machine {
    struct forward forward;
    struct stream stream;
    struct experts experts;
    struct routing routing;
    struct arena *scratch;
    struct schedule before, after;
};

static void start(const struct problem *p, const struct setup *how, struct machine *m) {
    llmq_error err = {0};
    struct experts_needs needs;
    const int64_t rows = batch_max_rows(offsets, SEQUENCES, how->batch);
    struct stream_size size = {.total = TOKENS, .max_rows = rows, .spill_dir = how->spill_dir};
    ck_assert_ok(experts_measure(p->blocks, value_set_of(V_E_OUT), &needs, &err), &err);
    ck_assert_ok(homes_of_rounds(p->block.graph, &size.homes, &err), &err);
    ck_assert_ok(experts_passes(p->block.graph, &m->before, &m->after, &err), &err);
    ck_assert_ok(arena_create("scratch", &m->scratch, &err), &err);
    ck_assert_ok(stream_create(&size, m->scratch, &m->stream, &err), &err);
    const struct forward_size passes = {rows, TOKENS, needs.scratch, LLMQ_COMPUTE_F32};
    ck_assert_ok(forward_create(&p->config, p->blocks, &passes, &m->forward, &err), &err);
    ck_assert_ok(experts_create(&needs, &m->stream, &m->forward, m->scratch, &m->experts, &err),
                 &err);
    ck_assert_ok(routing_create(TOKENS, EXPERTS, 2, &m->routing, &err), &err);
    m->stream.block = &p->block;
}

static void stop(struct machine *m) {
    routing_free(&m->routing);
    stream_free(&m->stream);
    forward_free(&m->forward);
    arena_free(&m->scratch);
}

/* x [TOKENS, HIDDEN] comes in by batches and goes out by them. */
static void run_pass(struct machine *m, const struct setup *how, bool first, float *x) {
    llmq_error err = {0};
    const struct schedule *s = first ? &m->before : &m->after;
    stream_begin_pass(&m->stream, s);
    for (struct batch b = {0}; batch_next(offsets, SEQUENCES, how->batch, &b);) {
        struct pass pass;
        float *rows = x + b.offsets[0] * HIDDEN, *target = stream_target(&m->stream, b.offsets[0]);
        const size_t bytes = (size_t)batch_rows(&b) * HIDDEN * sizeof *x;
        if (first) {
            memcpy(target, rows, bytes);
            ck_assert_ok(stream_put(&m->stream, b.offsets[0], batch_rows(&b), target, &err), &err);
        }
        ck_assert_ok(stream_pass(&m->stream, &m->forward, s, &b, &pass, &err), &err);
        if (first)
            routing_note(&m->routing, b.offsets[0], batch_rows(&b), pass_value(&pass, V_ROUTE));
        else
            memcpy(rows, pass_value(&pass, V_Z), bytes);
    }
}

static void run_experts(const struct problem *p, struct machine *m) {
    llmq_error err = {0};
    struct schedule s;
    ck_assert_ok(experts_begin(&m->experts, &err), &err);
    experts_schedule(p->expert[0].graph, V_E_OUT, &s);
    for (int e = 0; e < EXPERTS; e++)
        for (struct row_list rows = {0};
             routing_next(&m->routing, e, experts_rows(&m->forward), &rows);) {
            struct pass pass;
            ck_assert_ok(experts_run(&m->experts, &p->expert[e], &s, &rows, &pass, &err), &err);
            ck_assert_ok(experts_add(&m->experts, &rows, pass_value(&pass, V_E_OUT), &err), &err);
        }
}

/* The block's output; the caller frees. */
static float *run(const struct problem *p, const struct setup *how) {
    struct machine m;
    float *x = random_row(4, TOKENS * HIDDEN, 2);
    const int before = omp_get_max_threads();
    omp_set_num_threads(how->threads);
    start(p, how, &m);
    for (int time = 0; time < 2; time++) { /* the sum of the first does not stay */
        memcpy(x, p->x, TOKENS * HIDDEN * sizeof *x);
        run_pass(&m, how, true, x);
        routing_sort(&m.routing);
        ck_assert_int_eq(m.routing.offsets[EXPERTS], TOKENS * 2);
        ck_assert_int_eq(m.routing.offsets[NOBODYS], m.routing.offsets[NOBODYS + 1]);
        run_experts(p, &m);
        run_pass(&m, how, false, x);
    }
    stop(&m);
    omp_set_num_threads(before);
    return x;
}

/* --- tests ------------------------------------------------------------------------------------ */

static const bool kinds[] = {false, true};

START_TEST(a_block_is_the_sum_over_its_experts) {
    static const int64_t batches[] = {1, 20, TOKENS};
    struct problem p;
    make(&p, kinds[_i]);
    for (int b = 0; b < 3; b++) {
        const struct setup how = {batches[b], NULL, 2};
        float *got = run(&p, &how);
        for (int t = 0; t < TOKENS; t++) {
            double want[HIDDEN];
            want_token(&p, kinds[_i], p.x + t * HIDDEN, want);
            for (int i = 0; i < HIDDEN; i++)
                ck_assert_near(got[t * HIDDEN + i], want[i], 1e-5 * (1 + fabs(want[i])));
        }
        free(got);
    }
    release(&p);
}
END_TEST

START_TEST(neither_threads_nor_files_change_a_bit) {
    struct problem p;
    make(&p, kinds[_i]);
    const struct setup setups[] = {{20, NULL, 1}, {20, NULL, 3}, {20, scratch_path(""), 2}};
    float *first = run(&p, &setups[0]);
    for (int s = 1; s < 3; s++) {
        float *other = run(&p, &setups[s]);
        ck_assert_same(first, other, TOKENS * HIDDEN);
        free(other);
    }
    free(first);
    release(&p);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("experts");
    TCase *t = tcase_create("experts");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK)
        return EXIT_FAILURE;
    linalg_init();
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, a_block_is_the_sum_over_its_experts, 0, 2);
    tcase_add_loop_test(t, neither_threads_nor_files_change_a_bit, 0, 2);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
