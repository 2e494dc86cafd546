/* SPDX-License-Identifier: Apache-2.0 */
/* See loss.h. */
#include "graph/loss.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

static int64_t panel_width(const struct model *m) {
    return min_i64(m->config.vocab, LOSS_PANEL);
}

static int64_t tile_height(const struct model *m, int64_t max_rows) {
    const int64_t rows = max_i64(LOSS_TILE_LEAST, LOSS_LOGITS / m->config.vocab);
    return min_i64(max_rows, min_i64(LOSS_TILE, rows));
}

uint64_t loss_bytes(const struct model *m, int64_t max_rows) {
    const int64_t columns = panel_width(m), logits = m->config.vocab + columns;
    return head_panel_bytes(m, columns) +
           (uint64_t)(logits * tile_height(m, max_rows)) * sizeof(float) +
           (uint64_t)max_rows * (2 * sizeof(double) + sizeof(int32_t));
}

static enum llmq_status alloc(struct loss_head *h, int64_t count, float **out, llmq_error *err) {
    *out = arena_alloc(h->arena, (size_t)count, sizeof **out, err);
    return *out ? LLMQ_OK : LLMQ_E_MEMORY;
}

static enum llmq_status alloc_rows(struct loss_head *h, size_t rows, llmq_error *err) {
    h->lse = arena_alloc(h->arena, rows, sizeof *h->lse, err);
    h->below = arena_alloc(h->arena, rows, sizeof *h->below, err);
    h->drawn = arena_alloc(h->arena, rows, sizeof *h->drawn, err);
    return h->lse && h->below && h->drawn ? LLMQ_OK : LLMQ_E_MEMORY;
}

enum llmq_status loss_create(const struct model *m, const struct loss *loss, int64_t max_rows,
                             struct loss_head *out, llmq_error *err) {
    const int64_t columns = panel_width(m);
    enum llmq_status status = LLMQ_OK;
    *out = (struct loss_head){.m = m, .loss = loss, .tile = tile_height(m, max_rows)};
    LLMQ_TRY(arena_create("the gradient of the loss", &out->arena, err));
    LLMQ_TRY(head_panel_create(m, columns, out->arena, &out->panel, err));
    LLMQ_TRY(alloc(out, m->config.vocab * out->tile, &out->logits, err));
    LLMQ_TRY(alloc(out, columns * out->tile, &out->teacher, err));
    LLMQ_TRY(alloc_rows(out, (size_t)max_rows, err));
cleanup:
    if (status != LLMQ_OK)
        loss_free(out);
    return status;
}

void loss_free(struct loss_head *h) {
    head_panel_free(&h->panel);
    arena_free(&h->arena);
    *h = (struct loss_head){0};
}

/* --- logits ----------------------------------------------------------------------------------- */

/* Some rows and columns: tile rows are counted from the first row that loss_back was given. */
struct tile {
    int64_t begin, rows, first, columns;
};

static float *tile_logits(const struct loss_head *h, const struct tile *t) {
    return h->logits + t->first * t->rows;
}

static float cap_of(const struct loss_head *h) {
    return (float)h->m->config.facts.numbers[NUM_FINAL_CAP];
}

static void fold_tile(const struct loss_head *h, const struct tile *t) {
    const float *logits = tile_logits(h, t);
    double *lse = h->lse;
#pragma omp parallel for schedule(static) default(none) shared(h, t, logits, lse)
    for (int64_t r = 0; r < t->rows; r++) {
        double *sum = &lse[t->begin + r];
        *sum = head_panel_fold(&h->panel, *sum, logits + r * t->columns);
    }
}

/* --- the gradient ----------------------------------------------------------------------------- */

