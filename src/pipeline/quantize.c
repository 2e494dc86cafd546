/* SPDX-License-Identifier: Apache-2.0 */
/* A quantization run from options to the finished folder: see llmq/quantize.h. Everything is
 * checked and planned before the first byte is written; what is written becomes visible under its
 * name only when it is complete and was read back. */
#include "llmq/quantize.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sized.h"
#include "formats/safetensors/safetensors_watch.h"
#include "linalg/linalg.h"
#include "llmq/matmul.h"
#include "llmq/model.h"
#include "llmq/printable.h"
#include "pipeline/calibration.h"
#include "pipeline/card_run.h"
#include "pipeline/identity.h"
#include "pipeline/marker.h"
#include "pipeline/notes.h"
#include "pipeline/report.h"
#include "pipeline/run.h"
#include "pipeline/run_curvature.h"
#include "pipeline/run_ranks.h"
#include "pipeline/run_tune.h"
#include "pipeline/serving.h"
#include "pipeline/store.h"
#include "pipeline/value_check.h"
#include "quant/quant.h"
#include "ranks/ranks.h"
#include "setup/setup.h"

void llmq_quantize_options_init_sized(llmq_quantize_options *options, size_t size,
                                      enum llmq_method method) {
    llmq_quantize_options usual = {
        .method = method,
        .bits = 4,
        .group = 128,
        .sym = method != LLMQ_METHOD_AWQ,
        .awq = method == LLMQ_METHOD_AWQ,
        .percentile = 99.9,
        .special = LLMQ_SPECIAL_MODEL,
        .expert_tokens = 256,
        .tune_rate = 1e-3,
        .shard_limit = PLAN_SHARD_LIMIT,
    };
    if (method == LLMQ_METHOD_GPTQ)
        llmq_quantize_options_quality(&usual, LLMQ_QUALITY_BALANCED);
    if (method == LLMQ_METHOD_AWQ)
        usual.search = LLMQ_RANGE_WEIGHTED;
    sized_write(&usual, sizeof usual, options, size);
}

/* So many cost next to nothing: src/quant/FIDELITY.md, "Gradients of few tokens". */
enum { BALANCED_CURVATURE_TOKENS = 1024 };

void llmq_quantize_options_quality(llmq_quantize_options *options, enum llmq_quality quality) {
    const bool fast = quality == LLMQ_QUALITY_FAST, most = quality == LLMQ_QUALITY_MAX;
    const bool curved = quality == LLMQ_QUALITY_BEST || most;
    options->act_order = fast ? LLMQ_ACT_ORDER_NONE : LLMQ_ACT_ORDER_STATIC;
    options->search = fast ? LLMQ_RANGE_MINMAX : LLMQ_RANGE_WEIGHTED;
    options->correct.mode = fast ? LLMQ_CORRECT_OFF : LLMQ_CORRECT_AUTO;
    options->descent = fast ? 0 : curved ? 3 : LLMQ_BY_TOKENS;
    options->rounds = fast ? 0 : curved ? 2 : LLMQ_BY_TOKENS;
    options->curvature = fast     ? LLMQ_CURVATURE_OFF
                         : curved ? LLMQ_CURVATURE_ON
                                  : LLMQ_CURVATURE_AUTO;
    options->curvature_tokens = fast || curved ? 0 : BALANCED_CURVATURE_TOKENS;
    options->restarts = most ? 8 : curved ? 2 : 0;
    options->token_weights = fast ? 0 : curved ? 0.5 : LLMQ_BY_GRADIENTS;
    options->tune = most ? LLMQ_TUNE_AUTO : LLMQ_TUNE_OFF;
}

/* --- before anything is written --------------------------------------------------------------- */

static bool is_power(double p) {
    return (p >= 0 && p <= 1) || !(p < LLMQ_BY_GRADIENTS || p > LLMQ_BY_GRADIENTS);
}

