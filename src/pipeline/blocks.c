/* SPDX-License-Identifier: Apache-2.0 */
/* The heart of a run: block by block, task by task.
 *
 * With calibration, each task's Hessian comes from the tokens as the blocks and tasks quantized
 * so far leave them; the task's linears are quantized against it, stored, and replaced by what
 * the file now says, so that all that follows is calibrated on the quantized model. Blocks that an
 * interrupted run finished are read back and replayed. Without calibration (RTN) each linear is
 * rounded by itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "pipeline/module_report.h"
#include "pipeline/plan_ranks.h"
#include "pipeline/run.h"
#include "pipeline/run_experts.h"
#include "pipeline/run_ranks.h"
#include "pipeline/solve_module.h"
#include "pipeline/store.h"
#include "pipeline/value_check.h"
#include "quant/quant.h"
#include "setup/setup.h"

/* A run that is killed loses the block in progress and no more than so much before it. */
#define RECORD_SECONDS 5.0

/* --- one module ------------------------------------------------------------------------------- */

/* What the scales that the file holds are rounded to before anything is computed from them. */
static enum scale_storage scale_storage(const struct run *run) {
    const enum dtype stored = run->plan.layout->scales;
    if (stored == DTYPE_F8_E8M0 || stored == DTYPE_F8_E4M3)
        return stored == DTYPE_F8_E8M0 ? SCALE_E8M0 : SCALE_E4M3;
    if (run->options->scales == LLMQ_SCALES_F16)
        return SCALE_F16;
    return stored == DTYPE_F32 ? SCALE_BF16 : SCALE_DUAL;
}

struct quant_grid run_grid(const struct run *run, const struct plan_module *module) {
    const struct quant_shape *shape = &module->shape;
    struct quant_grid grid = {.bits = shape->bits,
                              .group = shape->group,
                              .number = run->plan.layout->number,
                              .rows = run->plan.layout->rows,
                              .unit = run->units ? run->units[module - run->plan.modules] : 1,
                              .sym = shape->sym,
                              .zmax = (1 << shape->bits) - 1,
                              .search = (enum range_search)module->manner.search,
                              .percentile = (float)module->manner.percentile,
                              .storage = scale_storage(run)};
    if (!shape->sym)
        run->plan.layout->zero_range(shape->bits, &grid.zmin, &grid.zmax);
    return grid;
}

/* --- what float16 does not hold --------------------------------------------------------------- */

static void warn_of_weights(const struct run *run, const struct plan_module *module,
                            const struct qlinear *q) {
    const float peak = run->half ? qlinear_peak(q, HALF_MOST) : HALF_MOST;
    if (peak > HALF_MOST)
        log_message(run->ctx, LLMQ_LOG_WARNING,
                    "%s: weights up to %g, beyond float16 (at most 65504), which the result's "
                    "config.json names: infinite where the model runs in that",
                    module->name, (double)peak);
}

static void warn_of_activations(struct run *run) {
    const struct calib_peak peak = calib_peak(run->calib);
    if (run->half_told || !(peak.value > HALF_MOST))
        return;
    run->half_told = true;
    log_message(run->ctx, LLMQ_LOG_WARNING,
                "block %" PRId64
                ", %s%s: activations up to %g, beyond float16 (at most 65504), which "
                "the result's config.json names: infinite where the model runs in that",
                peak.block, peak.module ? "input of " : "",
                peak.module ? peak.module : "residual stream", (double)peak.value);
}

enum llmq_status run_store_module(struct run *run, const struct plan_module *module,
                                  struct linear *l, const struct solved_module *s,
                                  const struct module_tokens *seen, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    warn_of_weights(run, module, &s->q);
    if (run_writes())
        LLMQ_TRY(store_module(run->plan.layout, module, &s->q, run->writer, err));
    LLMQ_TRY(module_report_add(run, module, &s->outcome, s->strength, seen, err));
    run->blocks.hashes[module - run->plan.modules] = output_hash(&s->q);
    if (run->calib && l)
        qlinear_dequantize(&s->q, 0, s->q.n, l->w);
    tally_read(&run->tally, TALLY_WRITE, 0);
cleanup:
    return status;
}

/* Of an expert that is this rank's alone: rank 0 stores and reports it when its turn has ended. */
static enum llmq_status keep_solved(struct run *run, struct linear *l,
                                    const struct solved_module *s, const struct module_tokens *seen,
                                    llmq_error *err) {
    qlinear_dequantize(&s->q, 0, s->q.n, l->w);
    return run_experts_keep(run, s, seen, err);
}

