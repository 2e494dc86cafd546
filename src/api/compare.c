/* Comparing two models: see llmq_compare in llmq/evaluate.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/measure.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/tally.h"
#include "eval/divergence.h"
#include "llmq/evaluate.h"
#include "setup/setup.h"
#include "text/tokenizer.h"

void llmq_compare_options_init(llmq_compare_options *options) {
    *options =
        (llmq_compare_options){.special = LLMQ_SPECIAL_MODEL, .convention = LLMQ_CONVENTION_GPTQ};
}

/* --- what must hold before work --------------------------------------------------------------- */

static enum llmq_status open_models(const llmq_compare_options *options, const llmq_context *ctx,
                                    struct model *model, struct model *reference, llmq_error *err) {
    enum llmq_status status =
        measure_model(options->reference, options->family, ctx, reference, err);
    if (status == LLMQ_OK)
        status = measure_model(options->model, options->family, ctx, model, err);
    if (status != LLMQ_OK)
        return status;
    if (model->config.vocab != reference->config.vocab)
        return error_set(err, LLMQ_E_USAGE,
                         "%s has %" PRId64
                         " tokens in its vocabulary, the reference %s has %" PRId64
                         ": only models with one vocabulary can be compared",
                         model->dir, model->config.vocab, reference->dir, reference->config.vocab);
    return LLMQ_OK;
}

/* First id that both know and that stands for different texts, or -1. */
static int32_t first_difference(const struct tokenizer *a, const struct tokenizer *b) {
    int32_t size_a = tokenizer_vocab_size(a), size_b = tokenizer_vocab_size(b);
    for (int32_t id = 0; id < size_a && id < size_b; id++) {
        const char *text_a = tokenizer_token(a, id), *text_b = tokenizer_token(b, id);
        const size_t len = tokenizer_token_length(a, id);
        if (text_a && text_b &&
            (len != tokenizer_token_length(b, id) || memcmp(text_a, text_b, len) != 0))
            return id;
    }
    return -1;
}

/* The text can be read, and its ids mean the same to both; a model without a tokenizer of its own
 * is taken at its word. */
static enum llmq_status check_tokenizers(const char *text, const struct eval_pair *pair,
                                         llmq_error *err) {
    const char *model = pair->model->dir, *reference = pair->reference->dir;
    struct tokenizer *ours = NULL, *theirs = NULL;
    enum llmq_status status = setup_tokenizer(reference, &theirs, err);
    if (status == LLMQ_E_NOT_FOUND) {
        error_set(err, LLMQ_E_USAGE,
                  "%s is text, and the reference %s has no tokenizer.json to read it", text,
                  reference);
        error_hint(err, "give --text FILE.json: windows of token ids");
        return LLMQ_E_USAGE;
    }
    if (status == LLMQ_OK)
        status = setup_tokenizer(model, &ours, err);
    if (status == LLMQ_OK) {
        int32_t id = first_difference(ours, theirs);
        if (id >= 0)
            status = error_set(err, LLMQ_E_USAGE,
                               "token %" PRId32 " is not the same text in %s as in the reference "
                               "%s: only models with one vocabulary can be compared",
                               id, model, reference);
    } else if (status == LLMQ_E_NOT_FOUND) {
        status = LLMQ_OK;
    }
    tokenizer_free(&ours);
    tokenizer_free(&theirs);
    return status;
}

static enum llmq_status load_corpus(const llmq_compare_options *options, const char *text,
                                    const struct eval_pair *pair, struct corpus *out,
                                    llmq_error *err) {
    int64_t contexts[] = {setup_context(&pair->model->config),
                          setup_context(&pair->reference->config)};
    int64_t shorter = contexts[0] < contexts[1] ? contexts[0] : contexts[1];
    struct corpus_options cut = {.special = options->special,
                                 .window = options->ctx ? options->ctx : shorter,
                                 .window_given = options->ctx != 0,
                                 .window_option = "--ctx",
                                 .field = options->text_field,
                                 .field_option = "--text-field",
                                 .max_tokens = options->max_tokens};
    const struct reading limits = {.max_mem = options->max_mem};
    struct corpus_file file = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(corpus_file_open(text, &limits, &file, err));
    if (file.kind != CORPUS_WINDOWS)
        LLMQ_TRY(check_tokenizers(text, pair, err));
    LLMQ_TRY(setup_corpus(pair->ctx, pair->reference, &file, &cut, out, err));
    LLMQ_TRY(setup_check_windows(pair->model, text, out, err));
    LLMQ_TRY(measure_scoring(pair->ctx, options->convention, &cut, out, err));
cleanup:
    corpus_file_free(&file);
    return status;
}

/* Where the activations lie: in memory or, where that is too much, in files. */
static enum llmq_status settle_memory(struct eval_pair *pair, uint64_t max_mem, char **spill_dir,
                                      llmq_error *err) {
    struct eval_room rooms[2];
    struct measure_need need = {.rooms = rooms, .count = 2};
    enum llmq_status status = eval_divergence_room(pair, rooms, &need.tables, err);
    if (status == LLMQ_OK)
        status = measure_memory(&need, max_mem, pair->ctx, spill_dir, err);
    pair->spill_dir = *spill_dir;
    return status;
}

/* --- result ----------------------------------------------------------------------------------- */

static enum llmq_status copy_blocks(const struct divergence *d, llmq_compare_result *result,
                                    llmq_error *err) {
    const size_t count = (size_t)d->block_count;
    if (count == 0)
        return LLMQ_OK;
    result->blocks = malloc(count * sizeof *result->blocks);
    if (!result->blocks)
        return error_memory(err, "the figures of blocks");
    memcpy(result->blocks, d->blocks, count * sizeof *result->blocks);
    result->block_count = d->block_count;
    return LLMQ_OK;
}