enum llmq_status run_check_options(const llmq_quantize_options *o, llmq_error *err) {
    if (o->bits != 2 && o->bits != 3 && o->bits != 4 && o->bits != 8)
        return error_set(err, LLMQ_E_USAGE, "--bits %d: 2, 3, 4 and 8 are possible", o->bits);
    if (o->group != -1 && o->group < 1)
        return error_set(err, LLMQ_E_USAGE, "--group %" PRId64 ": a positive number or -1",
                         o->group);
    if (o->group == -1 && o->group_auto_fit)
        return error_set(err, LLMQ_E_USAGE, "--group auto-fit needs a positive size");
    if (!(o->damp >= 0 && o->damp < 1))
        return error_set(err, LLMQ_E_USAGE, "--damp %g: it must lie between 0 and 1", o->damp);
    if (!(o->percentile > 50 && o->percentile <= 100))
        return error_set(err, LLMQ_E_USAGE,
                         "--search percentile:%g: expected more than 50, 100 at most",
                         o->percentile);
    if (o->awq && o->method == LLMQ_METHOD_RTN) {
        error_set(err, LLMQ_E_USAGE, "--awq goes with gptq");
        error_hint(err, "rounding to nearest after AWQ's scaling is llmq awq");
        return LLMQ_E_USAGE;
    }
    if (o->equalize && !plan_folds(o)) {
        error_set(err, LLMQ_E_USAGE, "--equalize goes with the scaling of activations");
        error_hint(err, "that is llmq awq, and llmq gptq --awq");
        return LLMQ_E_USAGE;
    }
    if (o->correct.mode == LLMQ_CORRECT_FIXED && !(o->correct.alpha >= 0 && o->correct.alpha <= 1 &&
                                                   o->correct.beta >= 0 && o->correct.beta <= 1))
        return error_set(err, LLMQ_E_USAGE, "--correct %g,%g: strengths lie between 0 and 1",
                         o->correct.alpha, o->correct.beta);
    if (o->descent < LLMQ_BY_TOKENS || o->rounds < LLMQ_BY_TOKENS ||
        (o->method == LLMQ_METHOD_GPTQ && o->rounds > 0 && o->descent == 0)) {
        error_set(
            err, LLMQ_E_USAGE,
            "--descent %d, --rounds %d: expected numbers from 0, and rounds only with descent",
            o->descent, o->rounds);
        error_hint(err, "give --descent 1, or --rounds 0");
        return LLMQ_E_USAGE;
    }
    if (o->restarts < 0 || !is_power(o->token_weights))
        return error_set(err, LLMQ_E_USAGE,
                         "--restarts %d, --token-weights %g: expected a number from 0, and a power "
                         "between 0 and 1",
                         o->restarts, o->token_weights);
    if (o->curvature_tokens < 0)
        return error_set(err, LLMQ_E_USAGE,
                         "--curvature-tokens %" PRId64 ": a positive number, or all",
                         o->curvature_tokens);
    if (o->method == LLMQ_METHOD_RTN && !o->calib &&
        (o->correct.mode != LLMQ_CORRECT_OFF || o->search == LLMQ_RANGE_WEIGHTED)) {
        error_set(err, LLMQ_E_USAGE, "rtn with %s needs calibration",
                  o->search == LLMQ_RANGE_WEIGHTED ? "--search weighted" : "--correct");
        error_hint(err, "give --calib FILE");
        return LLMQ_E_USAGE;
    }
    if (o->expert_tokens < 1)
        return error_set(err, LLMQ_E_USAGE, "--expert-tokens %" PRId64 ": a positive number",
                         o->expert_tokens);
    if (o->samples < 0 || o->seqlen < 0 || o->seqlen == 1)
        return error_set(err, LLMQ_E_USAGE,
                         "--samples and --seqlen must be positive, with at "
                         "least 2 tokens to a window");
    const enum llmq_status status = run_ranks_check_options(o, err);
    return status == LLMQ_OK ? run_tune_check_options(o, err) : status;
}

