/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration of every family: the moments of each task against sums over activations that passes
 * from the start of the block make by themselves, while every linear is changed after its turn.
 * Experts have suites of their own. The models are in the shared data. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/calib.h"
#include "graph/golden_case.h"
#include "graph/golden_list.h"
#include "graph/pass.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

#define GATE       1e-5 /* relative, Frobenius norm */
#define CROSS_GATE 1e-3 /* of small differences between large numbers */

/* One of the two models on its way: the block, and the residual stream where it begins. */
struct side {
    struct calib *calib;
    struct block block;
    float *x; /* [T, stream] */
};

struct fixture {
    struct golden golden;
    struct arena *weights;
    struct calib_tokens tokens;
    struct side changed, original;
};

static void side_open(struct fixture *f, bool paired, struct side *s) {
    llmq_error err = {0};
    const struct model *m = &f->golden.model;
    const struct batch all = {f->tokens.offsets, 1};
    const struct calib_options options = {.paired = paired, .expert_tokens = 1};
    s->x = calloc((size_t)(f->golden.corpus.tokens_used * m->config.stream), sizeof *s->x);
    ck_assert_ok(model_embed(m, f->tokens.ids, &all, s->x, &err), &err);
    ck_assert_ok(calib_create(m, &f->tokens, &options, NULL, &s->calib, &err), &err);
}

static void side_close(struct side *s) {
    calib_free(&s->calib);
    free(s->x);
}

/* --- values by themselves --------------------------------------------------------------------- */

/* A value [T, width] of the side's block as it is now; NULL: experts lie before it. */
static float *value_of(const struct fixture *f, const struct side *s, enum value v) {
    llmq_error err = {0};
    struct schedule schedule;
    struct forward forward = {0};
    struct homes homes = {.count = 2};
    const struct graph *g = s->block.graph;
    const struct model *m = &f->golden.model;
    const int64_t T = f->golden.corpus.tokens_used, hidden = g->width[g->input];
    const struct batch all = {f->tokens.offsets, 1};
    homes.of[g->input] = 1;
    homes.of[v] = v == g->input ? 1 : 2;
    schedule_make(g, value_set_of(g->input), value_set_of(v), &homes, &schedule);
    for (int i = 0; i < g->count; i++)
        if (schedule.nodes >> i & 1 && g->node[i].row->op == OP_EXPERTS)
            return NULL;
    float *x = calloc((size_t)(T * hidden), sizeof *x);
    float *out = calloc((size_t)(T * g->width[v]), sizeof *out);
    memcpy(x, s->x, (size_t)(T * hidden) * sizeof *x);
    const struct forward_size size = {T, T, schedule.width, LLMQ_COMPUTE_F32};
    const struct pass pass = {&forward, &schedule, &s->block, &all, {NULL, x, out}};
    ck_assert_ok(forward_create(&m->config, m->blocks, &size, &forward, &err), &err);
    forward.ids = f->tokens.ids;
    ck_assert_ok(pass_run(&pass, &err), &err);
    if (v == g->input)
        memcpy(out, x, (size_t)(T * hidden) * sizeof *x);
    forward_free(&forward);
    free(x);
    return out;
}

/* ||M - (2 / T gain) (A - B)^T X|| / ||the same||, A and B [T, n], X [T, k]; B NULL: 0. */
static double moment_error(const float *M, const float *A, const float *B, int64_t n,
                           const float *X, int64_t k, int64_t T, double gain) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++) {
            double sum = 0;
            for (int64_t t = 0; t < T; t++)
                sum +=
                    ((double)A[t * n + i] - (B ? (double)B[t * n + i] : 0)) * (double)X[t * k + j];
            sum *= 2.0 / (double)T / gain;
            difference += (sum - (double)M[i * k + j]) * (sum - (double)M[i * k + j]);
            norm += sum * sum;
        }
    return sqrt(norm > 0 ? difference / norm : difference);
}

/* --- tasks ------------------------------------------------------------------------------------ */

/* W D of the task's linears, one below the other: moments of what their outputs lack. */
static void check_multiplied(const struct calib_task *task, const float *X, const float *X_o,
                             int64_t T) {
    const int64_t k = task->moments.k;
    const float *WD = task->moments.WD;
    for (int i = 0; i < task->graph->count; i++) {
        const struct linear *l = &task->params[i].linear;
        if (!(task->linears->nodes >> i & 1))
            continue;
        float *Y = calloc((size_t)(T * l->n), sizeof *Y), *Y_o = calloc((size_t)(T * l->n), 4);
        linalg_gemm_nt(T, l->n, k, 1, X, k, l->w, k, 0, Y, l->n);
        linalg_gemm_nt(T, l->n, k, 1, X_o, k, l->w, k, 0, Y_o, l->n);
        const double d = moment_error(WD, Y_o, Y, l->n, X, k, T, 1);
        ck_assert_msg(d <= CROSS_GATE, "%s: W D is off by %g", task->graph->node[i].row->name, d);
        WD += l->n * k;
        free(Y);
        free(Y_o);
    }
}

