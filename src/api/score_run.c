/* SPDX-License-Identifier: Apache-2.0 */
/* See score_run.h. */
#include "api/score_run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/measure.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"
#include "eval/logprobs.h"
#include "setup/setup.h"

enum llmq_status score_run_open(const char *model, const char *family, const llmq_context *ctx,
                                struct score_run *run, llmq_error *err) {
    *run = (struct score_run){.ctx = ctx, .logits = {.file = {.fd = -1}}};
    const enum llmq_status status = setup_compute(ctx, err);
    return status == LLMQ_OK ? measure_model(model, family, ctx, &run->m, err) : status;
}

void score_run_close(struct score_run *run) {
    acts_free(&run->logits);
    measure_end(&run->spill_dir);
    free(run->logprobs);
    corpus_free(&run->corpus);
    model_close(&run->m);
}

static enum llmq_status check_window(const struct model *m, size_t index,
                                     const llmq_token_window *w, llmq_error *err) {
    if (w->count == 0 || !w->ids)
        return error_set(err, LLMQ_E_USAGE, "window %zu is empty", index);
    for (size_t i = 0; i < w->count; i++)
        if (w->ids[i] < 0 || w->ids[i] >= m->config.vocab)
            return error_set(err, LLMQ_E_USAGE,
                             "token id %" PRId32 " at position %zu is not in [0, %" PRId64 ")",
                             w->ids[i], i, m->config.vocab);
    return LLMQ_OK;
}

static enum llmq_status copy_windows(const llmq_token_window *windows, size_t count, size_t tokens,
                                     struct corpus *out, llmq_error *err) {
    *out = (struct corpus){.ids = calloc(tokens, sizeof *out->ids),
                           .offsets = calloc(count + 1, sizeof *out->offsets),
                           .count = (int64_t)count,
                           .tokens_used = (int64_t)tokens};
    if (!out->ids || !out->offsets)
        return error_memory(err, "windows");
    for (size_t i = 0; i < count; i++) {
        const int64_t length = (int64_t)windows[i].count;
        memcpy(out->ids + out->offsets[i], windows[i].ids, windows[i].count * sizeof *out->ids);
        out->offsets[i + 1] = out->offsets[i] + length;
        out->max_len = max_i64(out->max_len, length);
    }
    return LLMQ_OK;
}

enum llmq_status score_run_take(struct score_run *run, const char *name,
                                const llmq_token_window *windows, size_t count, llmq_error *err) {
    size_t tokens = 0;
    enum llmq_status status = LLMQ_OK;
    if (count == 0)
        return error_set(err, LLMQ_E_USAGE, "there are no windows");
    for (size_t i = 0; i < count; i++) {
        LLMQ_TRY(check_window(&run->m, i, &windows[i], err));
        if (!checked_add_size(tokens, windows[i].count, &tokens) || tokens > INT32_MAX)
            return error_memory(err, "windows");
    }
    LLMQ_TRY(copy_windows(windows, count, tokens, &run->corpus, err));
    LLMQ_TRY(setup_check_windows(&run->m, name, &run->corpus, err));
cleanup:
    return status;
}

enum llmq_status score_run_compute(struct score_run *run, const struct score_how *how,
                                   llmq_error *err) {
    const uint64_t tokens = (uint64_t)run->corpus.tokens_used;
    const uint64_t logits = how->logits ? tokens * (uint64_t)run->m.config.vocab : 0;
    struct eval_job job = {.m = &run->m, .corpus = &run->corpus, .ctx = run->ctx};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(measure_numbers(&run->m, how->activations, how->compute, &job.numbers, err));
    LLMQ_TRY(measure_settle(&job, tokens * sizeof *run->logprobs, logits * sizeof(float),
                            how->max_mem, &run->spill_dir, err));
    run->logprobs = calloc((size_t)tokens, sizeof *run->logprobs);
    if (!run->logprobs)
        LLMQ_TRY(error_memory(err, "scores"));
    if (how->logits)
        LLMQ_TRY(
            acts_create((int64_t)tokens, run->m.config.vocab, run->spill_dir, &run->logits, err));
    LLMQ_TRY(eval_logprobs(&job, run->logprobs, how->logits ? &run->logits : NULL, err));
cleanup:
    return status;
}
