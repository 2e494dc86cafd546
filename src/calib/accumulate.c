/* SPDX-License-Identifier: Apache-2.0 */
/* The moments of a task: see calib_private.h. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "calib/calib_private.h"
#include "linalg/linalg.h"
#include "ranks/ranks.h"
#include "tensor/dtype.h"

/* The square of more overflows. */
#define SQUARE_MOST 1e18F

const char *moments_first_module(const struct graph *g, const struct graph_task *task) {
    int i = 0;
    while (!(task->nodes >> i & 1))
        i++;
    return g->node[i].row->name;
}

/* Entries of all linears' outputs of a task together. */
static int64_t task_outputs(const struct graph *g, const struct graph_task *t) {
    int64_t n = 0;
    for (int i = 0; i < g->count; i++)
        if (t->nodes >> i & 1)
            n += g->node[i].width[0];
    return n;
}

bool calib_multiplies(const struct graph *g, const struct graph_task *t) {
    return 2 * task_outputs(g, t) <= g->width[t->source];
}

double calib_cross_flops(const struct graph *g, const struct graph_task *t) {
    const double k = (double)g->width[t->source], n = (double)g->width[t->stream];
    const double outputs = (double)task_outputs(g, t);
    return (calib_multiplies(g, t) ? 4 * outputs : 2 * k) * k + 2 * n * k;
}

bool calib_squares_held(const struct graph *g, const struct graph_task *t, int64_t held) {
    const double k = (double)g->width[t->source], judged = 3 * (double)task_outputs(g, t);
    const double rows = (double)held;
    return !calib_multiplies(g, t) && (2 * rows + judged) * k < 2 * judged * rows;
}

static int64_t widest_output(const struct graph *g, const struct graph_task *t) {
    int64_t widest = 0;
    for (int i = 0; i < g->count; i++)
        if (t->nodes >> i & 1)
            widest = max_i64(widest, g->node[i].width[0]);
    return widest;
}

struct moment_sizes moments_measure(const struct graph *g, const struct graph_task *t) {
    const int64_t k = g->width[t->source], n = g->width[t->stream];
    const bool multiplied = calib_multiplies(g, t);
    return (struct moment_sizes){.H = k * (k + 1) / 2,
                                 .D = (multiplied ? task_outputs(g, t) : k) * k,
                                 .R = n * k,
                                 .source = k,
                                 .stream = n,
                                 .product = multiplied ? widest_output(g, t) : 0};
}

static void widen_sizes(const struct graph *g, struct moment_sizes *most) {
    for (int t = 0; g && t < g->task_count; t++) {
        const struct moment_sizes s = moments_measure(g, &g->task[t]);
        *most = (struct moment_sizes){
            max_i64(most->H, s.H),           max_i64(most->D, s.D),
            max_i64(most->R, s.R),           max_i64(most->source, s.source),
            max_i64(most->stream, s.stream), max_i64(most->product, s.product)};
    }
}

struct moment_sizes moments_largest(const struct blocks *blocks) {
    struct moment_sizes most = {0};
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        widen_sizes(&blocks->kinds[kind], &most);
        widen_sizes(blocks->bodies[kind], &most);
    }
    return most;
}

void moments_begin(struct calib *c, const struct graph *g, const struct graph_task *t) {
    const struct moment_sizes size = moments_measure(g, t);
    moment_clear(&c->H, size.H);
    moment_clear(&c->D, size.D);
    moment_clear(&c->R, size.R);
    c->held.count = 0;
    tally_read(c->forward.tally, TALLY_MOMENTS, 0);
}

/* The last rows of x [rows, width] join those held back. */
static void hold_back(const struct task_rows *rows, const float *x, int64_t width, float *held) {
    if (rows->held > 0)
        memcpy(held + rows->held_begin * width, x + (rows->rows - rows->held) * width,
               (size_t)(rows->held * width) * sizeof *held);
}

/* What linears read, each row times the root of its weight: sums of products of two such are
 * weighted ones. */
static const float *weighed(const struct calib *c, const struct task_rows *rows) {
    return rows->root ? c->weighed : rows->X;
}

/* The same of a difference, in place. */
static void weigh_difference(struct calib *c, const struct task_rows *rows, int64_t width) {
    if (rows->root)
        calib_scale_rows(rows->root, rows->rows, width, c->diff, c->diff);
}

/* sum += A^T B over the rows that are not held back; of a triangle A and B are the same. */
static enum llmq_status add_term(const struct calib *c, const struct task_rows *rows,
                                 const struct share_sum *to, const float *A, const float *B,
                                 llmq_error *err) {
    const struct linalg_sum *s = &to->shape;
    const struct linalg_term term = {rows->rows - rows->held, A, B, s->m, s->n};
    return share_add(rows->share, rows->step, to, &term, c->ctx, err);
}

