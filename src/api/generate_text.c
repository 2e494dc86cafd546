/* SPDX-License-Identifier: Apache-2.0 */
/* Generating text: see llmq/generate.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/measure.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/tally.h"
#include "decode/generator.h"
#include "decode/sampler.h"
#include "decode/text_stream.h"
#include "llmq/generate.h"
#include "setup/setup.h"

void llmq_generate_options_init_sized(llmq_generate_options *options, size_t size) {
    const llmq_generate_options usual = {.max_tokens = 256, .top_p = 1};
    sized_write(&usual, sizeof usual, options, size);
}

void llmq_generate_result_free(llmq_generate_result *result) {
    free(result->ids);
    free(result->text);
    *result = (llmq_generate_result){0};
}

struct run {
    const llmq_generate_options *o;
    const llmq_context *ctx;
    struct model m;
    struct tokenizer *tok; /* NULL: the folder has none */
    struct id_list ends;   /* tokens that end the text */
    struct generator *generator;
    struct sampler sampler;
    struct text_stream stream;
    struct id_list ids; /* generated */
    llmq_generate_result *result;
};

static void close_run(struct run *r) {
    generator_free(&r->generator);
    sampler_free(&r->sampler);
    text_stream_free(&r->stream);
    id_list_free(&r->ids);
    id_list_free(&r->ends);
    tokenizer_free(&r->tok);
    model_close(&r->m);
}

/* --- what it begins with ---------------------------------------------------------------------- */

/* "eos_token_id" of a document: a number or a list of them. */
static enum llmq_status add_ends(const struct json *document, struct id_list *ends,
                                 llmq_error *err) {
    const struct json *value = json_get(document, "eos_token_id");
    const bool list = json_type(value) == JSON_ARRAY;
    enum llmq_status status = LLMQ_OK;
    for (const struct json *v = list ? json_first(value) : value; v && status == LLMQ_OK;
         v = list ? json_next(v) : NULL) {
        int64_t id = 0;
        if (json_as_int64(v, &id) && id >= 0 && id <= INT32_MAX)
            status = id_list_push(ends, (int32_t)id, err);
    }
    return status;
}

static enum llmq_status find_ends(struct run *r, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *document = NULL;
    bool exists = false;
    char *path = path_join(r->m.dir, "generation_config.json", err);
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(add_ends(r->m.config_json, &r->ends, err));
    LLMQ_TRY(add_ends(json_get(r->m.config_json, "text_config"), &r->ends, err));
    LLMQ_TRY(file_exists(path, &exists, err));
    if (exists)
        LLMQ_TRY(json_read(path, &document, err));
    LLMQ_TRY(add_ends(document, &r->ends, err));
cleanup:
    json_free(&document);
    free(path);
    return status;
}

static enum llmq_status open_tokenizer(struct run *r, llmq_error *err) {
    llmq_error absent = {0};
    const enum llmq_status status = setup_tokenizer(r->m.dir, &r->tok, &absent);
    if (status == LLMQ_E_NOT_FOUND && r->o->stop_count == 0)
        return LLMQ_OK;
    if (status != LLMQ_OK && err)
        *err = absent;
    return status;
}

static enum llmq_status check_prompt(const struct run *r, const int32_t *ids, size_t count,
                                     llmq_error *err) {
    const int64_t positions = r->m.config.max_positions;
    if (count == 0) {
        error_set(err, LLMQ_E_USAGE, "the prompt is empty, and the model puts no token before it");
        error_hint(err, "give a text to continue, or its begin-of-text token: --bos");
        return LLMQ_E_USAGE;
    }
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= r->m.config.vocab)
            return error_set(err, LLMQ_E_USAGE,
                             "token id %" PRId32 " at position %zu is not in [0, %" PRId64 ")",
                             ids[i], i, r->m.config.vocab);
    if ((int64_t)count < positions || r->m.config.rope.type == ROPE_DYNAMIC)
        return LLMQ_OK;
    error_set(err, LLMQ_E_USAGE,
              "the prompt has %zu tokens: the model has %" PRId64 " positions, of which the answer "
              "needs one at least",
              count, positions);
    error_hint(err, "give a shorter prompt");
    return LLMQ_E_USAGE;
}

