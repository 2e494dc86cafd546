/* SPDX-License-Identifier: Apache-2.0 */
/* A study from options to the table: see llmq/sensitivity.h and study.h. */
#include "llmq/sensitivity.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/int64.h"
#include "base/log.h"
#include "base/sized.h"
#include "graph/backward.h"
#include "llmq/model.h"
#include "pipeline/calibration.h"
#include "pipeline/notes.h"
#include "sensitivity/study.h"
#include "setup/setup.h"

/* The way back through a block takes as much as so many ways forth, its inner values made again
 * included (graph/backward.h). */
#define PASSES_BACK 4

/* The program with its libraries, as in plans. */
#define OWN_BYTES (UINT64_C(16) << 20)

void llmq_sensitivity_options_init_sized(llmq_sensitivity_options *options, size_t size) {
    const llmq_sensitivity_options usual = {.estimate = LLMQ_ESTIMATE_CURVATURE};
    sized_write(&usual, sizeof usual, options, size);
}

static bool goes_downstream(const struct study *s) {
    return s->options->estimate == LLMQ_ESTIMATE_BLOCK || s->options->estimate == LLMQ_ESTIMATE_KL;
}

/* --- what is studied -------------------------------------------------------------------------- */

static enum llmq_status take_candidates(struct study *s, llmq_error *err) {
    static const llmq_precision usual[] = {{2, 0}, {3, 0}, {4, 0}, {8, 0}};
    const llmq_sensitivity_options *o = s->options;
    const llmq_precision *given = o->candidates ? o->candidates : usual;
    const size_t count = o->candidates ? o->candidate_count : sizeof usual / sizeof usual[0];
    if (count == 0 || count > LLMQ_CANDIDATES_MOST)
        return error_set(err, LLMQ_E_USAGE, "--candidates: expected 1 to %d, found %zu",
                         LLMQ_CANDIDATES_MOST, count);
    for (size_t i = 0; i < count; i++) {
        const llmq_precision *c = &given[i];
        if ((c->bits != 2 && c->bits != 3 && c->bits != 4 && c->bits != 8) || c->group < -1)
            return error_set(err, LLMQ_E_USAGE,
                             "candidate %d:%" PRId64
                             ": bits are 2, 3, 4 or 8, groups above 0 or -1",
                             c->bits, c->group);
        s->candidates[s->candidate_count++] = *c;
    }
    return LLMQ_OK;
}

/* The run's options as its plan takes them: bits that every format holds and groups that fit, since
 * only what is beside the parts counts of this plan's sizes; no error to make up for. */
static enum llmq_status take_options(struct study *s, llmq_error *err) {
    llmq_quantize_options *o = &s->quantize;
    enum llmq_status status = LLMQ_OK;
    llmq_quantize_options_init(&s->asked, LLMQ_METHOD_GPTQ);
    LLMQ_TRY(SIZED_READ(llmq_quantize_options, s->options->quantize, &s->asked, err));
    *o = s->asked;
    LLMQ_TRY(setup_check_compute(o->compute, err));
    o->tune = LLMQ_TUNE_OFF; /* it is the whole model's, and comes behind all modules */
    if (o->method == LLMQ_METHOD_AWQ || o->awq) {
        error_set(err, LLMQ_E_USAGE,
                  "awq scales what several modules read: the error of one alone "
                  "says nothing of it");
        error_hint(err, "give --method gptq or rtn");
        return LLMQ_E_USAGE;
    }
    if (o->mtp != LLMQ_MTP_KEEP) {
        error_set(err, LLMQ_E_USAGE,
                  "--mtp: the loss is the model's own, which layers that predict further tokens "
                  "have no part in");
        error_hint(err, "leave it out, and give it to llmq gptq or rtn with the recipe");
        return LLMQ_E_USAGE;
    }
    if (o->curvature == LLMQ_CURVATURE_ON || o->restarts > 0 || o->token_weights > 0) {
        error_set(err, LLMQ_E_USAGE,
                  "--curvature, --restarts and --token-weights: a candidate is rounded by the "
                  "errors of its own outputs");
        error_hint(err, "leave them out, and give --quality best to llmq gptq with the recipe");
        return LLMQ_E_USAGE;
    }
    if (!o->format && o->source_quantized != LLMQ_SOURCE_KEEP)
        o->format = layout_gptq.name;
    o->bits = 4;
    o->curvature = LLMQ_CURVATURE_OFF;
    o->curvature_tokens = 0;
    if (o->descent == LLMQ_BY_TOKENS) /* candidates are many */
        o->descent = 1;
    if (o->rounds == LLMQ_BY_TOKENS)
        o->rounds = 0;
    o->correct = (llmq_correct){.mode = LLMQ_CORRECT_OFF};
    LLMQ_TRY(run_check_options(o, err));
    if (o->group > 0)
        o->group_auto_fit = true;
cleanup:
    return status;
}

