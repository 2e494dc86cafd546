/* Finding, folding and proving: see block_fold.h. */
#include "pipeline/block_fold.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "graph/forward.h"
#include "pipeline/block_fold_private.h"
#include "pipeline/run.h"
#include "quant/awq.h"

/* --- folding ---------------------------------------------------------------------------------- */

static void multiply_columns(const struct graph *g, const struct graph_fold *fold,
                             const float *scales, struct linear *l) {
    for (int64_t row = 0; row < l->n; row++)
        for (int64_t i = 0; i < l->k; i++)
            l->w[row * l->k + i] *= scales[graph_fold_channel(g, fold, i)];
}

static void divide_rows(const float *scales, struct linear *l) {
    for (int64_t row = 0; row < l->n; row++)
        for (int64_t i = 0; i < l->k; i++)
            l->w[row * l->k + i] /= scales[row];
}

enum llmq_status block_fold_apply(const struct model *m, enum value source, const float *scales,
                                  struct block *block, llmq_error *err) {
    const struct graph *g = block->graph;
    const struct graph_fold fold = graph_fold_find(g, source);
    struct anchor anchors[ANCHORS];
    const int vectors = block_fold_anchors(m, block->index, &fold, block, anchors);
    for (int a = 0; a < vectors; a++) {
        enum llmq_status status = anchor_divide(&anchors[a], scales, err);
        if (status != LLMQ_OK)
            return status;
    }
    if (g->node[fold.producer].row->op == OP_LINEAR)
        divide_rows(scales, &block->node[fold.producer].linear);
    for (int i = 0; i < g->count; i++)
        if (fold.consumers >> i & 1)
            multiply_columns(g, &fold, scales, &block->node[i].linear);
    return LLMQ_OK;
}

/* --- finding the scales ----------------------------------------------------------------------- */

static int list_consumers(const struct run *run, const struct block *block,
                          const struct graph_fold *fold,
                          struct awq_consumer consumers[GRAPH_NODES]) {
    int count = 0;
    for (int i = 0; i < block->graph->count; i++) {
        const struct linear *l = &block->node[i].linear;
        if (!(fold->consumers >> i & 1))
            continue;
        const struct plan_module *module =
            plan_module_of(&run->model, &run->plan, (struct linear_place){block->index, i, -1});
        consumers[count++] = (struct awq_consumer){l->w, l->n, run_grid(run, &module->shape)};
    }
    return count;
}

/* How far the rows of the linear that produces a source may be divided; NULL: no limit. */
static enum llmq_status limit_rows(const struct run *run, const struct block *block,
                                   const struct graph_fold *fold, const float **limit,
                                   llmq_error *err) {
    if (block->graph->node[fold->producer].row->op != OP_LINEAR)
        return LLMQ_OK;
    const struct linear *l = &block->node[fold->producer].linear;
    const struct plan_module *module = plan_module_of(
        &run->model, &run->plan, (struct linear_place){block->index, fold->producer, -1});
    struct quant_grid grid = run_grid(run, &module->shape);
    float *limits = arena_alloc(run->weights, (size_t)l->n, sizeof *limits, err);
    if (!limits)
        return LLMQ_E_MEMORY;
    awq_row_limits(&grid, l->w, l->n, l->k, limits);
    *limit = limits;
    return LLMQ_OK;
}

static void set_anchors(struct awq_problem *p, const struct anchor anchors[ANCHORS], int count) {
    if (count > 0) {
        p->anchor = anchors[0].values;
        p->anchor_dtype = anchors[0].dtype;
        p->anchor_added = anchors[0].added;
    }
    if (count > 1) {
        p->follower = anchors[1].values;
        p->follower_dtype = anchors[1].dtype;
    }
}

/* Scales of one source with its Hessian, folded into the block. */
static enum llmq_status fold_source(const struct run *run, struct block *block, enum value source,
                                    const float *H, struct block_fold *out, llmq_error *err) {
    const struct graph *g = block->graph;
    const struct graph_fold fold = graph_fold_find(g, source);
    struct awq_consumer consumers[GRAPH_NODES];
    struct awq_outcome outcome;
    struct anchor anchors[ANCHORS];
    enum llmq_status status = LLMQ_OK;
    if (fold.producer < 0 || out->scales[source])
        return LLMQ_OK;
    const int64_t k = g->width[source];
    float *magnitude = arena_alloc(run->weights, (size_t)k, sizeof *magnitude, err);
    int64_t *channel = arena_alloc(run->weights, (size_t)k, sizeof *channel, err);
    float *scales = arena_alloc(run->weights, (size_t)fold.channels, sizeof *scales, err);
    if (!magnitude || !channel || !scales)
        return LLMQ_E_MEMORY;
    for (int64_t i = 0; i < k; i++)
        channel[i] = graph_fold_channel(g, &fold, i);
    awq_magnitude(H, k, magnitude);
    struct awq_problem problem = {.k = k,
                                  .H = H,
                                  .magnitude = magnitude,
                                  .consumers = consumers,
                                  .count = list_consumers(run, block, &fold, consumers),
                                  .channels = fold.channels,
                                  .channel = channel};
    LLMQ_TRY(limit_rows(run, block, &fold, &problem.limit, err));
    set_anchors(&problem, anchors,
                block_fold_anchors(&run->model, block->index, &fold, block, anchors));
    LLMQ_TRY(awq_search(&problem, scales, &outcome, err));
    if (!outcome.scaled)
        return LLMQ_OK;
    out->scales[source] = scales;
    LLMQ_TRY(block_fold_apply(&run->model, source, scales, block, err));
cleanup:
    return status;
}