static enum llmq_status make_plan(struct run *run, llmq_error *err) {
    char *dir = NULL;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(run_check_options(run->options, err));
    LLMQ_TRY(llmq_model_resolve(run->options->model, &dir, err));
    LLMQ_TRY((run_writes() ? output_choose : output_follow)(run->options, dir, run->ctx,
                                                            &run->output, err));
    run->output.as = (struct model_reading){.family = run->options->family,
                                            .drafts = run->options->mtp == LLMQ_MTP_QUANTIZE};
    LLMQ_TRY(model_open_by(dir, &run->output.as, &run->model, err));
    run->output.as.drafts = run->model.config.drafts > 0;
    notes_of_model(&run->model, run->ctx);
    LLMQ_TRY(source_find(&run->model, run->ctx, &run->source, err));
    /* Once without calibration: wrong groups and formats are told before text is tokenized. */
    LLMQ_TRY(plan_create(&run->model, run->options, NULL, &run->plan, err));
    if (run->options->calib || run->options->method != LLMQ_METHOD_RTN ||
        plan_needs_calibration(&run->plan)) {
        plan_free(&run->plan);
        LLMQ_TRY(calibration_load(run, err));
        LLMQ_TRY(plan_create(&run->model, run->options, &run->tokens, &run->plan, err));
    }
    notes_of_options(run->options, &run->model, run->ctx);
    notes_of_tokens(&run->plan, &run->tokens, run->ctx);
    LLMQ_TRY(plan_check_tuning(&run->plan, run->options, run->ctx, err));
    LLMQ_TRY(plan_check_memory(&run->plan, run->options->max_mem, err));
    LLMQ_TRY(run_ranks_check(run, llmq_ranks_count(), err));
    LLMQ_TRY(run_report_plan(run, err));
cleanup:
    free(dir);
    return status;
}

static const char *command_name(const llmq_quantize_options *o) {
    return o->method == LLMQ_METHOD_GPTQ ? "gptq" : o->method == LLMQ_METHOD_AWQ ? "awq" : "rtn";
}

/* What is left to do: all of it, unless an earlier run is resumed. */
static enum llmq_status settle(struct run *run, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *made_from = identity_made_from(run), *texts = NULL;
    LLMQ_TRY(origin_find(run->options->model, run->model.dir, &run->origin, err));
    LLMQ_TRY(calibration_texts(run, &texts, err));
    json_add(made_from, "model", origin_json(&run->origin));
    json_add(made_from, "texts", texts);
    run->record = marker_record(command_name(run->options), identity_options(run), made_from);
    made_from = NULL;
    if (!json_complete(run->record))
        LLMQ_TRY(error_memory(err, "the record of the run"));
    const struct output_run of = {run->record, &run->model, &run->source};
    LLMQ_TRY(output_settle(&run->output, &of, &run->task, err));
    run->report->found_finished = run->task == OUTPUT_DONE;
cleanup:
    json_free(&made_from);
    return status;
}

/* --- the run ---------------------------------------------------------------------------------- */

/* What an interrupted run left; what is damaged there cannot be continued. */
static enum llmq_status resume_outputs(struct run *run, const struct json *identity,
                                       llmq_error *err) {
    const struct output *out = &run->output;
    enum llmq_status status =
        journal_resume(out->partial_dir, identity, &run->blocks, run->report, &run->journal, err);
    if (status == LLMQ_OK)
        status =
            output_open_writer(out, &run->plan, run->options->shard_limit, true, &run->writer, err);
    if ((status == LLMQ_E_INPUT || status == LLMQ_E_NOT_FOUND) && err && !err->hint[0])
        error_hint(err, "the interrupted run's files are damaged; start over with --force");
    return status;
}

static enum llmq_status open_outputs(struct run *run, llmq_error *err) {
    const struct plan *p = &run->plan;
    const char *dir = run->output.partial_dir;
    const bool resume = run->task == OUTPUT_CONTINUE;
    enum llmq_status status = LLMQ_OK;
    struct json *identity = identity_make(run);
    LLMQ_TRY(st_watch(run->model.tensors, err));
    LLMQ_TRY(output_prepare(&run->output, run->task, err));
    LLMQ_TRY(resume ? resume_outputs(run, identity, err)
                    : output_open_writer(&run->output, p, run->options->shard_limit, false,
                                         &run->writer, err));
    LLMQ_TRY(output_write_config(&run->output, run->model.dir, &run->source.companions, p, err));
    if (!resume)
        LLMQ_TRY(journal_create(dir, identity, &run->journal, err));
    run->report->blocks_resumed = run->blocks.done;
cleanup:
    json_free(&identity);
    return status;
}