static enum llmq_status check_sampling(const llmq_generate_options *o, llmq_error *err) {
    if (o->max_tokens < 1)
        return error_set(err, LLMQ_E_USAGE, "%" PRId64 " tokens to generate: expected 1 or more",
                         o->max_tokens);
    if (!(o->temperature >= 0) || !isfinite(o->temperature))
        return error_set(err, LLMQ_E_USAGE, "temperature %g: expected 0 or more", o->temperature);
    if (!(o->top_p > 0 && o->top_p <= 1) || o->top_k < 0)
        return error_set(err, LLMQ_E_USAGE,
                         "top_k %" PRId64 ", top_p %g: expected 0 or more, and above 0 to 1",
                         o->top_k, o->top_p);
    if (!(o->temperature > 0) && (o->top_k > 0 || o->top_p < 1 || o->seed > 0)) {
        error_set(err, LLMQ_E_USAGE,
                  "top-k, top-p and seed say how tokens are drawn, and none is: without a "
                  "temperature the most likely one is taken");
        error_hint(err, "give a temperature, as --temperature 0.8, or leave them out");
        return LLMQ_E_USAGE;
    }
    return LLMQ_OK;
}

/* --- memory ----------------------------------------------------------------------------------- */

/* What the process grows by beside what is counted, measured. */
#define GROWTH_BYTES        ((uint64_t)6 << 20)
#define THREAD_GROWTH_BYTES ((uint64_t)3 << 20)

static enum llmq_status check_memory(const struct run *r, const struct generator_options *how,
                                     llmq_error *err) {
    const uint64_t resident = memory_resident(), available = memory_available();
    const int threads = r->ctx && r->ctx->threads > 0 ? r->ctx->threads : (int)cpu_count();
    uint64_t need = 0, limit = r->o->max_mem;
    enum llmq_status status = generator_bytes(how, &need, err);
    if (status != LLMQ_OK)
        return status;
    need += resident + GROWTH_BYTES + (uint64_t)threads * THREAD_GROWTH_BYTES +
            (uint64_t)r->m.config.vocab * sizeof(struct candidate);
    if (limit == 0)
        limit = available ? resident + available / 10 * 8 : UINT64_MAX;
    if (need <= limit)
        return LLMQ_OK;
    error_set(err, LLMQ_E_MEMORY,
              "generating takes %.2f GiB, of which there are %.2f: all weights are in memory, %s",
              (double)need / 0x1p30, (double)limit / 0x1p30,
              r->m.layout ? "packed ones as they are, others in float32" : "in float32");
    if (r->o->max_mem > 0)
        error_hint(err, "give at least --max-mem %" PRIu64 "M, or fewer tokens", (need >> 20) + 2);
    else
        error_hint(err, "a quantized model takes less; fewer tokens take less as well");
    return LLMQ_E_MEMORY;
}

