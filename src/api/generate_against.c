/* SPDX-License-Identifier: Apache-2.0 */
/* Two models and one prompt: see llmq/generate.h. */
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/sized.h"
#include "llmq/generate.h"

/* What was likely at every step of a model. */
struct trace {
    llmq_generated *steps;
    int64_t count, room;
};

struct prompt {
    const int32_t *ids;
    size_t count;
    const llmq_context *ctx;
};

static bool note(void *user, const llmq_generated *token) {
    struct trace *t = user;
    if (t->count < t->room)
        t->steps[t->count++] = *token;
    return true;
}

static enum llmq_status follow(const llmq_generate_options *given, const char *model,
                               const struct prompt *prompt, struct trace *trace,
                               llmq_generate_result *result, llmq_error *err) {
    llmq_generate_options o = *given;
    o.model = model;
    o.user = trace;
    o.token = note;
    o.text = NULL;
    trace->room = o.max_tokens > 0 ? o.max_tokens : 0;
    trace->steps = calloc((size_t)trace->room + 1, sizeof *trace->steps);
    if (!trace->steps)
        return error_memory(err, "the tokens");
    if (model == given->against)
        o.activations = LLMQ_ACTIVATIONS_EXACT;
    return llmq_generate(&o, prompt->ids, prompt->count, prompt->ctx, result, err);
}

/* The first step at which something else was chosen; what both chose alike is the same context. */
static void find_parting(const struct trace *model, const struct trace *reference,
                         llmq_against_result *out) {
    for (int64_t i = 0; i < model->count && i < reference->count; i++) {
        if (model->steps[i].chosen.id == reference->steps[i].chosen.id)
            continue;
        out->parts = true;
        out->index = i;
        for (int k = 0; k < 2; k++) {
            out->model_best[k] = model->steps[i].best[k];
            out->reference_best[k] = reference->steps[i].best[k];
        }
        return;
    }
}

static enum llmq_status go_on_with_both(const llmq_generate_options *options, const int32_t *ids,
                                        size_t count, const llmq_context *ctx,
                                        llmq_against_result *result, llmq_error *err) {
    const struct prompt prompt = {ids, count, ctx};
    struct trace model = {0}, reference = {0};
    enum llmq_status status = LLMQ_OK;
    if (options->temperature > 0)
        return error_set(err, LLMQ_E_USAGE,
                         "two models are compared by their most likely tokens: no temperature");
    /* First the original, which takes more memory: what is enough is told before any work. */
    LLMQ_TRY(follow(options, options->against, &prompt, &reference, &result->reference, err));
    LLMQ_TRY(follow(options, options->model, &prompt, &model, &result->model, err));
    find_parting(&model, &reference, result);
cleanup:
    free(model.steps);
    free(reference.steps);
    return status;
}

enum llmq_status llmq_generate_against(const llmq_generate_options *given, const int32_t *ids,
                                       size_t count, const llmq_context *lent,
                                       llmq_against_result *result, llmq_error *err) {
    llmq_generate_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *result = (llmq_against_result){.parts = false};
    llmq_generate_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_generate_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = go_on_with_both(&options, ids, count, &ctx, result, err);
cleanup:
    return status;
}

void llmq_against_result_free(llmq_against_result *result) {
    llmq_generate_result_free(&result->model);
    llmq_generate_result_free(&result->reference);
    result->parts = false;
}