/* Quantize a linear, store and report it; `task` is NULL without calibration. */
static enum llmq_status quantize_linear(struct run *run, const struct plan_module *module,
                                        struct linear *l, const struct task_moments *task,
                                        llmq_error *err) {
    struct solved_module solved = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(solve_module(run, module, l, task, &solved, err));
    LLMQ_TRY(task && task->kept
                 ? keep_solved(run, l, &solved, &task->seen, err)
                 : run_store_module(run, module, l, &solved, task ? &task->seen : NULL, err));
cleanup:
    qlinear_free(&solved.q);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "%s", module->name);
}

/* A module that stays as the source has it, plain or packed: what the blocks after it see is what
 * it stands for. */
enum llmq_status run_keep_module(struct run *run, const struct plan_module *module,
                                 llmq_error *err) {
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    if (module->fate == MODULE_PLAIN) /* copied with all that is kept */
        return module_report_kept(run, module, err);
    LLMQ_TRY(
        model_load_qlinear(&run->model, module->name, module->shape.n, module->shape.k, &q, err));
    run->blocks.hashes[module - run->plan.modules] = output_hash(&q);
    warn_of_weights(run, module, &q);
    if (run_writes())
        LLMQ_TRY(store_packed(run->plan.layout, module, run->model.tensors, run->writer, err));
    LLMQ_TRY(module_report_kept(run, module, err));
    tally_read(&run->tally, TALLY_WRITE, 0);
cleanup:
    qlinear_free(&q);
    return status;
}

/* --- one block -------------------------------------------------------------------------------- */

/* Do ranks share the rows of the task's linears? */
static bool shares_rows(const struct run *run, int64_t block, const struct calib_task *task) {
    return task->expert < 0 &&
           plan_divides_rows(&run->model, run->options, &run->plan, block, task->linears);
}

/* The linears of a task, each against the moments they share. */
static enum llmq_status quantize_task(struct run *run, int64_t block, const struct calib_task *task,
                                      llmq_error *err) {
    struct task_moments moments = {.moments = task->moments,
                                   .seen = {task->tokens, task->borrowed},
                                   .alone = !shares_rows(run, block, task),
                                   .kept = task->divided,
                                   .stream = task->graph->width[task->linears->stream]};
    float *WD = task->moments.WD;
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < task->graph->count; i++) {
        if (!(task->linears->nodes >> i & 1))
            continue;
        const struct plan_module *module =
            plan_module_of(&run->model, &run->plan, (struct linear_place){block, i, task->expert});
        moments.WD = WD;
        WD += WD ? module->shape.n * module->shape.k : 0;
        LLMQ_TRY(interrupt_check(run->ctx, err));
        if (module->fate != MODULE_QUANTIZED) {
            if (!task->divided)
                LLMQ_TRY(run_keep_module(run, module, err));
            continue;
        }
        if (module->manner.method == LLMQ_METHOD_GPTQ || solve_corrects(run, module))
            LLMQ_TRY(task_factor_make(run, block, task, i, &moments.factor, err));
        LLMQ_TRY(solve_stream(run, module, &moments, err));
        LLMQ_TRY(quantize_linear(run, module, &task->params[i].linear, &moments, err));
    }
cleanup:
    gptq_factor_free(&moments.factor.factor);
    return status;
}

/* Progress in blocks, and in the tasks of the one at hand. */
static void log_task(const struct run *run, int64_t block, int task, const char *note) {
    const int64_t blocks = run->model.blocks->count;
    const int64_t steps = model_graph(&run->model, block)->task_count;
    log_progress(run->ctx, block * steps + task, blocks * steps, "block %" PRId64 "/%" PRId64 "%s",
                 block + 1, blocks, note);
}

/* ", expert 17/256" when another one has its turn. */
static void log_expert(const struct run *run, int64_t block, int task, int64_t expert) {
    char note[64];
    snprintf(note, sizeof note, ", expert %" PRId64 "/%" PRId64, expert + 1,
             model_graph(&run->model, block)->facts.dims[DIM_EXPERTS]);
    log_task(run, block, task, note);
}

