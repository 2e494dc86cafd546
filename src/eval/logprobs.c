/* Log-probabilities and their mean: see logprobs.h. */
#include "eval/logprobs.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "graph/acts.h"
#include "graph/forward.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

/* Rows of the output head in memory at a time, and rows of activations per product with them. */
#define HEAD_ROWS  8192
#define LOGIT_ROWS 256

struct run {
    const struct model *m;
    const struct corpus *corpus;
    const llmq_context *ctx;
    struct acts x; /* residual stream of every token */
    struct forward forward;
    struct arena *scratch, *weights;
    float *normed, *mid, *logits;
    int64_t max_rows;
};

static enum llmq_status run_create(const struct model *m, const struct corpus *corpus,
                                   const llmq_context *ctx, struct run *r, llmq_error *err) {
    const struct model_config *c = &m->config;
    enum llmq_status status = LLMQ_OK;
    *r = (struct run){.m = m, .corpus = corpus, .ctx = ctx};
    r->max_rows = batch_max_rows(corpus->offsets, corpus->count, BATCH_ROWS);
    LLMQ_TRY(acts_create(corpus->tokens_used, c->hidden, NULL, &r->x, err));
    LLMQ_TRY(forward_create(c, r->max_rows, corpus->max_len, &r->forward, err));
    LLMQ_TRY(arena_create("evaluation", &r->scratch, err));
    LLMQ_TRY(arena_create("a block's weights", &r->weights, err));
    r->normed = arena_alloc(r->scratch, (size_t)(r->max_rows * c->hidden), sizeof(float), err);
    r->mid =
        arena_alloc(r->scratch, (size_t)(r->max_rows * forward_mid_width(c)), sizeof(float), err);
    int64_t columns = c->vocab < HEAD_ROWS ? c->vocab : HEAD_ROWS;
    r->logits = arena_alloc(r->scratch, (size_t)(LOGIT_ROWS * columns), sizeof(float), err);
    if (!r->normed || !r->mid || !r->logits)
        status = LLMQ_E_MEMORY;
cleanup:
    return status;
}

static void run_free(struct run *r) {
    acts_free(&r->x);
    forward_free(&r->forward);
    arena_free(&r->scratch);
    arena_free(&r->weights);
}

static enum llmq_status run_block(struct run *r, int64_t index, enum load_mode mode,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct block block = {0};
    LLMQ_TRY(model_load_block(r->m, index, mode, r->weights, &block, err));
    for (struct batch b = {0}; batch_next(r->corpus->offsets, r->corpus->count, BATCH_ROWS, &b);) {
        LLMQ_TRY(interrupt_check(r->ctx, err));
        float *x = NULL;
        LLMQ_TRY(acts_load(&r->x, b.offsets[0], batch_rows(&b), NULL, &x, err));
        LLMQ_TRY(forward_block(&r->forward, &block, &b, x, r->normed, r->mid, err));
    }
cleanup:
    block_release(&block);
    arena_reset(r->weights);
    return status;
}

/* --- the output head
 * ------------------------------------------------------------------------------------------ */

/* log(exp(a) + exp(b)) */
static double log_add(double a, double b) {
    double high = a > b ? a : b, low = a > b ? b : a;
    return high + log1p(exp(low - high));
}

/* One tile of logits: rows [begin, begin + rows) of the corpus, columns [first, first + n). */
struct logit_tile {
    int64_t begin, rows, first, n;
};

/* Fold the tile into the running log-sum-exp of its rows and pick the logits of next tokens. */
static void fold_tile(const struct run *r, struct logit_tile t, double *lse, double *target) {
    const struct llmq_kernels *kernels = kernels_get();
    const int32_t *ids = r->corpus->ids;
    const float *logits = r->logits;
    int64_t last = r->corpus->tokens_used - 1;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(kernels, ids, logits, t, lse, target, last)
    for (int64_t i = 0; i < t.rows; i++) {
        const float *row = logits + i * t.n;
        int64_t at = t.begin + i;
        double part = kernels->logsumexp_row(row, t.n);
        lse[at] = t.first == 0 ? part : log_add(lse[at], part);
        int64_t next = at < last ? ids[at + 1] - t.first : -1;
        if (next >= 0 && next < t.n)
            target[at] = (double)row[next];
    }
}

static void copy_tile(const struct run *r, struct logit_tile t, float *out) {
    int64_t vocab = r->m->config.vocab;
    for (int64_t i = 0; i < t.rows; i++)
        for (int64_t j = 0; j < t.n; j++)
            out[(t.begin + i) * vocab + t.first + j] = r->logits[i * t.n + j];
}