static enum llmq_status check_format(const struct study *s, llmq_error *err) {
    const struct layout *layout = s->run.plan.layout;
    if (layout->overrides)
        return LLMQ_OK;
    error_set(err, LLMQ_E_USAGE,
              "%s files have one setting for all modules: there is nothing to "
              "choose",
              layout->name);
    error_hint(err, "give --format %s", layout_gptq.name);
    return LLMQ_E_USAGE;
}

static enum llmq_status too_little(const struct study *s, uint64_t bytes, llmq_error *err) {
    error_set(err, LLMQ_E_MEMORY, "--max-mem %" PRIu64 " bytes: measuring takes %" PRIu64,
              s->asked.max_mem, bytes);
    error_hint(err, "give fewer --windows, or --estimate hessian");
    return LLMQ_E_MEMORY;
}

/* What is there for it when the user does not say. */
static uint64_t memory_limit(const struct study *s) {
    const uint64_t available = memory_available();
    if (s->quantize.max_mem > 0)
        return s->quantize.max_mem;
    return available > 0 ? available / 5 * 4 : UINT64_MAX;
}

/* The way back comes before the calibration; what is beside that has to be left by it. */
static enum llmq_status reserve_memory(struct study *s, uint64_t *before, uint64_t *beside,
                                       llmq_error *err) {
    const uint64_t limit = memory_limit(s);
    *before = *beside = 0;
    if (s->options->estimate == LLMQ_ESTIMATE_CURVATURE) {
        s->spills_back = OWN_BYTES + study_slopes_bytes(s, false) > limit;
        *before = OWN_BYTES + study_slopes_bytes(s, s->spills_back);
    }
    if (goes_downstream(s)) {
        const enum llmq_status status = downstream_bytes(s, beside, err);
        if (status != LLMQ_OK)
            return status;
    }
    if (s->quantize.max_mem > 0 && max_u64(*before, *beside) >= limit)
        return too_little(s, max_u64(*before, *beside), err);
    if (s->quantize.max_mem > 0)
        s->quantize.max_mem -= *beside;
    return LLMQ_OK;
}

/* Steps of the progress, and passes over the measured tokens. */
static void count_work(struct study *s) {
    llmq_sensitivity *out = s->out;
    const int64_t blocks = s->run.model.config.blocks;
    const bool whole = s->options->estimate == LLMQ_ESTIMATE_KL;
    out->passes = s->options->estimate == LLMQ_ESTIMATE_CURVATURE ? PASSES_BACK : 0;
    s->steps = goes_downstream(s) ? 0 : blocks;
    for (int64_t b = 0; goes_downstream(s) && b < blocks; b++) {
        int64_t last = -1;
        for (int64_t i = s->run.model.blocks->first[b]; i < s->run.model.blocks->first[b + 1];
             i++) {
            const llmq_part_settings *part = study_part(s, i);
            if (!part || s->part_of[i] <= last)
                continue;
            last = s->part_of[i];
            s->steps += (int64_t)part->setting_count;
            out->passes +=
                (double)part->setting_count * (whole ? (double)(blocks - b) : 1) / (double)blocks;
        }
        out->passes += 1 / (double)blocks;
    }
}

static enum llmq_status describe(struct study *s, llmq_error *err) {
    llmq_sensitivity *out = s->out;
    out->model = strdup(s->run.model.dir);
    out->format = strdup(s->run.plan.layout->name);
    out->rules = s->quantize.recipe ? llmq_recipe_json(s->quantize.recipe) : NULL;
    out->method = s->quantize.method;
    out->estimate = s->options->estimate;
    out->sym = s->quantize.sym;
    out->calib_windows = study_calibrates(s) ? s->rest.count - s->run.tokens.held : 0;
    return out->model && out->format && (out->rules || !s->quantize.recipe)
               ? LLMQ_OK
               : error_memory(err, "the table of modules");
}

