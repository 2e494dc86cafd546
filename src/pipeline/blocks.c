/* The heart of a run: block by block, stage by stage.
 *
 * With calibration, each stage's Hessian comes from the tokens as the blocks and stages quantized
 * so far leave them; the stage's linears are quantized against it, stored, and replaced by what
 * the file now says, so that all that follows is calibrated on the quantized model. Blocks that an
 * interrupted run finished are read back and replayed. Without calibration (RTN) each linear is
 * rounded by itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "pipeline/report.h"
#include "pipeline/run.h"
#include "quant/quant.h"

/* --- one module ------------------------------------------------------------------------------- */

struct quant_grid run_grid(const struct run *run, const struct quant_shape *shape) {
    struct quant_grid grid = {
        .bits = shape->bits,
        .group = shape->group,
        .sym = shape->sym,
        .zmax = (1 << shape->bits) - 1,
        .storage = run->options->scales == LLMQ_SCALES_F16 ? SCALE_F16 : SCALE_DUAL,
        /* what AWQ calls clipping */
        .search = run->options->method == LLMQ_METHOD_AWQ ? RANGE_WEIGHTED : RANGE_MINMAX};
    if (!shape->sym)
        run->plan.layout->zero_range(shape->bits, &grid.zmin, &grid.zmax);
    return grid;
}

/* Encode into the layout's tensors and put them into the file. */
static enum llmq_status store_module(struct run *run, const struct plan_module *module,
                                     const struct qlinear *q, llmq_error *err) {
    struct layout_tensor tensors[LAYOUT_MAX_TENSORS];
    void *data[LAYOUT_MAX_TENSORS] = {0};
    uint64_t sizes[LAYOUT_MAX_TENSORS] = {0};
    enum llmq_status status = LLMQ_OK;
    int count = run->plan.layout->tensors(&module->shape, tensors);
    for (int i = 0; i < count; i++) {
        uint64_t elements = tensors[i].shape[0] * (tensors[i].rank > 1 ? tensors[i].shape[1] : 1);
        bool whole = dtype_bytes(tensors[i].dtype, elements, &sizes[i]);
        data[i] = whole ? malloc(sizes[i]) : NULL;
        if (!data[i]) {
            status = error_memory(err, module->name);
            goto cleanup;
        }
    }
    LLMQ_TRY(run->plan.layout->encode(q, data, err));
    for (int i = 0; i < count; i++) {
        char name[MODEL_NAME_MAX];
        snprintf(name, sizeof name, "%s.%s", module->name, tensors[i].suffix);
        LLMQ_TRY(st_writer_put(run->writer, name, data[i], sizes[i], err));
    }
cleanup:
    for (int i = 0; i < LAYOUT_MAX_TENSORS; i++)
        free(data[i]);
    return status;
}

/* A module whose rows AWQ divided rounds a little differently; that much is not worth telling. */
#define WORSE 1.01

static void add_event(struct strbuf *b, const char *text) {
    strbuf_printf(b, "%s%s", b->len ? "; " : "", text);
}

static char *describe_events(const struct quant_outcome *o, int64_t n) {
    struct strbuf b = {0};
    char text[128];
    if (o->fell_back)
        add_event(&b, "no Cholesky factor at any damping: rounded to nearest");
    else if (o->damp_retries > 0) {
        snprintf(text, sizeof text, "damping raised to %g", o->damp);
        add_event(&b, text);
    }
    if (o->dead_columns > 0) {
        snprintf(text, sizeof text, "%" PRId64 " inputs never active, their weights set to 0",
                 o->dead_columns);
        add_event(&b, text);
    }
    if (!o->fell_back && o->rows_kept_rtn > 0) {
        snprintf(text, sizeof text, "%" PRId64 " of %" PRId64 " rows better rounded to nearest",
                 o->rows_kept_rtn, n);
        add_event(&b, text);
    }
    if (o->error > WORSE * o->rtn_error)
        add_event(&b, "rounding the unscaled weights would have been better on these inputs");
    return strbuf_take(&b);
}

