/* SPDX-License-Identifier: Apache-2.0 */
/* Predictions of a caller's tokens: llmq_score of llmq/evaluate.h, and llmq/logits.h. */
#include <stdlib.h>
#include <string.h>

#include "api/logits.h"
#include "api/score_run.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sized.h"
#include "llmq/evaluate.h"
#include "llmq/logits.h"

/* --- log-probabilities -------------------------------------------------------------------------
 */

void llmq_score_options_init_sized(llmq_score_options *options, size_t size) {
    const llmq_score_options usual = {.model = NULL};
    sized_write(&usual, sizeof usual, options, size);
}

static enum llmq_status score(const llmq_score_options *o, const llmq_token_window *window,
                              const llmq_context *ctx, double *logprobs, llmq_error *err) {
    const struct score_how how = {.logits = o->logits != NULL, .max_mem = o->max_mem};
    struct score_run run;
    struct output_file place = OUTPUT_FILE_NONE;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(score_run_open(o->model, o->family, ctx, &run, err));
    if (o->logits)
        LLMQ_TRY(output_file_choose("logits", o->logits, run.m.dir, &place, err));
    if (window->count < 2)
        LLMQ_TRY(error_set(err, LLMQ_E_USAGE, "scoring needs at least 2 token ids"));
    LLMQ_TRY(score_run_take(&run, "--ids", window, 1, err));
    LLMQ_TRY(score_run_compute(&run, &how, err));
    memcpy(logprobs, run.logprobs, (window->count - 1) * sizeof *logprobs);
    if (o->logits)
        LLMQ_TRY(logits_write(&place, &run.logits, err));
cleanup:
    output_file_free(&place);
    score_run_close(&run);
    return status;
}

enum llmq_status llmq_score(const llmq_score_options *given, const int32_t *ids, size_t count,
                            const llmq_context *lent, double *logprobs, llmq_error *err) {
    const llmq_token_window window = {ids, count};
    llmq_score_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    llmq_score_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_score_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = score(&options, &window, &ctx, logprobs, err);
cleanup:
    return status;
}

/* --- logits ------------------------------------------------------------------------------------
 */

void llmq_logits_options_init_sized(llmq_logits_options *options, size_t size) {
    const llmq_logits_options usual = {.model = NULL};
    sized_write(&usual, sizeof usual, options, size);
}

/* Every row to the caller. */
static enum llmq_status give_rows(const llmq_logits_options *o, const struct score_run *run,
                                  llmq_error *err) {
    const int64_t vocab = run->logits.width;
    float *buffer = malloc((size_t)vocab * sizeof *buffer), *row = NULL;
    enum llmq_status status = buffer ? LLMQ_OK : error_memory(err, "a row of logits");
    bool wanted = true;
    for (int64_t w = 0; w < run->corpus.count; w++)
        for (int64_t t = run->corpus.offsets[w];
             t < run->corpus.offsets[w + 1] && status == LLMQ_OK && wanted; t++) {
            status = interrupt_check(run->ctx, err);
            if (status == LLMQ_OK)
                status = acts_load(&run->logits, t, 1, buffer, &row, err);
            const llmq_logits_row given = {(size_t)w, (size_t)(t - run->corpus.offsets[w]), row,
                                           vocab};
            if (status == LLMQ_OK)
                wanted = o->row(o->user, &given);
        }
    free(buffer);
    return status;
}

static enum llmq_status predict(const llmq_logits_options *o, const llmq_token_window *windows,
                                size_t count, const llmq_context *ctx, llmq_error *err) {
    const struct score_how how = {o->activations, o->compute, true, o->max_mem};
    struct score_run run;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(score_run_open(o->model, o->family, ctx, &run, err));
    LLMQ_TRY(score_run_take(&run, "windows", windows, count, err));
    LLMQ_TRY(score_run_compute(&run, &how, err));
    LLMQ_TRY(give_rows(o, &run, err));
cleanup:
    score_run_close(&run);
    return status;
}

enum llmq_status llmq_logits(const llmq_logits_options *given, const llmq_token_window *windows,
                             size_t count, const llmq_context *lent, llmq_error *err) {
    llmq_logits_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    llmq_logits_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_logits_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    if (!options.row)
        return error_set(err, LLMQ_E_USAGE, "llmq_logits_options: there is no callback `row`");
    status = predict(&options, windows, count, &ctx, err);
cleanup:
    return status;
}