static enum llmq_status make_plan(struct study *s, llmq_error *err) {
    struct run *run = &s->run;
    char *dir = NULL;
    uint64_t before = 0, beside = 0;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(take_candidates(s, err));
    LLMQ_TRY(take_options(s, err));
    LLMQ_TRY(llmq_model_resolve(s->quantize.model, &dir, err));
    LLMQ_TRY(model_open_as(dir, s->quantize.family, &run->model, err));
    notes_of_model(&run->model, run->ctx);
    LLMQ_TRY(plan_create(&run->model, &s->quantize, NULL, &run->plan, err));
    LLMQ_TRY(check_format(s, err));
    LLMQ_TRY(calibration_load(run, err));
    LLMQ_TRY(study_part_windows(s, err));
    LLMQ_TRY(study_list(s, err));
    LLMQ_TRY(reserve_memory(s, &before, &beside, err));
    plan_free(&run->plan);
    LLMQ_TRY(plan_create(&run->model, &s->quantize, &run->tokens, &run->plan, err));
    LLMQ_TRY(plan_check_memory(&run->plan, s->quantize.max_mem, err));
    notes_of_tokens(&run->plan, &run->tokens, run->ctx);
    LLMQ_TRY(describe(s, err));
    s->spills_forth = run->plan.spill;
    s->out->plan_ram_bytes = max_u64(before, run->plan.ram_bytes + beside);
    s->out->spill_bytes = max_u64(
        run->plan.spill_bytes,
        backward_bytes(&run->model, s->measured.offsets, s->measured.count, s->spills_back).file);
    count_work(s);
cleanup:
    free(dir);
    return status;
}

/* --- the study -------------------------------------------------------------------------------- */

static enum llmq_status round_block(struct study *s, int64_t index, llmq_error *err) {
    struct run *run = &s->run;
    struct block block = {0};
    struct calib_task task = {0};
    enum llmq_status status = LLMQ_OK;
    block_open(&run->model, index, LOAD_PLAIN, run->weights, &block);
    calib_begin_block(run->calib, &block, NULL);
    memset(run->expert_damping, 0, sizeof run->expert_damping);
    for (;;) {
        LLMQ_TRY(calib_next(run->calib, &task, err));
        if (!task.linears)
            break;
        LLMQ_TRY(study_round(s, index, &task, err));
    }
    if (index + 1 < run->model.config.blocks)
        LLMQ_TRY(calib_end_block(run->calib, err));
cleanup:
    block_release(&block);
    arena_reset(run->weights);
    return status;
}

static enum llmq_status walk_blocks(struct study *s, struct downstream *d, llmq_error *err) {
    const int64_t blocks = s->run.model.config.blocks;
    enum llmq_status status = LLMQ_OK;
    for (int64_t b = 0; b < blocks; b++) {
        if (!d)
            log_progress(s->run.ctx, s->done++, s->steps, "block %" PRId64 "/%" PRId64, b + 1,
                         blocks);
        LLMQ_TRY(round_block(s, b, err));
        if (d)
            LLMQ_TRY(downstream_block(d, b, err));
        study_forget_codes(s, b);
    }
cleanup:
    return status;
}

/* The widest block's. */
static enum llmq_status make_codes(struct study *s, llmq_error *err) {
    const int64_t *first = s->run.model.blocks->first;
    int64_t most = 1;
    for (int64_t b = 0; b < s->run.model.config.blocks; b++)
        most = max_i64(most, first[b + 1] - first[b]);
    s->codes = calloc((size_t)most * LLMQ_CANDIDATES_MOST, sizeof *s->codes);
    return s->codes ? LLMQ_OK : error_memory(err, "codes of a block");
}

