/* SPDX-License-Identifier: Apache-2.0 */
/* See candidates.h. */
#include "eval/candidates.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/int64.h"
#include "graph/head_panel.h"

/* Rows of the output head in memory at a time. */
#define HEAD_ROWS 8192

void candidates_offer(struct candidates *c, int32_t token, double p) {
    size_t at = c->count;
    while (at > 0 && c->list[at - 1].p < p)
        at--;
    if (at == LLMQ_COMPARE_TOP)
        return;
    c->count += c->count < LLMQ_COMPARE_TOP;
    memmove(&c->list[at + 1], &c->list[at], (c->count - 1 - at) * sizeof c->list[0]);
    c->list[at] = (struct candidate){token, p};
}

/* Logits of the rows, panel by panel: the lists hold logits until all have passed. */
static enum llmq_status fold_panels(struct head_panel *panel, const float *x, size_t count,
                                    float *logits, double *lse, struct candidates *out,
                                    llmq_error *err) {
    const int64_t vocab = panel->m->config.vocab;
    enum llmq_status status = LLMQ_OK;
    for (int64_t first = 0; first < vocab; first += HEAD_ROWS) {
        const int64_t columns = min_i64(vocab - first, HEAD_ROWS);
        LLMQ_TRY(head_panel_load(panel, first, columns, err));
        head_panel_logits(panel, (int64_t)count, x, logits);
        for (size_t i = 0; i < count; i++) {
            const float *row = logits + (int64_t)i * columns;
            lse[i] = head_panel_fold(panel, lse[i], row);
            for (int64_t j = 0; j < columns; j++)
                candidates_offer(&out[i], (int32_t)(first + j), (double)row[j]);
        }
    }
cleanup:
    return status;
}

enum llmq_status eval_candidates(const struct model *m, const struct acts *hidden,
                                 const int64_t *rows, size_t count, struct candidates *out,
                                 llmq_error *err) {
    const int64_t columns = min_i64(m->config.vocab, HEAD_ROWS);
    const size_t width = (size_t)m->config.hidden;
    struct head_panel panel = {0};
    struct arena *arena = NULL;
    enum llmq_status status = LLMQ_OK;
    memset(out, 0, count * sizeof *out);
    LLMQ_TRY(arena_create("the most likely tokens", &arena, err));
    LLMQ_TRY(head_panel_create(m, columns, arena, &panel, err));
    float *x = arena_alloc(arena, count * width, sizeof *x, err);
    float *logits = arena_alloc(arena, count * (size_t)columns, sizeof *logits, err);
    double *lse = arena_zalloc(arena, count, sizeof *lse, err);
    if (!x || !logits || !lse) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    for (size_t i = 0; i < count; i++)
        LLMQ_TRY(acts_read(hidden, rows[i], 1, x + i * width, err));
    LLMQ_TRY(fold_panels(&panel, x, count, logits, lse, out, err));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < out[i].count; j++)
            out[i].list[j].p = exp(out[i].list[j].p - lse[i]);
cleanup:
    head_panel_free(&panel);
    arena_free(&arena);
    return status;
}