/* --- the proof -------------------------------------------------------------------------------- */

enum llmq_status block_fold_compare(const float *in, const float *before, const float *after,
                                    int64_t count, double *difference, llmq_error *err) {
    double changed = 0, added = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)after[i] - (double)before[i], a = (double)before[i] - (double)in[i];
        changed += d * d;
        added += a * a;
    }
    *difference = changed == 0 ? 0 : sqrt(changed / added);
    if (*difference <= BLOCK_FOLD_LIMIT) /* false for NaN */
        return LLMQ_OK;
    return error_set(err, LLMQ_E_NUMERIC,
                     "the scales of activations changed the output by %.3g of what the block adds; "
                     "at most %g is rounding",
                     *difference, BLOCK_FOLD_LIMIT);
}

/* Bytes of the block's input and of its output before and after, on one batch. */
static size_t probe_floats(const struct run *run) {
    return (size_t)calib_probe_rows(run->calib) * (size_t)run->model.config.hidden;
}

/* The scale of every column that reads the source, in the weights' arena; NULL: 1 throughout. */
static enum llmq_status column_scales(const struct run *run, const struct graph *g,
                                      const struct block_fold *fold, enum value source,
                                      const float **out, llmq_error *err) {
    *out = NULL;
    if (!fold->scales[source])
        return LLMQ_OK;
    const struct graph_fold f = graph_fold_find(g, source);
    float *columns = arena_alloc(run->weights, (size_t)g->width[source], sizeof *columns, err);
    if (!columns)
        return LLMQ_E_MEMORY;
    for (int64_t i = 0; i < g->width[source]; i++)
        columns[i] = fold->scales[source][graph_fold_channel(g, &f, i)];
    *out = columns;
    return LLMQ_OK;
}

/* The original's stream is not folded: tell the calibration how its inputs differ. */
static enum llmq_status scale_original(const struct run *run, const struct graph *g,
                                       const struct block_fold *fold, llmq_error *err) {
    for (int t = 0; t < g->task_count; t++) {
        const float *columns = NULL;
        enum llmq_status status = column_scales(run, g, fold, g->task[t].source, &columns, err);
        if (status != LLMQ_OK)
            return status;
        if (columns)
            calib_scale_original(run->calib, g->task[t].source, columns);
    }
    return LLMQ_OK;
}

enum llmq_status block_fold_make(struct run *run, struct block *block, struct block_fold *out,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t count = probe_floats(run);
    float *probes = malloc(3 * count * sizeof *probes);
    float *in = probes, *before = probes + count, *after = probes + 2 * count;
    *out = (struct block_fold){0};
    if (!probes)
        return error_memory(err, "the proof of a fold");
    LLMQ_TRY(calib_mark_start(run->calib, err));
    LLMQ_TRY(calib_probe(run->calib, in, before, err));
    for (;;) {
        struct calib_task task;
        LLMQ_TRY(interrupt_check(run->ctx, err));
        LLMQ_TRY(calib_next(run->calib, &task, err));
        if (!task.linears)
            break;
        LLMQ_TRY(fold_source(run, block, task.linears->source, task.moments.H, out, err));
        tally_read(&run->tally, TALLY_FOLD, 0);
    }
    LLMQ_TRY(calib_rewind(run->calib, err));
    LLMQ_TRY(calib_probe(run->calib, in, after, err));
    LLMQ_TRY(block_fold_compare(in, before, after, (int64_t)count, &out->difference, err));
    if (run->plan.paired)
        LLMQ_TRY(scale_original(run, block->graph, out, err));
cleanup:
    free(probes);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "block %" PRId64, block->index);
}

uint64_t block_fold_bytes(const struct model *m, const struct calib_tokens *tokens) {
    uint64_t rows = (uint64_t)batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    return 3 * rows * (uint64_t)m->config.hidden * sizeof(float) +
           awq_search_bytes(calib_widest(m->blocks));
}

/* --- errors of the function before the fold --------------------------------------------------- */

/* Scales of the module's output rows; NULL: 1. */
static const float *row_scales(const struct run *run, const struct plan_module *module) {
    struct source_fold folds[GRAPH_TASKS];
    if (module->at.expert >= 0)
        return NULL;
    const int count = block_fold_list(model_graph(&run->model, module->at.block), folds);
    for (int i = 0; i < count; i++)
        if (folds[i].fold.producer == module->at.node)
            return run->fold.scales[folds[i].source];
    return NULL;
}

