/* SPDX-License-Identifier: Apache-2.0 */
/* See coupled.h. */
#include "quant/coupled.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hugemem.h"
#include "base/int64.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "quant/descent.h"
#include "quant/grid.h"

/* Rows of a chunk: a quarter of all, but as many as leave work for every thread. */
enum { CHUNKS = 4, CHUNK_MOST = 512, CHUNK_LEAST = 32 };

/* Of search and descent for a chunk. */
enum { PASSES = 2 };

/* A row is taken when the whole falls by this part of what it moves: less may be rounding. */
#define MARGIN 1e-5

struct state {
    const struct coupled_problem *p;
    const struct qlinear *q;
    int64_t n, k, most; /* rows of a chunk at most */
    struct group_factors factors;
    bool searches;
    float *E;       /* [n, k] W - Q; 0 for dead inputs */
    float *scales;  /* [n, groups] of the tries */
    uint8_t *zeros; /* [n, groups] */
    int64_t *order; /* [n] rows as they take turns */
    uint64_t random;
    /* The chunk at hand, of `rows`: */
    const int64_t *row; /* [rows] */
    int64_t rows;
    struct qlinear trial;      /* of `most` rows */
    float *B;                  /* [most, n] theirs */
    float *BE, *T, *move, *MM; /* [most, k] B E; targets; change of E; that times M */
    float *gram;               /* [most, most] of moves in M */
    double *slope;             /* [most] */
};

/* --- memory ----------------------------------------------------------------------------------- */

static int64_t chunk_rows(int64_t n) {
    const int64_t share = ceil_div(n, CHUNKS);
    return min_i64(n, min_i64(CHUNK_MOST, max_i64(CHUNK_LEAST, share)));
}

static void state_free(struct state *s) {
    group_factors_free(&s->factors);
    s->trial.n = s->most;
    qlinear_free(&s->trial);
    free(s->E);
    free(s->scales);
    free(s->zeros);
    free(s->order);
    free(s->B);
    free(s->BE);
    free(s->gram);
    free(s->slope);
}

static enum llmq_status state_make(struct state *s, llmq_error *err) {
    const size_t n = (size_t)s->n, k = (size_t)s->k, most = (size_t)s->most;
    const size_t groups = n * (size_t)s->q->groups;
    enum llmq_status status = LLMQ_OK;
    s->E = huge_malloc(n * k * sizeof *s->E);
    s->scales = malloc(groups * sizeof *s->scales);
    s->zeros = malloc(groups);
    s->order = malloc(n * sizeof *s->order);
    s->B = malloc((s->p->B ? most * n : 1) * sizeof *s->B);
    s->BE = huge_malloc(4 * most * k * sizeof *s->BE);
    s->gram = malloc(most * most * sizeof *s->gram);
    s->slope = malloc(most * sizeof *s->slope);
    if (!s->E || !s->scales || !s->zeros || !s->order || !s->B || !s->BE || !s->gram || !s->slope)
        return error_memory(err, "rows that take turns");
    s->T = s->BE + most * k;
    s->move = s->T + most * k;
    s->MM = s->move + most * k;
    memcpy(s->scales, s->q->scales, groups * sizeof *s->scales);
    memcpy(s->zeros, s->q->zeros, groups);
    LLMQ_TRY(qlinear_alloc(s->most, s->k, s->q->bits, s->q->group, &s->trial, err));
    s->trial.number = s->q->number;
    s->trial.sym = s->q->sym;
    s->trial.unit = s->q->unit;
    s->searches = group_searchable(s->p->grid, s->k);
    const struct metric metric = {s->p->H, s->p->factor->damping};
    if (s->searches)
        LLMQ_TRY(group_factors_create(&metric, s->k, s->q->group, &s->factors, err));
cleanup:
    return status;
}

/* --- rows ------------------------------------------------------------------------------------- */

/* w - the weights that row `at` of q stands for, 0 for dead inputs. */
static void row_error(const struct state *s, const struct qlinear *q, int64_t at, const float *w,
                      float *e) {
    const uint8_t *dead = s->p->factor->dead;
    qlinear_dequantize(q, at, at + 1, e);
    for (int64_t c = 0; c < s->k; c++)
        e[c] = dead[c] ? 0 : w[c] - e[c];
}

static void find_errors(const struct state *s) {
#pragma omp parallel for schedule(static) default(none) shared(s)
    for (int64_t r = 0; r < s->n; r++)
        row_error(s, s->q, r, s->p->W + r * s->k, s->E + r * s->k);
}

/* Rows are drawn by splitmix64 (Steele, Lea & Flood 2014). */
static uint64_t draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void shuffle(struct state *s) {
    for (int64_t i = 0; i < s->n; i++)
        s->order[i] = i;
    for (int64_t i = s->n - 1; i > 0; i--) {
        const int64_t j = (int64_t)(draw(&s->random) % (uint64_t)(i + 1)), kept = s->order[i];
        s->order[i] = s->order[j];
        s->order[j] = kept;
    }
}