static enum llmq_status quantize_tasks(struct run *run, struct block *block, llmq_error *err) {
    int done = 0; /* tasks of the block; all experts are one */
    int64_t expert = -1;
    for (;;) {
        struct calib_task task;
        if (expert < 0 && done < block->graph->task_count)
            log_task(run, block->index, done, "");
        enum llmq_status status = calib_next(run->calib, &task, err);
        if (status == LLMQ_OK && task.paused)
            status = run_experts_end_turn(run, block->index, &task, err);
        if (status == LLMQ_OK && task.paused)
            continue;
        if (status == LLMQ_OK && !task.linears)
            return LLMQ_OK;
        warn_of_activations(run);
        if (status == LLMQ_OK && task.expert > expert)
            log_expert(run, block->index, done, task.expert);
        if (status == LLMQ_OK)
            status = task.look ? block_fold_expert(run, block->index, &task, err)
                               : quantize_task(run, block->index, &task, err);
        if (status != LLMQ_OK)
            return status;
        done += task.expert < 0 || expert < 0 ? 1 : 0;
        expert = task.expert;
    }
}

/* Layers that predict further tokens read something else than what the block before them makes, and
 * of that the head is calibrated. */
static enum llmq_status turn_to_draft(struct run *run, int64_t index, llmq_error *err) {
    const int64_t draft = index - run->model.config.blocks;
    enum llmq_status status = LLMQ_OK;
    if (draft < 0)
        return LLMQ_OK;
    if (draft == 0)
        status = run_head_look(run, err);
    if (status == LLMQ_OK)
        status = calib_begin_draft(run->calib, draft, err);
    tally_read(&run->tally, TALLY_LINEAR,
               plan_draft_flops(&run->model, &run->plan, &run->tokens) /
                   (double)run->model.config.drafts);
    return status;
}

/* Hand the calibration block `index` of a model and, where there is a second stream, the
 * original's. Their weights are loaded as they are needed. */
static void begin_block(struct run *run, const struct model *m, int64_t index, struct block *block,
                        struct block *original) {
    block_open(m, index, LOAD_PLAIN, run->weights, block);
    if (run->plan.paired)
        block_open(&run->model, index, LOAD_PLAIN, run->weights, original);
    calib_begin_block(run->calib, block, run->plan.paired ? original : NULL);
}

/* Without calibration: one linear after the other, each in the memory of the one before. */
static enum llmq_status round_block(struct run *run, int64_t index, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct blocks *blocks = run->model.blocks;
    log_task(run, index, 0, "");
    for (int64_t i = blocks->first[index]; i < blocks->first[index + 1]; i++) {
        const struct plan_module *module = &run->plan.modules[i];
        struct linear l = {.n = module->shape.n, .k = module->shape.k};
        if (module->fate != MODULE_QUANTIZED) {
            LLMQ_TRY(interrupt_check(run->ctx, err));
            LLMQ_TRY(run_keep_module(run, module, err));
            continue;
        }
        l.w = arena_alloc(run->weights, (size_t)l.n * (size_t)l.k, sizeof *l.w, err);
        if (!l.w)
            return LLMQ_E_MEMORY;
        LLMQ_TRY(interrupt_check(run->ctx, err));
        LLMQ_TRY(model_load_weight(&run->model, module->at, l.w, err));
        tally_read(&run->tally, TALLY_READ, 0);
        status = quantize_linear(run, module, &l, NULL, err);
        if (status == LLMQ_E_NUMERIC)
            (void)value_check_tensor(run->model.tensors, module, run->ctx, err);
        if (status != LLMQ_OK)
            goto cleanup;
        arena_reset(run->weights);
    }
cleanup:
    return status;
}

static enum llmq_status quantize_block(struct run *run, int64_t index, llmq_error *err) {
    struct block block = {0}, original = {0};
    const int64_t blocks = run->model.blocks->count;
    enum llmq_status status = turn_to_draft(run, index, err);
    if (status != LLMQ_OK)
        return status;
    begin_block(run, &run->model, index, &block, &original);
    memset(run->expert_damping, 0, sizeof run->expert_damping);
    run_experts_begin(run, index);
    if (plan_folds(run->options)) {
        LLMQ_TRY(block_need(&block, UINT64_MAX, err));
        tally_read(&run->tally, TALLY_READ, 0);
        LLMQ_TRY(block_fold_make(run, &block, &run->fold, err));
        if (run_writes())
            LLMQ_TRY(block_fold_store(run, &block, &run->blocks.folded[index], err));
        tally_read(&run->tally, TALLY_FOLD, 0);
    }
    LLMQ_TRY(quantize_tasks(run, &block, err));
    model_read_ahead(&run->model, index + 1);
    /* of the last block's output nothing is calibrated but the output head */
    if (index + 1 < blocks || (run_head_reads(run) && run->model.config.drafts == 0))
        LLMQ_TRY(calib_end_block(run->calib, err));
cleanup:
    block_release(&block);
    block_release(&original);
    arena_reset(run->weights);
    return status;
}

