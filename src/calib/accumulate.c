/* SPDX-License-Identifier: Apache-2.0 */
/* The moments of a task: see calib_private.h. */
#include <math.h>
#include <string.h>

#include "base/int64.h"
#include "calib/calib_private.h"
#include "linalg/linalg.h"
#include "tensor/dtype.h"

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
static void hold_back(const struct calib *c, const struct task_rows *rows, const float *x,
                      int64_t width, float *held) {
    memcpy(held + c->held.count * width, x + (rows->rows - rows->held) * width,
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

void moments_add_square(struct calib *c, int64_t k, const struct task_rows *rows) {
    const int64_t count = rows->rows - rows->held;
    if (rows->root)
        calib_scale_rows(rows->root, rows->rows, k, rows->X, c->weighed);
    linalg_syrk_accumulate(count, k, weighed(c, rows), k, c->H.sum, c->H.scratch);
    hold_back(c, rows, weighed(c, rows), k, c->held.X);
    tally_read(c->forward.tally, TALLY_MOMENTS, (double)count * (double)k * (double)k);
}

bool moments_finite(const struct calib *c, int64_t k, const struct task_rows *rows) {
    const float *held = c->held.X + c->held.count * k;
    bool finite = true;
    for (int64_t i = 0; i < k && finite; i++)
        finite = isfinite(c->H.sum[linalg_upper(k, i, i)]);
    for (int64_t i = 0; i < rows->held * k && finite; i++)
        finite = isfinite(held[i]);
    return finite;
}

/* What the stream lacks, as what the linear's output lacks before it is multiplied by the gain. */
static void divide(float *x, int64_t count, double gain) {
#pragma omp parallel for schedule(static) default(none) shared(x, count, gain)
    for (int64_t i = 0; i < count; i++)
        x[i] /= (float)gain;
}

static void add_product(const struct moment *m, double *sum, int64_t count, const float *A,
                        int64_t width, const float *X, int64_t k) {
    linalg_gemm_tn_accumulate(count, width, k, A, width, X, k, sum, m->scratch);
}

/* W D, of each linear below the other's, without forming D: what their outputs lack, times X^T. */
static void add_multiplied(struct calib *c, const struct graph *g, const struct graph_task *t,
                           const struct task_rows *rows, int64_t count) {
    const int64_t k = g->width[t->source];
    double *sum = c->D.sum;
    for (int i = 0; i < g->count; i++) {
        const int64_t n = g->node[i].width[0];
        if (!(t->nodes >> i & 1))
            continue;
        linalg_gemm_nt(count, n, k, 1, c->diff, k, rows->params[i].linear.w, k, 0, c->product, n);
        add_product(&c->D, sum, count, c->product, n, weighed(c, rows), k);
        sum += n * k;
    }
}

/* R += (S_o - S)^T X */
static void add_stream(struct calib *c, const struct graph *g, const struct graph_task *t,
                       const struct task_rows *rows, int64_t count) {
    const int64_t k = g->width[t->source], n = g->width[t->stream];
    moment_difference(rows->S_o, rows->S, NULL, rows->rows, n, c->diff);
    if (t->gain < 1 || t->gain > 1)
        divide(c->diff, rows->rows * n, t->gain);
    weigh_difference(c, rows, n);
    add_product(&c->R, c->R.sum, count, c->diff, n, weighed(c, rows), k);
    hold_back(c, rows, c->diff, n, c->held.stream_lack);
}

void moments_add_cross(struct calib *c, const struct graph *g, const struct graph_task *t,
                       const struct task_rows *rows) {
    const int64_t count = rows->rows - rows->held, k = g->width[t->source];
    if (!rows->X_o)
        return;
    moment_difference(rows->X_o, rows->X, rows->scale, rows->rows, k, c->diff);
    weigh_difference(c, rows, k);
    hold_back(c, rows, c->diff, k, c->held.lack);
    if (calib_multiplies(g, t))
        add_multiplied(c, g, t, rows, count);
    else
        add_product(&c->D, c->D.sum, count, c->diff, k, weighed(c, rows), k);
    if (rows->S)
        add_stream(c, g, t, rows, count);
    tally_read(c->forward.tally, TALLY_MOMENTS, calib_cross_flops(g, t) * (double)count);
}

void moments_end_rows(struct calib *c, const struct task_rows *rows) {
    c->held.count += rows->held;
}

struct calib_moments moments_finish(struct calib *c, const struct graph *g,
                                    const struct graph_task *t, int64_t tokens) {
    const struct moment_sizes size = moments_measure(g, t);
    const int64_t k = g->width[t->source], count = tokens - c->held.count;
    struct calib_moments out = {.k = k,
                                .H = moment_finish_square(&c->H, k, count),
                                .held = {.count = c->held.count, .X = c->held.X}};
    if (!calib_pairing(c))
        return out;
    float *D = moment_finish(&c->D, size.D, count);
    out.held.lack = c->held.lack;
    if (calib_multiplies(g, t))
        out.WD = D;
    else
        out.D = D;
    if (t->stream == V_NONE)
        return out;
    out.R = moment_finish(&c->R, size.R, count);
    out.held.stream_lack = c->held.stream_lack;
    return out;
}

static void note_peak(struct calib *c, const float *x, int64_t count, const char *module) {
    const float most = dtype_peak(DTYPE_F32, x, (size_t)count);
    if (most > c->peak.value)
        c->peak = (struct calib_peak){most, c->quantized.block->index, module};
}

void moments_note_peaks(struct calib *c, const struct graph *g, const struct graph_task *t,
                        const struct task_rows *rows) {
    if (!c->peaks)
        return;
    note_peak(c, rows->X, rows->rows * g->width[t->source], moments_first_module(g, t));
    if (rows->S)
        note_peak(c, rows->S, rows->rows * g->width[t->stream], NULL);
}