/* --- a chunk ---------------------------------------------------------------------------------- */

/* What row i of the chunk is to make so that the whole is least wrong, given all other rows. */
static void find_targets(const struct state *s) {
    const int64_t n = s->n, k = s->k;
    const float *B = s->p->B;
    for (int64_t i = 0; B && i < s->rows; i++)
        memcpy(s->B + i * n, B + s->row[i] * n, (size_t)n * sizeof *B);
    if (B)
        linalg_gemm_nn(s->rows, k, n, 1, s->B, n, s->E, k, 0, s->BE, k);
#pragma omp parallel for schedule(static) default(none) shared(s, B, n, k)
    for (int64_t i = 0; i < s->rows; i++) {
        const int64_t r = s->row[i];
        const float *w = s->p->W + r * k, *e = s->E + r * k;
        float *be = s->BE + i * k, *t = s->T + i * k;
        if (!B)
            memcpy(be, e, (size_t)k * sizeof *e);
        const float inverse = B ? 1 / B[r * (n + 1)] : 1;
        for (int64_t c = 0; c < k; c++)
            t[c] = s->p->factor->dead[c] ? 0 : w[c] - e[c] + be[c] * inverse;
    }
}

static void load_trial(const struct state *s, bool anew) {
    const size_t k = (size_t)s->k, groups = (size_t)s->q->groups;
    for (int64_t i = 0; i < s->rows; i++) {
        const size_t to = (size_t)i, from = (size_t)s->row[i];
        const float *scales = anew ? s->scales : s->q->scales;
        const uint8_t *zeros = anew ? s->zeros : s->q->zeros;
        memcpy(s->trial.codes + to * k, s->q->codes + from * k, k);
        memcpy(s->trial.scales + to * groups, scales + from * groups, groups * sizeof *scales);
        memcpy(s->trial.zeros + to * groups, zeros + from * groups, groups);
    }
}

static void store_params(const struct state *s) {
    const size_t groups = (size_t)s->q->groups;
    for (int64_t i = 0; i < s->rows; i++) {
        const size_t from = (size_t)i * groups, to = (size_t)s->row[i] * groups;
        memcpy(s->scales + to, s->trial.scales + from, groups * sizeof *s->scales);
        memcpy(s->zeros + to, s->trial.zeros + from, groups);
    }
}

/* Each row by itself, for its target. */
static enum llmq_status solve(struct state *s, bool anew, llmq_error *err) {
    const struct coupled_problem *p = s->p;
    const struct metric metric = {p->H, p->factor->damping};
    const struct descent search = {1, false, false, &s->factors};
    const struct descent descent = {1, true, p->grid->rows <= 1, NULL};
    enum llmq_status status = LLMQ_OK;
    load_trial(s, anew);
    if (anew)
        LLMQ_TRY(gptq_solve(p->grid, p->factor, s->T, PARAMS_GIVEN, &s->trial, NULL, err));
    for (int pass = 0; pass < PASSES; pass++) {
        if (s->searches)
            LLMQ_TRY(descent_run(p->grid, &metric, &search, s->T, &s->trial, err));
        LLMQ_TRY(descent_run(p->grid, &metric, &descent, s->T, &s->trial, err));
    }
    store_params(s);
cleanup:
    return status;
}

/* What the whole would change by: of each row alone in `slope`, and in `gram` what two have in
 * common. */
static void weigh_moves(const struct state *s) {
    const int64_t k = s->k, rows = s->rows;
    const float damping = (float)s->p->factor->damping;
#pragma omp parallel for schedule(static) default(none) shared(s, k, rows)
    for (int64_t i = 0; i < rows; i++) {
        const int64_t r = s->row[i];
        row_error(s, &s->trial, i, s->p->W + r * k, s->move + i * k);
        kernels_get()->add_scaled(k, -1, s->E + r * k, s->move + i * k);
    }
    linalg_gemm_nn(rows, k, k, 1, s->move, k, s->p->H, k, 0, s->MM, k);
#pragma omp parallel for schedule(static) default(none) shared(s, k, rows, damping)
    for (int64_t i = 0; i < rows; i++) {
        kernels_get()->add_scaled(k, damping, s->move + i * k, s->MM + i * k);
        s->slope[i] = 2 * quant_dot(s->BE + i * k, s->MM + i * k, k);
    }
    linalg_gemm_nt(rows, rows, k, 1, s->MM, k, s->move, k, 0, s->gram, rows);
}

static void take_row(const struct state *s, int64_t i) {
    qlinear_copy_rows(&s->trial, i, 1, s->q, s->row[i]);
    row_error(s, s->q, s->row[i], s->p->W + s->row[i] * s->k, s->E + s->row[i] * s->k);
}