static enum llmq_status load(struct run *r, size_t prompt, llmq_error *err) {
    const int64_t positions = r->m.config.max_positions;
    struct eval_numbers numbers;
    struct generator_options how = {
        .m = &r->m, .capacity = (int64_t)prompt + r->o->max_tokens, .ctx = r->ctx};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(measure_numbers(&r->m, r->o->activations, LLMQ_COMPUTE_F32, &numbers, err));
    how.mode = numbers.mode;
    if (how.capacity > positions && r->m.config.rope.type != ROPE_DYNAMIC)
        how.capacity = positions;
    LLMQ_TRY(check_memory(r, &how, err));
    LLMQ_TRY(sampler_create(r->m.config.vocab, &r->sampler, err));
    r->sampler.temperature = r->o->temperature;
    r->sampler.top_k = r->o->top_k;
    r->sampler.top_p = r->o->top_p;
    r->sampler.state = r->o->seed;
    LLMQ_TRY(generator_create(&how, &r->generator, err));
cleanup:
    return status;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static bool is_end(const struct run *r, int32_t id) {
    for (size_t i = 0; !r->o->past_end && i < r->ends.count; i++)
        if (r->ends.ids[i] == id)
            return true;
    return false;
}

static llmq_candidate candidate_of(const struct run *r, const float *logits, int32_t id) {
    return (llmq_candidate){id, exp(sampler_logprob(logits, r->m.config.vocab, id))};
}

/* Tell the caller; false: it wants no more. */
static bool tell_token(const struct run *r, const float *logits, int32_t id) {
    llmq_generated token = {.index = (int64_t)r->ids.count};
    int32_t best[2] = {0, 0};
    if (!r->o->token)
        return true;
    sampler_best_two(logits, r->m.config.vocab, best);
    token.chosen = candidate_of(r, logits, id);
    token.best[0] = candidate_of(r, logits, best[0]);
    token.best[1] = candidate_of(r, logits, best[1]);
    return r->o->token(r->o->user, &token);
}

static void tell_text(struct run *r, bool ends) {
    size_t len = 0;
    const char *text = text_stream_take(&r->stream, ends, &len);
    if (len > 0 && r->o->text)
        r->o->text(r->o->user, text, len);
}

/* Take the token as part of the text; *going: more may follow. */
static enum llmq_status take_token(struct run *r, const float *logits, int32_t id, bool *going,
                                   llmq_error *err) {
    struct strbuf piece = {0};
    *going = tell_token(r, logits, id);
    if (!*going)
        r->result->end = LLMQ_END_CALLER;
    enum llmq_status status = id_list_push(&r->ids, id, err);
    if (r->tok)
        tokenizer_decode(r->tok, id, &piece);
    if (piece.len > 0)
        text_stream_add(&r->stream, piece.data, piece.len);
    if (status == LLMQ_OK && (!strbuf_ok(&piece) || !strbuf_ok(&r->stream.text)))
        status = error_memory(err, "a text");
    strbuf_free(&piece);
    if (r->stream.stopped) {
        r->result->end = LLMQ_END_TEXT;
        *going = false;
    }
    tell_text(r, false);
    return status;
}

static enum llmq_status generate(struct run *r, const float *logits, int64_t left,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool going = true;
    r->result->end = left < r->o->max_tokens ? LLMQ_END_CONTEXT : LLMQ_END_LENGTH;
    for (int64_t i = 0; going; i++) {
        int32_t id = 0;
        LLMQ_TRY(sampler_next(&r->sampler, logits, r->m.config.vocab, &id, err));
        if (is_end(r, id)) {
            r->result->end = LLMQ_END_TOKEN;
            r->result->end_token = id;
            (void)tell_token(r, logits, id);
            break;
        }
        LLMQ_TRY(take_token(r, logits, id, &going, err));
        if (i + 1 >= left)
            break;
        if (going)
            LLMQ_TRY(generator_read(r->generator, &id, 1, &logits, err));
    }
cleanup:
    return status;
}

static enum llmq_status give(struct run *r, llmq_error *err) {
    tell_text(r, true);
    r->result->ids = r->ids.ids;
    r->result->count = r->ids.count;
    r->ids = (struct id_list){0};
    r->result->text_len = r->stream.text.len;
    r->result->text = strbuf_take(&r->stream.text);
    r->result->repeated_tokens = generator_repeated(r->generator);
    r->result->peak_rss_bytes = memory_peak();
    if (r->result->repeated_tokens > 0)
        log_message(r->ctx, LLMQ_LOG_INFO,
                    "the model's rotary frequencies change with the length: %" PRId64
                    " tokens were computed once more",
                    r->result->repeated_tokens);
    return r->result->text ? LLMQ_OK : error_memory(err, "a text");
}

static enum llmq_status run(struct run *r, const int32_t *ids, size_t count, llmq_error *err) {
    const double start = tally_now();
    const float *logits = NULL;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(check_sampling(r->o, err));
    LLMQ_TRY(setup_compute(r->ctx, err));
    LLMQ_TRY(measure_model(r->o->model, r->o->family, r->ctx, &r->m, err));
    LLMQ_TRY(check_prompt(r, ids, count, err));
    LLMQ_TRY(find_ends(r, err));
    LLMQ_TRY(open_tokenizer(r, err));
    LLMQ_TRY(load(r, count, err));
    const double loaded = tally_now();
    LLMQ_TRY(generator_read(r->generator, ids, (int64_t)count, &logits, err));
    const double read = tally_now();
    LLMQ_TRY(generate(r, logits, generator_left(r->generator), err));
    r->result->load_seconds = loaded - start;
    r->result->prompt_seconds = read - loaded;
    r->result->generate_seconds = tally_now() - read;
    r->result->prompt_tokens = (int64_t)count;
    LLMQ_TRY(give(r, err));
cleanup:
    return status;
}

static enum llmq_status go_on(const llmq_generate_options *options, const int32_t *ids,
                              size_t count, const llmq_context *ctx, llmq_generate_result *result,
                              llmq_error *err) {
    struct run r = {.o = options,
                    .ctx = ctx,
                    .stream = {.stops = options->stop, .stop_count = options->stop_count},
                    .result = result};
    enum llmq_status status = run(&r, ids, count, err);
    close_run(&r);
    return status;
}

enum llmq_status llmq_generate(const llmq_generate_options *given, const int32_t *ids, size_t count,
                               const llmq_context *lent, llmq_generate_result *result,
                               llmq_error *err) {
    llmq_generate_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *result = (llmq_generate_result){.end_token = -1};
    llmq_generate_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_generate_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = go_on(&options, ids, count, &ctx, result, err);
cleanup:
    return status;
}

/* --- JSON ------------------------------------------------------------------------------------- */

const char *llmq_generate_end_name(enum llmq_generate_end end) {
    static const char *const names[] = {[LLMQ_END_LENGTH] = "length",
                                        [LLMQ_END_CONTEXT] = "context",
                                        [LLMQ_END_TOKEN] = "token",
                                        [LLMQ_END_TEXT] = "text",
                                        [LLMQ_END_CALLER] = "caller"};
    return names[end];
}

/* Tokens a second; the first of those generated follows from the prompt. */
static double rate(double tokens, double seconds) {
    return seconds > 0 ? tokens / seconds : 0;
}

static struct json *result_object(const llmq_generate_result *r) {
    struct json *o = json_new_object(), *ids = json_new_array();
    for (size_t i = 0; i < r->count; i++)
        json_add_int64(ids, NULL, r->ids[i]);
    json_add_string(o, "text", r->text);
    json_add(o, "ids", ids);
    json_add_string(o, "end", llmq_generate_end_name(r->end));
    json_add_int64(o, "prompt_tokens", r->prompt_tokens);
    json_add_int64(o, "tokens", (int64_t)r->count);
    json_add_int64(o, "repeated_tokens", r->repeated_tokens);
    json_add_double(o, "load_seconds", r->load_seconds);
    json_add_double(o, "prompt_seconds", r->prompt_seconds);
    json_add_double(o, "generate_seconds", r->generate_seconds);
    json_add_double(o, "prompt_tokens_per_second",
                    rate((double)r->prompt_tokens, r->prompt_seconds));
    json_add_double(o, "tokens_per_second",
                    rate(r->count > 1 ? (double)(r->count - 1) : 0, r->generate_seconds));
    json_add_int64(o, "peak_rss_bytes", (int64_t)r->peak_rss_bytes);
    return o;
}

char *llmq_generate_json(const llmq_generate_result *r) {
    struct json *o = result_object(r);
    json_add_int64(o, "schema", 1);
    return json_print_and_free(o);
}

static struct json *candidates(const llmq_candidate best[2]) {
    struct json *list = json_new_array();
    for (int i = 0; i < 2; i++) {
        struct json *o = json_new_object();
        json_add_int64(o, "id", best[i].id);
        json_add_double(o, "probability", best[i].probability);
        json_add(list, NULL, o);
    }
    return list;
}

char *llmq_against_json(const llmq_against_result *r) {
    struct json *o = json_new_object();
    json_add_int64(o, "schema", 1);
    json_add(o, "model", result_object(&r->model));
    json_add(o, "reference", result_object(&r->reference));
    if (!r->parts) {
        json_add_null(o, "parts_at");
        return json_print_and_free(o);
    }
    json_add_int64(o, "parts_at", r->index);
    json_add(o, "model_best", candidates(r->model_best));
    json_add(o, "reference_best", candidates(r->reference_best));
    return json_print_and_free(o);
}
