/* SPDX-License-Identifier: Apache-2.0 */
/* Logits in tiles and their log-sum-exp: see head.h. */
#include "eval/head.h"

#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/int64.h"

/* Rows of the output head in memory at a time, and rows of activations per product with them. */
#define HEAD_ROWS  8192
#define LOGIT_ROWS 256

enum llmq_status head_create(const struct model *m, const struct corpus *corpus,
                             const struct acts *hidden, bool divided, struct head *out,
                             llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const int64_t columns = min_i64(m->config.vocab, HEAD_ROWS);
    *out = (struct head){.m = m, .corpus = corpus, .hidden = hidden};
    LLMQ_TRY(parts_of_tiles(corpus->tokens_used, LOGIT_ROWS, divided, &out->parts, err));
    LLMQ_TRY(arena_create("the output head", &out->arena, err));
    LLMQ_TRY(head_panel_create(m, columns, out->arena, &out->panel, err));
    out->logits = arena_alloc(out->arena, (size_t)columns * LOGIT_ROWS, sizeof *out->logits, err);
    if (!hidden->data)
        out->rows = arena_alloc(out->arena, (size_t)LOGIT_ROWS * (size_t)m->config.hidden,
                                sizeof *out->rows, err);
    out->lse = arena_alloc(out->arena, (size_t)corpus->tokens_used, sizeof *out->lse, err);
    if (!out->logits || !out->lse || (!hidden->data && !out->rows))
        status = LLMQ_E_MEMORY;
cleanup:
    return status;
}

uint64_t head_bytes(const struct model *m, const struct corpus *corpus) {
    const int64_t columns = min_i64(m->config.vocab, HEAD_ROWS);
    const uint64_t row = (uint64_t)(columns + m->config.hidden) * sizeof(float);
    return head_panel_bytes(m, columns) + LOGIT_ROWS * row +
           (uint64_t)corpus->tokens_used * sizeof(double);
}

void head_free(struct head *h) {
    head_panel_free(&h->panel);
    parts_free(&h->parts);
    arena_free(&h->arena);
}

bool head_next(const struct head *h, struct head_tile *tile) {
    const int64_t first = parts_first(&h->parts), end = parts_end(&h->parts);
    const int64_t vocab = h->m->config.vocab;
    tile->begin = tile->rows > 0 ? tile->begin + tile->rows : first;
    if (tile->begin >= end) {
        tile->begin = first;
        tile->first += tile->columns;
    }
    tile->rows = min_i64(end - tile->begin, LOGIT_ROWS);
    tile->columns = min_i64(vocab - tile->first, HEAD_ROWS);
    return tile->first < vocab && first < end;
}

/* Fold the tile into the running log-sum-exp of its rows and pick the logits of next tokens. */
static void fold_tile(const struct head *h, struct head_tile t, double *logprobs) {
    const int32_t *ids = h->corpus->ids;
    const float *logits = h->logits;
    double *lse = h->lse;
    int64_t last = h->corpus->tokens_used - 1;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(h, ids, logits, t, lse, logprobs, last)
    for (int64_t i = 0; i < t.rows; i++) {
        const float *row = logits + i * t.columns;
        int64_t at = t.begin + i;
        lse[at] = head_panel_fold(&h->panel, lse[at], row);
        int64_t next = at < last ? ids[at + 1] - t.first : -1;
        if (next >= 0 && next < t.columns)
            logprobs[at] = (double)row[next];
    }
}

enum llmq_status head_visit(struct head *h, const struct head_tile *tile, double *logprobs,
                            llmq_error *err) {
    float *x = NULL;
    enum llmq_status status = acts_load(h->hidden, tile->begin, tile->rows, h->rows, &x, err);
    if (status != LLMQ_OK)
        return status;
    if (tile->begin == parts_first(&h->parts)) {
        status = head_panel_load(&h->panel, tile->first, tile->columns, err);
        if (status != LLMQ_OK)
            return status;
    }
    head_panel_logits(&h->panel, tile->rows, x, h->logits);
    fold_tile(h, *tile, logprobs);
    return LLMQ_OK;
}

enum llmq_status head_finish(const struct head *h, double *logprobs, const llmq_context *ctx,
                             llmq_error *err) {
    const int64_t *offsets = h->corpus->offsets;
    enum llmq_status status = parts_gather(&h->parts, logprobs, sizeof *logprobs, ctx, err);
    if (status == LLMQ_OK)
        status = parts_gather(&h->parts, h->lse, sizeof *h->lse, ctx, err);
    if (status != LLMQ_OK)
        return status;
    for (int64_t w = 0; w < h->corpus->count; w++)
        for (int64_t t = offsets[w]; t < offsets[w + 1]; t++) {
            logprobs[t] = t + 1 < offsets[w + 1] ? logprobs[t] - h->lse[t] : 0.0;
            if (isfinite(logprobs[t]))
                continue;
            (void)error_set(err, LLMQ_E_NUMERIC,
                            "window %" PRId64 ", token %" PRId64
                            ": log-probability is not finite: weights are not, or the model's "
                            "activations overflow",
                            w, t - offsets[w]);
            error_hint(err, "llmq verify names the weights that are not finite");
            return LLMQ_E_NUMERIC;
        }
    return LLMQ_OK;
}