/* A number in [0, 1) that depends on the seed and the token's place alone (splitmix64). */
static double uniform(uint64_t seed, int64_t token) {
    uint64_t x = seed + ((uint64_t)token + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}

/* A row of a panel: its logits, in whose place the gradient towards them comes. */
struct row {
    const struct loss_head *h;
    const struct loss_rows *of;
    const struct tile *t;
    int64_t at;
    float *logits;
    const float *teacher;
};

/* The column in which the sum of probabilities passes the token's random number, -1: none here.
 * What rounding leaves over is the last column's. */
static int64_t draw(const struct row *r, const float *p) {
    const bool last = r->t->first + r->t->columns == r->h->m->config.vocab;
    const double u = uniform(r->h->loss->seed, r->of->begin + r->at);
    double *below = &r->h->below[r->at];
    if (r->h->drawn[r->at] >= 0)
        return -1;
    for (int64_t i = 0; i < r->t->columns; i++) {
        *below += (double)p[i];
        if (*below > u || (last && i + 1 == r->t->columns))
            return i;
    }
    return -1;
}

/* The column of the label, -1: it is not in this panel. */
static int64_t label_of(const struct row *r, const float *p) {
    if (r->h->loss->kind == LOSS_DRAWN)
        return draw(r, p);
    const int64_t label = (int64_t)r->of->label[r->at] - r->t->first;
    return label >= 0 && label < r->t->columns ? label : -1;
}

static void add_label(const struct row *r, float *p) {
    const int64_t label = label_of(r, p);
    if (label < 0)
        return;
    r->h->drawn[r->at] = (int32_t)(r->t->first + label);
    r->of->loss[r->at] = r->h->lse[r->at] - (double)r->logits[label];
    p[label] -= 1;
}

static void add_teacher(const struct row *r, float *p) {
    double sum = 0;
    float q[LOSS_PANEL];
    kernels_get()->decay(r->teacher, q, r->t->columns);
    for (int64_t i = 0; i < r->t->columns; i++) {
        const double log_p = (double)r->logits[i] - r->h->lse[r->at];
        sum += q[i] > 0 ? (double)q[i] * ((double)r->teacher[i] - log_p) : 0;
        p[i] -= q[i];
    }
    r->of->loss[r->at] += sum;
}

/* logits = the gradient towards what the head makes of the row, before bias and cap. */
static void row_back(const struct row *r) {
    const float cap = cap_of(r->h);
    float p[LOSS_PANEL];
    for (int64_t i = 0; i < r->t->columns; i++)
        p[i] = (float)((double)r->logits[i] - r->h->lse[r->at]);
    kernels_get()->decay(p, p, r->t->columns);
    if (r->h->loss->kind == LOSS_TEACHER)
        add_teacher(r, p);
    else
        add_label(r, p);
    for (int64_t i = 0; cap > 0 && i < r->t->columns; i++)
        p[i] *= 1 - r->logits[i] / cap * (r->logits[i] / cap);
    memcpy(r->logits, p, (size_t)r->t->columns * sizeof *p);
}

static void tile_back(const struct loss_head *h, const struct tile *t, const struct loss_rows *r) {
    const int64_t hidden = h->m->config.hidden;
    float *logits = tile_logits(h, t), *teacher = h->teacher;
#pragma omp parallel for schedule(static) default(none) shared(h, t, r, logits, teacher)
    for (int64_t i = 0; i < t->rows; i++) {
        const struct row row = {
            h, r, t, t->begin + i, logits + i * t->columns, teacher + i * t->columns};
        if (r->label[row.at] < 0)
            memset(row.logits, 0, (size_t)t->columns * sizeof *row.logits);
        else
            row_back(&row);
    }
    if (!r->dx)
        return;
    linalg_gemm_nn(t->rows, hidden, t->columns, (float)h->m->config.facts.numbers[NUM_LOGITS],
                   logits, t->columns, h->panel.weights, hidden, t->first > 0,
                   r->dx + t->begin * hidden, hidden);
}

static enum llmq_status visit_tile(struct loss_head *h, const struct tile *t, bool back,
                                   const struct loss_rows *r, llmq_error *err) {
    if (!back) {
        head_panel_logits(&h->panel, t->rows, r->x + t->begin * h->m->config.hidden,
                          tile_logits(h, t));
        fold_tile(h, t);
        return LLMQ_OK;
    }
    const struct loss_panel at = {r->begin + t->begin, t->rows, t->first, t->columns};
    if (h->loss->kind == LOSS_TEACHER) {
        enum llmq_status status = h->loss->teacher(h->loss->c, &at, h->teacher, err);
        if (status != LLMQ_OK)
            return status;
    }
    tile_back(h, t, r);
    return LLMQ_OK;
}

/* Rows [begin, begin + rows), panel after panel. */
static enum llmq_status walk(struct loss_head *h, int64_t begin, int64_t rows, bool back,
                             const struct loss_rows *r, llmq_error *err) {
    const int64_t vocab = h->m->config.vocab;
    enum llmq_status status = LLMQ_OK;
    for (struct tile t = {.begin = begin, .rows = rows}; t.first < vocab; t.first += t.columns) {
        t.columns = min_i64(vocab - t.first, LOSS_PANEL);
        if (!back || r->dx)
            LLMQ_TRY(head_panel_load(&h->panel, t.first, t.columns, err));
        LLMQ_TRY(visit_tile(h, &t, back, r, err));
    }
cleanup:
    return status;
}

enum llmq_status loss_back(struct loss_head *h, const struct loss_rows *r, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < r->rows; i++) {
        r->loss[i] = h->below[i] = 0;
        h->drawn[i] = -1;
    }
    for (int64_t at = 0; at < r->rows; at += h->tile) {
        const int64_t rows = min_i64(h->tile, r->rows - at);
        LLMQ_TRY(walk(h, at, rows, false, r, err));
        LLMQ_TRY(walk(h, at, rows, true, r, err));
    }
cleanup:
    return status;
}