/* What the module reads of the block's values; V_NONE: it is an expert's. */
static enum value source_of(const struct run *run, const struct plan_module *module) {
    return module->at.expert >= 0
               ? V_NONE
               : model_graph(&run->model, module->at.block)->node[module->at.node].in[0];
}

/* Why no scale could be found for what the module reads; NULL: one could, or none was asked for. */
static const char *why_unscaled(const struct run *run, const struct plan_module *module) {
    return plan_folds(run->options) ? graph_unscaled(model_graph(&run->model, module->at.block),
                                                     source_of(run, module), module->at.expert >= 0)
                                    : NULL;
}

/* Sum of the rows' errors; a folded row stands for an original one `rows[r]` times as large. */
static double sum_rows(const double *errors, const float *rows, int64_t n) {
    double sum = 0;
    for (int64_t r = 0; r < n; r++)
        sum += errors[r] * (rows ? (double)rows[r] * (double)rows[r] : 1);
    return sum;
}

/* W [n, k] := (W - what rounding to nearest makes of it), by column times the fold's scale: its
 * error in the folded inputs. importance [k] is scratch. */
static enum llmq_status rounding_error(const struct run *run, const struct plan_module *module,
                                       const float *H, float *importance, float *W,
                                       llmq_error *err) {
    const struct graph *g = model_graph(&run->model, module->at.block);
    const enum value source = source_of(run, module);
    const struct graph_fold fold = graph_fold_find(g, source);
    const float *columns = run->fold.scales[source];
    const int64_t n = module->shape.n, k = module->shape.k;
    struct quant_grid grid = run_grid(run, &module->shape);
    struct qlinear q = {0};
    quant_importance(H, k, importance);
    for (int64_t i = 0; columns && i < k; i++) {
        float scale = columns[graph_fold_channel(g, &fold, i)];
        importance[i] *= scale * scale;
    }
    enum llmq_status status = rtn_quantize(&grid, W, importance, n, k, &q, err);
    for (int64_t row = 0; status == LLMQ_OK && row < n; row++)
        for (int64_t i = 0; i < k; i++) {
            int64_t at = row * q.groups + i / q.group;
            float d = W[row * k + i] -
                      (float)((int)q.codes[row * k + i] - (int)q.zeros[at]) * q.scales[at];
            W[row * k + i] = d * (columns ? columns[graph_fold_channel(g, &fold, i)] : 1);
        }
    qlinear_free(&q);
    return status;
}

/* tr of the errors of rounding the unfolded weights. */
static enum llmq_status plain_error(const struct run *run, const struct plan_module *module,
                                    const float *H, double *errors, double *sum, llmq_error *err) {
    enum { PANEL = 512 };
    const int64_t n = module->shape.n, k = module->shape.k;
    float *W = malloc((size_t)n * (size_t)k * sizeof *W);
    float *P = malloc((size_t)PANEL * QUANT_FORM_COLUMNS * sizeof *P);
    float *importance = malloc((size_t)k * sizeof *importance);
    enum llmq_status status = LLMQ_OK;
    if (!W || !P || !importance)
        LLMQ_TRY(error_memory(err, "a module's weights"));
    LLMQ_TRY(model_load_weight(&run->model, module->at, W, err));
    LLMQ_TRY(rounding_error(run, module, H, importance, W, err));
    for (int64_t at = 0; at < n; at += PANEL)
        quant_forms(W + at * k, n - at < PANEL ? n - at : PANEL, k, H, P, errors + at);
    *sum = sum_rows(errors, NULL, n);
cleanup:
    free(W);
    free(P);
    free(importance);
    return status;
}

enum llmq_status block_fold_outcome(const struct run *run, const struct plan_module *module,
                                    const float *W, const float *H, const struct qlinear *q,
                                    struct quant_outcome *outcome, llmq_error *err) {
    const float *columns = run->fold.scales[source_of(run, module)];
    const float *rows = row_scales(run, module);
    double plain = 0;
    outcome->unscaled = why_unscaled(run, module);
    if (!columns && !rows)
        return LLMQ_OK;
    double *errors = malloc((size_t)q->n * sizeof *errors);
    double *norms = malloc((size_t)q->n * sizeof *norms);
    enum llmq_status status = LLMQ_OK;
    if (!errors || !norms)
        LLMQ_TRY(error_memory(err, "the errors of a module"));
    LLMQ_TRY(quant_row_errors(W, q, H, errors, norms, err));
    double norm = sum_rows(norms, rows, q->n), error = sum_rows(errors, rows, q->n);
    LLMQ_TRY(plain_error(run, module, H, errors, &plain, err));
    outcome->error = norm > 0 ? error / norm : 0;
    outcome->rtn_error = norm > 0 ? plain / norm : 0;
    if (columns)
        outcome->method = strcmp(outcome->method, "gptq") == 0 ? "awq+gptq" : "awq";
cleanup:
    free(errors);
    free(norms);
    return status;
}
