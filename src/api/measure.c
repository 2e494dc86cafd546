/* SPDX-License-Identifier: Apache-2.0 */
/* What measurements begin with: see measure.h. */
#include "api/measure.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "llmq/model.h"
#include "pipeline/notes.h"
#include "setup/setup.h"

enum llmq_status measure_model(const char *spec, const char *family, const llmq_context *ctx,
                               struct model *m, llmq_error *err) {
    char *dir = NULL;
    enum llmq_status status = llmq_model_resolve(spec, &dir, err);
    if (status == LLMQ_OK)
        status = model_open_as(dir, family, m, err);
    if (status == LLMQ_OK) {
        notes_of_model(m, ctx);
        notes_of_use(m, ctx);
    }
    free(dir);
    return status;
}

enum llmq_status measure_numbers(const struct model *m, enum llmq_activations activations,
                                 enum llmq_compute compute, struct eval_numbers *out,
                                 llmq_error *err) {
    bool int8 = activations == LLMQ_ACTIVATIONS_INT8;
    *out = (struct eval_numbers){.mode = int8 ? LOAD_PACKED_INT8 : LOAD_PACKED, .compute = compute};
    if (int8 && !m->layout)
        return error_set(
            err, LLMQ_E_USAGE,
            "%s is not quantized: only packed weights are multiplied with int8 activations",
            m->dir);
    if (compute == LLMQ_COMPUTE_BF16 && m->layout) {
        error_set(err, LLMQ_E_USAGE,
                  "%s is quantized: packed weights are multiplied as they are, not in bf16",
                  m->dir);
        error_hint(err, "leave out --compute; llmq eval takes it with --dequantize");
        return LLMQ_E_USAGE;
    }
    return setup_check_compute(compute, err);
}

const char *measure_convention_name(enum llmq_convention convention) {
    return convention == LLMQ_CONVENTION_LLAMACPP ? "llamacpp" : "gptq";
}

enum eval_convention measure_convention(enum llmq_convention convention) {
    return convention == LLMQ_CONVENTION_LLAMACPP ? EVAL_LLAMACPP : EVAL_GPTQ;
}

static void say_of_limit(const llmq_context *ctx, int64_t max_tokens, const struct corpus *c) {
    const int64_t tokens = c->tokens_used + c->tokens_dropped;
    if (c->tokens_beyond > 0)
        log_message(ctx, LLMQ_LOG_INFO,
                    "--max-tokens %" PRId64 ": the other %" PRId64 " of %" PRId64
                    " tokens are not read",
                    max_tokens, c->tokens_beyond, tokens);
    else if (max_tokens > tokens)
        log_message(ctx, LLMQ_LOG_INFO, "--max-tokens %" PRId64 ": there are only %" PRId64,
                    max_tokens, tokens);
    if (c->tokens_dropped > c->tokens_beyond)
        log_message(ctx, LLMQ_LOG_INFO, "%" PRId64 " tokens at the end fill no window: not scored",
                    c->tokens_dropped - c->tokens_beyond);
}

enum llmq_status measure_scoring(const llmq_context *ctx, enum llmq_convention convention,
                                 const struct corpus_options *options, struct corpus *corpus,
                                 llmq_error *err) {
    const bool llamacpp = convention == LLMQ_CONVENTION_LLAMACPP;
    say_of_limit(ctx, options->max_tokens, corpus);
    if (eval_scored_tokens(corpus, measure_convention(convention)) == 0) {
        error_set(err, LLMQ_E_USAGE,
                  "no token counts by the convention %s in windows of %" PRId64 " tokens",
                  measure_convention_name(convention), corpus->max_len);
        error_hint(err, "windows of 3 tokens are the shortest");
        return LLMQ_E_USAGE;
    }
    for (int64_t w = 0; llamacpp && corpus->bos >= 0 && w < corpus->count; w++)
        corpus->ids[corpus->offsets[w]] = corpus->bos;
    return LLMQ_OK;
}
