/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluation commands: see llmq/evaluate.h. */
#include "llmq/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/measure.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/strbuf.h"
#include "base/tally.h"
#include "eval/logprobs.h"
#include "setup/setup.h"
#include "text/utf8.h"

void llmq_eval_options_init_sized(llmq_eval_options *options, size_t size) {
    const llmq_eval_options usual = {.special = LLMQ_SPECIAL_MODEL,
                                     .convention = LLMQ_CONVENTION_GPTQ};
    sized_write(&usual, sizeof usual, options, size);
}

static enum llmq_status evaluate(const llmq_eval_options *options, const llmq_context *ctx,
                                 llmq_eval_result *result, llmq_error *err) {
    double start = tally_now();
    struct model m = {0};
    struct corpus_file file = {0};
    struct corpus corpus = {0};
    double *logprobs = NULL;
    char *spill_dir = NULL;
    enum llmq_status status = LLMQ_OK;
    struct eval_numbers numbers = {.mode = LOAD_PLAIN, .compute = options->compute};
    *result = (llmq_eval_result){.convention = options->convention,
                                 .activations = options->activations,
                                 .compute = options->compute};
    if (options->dequantize && options->activations != LLMQ_ACTIVATIONS_EXACT)
        return error_set(err, LLMQ_E_USAGE,
                         "int8 activations are for packed weights, which 'dequantize' expands");
    const char *text = options->text ? options->text : setup_bundled_text(DATA_EVALUATION, err);
    if (!text)
        return LLMQ_E_NOT_FOUND;
    LLMQ_TRY(setup_compute(ctx, err));
    LLMQ_TRY(measure_model(options->model, options->family, ctx, &m, err));
    if (options->dequantize)
        LLMQ_TRY(setup_check_compute(options->compute, err));
    else
        LLMQ_TRY(measure_numbers(&m, options->activations, options->compute, &numbers, err));
    struct corpus_options cut = {.special = options->special,
                                 .window = options->ctx ? options->ctx : setup_context(&m.config),
                                 .window_given = options->ctx != 0,
                                 .window_option = "--ctx",
                                 .field = options->text_field,
                                 .field_option = "--text-field",
                                 .max_tokens = options->max_tokens};
    const struct reading limits = {.max_mem = options->max_mem};
    LLMQ_TRY(corpus_file_open(text, &limits, &file, err));
    LLMQ_TRY(setup_corpus(ctx, &m, &file, &cut, &corpus, err));
    LLMQ_TRY(measure_scoring(ctx, options->convention, &cut, &corpus, err));
    LLMQ_TRY(measure_ranks(&(const struct model *){&m}, 1, &corpus, ctx, err));
    corpus_file_free(&file);
    const uint64_t tables = (uint64_t)corpus.tokens_used * sizeof *logprobs;
    struct eval_job job = {
        .m = &m, .corpus = &corpus, .numbers = numbers, .ctx = ctx, .divided = measure_divides()};
    LLMQ_TRY(measure_settle(&job, tables, 0, options->max_mem, &spill_dir, err));
    logprobs = calloc((size_t)corpus.tokens_used, sizeof *logprobs);
    if (!logprobs) {
        status = error_memory(err, "log-probabilities");
        goto cleanup;
    }
    LLMQ_TRY(eval_logprobs(&job, logprobs, NULL, err));
    struct eval_mean mean =
        eval_mean_nll(&corpus, logprobs, measure_convention(options->convention));
    result->nll = mean.nll;
    result->ppl = exp(mean.nll);
    result->nll_stderr = mean.standard_error;
    result->tokens = mean.tokens;
    result->windows = corpus.count;
    result->ctx = corpus.max_len;
    measure_ranks_note(ctx);
    result->seconds = tally_now() - start;
    result->peak_rss_bytes = memory_peak();
cleanup:
    free(logprobs);
    measure_end(&spill_dir);
    corpus_free(&corpus);
    corpus_file_free(&file);
    model_close(&m);
    return status;
}

enum llmq_status llmq_eval(const llmq_eval_options *given, const llmq_context *lent,
                           llmq_eval_result *result, llmq_error *err) {
    llmq_eval_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *result = (llmq_eval_result){0};
    llmq_eval_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_eval_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    measure_quiet(&ctx);
    status = evaluate(&options, &ctx, result, err);
cleanup:
    return status;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static struct json *ids_array(const int32_t *ids, size_t count) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < count; i++)
        json_add_int64(array, NULL, ids[i]);
    return array;
}

char *llmq_ids_json(const int32_t *ids, size_t count) {
    struct json *array = ids_array(ids, count);
    char *text = json_print(array, false);
    json_free(&array);
    return text;
}

char *llmq_text_json(const int32_t *ids, size_t count, const char *text, size_t len) {
    struct json *o = json_new_object();
    struct strbuf shown = {0};
    for (size_t i = 0; i < len; i++)
        strbuf_append(&shown, text[i] ? text + i : UTF8_REPLACEMENT, text[i] ? 1 : 3);
    char *copy = strbuf_take(&shown);
    json_add_int64(o, "schema", 1);
    json_add(o, "ids", ids_array(ids, count));
    json_add_string(o, "text", copy);
    free(copy);
    return json_print_and_free(o);
}

char *llmq_score_json(const int32_t *ids, size_t count, const double *logprobs) {
    struct json *o = json_new_object(), *values = json_new_array();
    for (size_t i = 0; i + 1 < count; i++)
        json_add_double(values, NULL, logprobs[i]);
    json_add_int64(o, "schema", 1);
    json_add(o, "ids", ids_array(ids, count));
    json_add(o, "logprobs", values);
    return json_print_and_free(o);
}

char *llmq_eval_json(const llmq_eval_result *r) {
    struct json *o = json_new_object();
    json_add_int64(o, "schema", 1);
    json_add_double(o, "ppl", r->ppl);
    json_add_double(o, "nll", r->nll);
    json_add_double(o, "stderr", r->nll_stderr);
    json_add_int64(o, "tokens", r->tokens);
    json_add_int64(o, "windows", r->windows);
    json_add_int64(o, "ctx", r->ctx);
    json_add_string(o, "convention", measure_convention_name(r->convention));
    json_add_string(o, "activations", setup_activations_name(r->activations));
    json_add_string(o, "compute", setup_compute_name(r->compute));
    json_add_double(o, "seconds", r->seconds);
    json_add_int64(o, "peak_rss_bytes", (int64_t)r->peak_rss_bytes);
    return json_print_and_free(o);
}
