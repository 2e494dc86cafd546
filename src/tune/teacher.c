/* SPDX-License-Identifier: Apache-2.0 */
/* See teacher.h. */
#include "tune/teacher.h"

#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"

static int64_t panel_width(const struct model *m) {
    return min_i64(m->config.vocab, LOSS_PANEL);
}

uint64_t teacher_hidden_bytes(const struct model *m, int64_t tokens) {
    return (uint64_t)tokens * (uint64_t)m->config.hidden * sizeof(float);
}

uint64_t teacher_bytes(const struct model *m, int64_t tokens) {
    return head_panel_bytes(m, panel_width(m)) + (uint64_t)tokens * sizeof(double) +
           (uint64_t)(LOSS_TILE * (m->config.hidden + panel_width(m))) * sizeof(float);
}

static enum llmq_status alloc(struct teacher *t, int64_t tokens, llmq_error *err) {
    const size_t width = (size_t)panel_width(t->m), hidden = (size_t)t->m->config.hidden;
    t->lse = arena_alloc(t->arena, (size_t)tokens, sizeof *t->lse, err);
    t->rows = arena_alloc(t->arena, LOSS_TILE * hidden, sizeof *t->rows, err);
    t->logits = arena_alloc(t->arena, LOSS_TILE * width, sizeof *t->logits, err);
    return t->lse && t->rows && t->logits ? LLMQ_OK : LLMQ_E_MEMORY;
}

/* Logits of some tokens in the panel that is loaded. */
static enum llmq_status tile_logits(struct teacher *t, int64_t begin, int64_t rows, float *logits,
                                    llmq_error *err) {
    float *x = NULL;
    enum llmq_status status = acts_load(&t->hidden, begin, rows, t->rows, &x, err);
    if (status == LLMQ_OK)
        head_panel_logits(&t->panel, rows, x, logits);
    return status;
}

static void fold(const struct teacher *t, int64_t begin, int64_t rows) {
    const int64_t columns = t->panel.columns;
    const float *logits = t->logits;
    double *lse = t->lse + begin;
#pragma omp parallel for schedule(static) default(none) shared(t, rows, columns, logits, lse)
    for (int64_t r = 0; r < rows; r++)
        lse[r] = head_panel_fold(&t->panel, lse[r], logits + r * columns);
}

static enum llmq_status find_lse(struct teacher *t, const llmq_context *ctx, llmq_error *err) {
    const int64_t vocab = t->m->config.vocab, width = panel_width(t->m);
    enum llmq_status status = LLMQ_OK;
    for (int64_t first = 0; first < vocab; first += width) {
        LLMQ_TRY(head_panel_load(&t->panel, first, min_i64(width, vocab - first), err));
        for (int64_t at = 0; at < t->hidden.rows; at += LOSS_TILE) {
            const int64_t rows = min_i64(LOSS_TILE, t->hidden.rows - at);
            LLMQ_TRY(interrupt_check(ctx, err));
            LLMQ_TRY(tile_logits(t, at, rows, t->logits, err));
            fold(t, at, rows);
        }
    }
cleanup:
    return status;
}

enum llmq_status teacher_create(const struct eval_job *job, struct teacher *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct teacher){.m = job->m, .hidden = {.file = {.fd = -1}}};
    LLMQ_TRY(arena_create("the original's predictions", &out->arena, err));
    LLMQ_TRY(eval_hidden(job, &out->hidden, err));
    LLMQ_TRY(alloc(out, out->hidden.rows, err));
    LLMQ_TRY(head_panel_create(out->m, panel_width(out->m), out->arena, &out->panel, err));
    LLMQ_TRY(find_lse(out, job->ctx, err));
cleanup:
    return status;
}

void teacher_free(struct teacher *t) {
    if (t->arena)
        acts_free(&t->hidden);
    head_panel_free(&t->panel);
    arena_free(&t->arena);
    *t = (struct teacher){0};
}

enum llmq_status teacher_logprobs(void *teacher, const struct loss_panel *at, float *logprobs,
                                  llmq_error *err) {
    struct teacher *t = teacher;
    enum llmq_status status = LLMQ_OK;
    if (t->panel.first != at->first || t->panel.columns != at->columns)
        LLMQ_TRY(head_panel_load(&t->panel, at->first, at->columns, err));
    LLMQ_TRY(tile_logits(t, at->begin, at->rows, logprobs, err));
    for (int64_t r = 0; r < at->rows; r++) {
        float *row = logprobs + r * at->columns;
        const double lse = t->lse[at->begin + r];
        for (int64_t i = 0; i < at->columns; i++)
            row[i] = (float)((double)row[i] - lse);
    }
cleanup:
    return status;
}