static struct share_sum sum_of(const struct moment *m, double *sum, int64_t rows, int64_t columns) {
    return (struct share_sum){{rows, columns, false}, sum, m->scratch};
}

static struct share_sum square_of(const struct moment *m, int64_t k) {
    return (struct share_sum){{k, k, true}, m->sum, m->scratch};
}

enum llmq_status moments_add_square(struct calib *c, int64_t k, const struct task_rows *rows,
                                    llmq_error *err) {
    const int64_t count = rows->rows - rows->held;
    const struct share_sum to = square_of(&c->H, k);
    if (rows->root)
        calib_scale_rows(rows->root, rows->rows, k, rows->X, c->weighed);
    const enum llmq_status status = add_term(c, rows, &to, weighed(c, rows), weighed(c, rows), err);
    hold_back(rows, weighed(c, rows), k, c->held.X);
    tally_read(c->forward.tally, TALLY_MOMENTS, (double)count * (double)k * (double)k);
    return status;
}

static bool all_finite(const float *x, int64_t count, float most) {
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(x[i]) <= most))
            return false;
    return true;
}

bool moments_finite(const struct calib *c, int64_t k, const struct task_rows *rows) {
    const float *held = c->held.X + rows->held_begin * k;
    if (rows->share && llmq_ranks_count() > 1) /* others keep the sums */
        return all_finite(rows->X, rows->rows * k, SQUARE_MOST);
    for (int64_t i = 0; i < k; i++)
        if (!isfinite(c->H.sum[linalg_upper(k, i, i)]))
            return false;
    return all_finite(held, rows->held * k, FLT_MAX);
}

/* What the stream lacks, as what the linear's output lacks before it is multiplied by the gain. */
static void divide(float *x, int64_t count, double gain) {
#pragma omp parallel for schedule(static) default(none) shared(x, count, gain)
    for (int64_t i = 0; i < count; i++)
        x[i] /= (float)gain;
}

/* W D, of each linear below the other's, without forming D: what their outputs lack, times X^T. */
static enum llmq_status add_multiplied(struct calib *c, const struct graph *g,
                                       const struct graph_task *t, const struct task_rows *rows,
                                       llmq_error *err) {
    const int64_t k = g->width[t->source], count = rows->rows - rows->held;
    double *sum = c->D.sum;
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < g->count && status == LLMQ_OK; i++) {
        const int64_t n = g->node[i].width[0];
        if (!(t->nodes >> i & 1))
            continue;
        const struct share_sum to = sum_of(&c->D, sum, n, k);
        if (count > 0)
            linalg_gemm_nt(count, n, k, 1, c->diff, k, rows->params[i].linear.w, k, 0, c->product,
                           n);
        status = add_term(c, rows, &to, c->product, weighed(c, rows), err);
        sum += n * k;
    }
    return status;
}

/* R += (S_o - S)^T X */
static enum llmq_status add_stream(struct calib *c, const struct graph *g,
                                   const struct graph_task *t, const struct task_rows *rows,
                                   llmq_error *err) {
    const int64_t k = g->width[t->source], n = g->width[t->stream];
    const struct share_sum to = sum_of(&c->R, c->R.sum, n, k);
    if (rows->rows > 0)
        moment_difference(rows->S_o, rows->S, NULL, rows->rows, n, c->diff);
    if (t->gain < 1 || t->gain > 1)
        divide(c->diff, rows->rows * n, t->gain);
    weigh_difference(c, rows, n);
    const enum llmq_status status = add_term(c, rows, &to, c->diff, weighed(c, rows), err);
    hold_back(rows, c->diff, n, c->held.stream_lack);
    return status;
}

enum llmq_status moments_add_cross(struct calib *c, const struct graph *g,
                                   const struct graph_task *t, const struct task_rows *rows,
                                   llmq_error *err) {
    const int64_t count = rows->rows - rows->held, k = g->width[t->source];
    const struct share_sum to = sum_of(&c->D, c->D.sum, k, k);
    enum llmq_status status = LLMQ_OK;
    if (!rows->pair)
        return LLMQ_OK;
    if (rows->rows > 0)
        moment_difference(rows->X_o, rows->X, rows->scale, rows->rows, k, c->diff);
    weigh_difference(c, rows, k);
    hold_back(rows, c->diff, k, c->held.lack);
    if (calib_multiplies(g, t))
        LLMQ_TRY(add_multiplied(c, g, t, rows, err));
    else
        LLMQ_TRY(add_term(c, rows, &to, c->diff, weighed(c, rows), err));
    if (rows->streams)
        LLMQ_TRY(add_stream(c, g, t, rows, err));
    tally_read(c->forward.tally, TALLY_MOMENTS, calib_cross_flops(g, t) * (double)count);
cleanup:
    return status;
}

