/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing models: see llmq_compare in llmq/evaluate.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/comparison.h"
#include "api/measure.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/int64.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/tally.h"
#include "llmq/evaluate.h"
#include "llmq/ranks.h"
#include "setup/setup.h"

void llmq_compare_options_init_sized(llmq_compare_options *options, size_t size) {
    const llmq_compare_options usual = {.special = LLMQ_SPECIAL_MODEL,
                                        .convention = LLMQ_CONVENTION_GPTQ};
    sized_write(&usual, sizeof usual, options, size);
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Steps of the whole run: the reference's blocks, keeping it, every model's blocks and head. */
static int64_t steps_before(const struct comparison *c, size_t model) {
    int64_t steps = (c->kept ? 0 : c->reference.config.blocks) + (c->save.path ? 1 : 0);
    for (size_t i = 0; i < model; i++)
        steps += c->models[i].m.config.blocks + 1;
    return steps;
}

static struct eval_pair pair_of(const struct comparison *c, size_t model) {
    const struct compared *m = model < c->count ? &c->models[model] : NULL;
    return (struct eval_pair){.model = m ? &m->m : &c->reference,
                              .reference = c->kept ? NULL : &c->reference,
                              .corpus = &c->corpus,
                              .ctx = c->ctx,
                              .numbers =
                                  m ? m->numbers : (struct eval_numbers){.mode = LOAD_PACKED},
                              .spill_dir = c->spill_dir,
                              .name = m && c->count > 1 ? path_base(m->m.dir) : NULL,
                              .done = steps_before(c, model),
                              .total = steps_before(c, c->count),
                              .divided = measure_divides()};
}

static void keep_largest(struct eval_room *most, const struct eval_room *room) {
    most->blocks = max_u64(most->blocks, room->blocks);
    most->stream = max_u64(most->stream, room->stream);
    most->batch = max_u64(most->batch, room->batch);
    most->hidden = max_u64(most->hidden, room->hidden);
    most->head = max_u64(most->head, room->head);
}

/* Where the activations lie: in memory or, where that is too much, in files. Models come one after
 * the other: the largest of them counts. */
static enum llmq_status settle_memory(struct comparison *c, llmq_error *err) {
    struct eval_room rooms[2] = {{0}, {0}}, found[2] = {{0}, {0}};
    struct measure_need need = {.rooms = rooms, .count = 2};
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < c->count || i == 0; i++) {
        const struct eval_pair pair = pair_of(c, i);
        uint64_t tables = 0;
        LLMQ_TRY(c->kept ? eval_divergence_kept_room(&pair, &found[1], &tables, err)
                         : eval_divergence_room(&pair, found, &tables, err));
        need.tables = max_u64(need.tables, tables);
        keep_largest(&rooms[0], &found[0]);
        keep_largest(&rooms[1], &found[1]);
    }
    if (c->save.path)
        need.tables += kept_bytes(&c->reference, &c->corpus);
    LLMQ_TRY(measure_memory(&need, c->options->max_mem, c->ctx, &c->spill_dir, err));
cleanup:
    return status;
}

/* --- result ----------------------------------------------------------------------------------- */

static uint64_t bytes_of(const struct model *m) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < st_count(m->tensors); i++)
        bytes += st_stored_bytes(st_at(m->tensors, i));
    return bytes;
}

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
    for (size_t i = 0; i < LLMQ_COMPARE_WORST; i++)
        comparison_free_context(&result->contexts[i]);
    free(result->model);
    free(result->reference);
    free(result->blocks);
    free(result->by_window);
    result->model = result->reference = NULL;
    result->by_window = NULL;
    result->blocks = NULL;
    result->block_count = 0;
}

static void fill_figures(const struct divergence_summary *s, bool kept,
                         llmq_compare_result *result) {
    result->kl_mean = s->kl.nll;
    result->kl_stderr = s->kl.standard_error;
    result->kl_sampling_error = s->kl_sampling_error;
    result->kl_median = s->kl_median;
    result->kl_p90 = s->kl_p90;
    result->kl_p99 = s->kl_p99;
    result->kl_p999 = s->kl_p999;
    result->kl_max = s->kl_max;
    result->kl_reverse_mean = kept ? (double)NAN : s->reverse.nll;
    result->kl_reverse_stderr = kept ? (double)NAN : s->reverse.standard_error;
    result->top1_agreement = s->top1_agreement;
    result->delta_nll = s->delta.nll;
    result->delta_nll_stderr = s->delta.standard_error;
    result->delta_nll_p_value = s->delta_p_value;
    result->delta_p = s->delta_p;
    result->ppl = exp(s->model.nll);
    result->ppl_reference = exp(s->reference.nll);
    result->tokens = s->kl.tokens;
    memcpy(result->histogram, s->histogram, sizeof result->histogram);
    memcpy(result->stretches, s->stretches, sizeof result->stretches);
    memcpy(result->worst, s->worst, sizeof result->worst);
    result->worst_count = s->worst_count;
}

static enum llmq_status fill_windows(const struct comparison *c, const struct divergence *d,
                                     llmq_compare_result *result, llmq_error *err) {
    result->by_window = calloc((size_t)c->corpus.count, sizeof *result->by_window);
    if (!result->by_window)
        return error_memory(err, "the figures of windows");
    divergence_by_window(&c->corpus, d, measure_convention(c->options->convention),
                         result->by_window);
    result->windows = c->corpus.count;
    return LLMQ_OK;
}

static enum llmq_status fill_names(const struct comparison *c, const struct model *m,
                                   llmq_compare_result *result, llmq_error *err) {
    result->model = strdup(m->dir);
    result->reference = strdup(c->kept ? c->file.model : c->reference.dir);
    result->bytes = bytes_of(m);
    result->reference_bytes = c->kept ? c->file.model_bytes : bytes_of(&c->reference);
    result->kept = c->kept;
    result->ctx = c->corpus.max_len;
    return result->model && result->reference ? LLMQ_OK : error_memory(err, "a model's name");
}