static void check_task(const struct fixture *f, const struct calib_task *task) {
    const struct calib_moments *m = &task->moments;
    const struct graph_task *t = task->linears;
    const int64_t T = f->golden.corpus.tokens_used;
    const struct side *q = &f->changed, *o = &f->original;
    float *X = value_of(f, q, t->source), *X_o = value_of(f, o, t->source);
    if (X) {
        const double h = moment_error(m->H, X, NULL, m->k, X, m->k, T, 1);
        ck_assert_msg(h <= GATE, "%s: H is off by %g", schema_value_name(t->source), h);
        const double d = m->D ? moment_error(m->D, X_o, X, m->k, X, m->k, T, 1) : 0;
        ck_assert_msg(d <= CROSS_GATE, "%s: D is off by %g", schema_value_name(t->source), d);
        if (!m->D)
            check_multiplied(task, X, X_o, T);
    }
    ck_assert_int_eq(m->R != NULL, t->stream != V_NONE);
    float *S = X && m->R ? value_of(f, q, t->stream) : NULL;
    float *S_o = S ? value_of(f, o, t->stream) : NULL;
    if (S) {
        const int64_t n = task->graph->width[t->stream];
        const double r = moment_error(m->R, S_o, S, n, X, m->k, T, t->gain);
        ck_assert_msg(r <= CROSS_GATE, "%s to %s: R is off by %g", schema_value_name(t->source),
                      schema_value_name(t->stream), r);
    }
    free(X);
    free(X_o);
    free(S);
    free(S_o);
}

/* What a method does to the linears of a task, in kind. */
static void change(const struct calib_task *task) {
    for (int i = 0; i < task->graph->count; i++) {
        const struct linear *l = &task->params[i].linear;
        for (int64_t w = 0; task->linears->nodes >> i & 1 && w < l->n * l->k; w++)
            l->w[w] *= 1.0F + 0.02F * (float)(w % 7 - 3);
    }
}

static void check_residual(const struct fixture *f, const float *expected, const float *x) {
    const int64_t count = f->golden.corpus.tokens_used * f->golden.model.config.stream;
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)x[i] - (double)expected[i]) * ((double)x[i] - (double)expected[i]);
        norm += (double)expected[i] * (double)expected[i];
    }
    ck_assert_double_le(sqrt(difference / norm), GATE);
}

static void run_block(struct fixture *f, int64_t index) {
    llmq_error err = {0};
    const struct model *m = &f->golden.model;
    struct side *q = &f->changed, *o = &f->original;
    ck_assert_ok(block_load(m, index, LOAD_PLAIN, f->weights, &q->block, &err), &err);
    ck_assert_ok(block_load(m, index, LOAD_PLAIN, f->weights, &o->block, &err), &err);
    calib_begin_block(q->calib, &q->block, &o->block);
    for (struct calib_task task;;) {
        ck_assert_ok(calib_next(q->calib, &task, &err), &err);
        if (!task.linears)
            break;
        if (task.expert < 0)
            check_task(f, &task);
        change(&task);
    }
    float *made = value_of(f, q, q->block.graph->output);
    ck_assert_ok(calib_end_block(q->calib, &err), &err);
    ck_assert_ok(calib_residual(q->calib, q->x, &err), &err);
    if (made)
        check_residual(f, made, q->x);
    free(made);
    calib_begin_block(o->calib, &o->block, NULL);
    ck_assert_ok(calib_end_block(o->calib, &err), &err);
    ck_assert_ok(calib_residual(o->calib, o->x, &err), &err);
    block_release(&q->block);
    block_release(&o->block);
    arena_reset(f->weights);
}

START_TEST(moments_are_of_what_the_linears_read) {
    llmq_error err = {0};
    struct fixture f = {0};
    char *dir = golden_dir(_i);
    if (!dir)
        return;
    ck_assert_ok(golden_open(dir, "config.json", &f.golden, &err), &err);
    ck_assert_ok(arena_create("weights", &f.weights, &err), &err);
    f.tokens = (struct calib_tokens){f.golden.corpus.ids, f.golden.corpus.offsets, 1, 0};
    side_open(&f, true, &f.changed);
    side_open(&f, false, &f.original);
    for (int64_t i = 0; i < f.golden.model.config.blocks; i++)
        run_block(&f, i);
    side_close(&f.changed);
    side_close(&f.original);
    arena_free(&f.weights);
    golden_close(&f.golden);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("calibration of families");
    TCase *t = tcase_create("calibration of families");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, moments_are_of_what_the_linears_read, 0, GOLDEN_CASES);
    suite_add_tcase(s, t);
    return run_suite(s);
}