/* Of all ranks that had a batch. */
static int64_t held_so_far(const struct task_rows *rows) {
    const struct share *s = rows->share;
    const int64_t last = min_i64(s->count, (rows->step + 1) * llmq_ranks_count()) - 1;
    return s->batch[last].held_begin + s->batch[last].held;
}

enum llmq_status moments_end_rows(struct calib *c, const struct graph *g,
                                  const struct graph_task *t, const struct task_rows *rows,
                                  llmq_error *err) {
    const int64_t k = g->width[t->source], n = g->width[t->stream], step = rows->step;
    const struct share *s = rows->share;
    enum llmq_status status = LLMQ_OK;
    c->held.count = s ? held_so_far(rows) : c->held.count + rows->held;
    if (!s || !c->holds)
        return LLMQ_OK;
    LLMQ_TRY(share_held(s, step, k, c->held.X, c->ctx, err));
    if (rows->pair)
        LLMQ_TRY(share_held(s, step, k, c->held.lack, c->ctx, err));
    if (rows->pair && rows->streams)
        LLMQ_TRY(share_held(s, step, n, c->held.stream_lack, c->ctx, err));
cleanup:
    return status;
}

/* Into the half of D's room that float32 leaves. */
static void square_held(const struct calib *c, int64_t k, float *D, struct calib_held *held) {
    float *square = D + k * k;
    linalg_gemm_tn(k, k, held->count, 1, c->held.X, k, c->held.X, k, 0, square, k);
    held->square = square;
    tally_read(c->forward.tally, TALLY_MOMENTS, 2 * (double)k * (double)k * (double)held->count);
}

/* The cross moments, each linear's W D by itself as it was summed. */
static enum llmq_status finish_cross(struct calib *c, const struct graph *g,
                                     const struct graph_task *t, const struct share *share,
                                     double factor, struct calib_moments *out, llmq_error *err) {
    const struct moment_sizes size = moments_measure(g, t);
    const int64_t k = g->width[t->source];
    const bool multiplied = calib_multiplies(g, t);
    double *sum = c->D.sum, left = factor;
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < g->count && multiplied; i++) {
        const struct share_sum of = sum_of(&c->D, sum, g->node[i].width[0], k);
        if (!(t->nodes >> i & 1))
            continue;
        LLMQ_TRY(share_finish(share, &of, factor, &left, c->ctx, err));
        sum += of.shape.m * k;
    }
    const struct share_sum whole = sum_of(&c->D, c->D.sum, k, k);
    if (!multiplied)
        LLMQ_TRY(share_finish(share, &whole, factor, &left, c->ctx, err));
    float *D = moment_finish(&c->D, size.D, left);
    out->held.lack = c->held.lack;
    out->WD = multiplied ? D : NULL;
    out->D = multiplied ? NULL : D;
    if (calib_squares_held(g, t, out->held.count))
        square_held(c, k, D, &out->held);
    if (t->stream == V_NONE)
        return LLMQ_OK;
    const struct share_sum R = sum_of(&c->R, c->R.sum, g->width[t->stream], k);
    LLMQ_TRY(share_finish(share, &R, factor, &left, c->ctx, err));
    out->R = moment_finish(&c->R, size.R, left);
    out->held.stream_lack = c->held.stream_lack;
cleanup:
    return status;
}

enum llmq_status moments_finish(struct calib *c, const struct graph *g, const struct graph_task *t,
                                const struct share *share, int64_t tokens,
                                struct calib_moments *out, llmq_error *err) {
    const int64_t k = g->width[t->source];
    const double factor = 2.0 / (double)(tokens - c->held.count);
    const struct share_sum H = square_of(&c->H, k);
    double left = factor;
    enum llmq_status status = share_finish(share, &H, factor, &left, c->ctx, err);
    if (status != LLMQ_OK)
        return status;
    *out = (struct calib_moments){.k = k,
                                  .H = moment_finish_square(&c->H, k, left),
                                  .held = {.count = c->held.count, .X = c->held.X}};
    return calib_pairing(c) ? finish_cross(c, g, t, share, factor, out, err) : LLMQ_OK;
}

static void note_peak(struct calib *c, const float *x, int64_t count, const char *module) {
    const float most = dtype_peak(DTYPE_F32, x, (size_t)count);
    if (most > c->peak.value)
        c->peak = (struct calib_peak){most, c->quantized.block->index, module};
}

void moments_note_peaks(struct calib *c, const struct graph *g, const struct graph_task *t,
                        const struct task_rows *rows) {
    if (!c->peaks || rows->rows == 0)
        return;
    note_peak(c, rows->X, rows->rows * g->width[t->source], moments_first_module(g, t));
    if (rows->S)
        note_peak(c, rows->S, rows->rows * g->width[t->stream], NULL);
}