/* --- the run ---------------------------------------------------------------------------------- */

/* Not its folder: that is nobody else's business. */
static enum llmq_status keep_reference(struct comparison *c, llmq_error *err) {
    struct tokenizer *tok = NULL;
    struct reference_file file = {.corpus = c->corpus,
                                  .model = (char *)(uintptr_t)path_base(c->reference.dir),
                                  .model_bytes = bytes_of(&c->reference),
                                  .convention = c->options->convention};
    enum llmq_status status = LLMQ_OK;
    log_progress(c->ctx, steps_before(c, 0) - 1, steps_before(c, c->count),
                 "keeping the reference");
    if (setup_tokenizer(c->reference.dir, &tok, NULL) == LLMQ_OK)
        file.vocabulary = reference_vocabulary(tok);
    LLMQ_TRY(kept_make(&c->reference, &c->corpus, &c->ran.hidden, c->ctx, &file.kept, err));
    LLMQ_TRY(reference_file_write(&c->save, &file, err));
    log_message(c->ctx, LLMQ_LOG_INFO, "%s: %.0f bytes per token", c->save.path,
                (double)file.kept.begins[file.kept.tokens] / (double)file.kept.tokens + 16);
cleanup:
    kept_free(&file.kept);
    tokenizer_free(&tok);
    return status;
}

static enum llmq_status run_model(struct comparison *c, size_t model, llmq_compare_result *result,
                                  llmq_error *err) {
    const double start = tally_now();
    const struct eval_pair pair = pair_of(c, model);
    struct divergence d = {0};
    struct divergence_summary summary;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(c->kept ? eval_divergence_kept(&pair, &c->file.kept, &d, err)
                     : eval_divergence_from(&pair, &c->ran, &d, err));
    LLMQ_TRY(divergence_summarize(&c->corpus, &d, measure_convention(c->options->convention),
                                  &summary, err));
    fill_figures(&summary, c->kept, result);
    LLMQ_TRY(fill_windows(c, &d, result, err));
    LLMQ_TRY(copy_blocks(&d, result, err));
    LLMQ_TRY(fill_names(c, pair.model, result, err));
    LLMQ_TRY(comparison_contexts(c, pair.model, &d, result, err));
    result->seconds += tally_now() - start;
    result->peak_rss_bytes = memory_peak();
cleanup:
    divergence_free(&d);
    return status;
}

static enum llmq_status run_all(struct comparison *c, llmq_compare_result *results,
                                llmq_error *err) {
    const double start = tally_now();
    const int64_t steps = steps_before(c, c->count);
    const struct eval_pair first = pair_of(c, 0);
    enum llmq_status status = LLMQ_OK;
    if (!c->kept)
        LLMQ_TRY(eval_reference_run(&first, &c->ran, err));
    if (c->save.path && llmq_ranks_own() == 0)
        LLMQ_TRY(keep_reference(c, err));
    for (size_t i = 0; i < c->count; i++)
        results[i].seconds = tally_now() - start;
    for (size_t i = 0; i < c->count; i++)
        LLMQ_TRY(run_model(c, i, &results[i], err));
    for (size_t i = 1; i < c->count; i++)
        divergence_beside(results[0].by_window, results[i].by_window, c->corpus.count,
                          &results[i].kl_beside_first, &results[i].kl_beside_first_stderr);
    log_progress(c->ctx, steps, steps, "done");
cleanup:
    return status;
}

/* Do all ranks have the same before them? */
static enum llmq_status check_ranks(const struct comparison *c, llmq_error *err) {
    const struct model **models = calloc(c->count + 1, sizeof *models);
    size_t count = 0;
    if (!models)
        return error_memory(err, "the models to compare");
    if (!c->kept)
        models[count++] = &c->reference;
    for (size_t i = 0; i < c->count; i++)
        models[count++] = &c->models[i].m;
    const enum llmq_status status = measure_ranks(models, count, &c->corpus, c->ctx, err);
    free(models);
    return status;
}

static enum llmq_status compare(const llmq_compare_options *options, const char *const *models,
                                size_t count, const llmq_context *ctx, llmq_compare_result *results,
                                llmq_error *err) {
    struct comparison c = {
        .options = options, .ctx = ctx, .count = count, .save = OUTPUT_FILE_NONE};
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < count; i++)
        results[i] = (llmq_compare_result){.convention = options->convention,
                                           .activations = options->activations,
                                           .compute = options->compute};
    LLMQ_TRY(setup_compute(ctx, err));
    LLMQ_TRY(comparison_open(models, &c, err));
    LLMQ_TRY(check_ranks(&c, err));
    LLMQ_TRY(settle_memory(&c, err));
    LLMQ_TRY(run_all(&c, results, err));
    measure_ranks_note(ctx);
cleanup:
    comparison_close(&c);
    return status;
}

enum llmq_status llmq_compare_all(const llmq_compare_options *given, const char *const *models,
                                  size_t count, const llmq_context *lent,
                                  llmq_compare_result *results, llmq_error *err) {
    llmq_compare_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < count; i++)
        results[i] = (llmq_compare_result){0};
    llmq_compare_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_compare_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    measure_quiet(&ctx);
    status = compare(&options, models, count, &ctx, results, err);
cleanup:
    return status;
}

enum llmq_status llmq_compare(const llmq_compare_options *options, const llmq_context *ctx,
                              llmq_compare_result *result, llmq_error *err) {
    return llmq_compare_all(options, options ? &options->model : NULL, 1, ctx, result, err);
}