static enum llmq_status report_module(struct run *run, const struct plan_module *module,
                                      const struct quant_outcome *outcome, llmq_error *err) {
    llmq_module_report r = {
        .name = strdup(module->name),
        .method = outcome->method,
        .n = module->shape.n,
        .k = module->shape.k,
        .bits = module->shape.bits,
        .group = module->shape.group,
        .error = outcome->error,
        .rtn_error = outcome->rtn_error,
        .damp = outcome->damp,
        .fold_error = run->fold.difference,
        .events = describe_events(outcome, module->shape.n),
    };
    if (!r.name || !r.events) {
        report_module_free(&r);
        return error_memory(err, "the report");
    }
    if (*r.events)
        log_message(run->ctx, outcome->fell_back ? LLMQ_LOG_WARNING : LLMQ_LOG_DETAIL, "%s: %s",
                    r.name, r.events);
    return report_add_module(run->report, &r, err);
}

/* Round to nearest; H NULL means that every input counts alike. */
static enum llmq_status round_module(const struct quant_grid *grid, const float *W, const float *H,
                                     const struct quant_shape *s, struct qlinear *q,
                                     struct quant_outcome *outcome, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    float *importance = H ? malloc((size_t)s->k * sizeof *importance) : NULL;
    *outcome = (struct quant_outcome){.method = "rtn"};
    if (H && !importance)
        LLMQ_TRY(error_memory(err, "the importance of inputs"));
    if (H)
        quant_importance(H, s->k, importance);
    LLMQ_TRY(rtn_quantize(grid, W, importance, s->n, s->k, q, err));
    LLMQ_TRY(quant_error(W, q, H, &outcome->error, err));
    outcome->rtn_error = outcome->error;
cleanup:
    free(importance);
    return status;
}

/* Quantize a linear, store and report it, and leave in l->w what was stored. */
static enum llmq_status quantize_linear(struct run *run, const struct plan_module *module,
                                        struct linear *l, const struct gptq_factor *factor,
                                        const float *H, llmq_error *err) {
    struct quant_grid grid = run_grid(run, &module->shape);
    struct quant_outcome outcome;
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    if (factor)
        LLMQ_TRY(gptq_quantize(&grid, factor, l->w, H, l->n, &q, &outcome, err));
    else
        LLMQ_TRY(round_module(&grid, l->w, H, &module->shape, &q, &outcome, err));
    LLMQ_TRY(block_fold_outcome(run, module, l->w, H, &q, &outcome, err));
    LLMQ_TRY(store_module(run, module, &q, err));
    LLMQ_TRY(report_module(run, module, &outcome, err));
    run->blocks.hashes[module - run->plan.modules] = output_hash(&q);
    qlinear_dequantize(&q, 0, q.n, l->w);
cleanup:
    qlinear_free(&q);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "%s", module->name);
}

/* --- one block
 * -----------------------------------------------------------------------------------------------
 */

static enum llmq_status quantize_stage(struct run *run, struct block *block, enum block_stage stage,
                                       llmq_error *err) {
    const struct family *family = run->model.config.family;
    struct quant_options quant = {.act_order = (enum act_order)run->options->act_order,
                                  .damp = run->options->damp};
    struct gptq_factor *factor = NULL;
    const float *H = NULL;
    int64_t k = 0;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(calib_stage(run->calib, stage, &H, &k, err));
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++) {
        const struct plan_module *module = plan_module_of(&run->plan, block->index, role);
        if (family->linears[role].stage != stage)
            continue;
        LLMQ_TRY(interrupt_check(run->ctx, err));
        if (run->options->method == LLMQ_METHOD_GPTQ && !factor)
            LLMQ_TRY(gptq_factor_create(H, k, module->shape.group, &quant, &factor, err));
        LLMQ_TRY(quantize_linear(run, module, &block->linears[role], factor, H, err));
    }