static enum llmq_status walk_forth(struct study *s, llmq_error *err) {
    struct run *run = &s->run;
    struct calib_options calib = plan_calib_options(&s->quantize, &run->plan);
    struct downstream *d = NULL;
    enum llmq_status status = LLMQ_OK;
    calib.spill_dir = s->spills_forth ? s->spill_dir : NULL;
    calib.tally = &run->tally;
    LLMQ_TRY(arena_create("a block's weights", &run->weights, err));
    LLMQ_TRY(calib_create(&run->model, &run->tokens, &calib, run->ctx, &run->calib, err));
    if (goes_downstream(s)) {
        LLMQ_TRY(make_codes(s, err));
        LLMQ_TRY(downstream_create(s, &d, err));
    }
    status = walk_blocks(s, d, err);
cleanup:
    downstream_free(&d);
    return status;
}

static int by_least(const void *left, const void *right) {
    const llmq_part_settings *a = left, *b = right;
    const double x = a->settings[0].cost, y = b->settings[0].cost;
    return x != y ? (x > y ? -1 : 1) : strcmp(a->modules[0], b->modules[0]);
}

/* Costs that come from sums over modules. */
static void set_costs(struct study *s) {
    const int64_t linears = blocks_linear_count(s->run.model.blocks);
    const enum llmq_estimate estimate = s->options->estimate;
    for (size_t p = 0; p < s->out->part_count && !goes_downstream(s); p++)
        for (size_t c = 0; c < s->out->parts[p].setting_count; c++) {
            const double error = s->errors[p * LLMQ_CANDIDATES_MOST + c];
            s->out->parts[p].settings[c].cost =
                estimate == LLMQ_ESTIMATE_HESSIAN && s->norms[p] > 0 ? error / s->norms[p] : 0;
        }
    for (int64_t i = 0; i < linears && s->slopes; i++) {
        llmq_part_settings *part = study_part(s, i);
        for (size_t c = 0; part && c < part->setting_count; c++)
            part->settings[c].cost += s->slopes[i * LLMQ_CANDIDATES_MOST + (int64_t)c];
    }
    qsort(s->out->parts, s->out->part_count, sizeof *s->out->parts, by_least);
}

static enum llmq_status carry_out(struct study *s, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (s->spills_back || s->spills_forth) {
        s->spill_dir = dir_temporary("activations", err);
        if (!s->spill_dir)
            return err ? err->code : LLMQ_E_IO;
    }
    if (s->options->estimate == LLMQ_ESTIMATE_CURVATURE)
        LLMQ_TRY(study_slopes(s, err));
    if (study_calibrates(s))
        LLMQ_TRY(walk_forth(s, err));
    set_costs(s);
    log_progress(s->run.ctx, s->steps, s->steps, "done");
cleanup:
    return status;
}

static void destroy(struct study *s) {
    calib_free(&s->run.calib);
    arena_free(&s->run.weights);
    for (int64_t b = 0; s->codes && b < s->run.model.config.blocks; b++)
        study_forget_codes(s, b);
    if (s->spill_dir)
        (void)rmdir(s->spill_dir); /* its files have no names any more */
    free(s->spill_dir);
    free(s->codes);
    free(s->slopes);
    free(s->errors);
    free(s->norms);
    free(s->part_of);
    corpus_free(&s->measured);
    corpus_free(&s->rest);
    corpus_free(&s->run.corpus);
    plan_free(&s->run.plan);
    model_close(&s->run.model);
}

static enum llmq_status measure(const llmq_sensitivity_options *options, const llmq_context *ctx,
                                llmq_sensitivity *out, llmq_error *err) {
    struct study s = {.options = options, .out = out};
    const double start = tally_now();
    enum llmq_status status = LLMQ_OK;
    s.run.options = &s.quantize;
    s.run.ctx = ctx;
    tally_start(&s.run.tally);
    LLMQ_TRY(setup_compute(ctx, err));
    LLMQ_TRY(make_plan(&s, err));
    if (s.quantize.dry_run)
        goto cleanup;
    LLMQ_TRY(carry_out(&s, err));
    out->seconds = tally_now() - start;
cleanup:
    out->peak_rss_bytes = memory_peak();
    destroy(&s);
    return status;
}

enum llmq_status llmq_sensitivity_measure(const llmq_sensitivity_options *given,
                                          const llmq_context *lent, llmq_sensitivity *out,
                                          llmq_error *err) {
    llmq_sensitivity_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *out = (llmq_sensitivity){0};
    llmq_sensitivity_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_sensitivity_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = measure(&options, &ctx, out, err);
cleanup:
    return status;
}
