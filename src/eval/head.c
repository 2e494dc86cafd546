/* Logits in tiles and their log-sum-exp: see head.h. */
#include "eval/head.h"

#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/int64.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

/* Rows of the output head in memory at a time, and rows of activations per product with them. */
#define HEAD_ROWS  8192
#define LOGIT_ROWS 256

enum llmq_status head_create(const struct model *m, const struct corpus *corpus,
                             const struct acts *hidden, struct head *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t columns = (size_t)min_i64(m->config.vocab, HEAD_ROWS);
    *out = (struct head){.m = m, .corpus = corpus, .hidden = hidden};
    LLMQ_TRY(arena_create("the output head", &out->arena, err));
    out->weights =
        arena_alloc(out->arena, columns * (size_t)m->config.hidden, sizeof *out->weights, err);
    out->logits = arena_alloc(out->arena, columns * LOGIT_ROWS, sizeof *out->logits, err);
    if (!hidden->data)
        out->rows = arena_alloc(out->arena, (size_t)LOGIT_ROWS * (size_t)m->config.hidden,
                                sizeof *out->rows, err);
    out->lse = arena_alloc(out->arena, (size_t)corpus->tokens_used, sizeof *out->lse, err);
    if (!out->weights || !out->logits || !out->lse || (!hidden->data && !out->rows)) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    if (m->config.facts.traits & T_HEAD_BIAS) {
        out->bias = arena_alloc(out->arena, (size_t)m->config.vocab, sizeof *out->bias, err);
        status = out->bias ? model_head_bias(m, out->bias, err) : LLMQ_E_MEMORY;
        if (status != LLMQ_OK)
            goto cleanup;
    }
    if (model_head_packed(m)) {
        char name[MODEL_NAME_MAX];
        LLMQ_TRY(model_load_qlinear(m, model_head_name(m, name), m->config.vocab, m->config.hidden,
                                    &out->packed, err));
    }
cleanup:
    return status;
}

uint64_t head_bytes(const struct model *m, const struct corpus *corpus) {
    const uint64_t columns = (uint64_t)min_i64(m->config.vocab, HEAD_ROWS);
    const uint64_t hidden = (uint64_t)m->config.hidden;
    const uint64_t bias = m->config.facts.traits & T_HEAD_BIAS ? (uint64_t)m->config.vocab : 0;
    return (columns * hidden + (columns + hidden) * LOGIT_ROWS + bias) * sizeof(float) +
           (uint64_t)corpus->tokens_used * sizeof(double);
}

void head_free(struct head *h) {
    qlinear_free(&h->packed);
    arena_free(&h->arena);
}

bool head_next(const struct head *h, struct head_tile *tile) {
    int64_t total = h->corpus->tokens_used, vocab = h->m->config.vocab;
    tile->begin += tile->rows;
    if (tile->begin >= total) {
        tile->begin = 0;
        tile->first += tile->columns;
    }
    tile->rows = min_i64(total - tile->begin, LOGIT_ROWS);
    tile->columns = min_i64(vocab - tile->first, HEAD_ROWS);
    return tile->first < vocab;
}

/* What a model does to its logits: a bias, a cap (Gemma 2: cap tanh(logit / cap)). */
static void finish_logits(const struct head *h, const struct head_tile *t) {
    const float cap = (float)h->m->config.facts.numbers[NUM_FINAL_CAP];
    const float *bias = h->bias ? h->bias + t->first : NULL;
    const struct llmq_kernels *kernels = kernels_get();
    float *logits = h->logits;
    const int64_t rows = t->rows, columns = t->columns;
    if (!bias && !(cap > 0))
        return;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(kernels, logits, bias, cap, rows, columns)
    for (int64_t r = 0; r < rows; r++) {
        float *row = logits + r * columns;
        for (int64_t i = 0; bias && i < columns; i++)
            row[i] += bias[i];
        if (cap > 0)
            kernels->soft_cap(row, columns, cap);
    }
}

/* log(exp(a) + exp(b)) */
static double log_add(double a, double b) {
    double high = a > b ? a : b, low = a > b ? b : a;
    return high + log1p(exp(low - high));
}

/* Fold the tile into the running log-sum-exp of its rows and pick the logits of next tokens. */
static void fold_tile(const struct head *h, struct head_tile t, double *logprobs) {
    const struct llmq_kernels *kernels = kernels_get();
    const int32_t *ids = h->corpus->ids;
    const float *logits = h->logits;
    double *lse = h->lse;
    int64_t last = h->corpus->tokens_used - 1;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(kernels, ids, logits, t, lse, logprobs, last)
    for (int64_t i = 0; i < t.rows; i++) {
        const float *row = logits + i * t.columns;
        int64_t at = t.begin + i;
        double part = kernels->logsumexp_row(row, t.columns);
        lse[at] = t.first == 0 ? part : log_add(lse[at], part);
        int64_t next = at < last ? ids[at + 1] - t.first : -1;
        if (next >= 0 && next < t.columns)
            logprobs[at] = (double)row[next];
    }
}

/* Rows [first, end) of the head to h->weights. */
static enum llmq_status load_slice(struct head *h, int64_t first, int64_t end, llmq_error *err) {
    if (!h->packed.codes)
        return model_head_rows(h->m, first, end, h->weights, err);
    qlinear_dequantize(&h->packed, first, end, h->weights);
    return LLMQ_OK;
}

enum llmq_status head_visit(struct head *h, const struct head_tile *tile, double *logprobs,
                            llmq_error *err) {
    int64_t hidden = h->m->config.hidden;
    float *x = NULL;
    enum llmq_status status = acts_load(h->hidden, tile->begin, tile->rows, h->rows, &x, err);
    if (status != LLMQ_OK)
        return status;
    if (tile->begin == 0) {
        status = load_slice(h, tile->first, tile->first + tile->columns, err);
        if (status != LLMQ_OK)
            return status;
    }
    linalg_gemm_nt(tile->rows, tile->columns, hidden, (float)h->m->config.facts.numbers[NUM_LOGITS],
                   x, hidden, h->weights, hidden, 0.0f, h->logits, tile->columns);
    finish_logits(h, tile);
    fold_tile(h, *tile, logprobs);
    return LLMQ_OK;
}

enum llmq_status head_finish(const struct head *h, double *logprobs, llmq_error *err) {
    const int64_t *offsets = h->corpus->offsets;
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
