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
    for (struct batch b = {0}; batch_next(c->tokens->offsets, c->tokens->count, BATCH_ROWS, &b);) {
        const int64_t rows = batch_rows(&b);
        float *at = NULL;
        LLMQ_TRY(interrupt_check(c->ctx, err));
        LLMQ_TRY(acts_load(residual, b.offsets[0], rows, x, &at, err));
        take_hidden(at, rows, residual->width, hidden, x);
        LLMQ_TRY(model_final_norm(c->m, rows, x, err));
        const int64_t held = calib_held_rows(c, &b, out->count);
        linalg_syrk_accumulate(rows - held, hidden, x, hidden, H, scratch);
        memcpy(out->X + out->count * hidden, x + (rows - held) * hidden,
               (size_t)(held * hidden) * sizeof *x);
        out->count += held;
    }
cleanup:
    return status;
}

/* The packed triangle of sums as means, whole; false: one is not finite. */
static bool finish(const double *sum, int64_t k, int64_t tokens, float *H) {
    const double factor = 2.0 / (double)tokens;
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
    if (!finish(sum, k, calib_total_tokens(c->tokens) - out->count, out->H))
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
    const uint64_t held = (uint64_t)calib_held_most(calib_total_tokens(tokens));
    return k * (k + 1) / 2 * sizeof(double) + k * k * sizeof(float) +
           (rows + held) * k * sizeof(float) + linalg_accumulate_floats() * sizeof(float);
}