void llmq_compare_result_free(llmq_compare_result *result) {
    free(result->blocks);
    result->blocks = NULL;
    result->block_count = 0;
}

static void fill_result(const struct divergence_summary *s, llmq_compare_result *result) {
    result->kl_mean = s->kl.nll;
    result->kl_stderr = s->kl.standard_error;
    result->kl_median = s->kl_median;
    result->kl_p99 = s->kl_p99;
    result->top1_agreement = s->top1_agreement;
    result->delta_nll = s->delta.nll;
    result->delta_nll_stderr = s->delta.standard_error;
    result->ppl = exp(s->model.nll);
    result->ppl_reference = exp(s->reference.nll);
    result->tokens = s->kl.tokens;
    memcpy(result->worst, s->worst, sizeof result->worst);
    result->worst_count = s->worst_count;
}

enum llmq_status llmq_compare(const llmq_compare_options *options, const llmq_context *ctx,
                              llmq_compare_result *result, llmq_error *err) {
    double start = tally_now();
    struct model model = {0}, reference = {0};
    struct corpus corpus = {0};
    struct divergence divergence = {0};
    struct divergence_summary summary;
    char *spill_dir = NULL;
    struct eval_pair pair = {
        .model = &model, .reference = &reference, .corpus = &corpus, .ctx = ctx};
    enum llmq_status status = LLMQ_OK;
    *result = (llmq_compare_result){.convention = options->convention,
                                    .activations = options->activations,
                                    .compute = options->compute};
    const char *text = options->text ? options->text : setup_bundled_text(BUNDLED_EVALUATION, err);
    if (!text)
        return LLMQ_E_NOT_FOUND;
    LLMQ_TRY(setup_compute(ctx, err));
    LLMQ_TRY(open_models(options, ctx, &model, &reference, err));
    LLMQ_TRY(measure_numbers(&model, options->activations, options->compute, &pair.numbers, err));
    LLMQ_TRY(load_corpus(options, text, &pair, &corpus, err));
    LLMQ_TRY(settle_memory(&pair, options->max_mem, &spill_dir, err));
    LLMQ_TRY(eval_divergence(&pair, &divergence, err));
    LLMQ_TRY(divergence_summarize(&corpus, &divergence, measure_convention(options->convention),
                                  &summary, err));
    fill_result(&summary, result);
    LLMQ_TRY(copy_blocks(&divergence, result, err));
    result->windows = corpus.count;
    result->ctx = corpus.max_len;
    result->seconds = tally_now() - start;
    result->peak_rss_bytes = memory_peak();
cleanup:
    measure_end(&spill_dir);
    divergence_free(&divergence);
    corpus_free(&corpus);
    model_close(&model);
    model_close(&reference);
    return status;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static struct json *worst_array(const llmq_compare_result *r) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < r->worst_count; i++) {
        struct json *o = json_new_object();
        json_add_int64(o, "window", r->worst[i].window);
        json_add_int64(o, "position", r->worst[i].position);
        json_add_int64(o, "token", r->worst[i].token);
        json_add_double(o, "kl", r->worst[i].kl);
        json_add(array, NULL, o);
    }
    return array;
}

static struct json *output_object(const llmq_block_output *output) {
    struct json *o = json_new_object();
    json_add_double(o, "min", output->least);
    json_add_double(o, "max", output->most);
    json_add_double(o, "mean", output->mean);
    json_add_double(o, "spread", output->spread);
    json_add_int64(o, "nan", output->nan);
    json_add_int64(o, "infinite", output->infinite);
    return o;
}

static struct json *blocks_array(const llmq_compare_result *r) {
    struct json *array = json_new_array();
    for (int64_t i = 0; i < r->block_count; i++) {
        struct json *o = json_new_object();
        json_add_double(o, "error", r->blocks[i].error);
        json_add(o, "model", output_object(&r->blocks[i].model));
        json_add(o, "reference", output_object(&r->blocks[i].reference));
        json_add(array, NULL, o);
    }
    return array;
}

char *llmq_compare_json(const llmq_compare_result *r) {
    struct json *o = json_new_object();
    json_add_int64(o, "schema", 1);
    json_add_double(o, "kl_mean", r->kl_mean);
    json_add_double(o, "kl_stderr", r->kl_stderr);
    json_add_double(o, "kl_median", r->kl_median);
    json_add_double(o, "kl_p99", r->kl_p99);
    json_add_double(o, "top1_agreement", r->top1_agreement);
    json_add_double(o, "delta_nll", r->delta_nll);
    json_add_double(o, "delta_nll_stderr", r->delta_nll_stderr);
    json_add_double(o, "ppl", r->ppl);
    json_add_double(o, "ppl_reference", r->ppl_reference);
    json_add_int64(o, "tokens", r->tokens);
    json_add_int64(o, "windows", r->windows);
    json_add_int64(o, "ctx", r->ctx);
    json_add_string(o, "convention", measure_convention_name(r->convention));
    json_add_string(o, "activations", setup_activations_name(r->activations));
    json_add_string(o, "compute", setup_compute_name(r->compute));
    json_add(o, "worst", worst_array(r));
    json_add(o, "blocks", blocks_array(r));
    json_add_double(o, "seconds", r->seconds);
    json_add_int64(o, "peak_rss_bytes", (int64_t)r->peak_rss_bytes);
    char *text = json_print(o, true);
    json_free(&o);
    return text;
}
