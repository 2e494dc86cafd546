/* SPDX-License-Identifier: Apache-2.0 */
/* Corrected targets in closed form: see correct.h. The factor U that GPTQ needs anyway, with
 * U^T U = (H + lambda I)^-1, makes the inverse two triangular products. Rows are independent but
 * for the two strengths, so panels of them are worked off one by one. */
#include "quant/correct.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hugemem.h"
#include "base/int64.h"
#include "linalg/linalg.h"
#include "quant/gptq.h"
#include "quant/panels.h"

#define PANEL_ROWS_MAX 256

/* Tokens that strengths are chosen by, at most: the two numbers are least squares over all outputs
 * of each. If more are held back, every second of them, every third, and so on. */
#define JUDGES_MOST 512

/* Strength when there is nothing to choose by. */
#define DEFAULT_STRENGTH 0.75

struct task {
    const struct gptq_factor *factor;
    const struct correct_lack *lack;
    const float *W;
    float *A;                    /* [n, k] */
    struct correct_error *parts; /* of each panel; NULL: not asked for */
    int64_t n, rows;             /* rows of a panel */
    int64_t judges, step;        /* tokens that strengths are chosen by: every step-th held back */
};

/* A thread's scratch: `row` [k], the others [rows, judges]. */
struct scratch {
    float *row;
    float *lack;  /* what W's outputs lack */
    float *a, *b; /* what A and B add to them */
};

/* --- one panel -------------------------------------------------------------------------------- */

/* Columns of M [rows, k] into the factor's order of processing, or back. */
static void permute(const struct gptq_factor *f, int64_t rows, bool back, float *M, float *row) {
    const int64_t *column = f->column;
    for (int64_t r = 0; f->options.act_order != ACT_ORDER_NONE && r < rows; r++) {
        float *at = M + r * f->k;
        memcpy(row, at, (size_t)f->k * sizeof *row);
        for (int64_t i = 0; i < f->k; i++)
            at[back ? column[i] : i] = row[back ? i : column[i]];
    }
}

/* M = M (H + lambda I)^-1 */
static void times_inverse(const struct gptq_factor *f, int64_t rows, float *M, float *row) {
    permute(f, rows, false, M, row);
    linalg_trmm_upper(rows, f->k, f->U, f->k, true, M, f->k);
    linalg_trmm_upper(rows, f->k, f->U, f->k, false, M, f->k);
    permute(f, rows, true, M, row);
}

/* out [rows, judges] = M X^T */
static void apply(const struct task *t, int64_t rows, const float *M, const float *X, float *out) {
    const int64_t k = t->factor->k;
    linalg_gemm_nt(rows, t->judges, k, 1, M, k, X, t->step * k, 0, out, t->judges);
}

/* lack [rows, judges] += the stream's, of outputs from `at` on. */
static void add_stream(const struct task *t, int64_t at, int64_t rows, float *lack) {
    const int64_t width = t->lack->whole > 0 ? t->lack->whole : t->n;
    const float *S = t->lack->S_lack + t->lack->first;
    for (int64_t i = 0; i < t->judges; i++)
        for (int64_t r = 0; r < rows; r++)
            lack[r * t->judges + i] += S[i * t->step * width + at + r];
}

/* The panel's share of the error on tokens held back as a function of the strengths. */
static struct correct_error judge_panel(const struct task *t, const struct scratch *s, int64_t at,
                                        int64_t rows) {
    const struct correct_lack *l = t->lack;
    const int64_t k = t->factor->k, count = rows * t->judges;
    struct correct_error q = {0};
    apply(t, rows, t->W + at * k, l->X_lack, s->lack);
    apply(t, rows, t->A + at * k, l->X, s->a);
    if (l->B) {
        add_stream(t, at, rows, s->lack);
        apply(t, rows, l->B + at * k, l->X, s->b);
        q.bb = quant_dot(s->b, s->b, count);
        q.ab = quant_dot(s->a, s->b, count);
        q.b = quant_dot(s->b, s->lack, count);
    }
    q.aa = quant_dot(s->a, s->a, count);
    q.a = quant_dot(s->a, s->lack, count);
    return q;
}

static void run_panel(const struct task *t, const struct scratch *s, int64_t at, int64_t rows) {
    const int64_t k = t->factor->k;
    float *A = t->A + at * k;
    if (t->lack->D)
        linalg_gemm_nn(rows, k, k, 1, t->W + at * k, k, t->lack->D, k, 0, A, k);
    times_inverse(t->factor, rows, A, s->row);
    if (t->parts)
        t->parts[at / t->rows] = judge_panel(t, s, at, rows);
}

/* --- all panels ------------------------------------------------------------------------------- */

static bool scratch_alloc(const struct task *t, struct scratch *s) {
    const size_t count = (size_t)(t->rows * t->judges);
    s->row = malloc((size_t)t->factor->k * sizeof *s->row);
    s->lack = t->parts ? malloc(3 * count * sizeof *s->lack) : NULL;
    if (!s->row || (t->parts && !s->lack))
        return false;
    s->a = s->lack ? s->lack + count : NULL;
    s->b = s->lack ? s->a + count : NULL;
    return true;
}

static int64_t judge_step(int64_t held) {
    return max_i64(1, ceil_div(held, JUDGES_MOST));
}

int64_t correct_judges(int64_t held) {
    return ceil_div(held, judge_step(held));
}