/* Rows in turn, as far as the whole gets better. */
static void take_rows(const struct state *s) {
    const int64_t n = s->n, rows = s->rows;
    for (int64_t i = 0; i < rows; i++) {
        const float *b = s->p->B ? s->B + i * n : NULL, *gram = s->gram + i * rows;
        const double own = (double)gram[i] * (b ? (double)b[s->row[i]] : 1);
        if (!(s->slope[i] + own < -MARGIN * own))
            continue;
        take_row(s, i);
        for (int64_t j = i + 1; b && j < rows; j++)
            s->slope[j] += 2 * (double)b[s->row[j]] * (double)gram[j];
    }
}

/* --- sweeps ----------------------------------------------------------------------------------- */

static enum llmq_status sweep(struct state *s, bool anew, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    shuffle(s);
    for (int64_t at = 0; at < s->n; at += s->most) {
        s->row = s->order + at;
        s->rows = s->trial.n = min_i64(s->most, s->n - at);
        find_targets(s);
        LLMQ_TRY(solve(s, anew, err));
        weigh_moves(s);
        take_rows(s);
    }
cleanup:
    return status;
}

enum llmq_status coupled_refine(const struct coupled_problem *p, const struct qlinear *q,
                                llmq_error *err) {
    struct state s = {.p = p, .q = q, .n = q->n, .k = q->k, .most = chunk_rows(q->n)};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(state_make(&s, err));
    find_errors(&s);
    for (int i = 0; i <= p->restarts; i++)
        LLMQ_TRY(sweep(&s, i > 0, err));
cleanup:
    state_free(&s);
    return status;
}

/* --- the measure ------------------------------------------------------------------------------ */

/* Of n independent numbers of variance 1, the moments of T tokens are off from the identity by
 * n^2 / T, all entries squared, where the identity's own are n: noise grows with n / T. Ledoit and
 * Wolf (2004) shrink by what it is of the gradients at hand; this does as well and needs no more
 * than the two numbers. */
double coupled_damping(int64_t n, int64_t tokens) {
    const double least = 0.4, noise = 16;
    return fmax(least, noise * (double)n / (double)tokens);
}

void coupled_prepare(float *B, int64_t n, double damp) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)B[i * (n + 1)];
    const double scale = (double)n / sum;
    if (!(sum > 0) || !isfinite(scale)) {
        memset(B, 0, (size_t)(n * n) * sizeof *B);
        for (int64_t i = 0; i < n; i++)
            B[i * (n + 1)] = 1;
        return;
    }
#pragma omp parallel for schedule(static) default(none) shared(B, n, scale, damp)
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++)
            B[i * n + j] = (float)(scale * (double)B[i * n + j]);
        B[i * (n + 1)] += (float)damp;
    }
}

enum llmq_status coupled_error(const struct coupled_problem *p, const struct qlinear *q,
                               double *error, llmq_error *err) {
    struct state s = {.p = p, .q = q, .n = q->n, .k = q->k};
    const int64_t n = q->n, k = q->k;
    float *BE = huge_malloc((size_t)(n * k) * sizeof *BE);
    float *EM = huge_malloc((size_t)(n * k) * sizeof *EM);
    enum llmq_status status = LLMQ_OK;
    s.E = huge_malloc((size_t)(n * k) * sizeof *s.E);
    if (!BE || !EM || !s.E)
        LLMQ_TRY(error_memory(err, "the error of a module"));
    find_errors(&s);
    if (p->B)
        linalg_gemm_nn(n, k, n, 1, p->B, n, s.E, k, 0, BE, k);
    else
        memcpy(BE, s.E, (size_t)(n * k) * sizeof *BE);
    linalg_gemm_nn(n, k, k, 1, s.E, k, p->H, k, 0, EM, k);
    kernels_get()->add_scaled(n * k, (float)p->factor->damping, s.E, EM);
    *error = quant_dot(BE, EM, n * k);
cleanup:
    free(BE);
    free(EM);
    free(s.E);
    return status;
}

/* --- what it takes ---------------------------------------------------------------------------- */

uint64_t coupled_bytes(int64_t n, int64_t k, int64_t group) {
    const uint64_t rows = (uint64_t)n, width = (uint64_t)k, most = (uint64_t)chunk_rows(n);
    const uint64_t parts = width / (uint64_t)max_i64(1, min_i64(group < 0 ? k : group, k));
    const uint64_t whole = rows * width * sizeof(float) + rows * (parts * 5 + sizeof(int64_t));
    const uint64_t chunk = most * (4 * width + rows + most + 2) * sizeof(float) + most * width;
    return whole + chunk + width * (uint64_t)min_i64(group < 0 ? k : group, GROUP_SEARCH_MOST) * 4;
}

double coupled_flops(int64_t n, int64_t k, int64_t group, int restarts) {
    enum { WEIGHING = 2, PASS = 4, CANDIDATES = 18 };
    const double rows = (double)n, width = (double)k, g = (double)(group < 0 ? k : group);
    const double pass = PASS * width + (g <= GROUP_SEARCH_MOST ? CANDIDATES * g : 0);
    const double each = 2 * rows + (WEIGHING + 2) * width + PASSES * pass;
    return (restarts + 1) * rows * width * each;
}