/* --- blocks an interrupted run finished ------------------------------------------------------- */

/* The stored block, checked, takes the source's place in the calibration stream. */
static enum llmq_status replay_block(struct run *run, const struct model *stored, int64_t index,
                                     llmq_error *err) {
    struct block block = {0}, original = {0};
    const struct blocks *blocks = run->model.blocks;
    enum llmq_status status = LLMQ_OK;
    log_task(run, index, 0, " (replayed)");
    for (int64_t i = blocks->first[index]; i < blocks->first[index + 1]; i++)
        if (run_writes() && run->plan.modules[i].fate != MODULE_PLAIN)
            LLMQ_TRY(
                output_verify_module(stored, &run->plan.modules[i], run->blocks.hashes[i], err));
    if (run_writes() && plan_folds(run->options))
        LLMQ_TRY(block_fold_verify(stored, index, run->blocks.folded[index], err));
    if (run->calib) {
        LLMQ_TRY(turn_to_draft(run, index, err));
        begin_block(run, stored, index, &block, &original);
        LLMQ_TRY(calib_end_block(run->calib, err));
        model_read_ahead(&run->model, index + 1);
    }
cleanup:
    block_release(&block);
    block_release(&original);
    arena_reset(run->weights);
    return status;
}

static enum llmq_status replay_blocks(struct run *run, llmq_error *err) {
    struct model stored = {0};
    enum llmq_status status = LLMQ_OK;
    if (run->blocks.done == 0)
        return LLMQ_OK;
    LLMQ_TRY(model_open_by(run->output.partial_dir, &run->output.as, &stored, err));
    for (int64_t i = 0; i < run->blocks.done; i++) {
        LLMQ_TRY(interrupt_check(run->ctx, err));
        LLMQ_TRY(replay_block(run, &stored, i, err));
    }
cleanup:
    model_close(&stored);
    if (status == LLMQ_E_CHECK)
        error_hint(err, "the interrupted run's files are damaged; start over with --force");
    return status;
}

/* --- all blocks ------------------------------------------------------------------------------- */

/* Finished blocks that the journal does not have yet. */
struct pending {
    int64_t begin, end;
    size_t module; /* the report's first of them */
    double since;  /* seconds of the clock when the journal had everything */
};

/* Sync what was written and put the pending blocks in the journal. */
static enum llmq_status record_blocks(struct run *run, struct pending *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!run_writes()) {
        p->begin = p->end;
        return LLMQ_OK;
    }
    if (p->begin < p->end)
        status = st_writer_sync(run->writer, err);
    for (; status == LLMQ_OK && p->begin < p->end; p->begin++) {
        status = journal_add(run->journal, p->begin, run->report->modules + p->module, &run->blocks,
                             err);
        p->module += (size_t)graph_module_count(model_graph(&run->model, p->begin));
    }
    tally_read(&run->tally, TALLY_WRITE, 0);
    p->since = tally_now();
    return status;
}

static enum llmq_status run_block(struct run *run, int64_t index, llmq_error *err) {
    enum llmq_status status = interrupt_check(run->ctx, err);
    if (status != LLMQ_OK)
        return status;
    return run->calib ? quantize_block(run, index, err) : round_block(run, index, err);
}

/* Blocks that take no time are recorded together, so that the disk does not stop the processor
 * after each of them. What was finished before an interrupt or an error is recorded. */
enum llmq_status run_blocks(struct run *run, llmq_error *err) {
    const int64_t blocks = run->model.blocks->count;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(replay_blocks(run, err));
    struct pending p = {run->blocks.done, run->blocks.done, run->report->module_count, tally_now()};
    while (p.end < blocks) {
        status = run_block(run, p.end, err);
        if (status != LLMQ_OK) {
            llmq_error second = {0}; /* the first one is told */
            (void)record_blocks(run, &p, &second);
            return status;
        }
        log_task(run, p.end, model_graph(&run->model, p.end)->task_count, "");
        p.end++;
        if (tally_now() - p.since >= RECORD_SECONDS)
            LLMQ_TRY(record_blocks(run, &p, err));
    }
    status = record_blocks(run, &p, err);
cleanup:
    return status;
}