static enum llmq_status run_panels(const struct task *t, llmq_error *err) {
    int failed = 0; /* threads that found no memory */
#pragma omp parallel default(none) shared(t) reduction(+ : failed)
    {
        struct scratch s = {0};
        failed = !scratch_alloc(t, &s);
#pragma omp for schedule(dynamic)
        for (int64_t at = 0; at < t->n; at += t->rows)
            if (!failed)
                run_panel(t, &s, at, min_i64(t->rows, t->n - at));
        free(s.lack);
        free(s.row);
    }
    return failed ? error_memory(err, "a corrected target") : LLMQ_OK;
}

int64_t correct_panel_rows(int64_t whole) {
    return panel_rows(whole, PANEL_ROWS_MAX);
}

enum llmq_status correct_stream_rows(const struct gptq_factor *factor, int64_t whole, int64_t n,
                                     float *R, llmq_error *err) {
    const struct correct_lack nothing = {0};
    assert(gptq_factor_usable(factor));
    return run_panels(
        &(struct task){
            .factor = factor, .lack = &nothing, .A = R, .n = n, .rows = correct_panel_rows(whole)},
        err);
}

enum llmq_status correct_stream(const struct gptq_factor *factor, int64_t n, float *R,
                                llmq_error *err) {
    return correct_stream_rows(factor, n, n, R, err);
}

static double unit(double v) {
    return v > 0 ? (v < 1 ? v : 1) : 0; /* NaN becomes 0 */
}

static double value(const struct correct_error *q, struct correction s) {
    return q->aa * s.alpha * s.alpha + 2 * q->ab * s.alpha * s.beta + q->bb * s.beta * s.beta -
           2 * q->a * s.alpha - 2 * q->b * s.beta;
}

/* The minimum over the unit square: inside, or the best of its four edges. */
static struct correction minimum(const struct correct_error *q, bool with_beta) {
    if (!with_beta)
        return (struct correction){.alpha = unit(q->a / q->aa)};
    double det = q->aa * q->bb - q->ab * q->ab;
    struct correction inside = {(q->a * q->bb - q->b * q->ab) / det,
                                (q->b * q->aa - q->a * q->ab) / det};
    if (det > 0 && inside.alpha == unit(inside.alpha) && inside.beta == unit(inside.beta))
        return inside;
    const struct correction edges[] = {{0, unit(q->b / q->bb)},
                                       {unit(q->a / q->aa), 0},
                                       {1, unit((q->b - q->ab) / q->bb)},
                                       {unit((q->a - q->ab) / q->aa), 1}};
    struct correction best = {0};
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        if (value(q, edges[i]) < value(q, best))
            best = edges[i];
    return best;
}

struct correction correct_choose(const struct correct_error *errors, int64_t panels,
                                 bool with_beta) {
    struct correct_error sum = {0};
    if (!errors)
        return (struct correction){DEFAULT_STRENGTH, with_beta ? DEFAULT_STRENGTH : 0};
    for (int64_t p = 0; p < panels; p++) {
        sum.aa += errors[p].aa;
        sum.ab += errors[p].ab;
        sum.bb += errors[p].bb;
        sum.a += errors[p].a;
        sum.b += errors[p].b;
    }
    return minimum(&sum, with_beta);
}

void correct_apply(const struct correct_target *t, const float *B, struct correction strength,
                   float *W) {
    const float alpha = (float)strength.alpha, beta = (float)strength.beta;
    const int64_t count = t->n * t->k;
    const float *A = t->A;
#pragma omp parallel for schedule(static) default(none) shared(count, W, A, B, alpha, beta)
    for (int64_t i = 0; i < count; i++)
        W[i] += alpha * A[i] + (B ? beta * B[i] : 0);
}

void correct_target_free(struct correct_target *t) {
    free(t->own);
    *t = (struct correct_target){0};
}

enum llmq_status correct_target_make(const struct gptq_factor *factor, int64_t n,
                                     const struct correct_lack *lack, const float *W,
                                     struct correct_error *errors, struct correct_target *out,
                                     llmq_error *err) {
    assert(gptq_factor_usable(factor));
    *out = (struct correct_target){.n = n, .k = factor->k};
    out->own = lack->D ? huge_malloc((size_t)(n * factor->k) * sizeof *out->own) : NULL;
    out->A = lack->D ? out->own : lack->WD;
    if (!out->A)
        return error_memory(err, "a corrected target");
    return run_panels(&(struct task){.factor = factor,
                                     .lack = lack,
                                     .W = W,
                                     .A = out->A,
                                     .parts = errors,
                                     .n = n,
                                     .rows = correct_panel_rows(lack->whole > 0 ? lack->whole : n),
                                     .judges = correct_judges(lack->held),
                                     .step = judge_step(lack->held)},
                      err);
}

enum llmq_status correct_weights(const struct gptq_factor *factor, int64_t n,
                                 const struct correct_lack *lack, bool choose,
                                 struct correction *strength, float *W, llmq_error *err) {
    const int64_t panels = (n + correct_panel_rows(n) - 1) / correct_panel_rows(n);
    const bool judge = choose && lack->held > 0;
    struct correct_target target = {0};
    struct correct_error *errors = judge ? calloc((size_t)panels, sizeof *errors) : NULL;
    enum llmq_status status = LLMQ_OK;
    if (judge && !errors)
        return error_memory(err, "a corrected target");
    LLMQ_TRY(correct_target_make(factor, n, lack, W, errors, &target, err));
    if (choose)
        *strength = correct_choose(errors, panels, lack->B != NULL);
    correct_apply(&target, lack->B, *strength, W);
cleanup:
    correct_target_free(&target);
    free(errors);
    return status;
}
