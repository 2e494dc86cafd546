/* SPDX-License-Identifier: Apache-2.0 */
/* What the output head reads: see calib.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "calib/calib_private.h"
#include "linalg/linalg.h"

/* The rows of the stream that are the model's: its first `hidden` columns. */
static void take_hidden(const float *rows, int64_t count, int64_t width, int64_t hidden, float *x) {
    for (int64_t r = 0; r < count; r++)
        memmove(x + r * hidden, rows + r * width, (size_t)hidden * sizeof *x);
}

/* H += X^T X over the batches of the stream, X behind the last norm, less the rows that are held
 * back; x holds a batch. */
static enum llmq_status add_batches(const struct calib *c, float *x, float *scratch, double *H,
                                    struct calib_head *out, llmq_error *err) {
    const struct acts *residual = &c->quantized.acts[HOME_RESIDUAL];
    const int64_t hidden = c->m->config.hidden;
    enum llmq_status status = LLMQ_OK;
    const struct share_sum to = {{hidden, hidden, true}, H, scratch};
    for (int64_t step = 0; step < c->share.steps; step++) {
        const struct share_batch *b = share_step(&c->share, step);
        const int64_t rows = b ? batch_rows(&b->own) : 0, held = b ? b->held : 0;
        const struct linalg_term term = {rows - held, x, x, hidden, hidden};
        float *at = NULL;
        LLMQ_TRY(interrupt_check(c->ctx, err));
        if (b) {
            LLMQ_TRY(acts_load(residual, b->own.offsets[0], rows, x, &at, err));
            take_hidden(at, rows, residual->width, hidden, x);
            LLMQ_TRY(model_final_norm(c->m, rows, x, err));
            memcpy(out->X + b->held_begin * hidden, x + (rows - held) * hidden,
                   (size_t)(held * hidden) * sizeof *x);
        }
        LLMQ_TRY(share_add(&c->share, step, &to, &term, c->ctx, err));
        if (c->holds)
            LLMQ_TRY(share_held(&c->share, step, hidden, out->X, c->ctx, err));
    }
    const struct share_batch *last = &c->share.batch[c->share.count - 1];
    out->count = last->held_begin + last->held;
cleanup:
    return status;
}

/* The packed triangle of sums times `factor`, whole; false: one is not finite. */
static bool finish(const double *sum, int64_t k, double factor, float *H) {
    bool finite = true;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i; j < k; j++)
            H[i * k + j] = H[j * k + i] = (float)(factor * sum[linalg_upper(k, i, j)]);
    for (int64_t i = 0; i < k; i++)
        finite = finite && isfinite(H[i * k + i]);
    return finite;
}

void calib_head_free(struct calib_head *head) {
    free(head->H);
    free(head->X);
    *head = (struct calib_head){0};
}

enum llmq_status calib_head_moments(const struct calib *c, struct calib_head *out,
                                    llmq_error *err) {
    const int64_t k = c->m->config.hidden;
    double *sum = calloc((size_t)(k * (k + 1) / 2), sizeof *sum);
    float *x = malloc((size_t)(c->max_rows * c->quantized.acts[HOME_RESIDUAL].width) * sizeof *x);
    float *scratch = malloc(linalg_accumulate_floats() * sizeof *scratch);
    enum llmq_status status = LLMQ_OK;
    *out = (struct calib_head){.H = malloc((size_t)(k * k) * sizeof *out->H),
                               .X = malloc((size_t)(c->held.most * k + 1) * sizeof *out->X)};
    if (!sum || !out->H || !out->X || !x || !scratch)
        LLMQ_TRY(error_memory(err, "the moments of the output head's input"));
    LLMQ_TRY(add_batches(c, x, scratch, sum, out, err));
    const struct share_sum of = {{k, k, true}, sum, scratch};
    double factor = 2.0 / (double)(calib_total_tokens(c->tokens) - out->count);
    LLMQ_TRY(share_finish(&c->share, &of, factor, &factor, c->ctx, err));
    if (!finish(sum, k, factor, out->H))
        LLMQ_TRY(error_set(err, LLMQ_E_NUMERIC,
                           "input of the output head: a non-finite activation in calibration"));
cleanup:
    if (status != LLMQ_OK)
        calib_head_free(out);
    free(sum);
    free(x);
    free(scratch);
    return status;
}

uint64_t calib_head_bytes(const struct model *m, const struct calib_tokens *tokens) {
    const uint64_t k = (uint64_t)m->config.hidden;
    const uint64_t rows = (uint64_t)batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    const uint64_t held = (uint64_t)calib_held_most(tokens);
    return k * (k + 1) / 2 * sizeof(double) + k * k * sizeof(float) +
           (rows + held) * k * sizeof(float) + linalg_accumulate_floats() * sizeof(float);
}
