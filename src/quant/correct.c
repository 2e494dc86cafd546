/* Corrected targets in closed form: see correct.h. The factor U that GPTQ needs anyway, with
 * U^T U = (H + lambda I)^-1, makes the inverse two triangular products. Rows are independent but
 * for the two strengths, so panels of them are worked off one by one. */
#include "quant/correct.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "linalg/linalg.h"
#include "quant/gptq.h"
#include "quant/panels.h"

#define PANEL_ROWS_MAX 256

/* Strength when there is nothing to choose by. */
#define DEFAULT_STRENGTH 0.75

/* What the held-back error is made of, as a function of the strengths:
 *     aa alpha^2 + 2 ab alpha beta + bb beta^2 - 2 a alpha - 2 b beta + a constant */
struct quadratic {
    double aa, ab, bb, a, b;
};

struct task {
    const struct gptq_factor *factor;
    const struct correct_moments *m;
    const float *W;
    float *A, *B;            /* [n, k] results over all tokens; B NULL without R */
    bool judge;              /* form `parts` */
    struct quadratic *parts; /* of each panel */
    int64_t n, rows;         /* rows of a panel */
};

/* A thread's scratch: [rows, k] each, `row` [k]. */
struct scratch {
    float *A, *B;   /* fitted on the tokens that are not held back */
    float *error;   /* [rows, k] what W should have added, held-back moment */
    float *product; /* with H_held */
    float *row;
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

/* part = (all - share held) / (1 - share): a mean without the tokens held back. */
static void without_held(const float *all, double share, int64_t count, float *held) {
    float a = (float)(1 / (1 - share)), h = (float)(share / (1 - share));
    for (int64_t i = 0; i < count; i++)
        held[i] = a * all[i] - h * held[i];
}

/* The panel's share of the held-back error as a function of the strengths. */
static struct quadratic judge_panel(const struct task *t, struct scratch *s, int64_t at,
                                    int64_t rows) {
    const struct correct_moments *m = t->m;
    int64_t k = t->factor->k, count = rows * k;
    struct quadratic q = {0};
    linalg_gemm_nn(rows, k, k, 1, t->W + at * k, k, m->D_held, k, 0, s->error, k);
    memcpy(s->A, s->error, (size_t)count * sizeof *s->A);
    times_inverse(t->factor, rows, s->A, s->row);
    without_held(t->A + at * k, m->held_share, count, s->A);
    if (t->B) {
        memcpy(s->B, m->R_held + at * k, (size_t)count * sizeof *s->B);
        for (int64_t i = 0; i < count; i++)
            s->error[i] += s->B[i];
        times_inverse(t->factor, rows, s->B, s->row);
        without_held(t->B + at * k, m->held_share, count, s->B);
        linalg_gemm_nn(rows, k, k, 1, s->B, k, m->H_held, k, 0, s->product, k);
        q.bb = quant_dot(s->B, s->product, count);
        q.ab = quant_dot(s->A, s->product, count);
        q.b = quant_dot(s->B, s->error, count);
    }
    linalg_gemm_nn(rows, k, k, 1, s->A, k, m->H_held, k, 0, s->product, k);
    q.aa = quant_dot(s->A, s->product, count);
    q.a = quant_dot(s->A, s->error, count);
    return q;
}

static void run_panel(const struct task *t, struct scratch *s, int64_t at, int64_t rows) {
    int64_t k = t->factor->k;
    float *A = t->A + at * k, *B = t->B ? t->B + at * k : NULL;
    linalg_gemm_nn(rows, k, k, 1, t->W + at * k, k, t->m->D, k, 0, A, k);
    times_inverse(t->factor, rows, A, s->row);
    if (B) {
        memcpy(B, t->m->R + at * k, (size_t)(rows * k) * sizeof *B);
        times_inverse(t->factor, rows, B, s->row);
    }
    if (t->judge)
        t->parts[at / t->rows] = judge_panel(t, s, at, rows);
}

/* --- all panels ------------------------------------------------------------------------------- */

static bool scratch_alloc(const struct task *t, struct scratch *s) {
    size_t count = (size_t)(t->rows * t->factor->k);
    s->row = malloc((size_t)t->factor->k * sizeof *s->row);
    s->A = t->judge ? malloc(4 * count * sizeof *s->A) : NULL;
    if (!s->row || (t->judge && !s->A))
        return false;
    s->B = s->A ? s->A + count : NULL;
    s->error = s->A ? s->B + count : NULL;
    s->product = s->A ? s->error + count : NULL;
    return true;
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
        free(s.A);
        free(s.row);
    }
    return failed ? error_memory(err, "a corrected target") : LLMQ_OK;
}

static double unit(double v) {
    return v > 0 ? (v < 1 ? v : 1) : 0; /* NaN becomes 0 */
}

static double value(const struct quadratic *q, struct correction s) {
    return q->aa * s.alpha * s.alpha + 2 * q->ab * s.alpha * s.beta + q->bb * s.beta * s.beta -
           2 * q->a * s.alpha - 2 * q->b * s.beta;
}

/* The minimum over the unit square: inside, or the best of its four edges. */
static struct correction minimum(const struct quadratic *q, bool with_beta) {
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

static struct correction choose_strength(const struct task *t) {
    struct quadratic sum = {0};
    if (!t->judge)
        return (struct correction){DEFAULT_STRENGTH, t->B ? DEFAULT_STRENGTH : 0};
    for (int64_t p = 0; p * t->rows < t->n; p++) {
        sum.aa += t->parts[p].aa;
        sum.ab += t->parts[p].ab;
        sum.bb += t->parts[p].bb;
        sum.a += t->parts[p].a;
        sum.b += t->parts[p].b;
    }
    return minimum(&sum, t->B != NULL);
}

/* A = W + alpha A + beta B */
static void combine(const struct task *t, struct correction strength) {
    float alpha = (float)strength.alpha, beta = (float)strength.beta;
    int64_t count = t->n * t->factor->k;
    const float *W = t->W, *B = t->B;
    float *A = t->A;
#pragma omp parallel for schedule(static) default(none) shared(count, W, B, A, alpha, beta)
    for (int64_t i = 0; i < count; i++)
        A[i] = W[i] + alpha * A[i] + (B ? beta * B[i] : 0);
}

enum llmq_status correct_target(const struct gptq_factor *factor, const float *W, int64_t n,
                                const struct correct_moments *moments, bool choose,
                                struct correction *strength, float *target, llmq_error *err) {
    assert(gptq_factor_usable(factor));
    struct task t = {.factor = factor,
                     .m = moments,
                     .W = W,
                     .A = target,
                     .judge = choose && moments->held_share > 0,
                     .n = n,
                     .rows = panel_rows(n, PANEL_ROWS_MAX)};
    enum llmq_status status = LLMQ_OK;
    size_t bytes = (size_t)(n * factor->k) * sizeof *t.B;
    t.B = moments->R ? malloc(bytes) : NULL;
    t.parts = calloc((size_t)(n / t.rows + 1), sizeof *t.parts);
    if ((moments->R && !t.B) || !t.parts)
        LLMQ_TRY(error_memory(err, "a corrected target"));
    LLMQ_TRY(run_panels(&t, err));
    if (choose)
        *strength = choose_strength(&t);
    combine(&t, *strength);
cleanup:
    free(t.B);
    free(t.parts);
    return status;
}