/* All tokens against rows [first, first + n) of the head. */
static enum llmq_status head_columns(struct run *r, const float *head, int64_t first, int64_t n,
                                     double *lse, double *target, float *logits, llmq_error *err) {
    int64_t hidden = r->m->config.hidden, total = r->corpus->tokens_used;
    for (int64_t begin = 0; begin < total; begin += LOGIT_ROWS) {
        int64_t rows = begin + LOGIT_ROWS < total ? LOGIT_ROWS : total - begin;
        enum llmq_status status = interrupt_check(r->ctx, err);
        if (status != LLMQ_OK)
            return status;
        const float *x = acts_target(&r->x, begin, NULL);
        linalg_gemm_nt(rows, n, hidden, 1.0f, x, hidden, head, hidden, 0.0f, r->logits, n);
        struct logit_tile tile = {begin, rows, first, n};
        fold_tile(r, tile, lse, target);
        if (logits)
            copy_tile(r, tile, logits);
    }
    return LLMQ_OK;
}

/* Final norm in place, then the head in slices of its rows with a running log-sum-exp. */
static enum llmq_status run_head(struct run *r, double *logprobs, float *logits, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct model_config *c = &r->m->config;
    int64_t total = r->corpus->tokens_used;
    int64_t slice = c->vocab < HEAD_ROWS ? c->vocab : HEAD_ROWS;
    double *lse = malloc((size_t)total * sizeof *lse);
    float *norm = arena_alloc(r->weights, (size_t)c->hidden, sizeof *norm, err);
    float *head = arena_alloc(r->weights, (size_t)(slice * c->hidden), sizeof *head, err);
    if (!lse || !norm || !head) {
        status = error_memory(err, "the output head");
        goto cleanup;
    }
    LLMQ_TRY(model_final_norm(r->m, norm, err));
    float *x = acts_target(&r->x, 0, NULL);
    forward_norm(&r->forward, norm, x, total, x);
    for (int64_t first = 0; first < c->vocab; first += slice) {
        int64_t n = first + slice < c->vocab ? slice : c->vocab - first;
        LLMQ_TRY(model_head_rows(r->m, first, first + n, head, err));
        LLMQ_TRY(head_columns(r, head, first, n, lse, logprobs, logits, err));
    }
    for (int64_t w = 0; w < r->corpus->count; w++) {
        int64_t end = r->corpus->offsets[w + 1];
        for (int64_t t = r->corpus->offsets[w]; t < end; t++)
            logprobs[t] = t + 1 < end ? logprobs[t] - lse[t] : 0.0;
    }
cleanup:
    free(lse);
    return status;
}

static enum llmq_status check_finite(const struct corpus *corpus, const double *logprobs,
                                     llmq_error *err) {
    for (int64_t w = 0; w < corpus->count; w++)
        for (int64_t t = corpus->offsets[w]; t < corpus->offsets[w + 1]; t++)
            if (!isfinite(logprobs[t]))
                return error_set(
                    err, LLMQ_E_NUMERIC,
                    "window %" PRId64 ", token %" PRId64
                    ": log-probability is not finite; the model's activations overflow",
                    w, t - corpus->offsets[w]);
    return LLMQ_OK;
}

enum llmq_status eval_logprobs(const struct model *m, const struct corpus *corpus,
                               enum load_mode mode, const llmq_context *ctx, double *logprobs,
                               float *logits, llmq_error *err) {
    struct run r;
    int64_t blocks = m->config.blocks;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(run_create(m, corpus, ctx, &r, err));
    LLMQ_TRY(model_embed(m, corpus->ids, corpus->tokens_used, r.x.data, err));
    for (int64_t i = 0; i < blocks; i++) {
        log_progress(ctx, i, blocks + 1, "block %" PRId64 "/%" PRId64, i + 1, blocks);
        LLMQ_TRY(run_block(&r, i, mode, err));
    }
    log_progress(ctx, blocks, blocks + 1, "output head");
    LLMQ_TRY(run_head(&r, logprobs, logits, err));
    LLMQ_TRY(check_finite(corpus, logprobs, err));
    log_progress(ctx, blocks + 1, blocks + 1, "done");
cleanup:
    run_free(&r);
    return status;
}

/* --- means
 * ------------------------------------------------------------------------------------------------------
 */

/* First entry of a window that counts. llama.cpp scores the second half of each window. */
static int64_t first_scored(int64_t length, enum eval_convention convention) {
    return convention == EVAL_LLAMACPP ? length / 2 : 0;
}

struct eval_mean eval_mean_nll(const struct corpus *corpus, const double *logprobs,
                               enum eval_convention convention) {
    struct eval_mean mean = {0};
    double sum = 0, spread = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t w = 0; w < corpus->count; w++) {
            int64_t begin = corpus->offsets[w], length = corpus->offsets[w + 1] - begin;
            int64_t first = first_scored(length, convention), n = length - 1 - first;
            double s = 0;
            for (int64_t t = first; t < length - 1; t++)
                s -= logprobs[begin + t];
            if (pass == 0) {
                sum += s;
                mean.tokens += n;
            } else {
                double deviation = s - mean.nll * (double)n;
                spread += deviation * deviation;
            }
        }
        mean.nll = sum / (double)mean.tokens;
    }
    double windows = (double)corpus->count;
    if (corpus->count > 1)
        mean.standard_error = sqrt(spread * windows / (windows - 1.0)) / (double)mean.tokens;
    return mean;
}