/* What blocks are done, on all ranks. */
static enum llmq_status open_blocks(struct run *run, llmq_error *err) {
    const int64_t count = run->model.blocks->count;
    enum llmq_status status = LLMQ_OK;
    run->blocks = (struct journal_blocks){
        .source = &run->model,
        .count = count,
        .hashes = calloc((size_t)run->plan.module_count, sizeof *run->blocks.hashes),
        .folded = calloc((size_t)count, sizeof *run->blocks.folded)};
    if (!run->blocks.hashes || !run->blocks.folded)
        return error_memory(err, "the run");
    LLMQ_TRY(ranks_agree(run_writes() ? open_outputs(run, err) : LLMQ_OK, run->ctx, err));
    LLMQ_TRY(run_ranks_tell_blocks(run, err));
    if (run_writes() && run->task == OUTPUT_CONTINUE)
        LLMQ_TRY(run_tune_undo(run, err));
cleanup:
    return status;
}

/* What stays as it is. */
static enum llmq_status write_kept(struct run *run, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!run_writes())
        return LLMQ_OK;
    LLMQ_TRY(store_kept(&run->plan, run->model.tensors, run->writer, NULL, run->ctx, err));
    LLMQ_TRY(journal_add_kept(run->journal, run->model.tensors, run->plan.kept,
                              run->plan.kept_count, err));
    tally_read(&run->tally, TALLY_WRITE, 0);
cleanup:
    return status;
}

static enum llmq_status write_marker(struct run *run, llmq_error *err) {
    const char *dir = run->output.partial_dir;
    struct json *files = NULL;
    enum llmq_status status = marker_files(dir, &run->source.companions, run->ctx, &files, err);
    if (status != LLMQ_OK)
        return status;
    tally_read(&run->tally, TALLY_WRITE, 0);
    report_work(run->report, &run->tally);
    struct marker_end end = report_end(run->report, run->start, run->ctx);
    end.files = files;
    return marker_write(dir, run->record, &end, err);
}

static enum llmq_status finish_output(struct run *run, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    arena_free(&run->weights); /* checking takes memory of its own */
    if (!run_writes())
        return LLMQ_OK;
    LLMQ_TRY(st_writer_finish(&run->writer, err));
    LLMQ_TRY(output_write_beside(&run->output, &run->plan, err));
    LLMQ_TRY(output_write_config(&run->output, run->model.dir, &run->source.companions, &run->plan,
                                 err));
    LLMQ_TRY(output_verify(&run->output, &run->plan, &run->blocks, run->ctx, err));
    LLMQ_TRY(source_check(&run->source, &run->model, err));
    LLMQ_TRY(card_run_write(run, err));
    LLMQ_TRY(write_marker(run, err));
    LLMQ_TRY(output_commit(&run->output, err));
cleanup:
    return status;
}

/* What is stored as it is, and before hours of calibration all that will be quantized, has to be
 * finite. Rounding finds out about the weights in seconds by itself. */
static enum llmq_status check_values(struct run *run, llmq_error *err) {
    run->half = value_half_result(&run->plan, run->model.config_json);
    if (!run_writes())
        return LLMQ_OK;
    return value_check(&run->plan, run->model.tensors, run->calibrated, run->half, run->ctx, err);
}