cleanup:
    gptq_factor_free(&factor);
    return status;
}

static enum llmq_status quantize_block(struct run *run, int64_t index, llmq_error *err) {
    struct block block = {0};
    int64_t blocks = run->model.config.blocks;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(model_load_block(&run->model, index, LOAD_PLAIN, run->weights, &block, err));
    if (run->calib)
        calib_begin_block(run->calib, &block);
    if (plan_folds(run->options)) {
        LLMQ_TRY(block_fold_make(run, &block, &run->fold, err));
        LLMQ_TRY(block_fold_store(run, &block, &run->blocks.folded[index], err));
    }
    for (enum block_stage stage = 0; run->calib && stage < STAGE_COUNT; stage++) {
        log_progress(run->ctx, index * STAGE_COUNT + (int64_t)stage, blocks * STAGE_COUNT,
                     "block %" PRId64 "/%" PRId64, index + 1, blocks);
        LLMQ_TRY(quantize_stage(run, &block, stage, err));
    }
    for (enum linear_role role = 0; !run->calib && role < LINEAR_COUNT; role++)
        LLMQ_TRY(quantize_linear(run, plan_module_of(&run->plan, index, role), &block.linears[role],
                                 NULL, NULL, err));
    bool last = index + 1 == blocks;
    if (run->calib && !last) /* nothing is calibrated on the last block's output */
        LLMQ_TRY(calib_end_block(run->calib, err));
cleanup:
    block_release(&block);
    arena_reset(run->weights);
    return status;
}

/* --- blocks an interrupted run finished ------------------------------------------------------- */

/* The stored block, checked, takes the source's place in the calibration stream. */
static enum llmq_status replay_block(struct run *run, const struct model *stored, int64_t index,
                                     llmq_error *err) {
    struct block block = {0};
    int64_t blocks = run->model.config.blocks;
    enum llmq_status status = LLMQ_OK;
    log_progress(run->ctx, index * STAGE_COUNT, blocks * STAGE_COUNT,
                 "block %" PRId64 "/%" PRId64 " (replayed)", index + 1, blocks);
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++) {
        const struct plan_module *module = plan_module_of(&run->plan, index, role);
        LLMQ_TRY(output_verify_module(stored, module,
                                      run->blocks.hashes[module - run->plan.modules], err));
    }
    if (plan_folds(run->options))
        LLMQ_TRY(block_fold_verify(stored, index, run->blocks.folded[index], err));
    if (run->calib) {
        LLMQ_TRY(model_load_block(stored, index, LOAD_PLAIN, run->weights, &block, err));
        calib_begin_block(run->calib, &block);
        LLMQ_TRY(calib_end_block(run->calib, err));
    }
cleanup:
    block_release(&block);
    arena_reset(run->weights);
    return status;
}

static enum llmq_status replay_blocks(struct run *run, llmq_error *err) {
    struct model stored = {0};
    enum llmq_status status = LLMQ_OK;
    if (run->blocks.done == 0)
        return LLMQ_OK;
    LLMQ_TRY(model_open(run->output.partial_dir, &stored, err));
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

/* --- all blocks
 * --------------------------------------------------------------------------------------------------
 */

enum llmq_status run_blocks(struct run *run, llmq_error *err) {
    int64_t blocks = run->model.config.blocks;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(replay_blocks(run, err));
    for (int64_t i = run->blocks.done; i < blocks; i++) {
        size_t before = run->report->module_count;
        LLMQ_TRY(interrupt_check(run->ctx, err));
        LLMQ_TRY(quantize_block(run, i, err));
        LLMQ_TRY(st_writer_sync(run->writer, err));
        LLMQ_TRY(journal_add(run->journal, i, run->report->modules + before, &run->blocks, err));
        log_progress(run->ctx, (i + 1) * STAGE_COUNT, blocks * STAGE_COUNT,
                     "block %" PRId64 "/%" PRId64, i + 1, blocks);
    }
cleanup:
    return status;
}
