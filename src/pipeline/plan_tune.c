/* SPDX-License-Identifier: Apache-2.0 */
/* What tuning scales takes, and where it can be had: see plan.h and run_tune.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "pipeline/plan.h"
#include "pipeline/run_tune.h"
#include "pipeline/tune_windows.h"
#include "quant/grid.h"
#include "tune/tune.h"

/* --- where it can be had ---------------------------------------------------------------------- */

enum llmq_status run_tune_check_options(const llmq_quantize_options *o, llmq_error *err) {
    if (o->tune == LLMQ_TUNE_OFF)
        return LLMQ_OK;
    if (o->tune_windows < 0)
        return error_set(err, LLMQ_E_USAGE, "--tune-windows %" PRId64 ": a positive number",
                         o->tune_windows);
    if (!(o->tune_rate > 0 && isfinite(o->tune_rate)))
        return error_set(err, LLMQ_E_USAGE, "--tune-rate %g: a positive number", o->tune_rate);
    if (o->method == LLMQ_METHOD_RTN && !o->calib) {
        error_set(err, LLMQ_E_USAGE, "rtn with --tune needs text to learn from");
        error_hint(err, "give --calib FILE");
        return LLMQ_E_USAGE;
    }
    return LLMQ_OK;
}

static bool holds_tuned(const struct layout *l) {
    return l->number == NUMBER_INT && l->container == LAYOUT_SAFETENSORS;
}

enum llmq_tune plan_tunes(const struct plan *p, const llmq_quantize_options *o) {
    if (o->tune != LLMQ_TUNE_AUTO)
        return o->tune;
    return holds_tuned(p->layout) ? LLMQ_TUNE_SCALES : LLMQ_TUNE_OFF;
}

enum llmq_status plan_check_tuning(const struct plan *p, const llmq_quantize_options *o,
                                   const llmq_context *ctx, llmq_error *err) {
    static const char why[] = "scales of this format are not read back from a folder of integers";
    if (o->tune == LLMQ_TUNE_OFF || holds_tuned(p->layout))
        return LLMQ_OK;
    if (o->tune == LLMQ_TUNE_AUTO) {
        log_message(ctx, LLMQ_LOG_WARNING, "%s: scales are not tuned: %s", p->layout->name, why);
        return LLMQ_OK;
    }
    error_set(err, LLMQ_E_UNSUPPORTED, "--tune: %s: %s", p->layout->name, why);
    error_hint(err, "--format gptq, gptq_v2, awq, compressed-tensors or onnx, or --tune off");
    return LLMQ_E_UNSUPPORTED;
}

/* --- what it takes ---------------------------------------------------------------------------- */

int64_t plan_tune_windows(const llmq_quantize_options *o, int64_t longest) {
    enum { TOKENS = 131072 };
    return o->tune_windows ? o->tune_windows : ceil_div(TOKENS, max_i64(1, longest));
}

static int64_t longest(const struct calib_tokens *tokens) {
    int64_t most = 0;
    for (int64_t i = 0; i < tokens->count; i++)
        most = max_i64(most, tokens->offsets[i + 1] - tokens->offsets[i]);
    return most;
}

static uint64_t norm_weights(const struct model *m) {
    struct model_norm *norms = NULL;
    int64_t count = 0;
    uint64_t weights = 0;
    if (model_list_norms(m, &norms, &count, NULL) == LLMQ_OK)
        for (int64_t i = 0; i < count; i++)
            weights += (uint64_t)norms[i].count;
    free(norms);
    return weights;
}

static struct tune_size size_of(const struct plan *p, const struct model *m,
                                const llmq_quantize_options *o) {
    struct tune_size size = {.moving = plan_tunes(p, o) == LLMQ_TUNE_NORMS ? norm_weights(m) : 0};
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        const struct quant_shape *s = &module->shape;
        if (module->fate != MODULE_QUANTIZED || module->at.node < 0)
            continue;
        const int64_t group = s->group > 0 ? s->group : s->k;
        size.moving += (uint64_t)(s->n * ceil_div(s->k, group));
        size.largest = max_u64(size.largest, (uint64_t)(s->n * s->k));
    }
    return size;
}

/* Products of a pass over a token: of experts those that it is sent to. */
static double token_flops(const struct model *m, const struct plan *p) {
    double flops = 2 * (double)m->config.vocab * (double)m->config.hidden;
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (module->at.node < 0)
            continue;
        const int64_t *dims = model_graph(m, module->at.block)->facts.dims;
        const double share =
            module->at.expert < 0 ? 1 : (double)dims[DIM_TOP_K] / (double)dims[DIM_CHOICES];
        flops += 2 * (double)module->shape.n * (double)module->shape.k * share;
    }
    return flops;
}

/* Windows of the length of the longest there is. */
static enum llmq_status windows_of(const llmq_quantize_options *o,
                                   const struct calib_tokens *tokens, struct corpus *out,
                                   llmq_error *err) {
    out->max_len = longest(tokens);
    out->count = plan_tune_windows(o, out->max_len) + TUNE_HELD;
    out->tokens_used = out->count * out->max_len;
    out->offsets = calloc((size_t)out->count + 1, sizeof *out->offsets);
    for (int64_t i = 0; out->offsets && i <= out->count; i++)
        out->offsets[i] = i * out->max_len;
    return out->offsets ? LLMQ_OK : error_memory(err, "the plan");
}

enum llmq_status plan_tuning(const struct model *m, const llmq_quantize_options *o,
                             const struct calib_tokens *tokens, uint64_t limit, struct plan *p,
                             llmq_error *err) {
    struct corpus windows = {0};
    struct tune_cost cost = {0};
    struct tune_size size = size_of(p, m, o);
    enum llmq_status status = LLMQ_OK;
    if (plan_tunes(p, o) == LLMQ_TUNE_OFF || !tokens)
        return LLMQ_OK;
    LLMQ_TRY(windows_of(o, tokens, &windows, err));
    size.windows = &windows;
    size.held = TUNE_HELD;
    LLMQ_TRY(tune_cost(m, &size, &cost, err));
    p->tune_spill = size.spilled = cost.memory > limit;
    if (p->tune_spill)
        LLMQ_TRY(tune_cost(m, &size, &cost, err));
    p->tune_bytes = cost.memory + (uint64_t)windows.tokens_used * sizeof *windows.ids;
    p->spill_bytes = max_u64(p->spill_bytes, cost.file);
    p->tune_passes = cost.passes;
    p->flops +=
        cost.passes * (double)((windows.count - TUNE_HELD) * windows.max_len) * token_flops(m, p);
cleanup:
    corpus_free(&windows);
    return status;
}