static enum llmq_status execute(struct run *run, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(ranks_agree(check_values(run, err), run->ctx, err));
    LLMQ_TRY(run_choose_units(run, err));
    tally_read(&run->tally, TALLY_READ, 0);
    LLMQ_TRY(open_blocks(run, err));
    tally_read(&run->tally, TALLY_PREPARE, 0);
    LLMQ_TRY(write_kept(run, err));
    LLMQ_TRY(arena_create("a block's weights", &run->weights, err));
    struct calib_options calib = plan_calib_options(run->options, &run->plan);
    calib.spill_dir = run->plan.spill ? run->output.partial_dir : NULL;
    calib.tally = &run->tally;
    calib.peaks = run->half;
    LLMQ_TRY(run_curvature_open(run, err));
    calib.weighing.curvature = run->curvature;
    if (run->calibrated)
        LLMQ_TRY(calib_create(&run->model, &run->tokens, &calib, run->ctx, &run->calib, err));
    if (plan_folds(run->options))
        LLMQ_TRY(calib_keep_start(run->calib, calib.spill_dir, err));
    tally_read(&run->tally, TALLY_PREPARE, 0);
    LLMQ_TRY(run_blocks(run, err));
    LLMQ_TRY(run_head(run, err));
    calib_free(&run->calib);
    LLMQ_TRY(run_tune(run, err));
    LLMQ_TRY(run_curvature_remove(run, err));
    LLMQ_TRY(finish_output(run, err));
    tally_read(&run->tally, TALLY_WRITE, 0);
    report_work(run->report, &run->tally);
cleanup:
    return status;
}

static void run_free(struct run *run) {
    calib_free(&run->calib);
    calib_head_free(&run->head);
    st_close(&run->curvature);
    arena_free(&run->weights);
    st_writer_abort(&run->writer);
    journal_close(&run->journal);
    free(run->units);
    strbuf_free(&run->expert_modules);
    free(run->blocks.hashes);
    free(run->blocks.folded);
    json_free(&run->record);
    origin_free(&run->origin);
    plan_free(&run->plan);
    output_free(&run->output);
    corpus_free(&run->corpus);
    source_free(&run->source);
    model_close(&run->model);
}

/* Is nothing worth keeping of a run that failed? One that did not get as far as its journal cannot
 * be resumed, and rounding that failed on the model's numbers would fail again. */
static bool nothing_to_resume(const struct run *run, enum llmq_status status) {
    if (!run->journal)
        return run->task == OUTPUT_MAKE;
    return status == LLMQ_E_NUMERIC && !run->calibrated;
}

static void discard(struct run *run) {
    st_writer_abort(&run->writer);
    journal_close(&run->journal);
    enum llmq_status removed = output_discard(&run->output, NULL);
    (void)removed;
}

static enum llmq_status quantize(const llmq_quantize_options *options, const llmq_context *ctx,
                                 llmq_quantize_report *report, llmq_error *err) {
    struct run run = {.options = options, .ctx = ctx, .report = report, .start = tally_now()};
    enum llmq_status status = LLMQ_OK;
    tally_start(&run.tally);
    LLMQ_TRY(setup_compute(ctx, err));
    LLMQ_TRY(setup_check_compute(options->compute, err));
    LLMQ_TRY(ranks_agree(make_plan(&run, err), ctx, err));
    if (options->dry_run) {
        LLMQ_TRY(run_report_modules(&run, err));
        goto cleanup;
    }
    LLMQ_TRY(run_ranks_compare(&run, err));
    LLMQ_TRY(ranks_agree(run_writes() ? settle(&run, err) : LLMQ_OK, ctx, err));
    LLMQ_TRY(run_ranks_tell_task(&run, err));
    if (run.task == OUTPUT_DONE)
        goto cleanup;
    status = execute(&run, err);
    if (status != LLMQ_OK && run_writes() && nothing_to_resume(&run, status))
        discard(&run);
    if (status != LLMQ_OK)
        goto cleanup;
    run_ranks_note(&run);
    report->seconds = tally_now() - run.start;
cleanup:
    report->peak_rss_bytes = memory_peak();
    run_free(&run);
    return status;
}

enum llmq_status llmq_quantize(const llmq_quantize_options *given, const llmq_context *lent,
                               llmq_quantize_report *report, llmq_error *err) {
    llmq_quantize_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *report = (llmq_quantize_report){0};
    llmq_quantize_options_init(&options, LLMQ_METHOD_GPTQ);
    LLMQ_TRY(SIZED_READ(llmq_quantize_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    if (!run_writes()) /* of several ranks one speaks */
        ctx.sink = (llmq_sink){.user = NULL};
    status = quantize(&options, &ctx, report, err);
cleanup:
    return status;
}
