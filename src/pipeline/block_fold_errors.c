/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of the function that a module had before a fold: see block_fold.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pipeline/block_fold_private.h"
#include "pipeline/run.h"

/* Of what was folded into the block, or within the expert that the module is of. */
static const struct fold_scales *scales_of(const struct run *run, const struct plan_module *module,
                                           bool within) {
    static const struct fold_scales none;
    if (!within)
        return &run->fold.of_block;
    return run->fold.expert == module->at.expert ? &run->fold.of_expert : &none;
}

/* What the module reads, as its block or expert calls it. */
static enum value source_of(const struct run *run, const struct plan_module *module) {
    return blocks_node(run->model.blocks, module->at)->in[0];
}

/* Scales that the module's columns were multiplied by; NULL: 1. An expert is given one of the
 * block's values. */
static const float *column_scales(const struct run *run, const struct plan_module *module) {
    const struct graph *g = model_graph(&run->model, module->at.block);
    const enum value source = source_of(run, module);
    if (module->at.expert >= 0 && source == g->body->input)
        return run->fold.of_block.columns[g->node[g->experts].in[0]];
    return scales_of(run, module, module->at.expert >= 0)->columns[source];
}

/* Why no scale could be found for what the module reads; NULL: one could, or none was asked for. */
static const char *why_unscaled(const struct run *run, const struct plan_module *module) {
    const enum value source = source_of(run, module);
    if (!plan_folds(run->options))
        return NULL;
    if (block_fold_barred(run, module->at, source))
        return "a linear that it would take along stays as it is";
    return graph_fold_of(model_graph(&run->model, module->at.block), module->at.expert >= 0, source)
        .why;
}

/* Scales that the module's output rows were divided by; NULL: 1. */
static const float *row_scales(const struct run *run, const struct plan_module *module) {
    const struct graph *g = model_graph(&run->model, module->at.block);
    const bool expert = module->at.expert >= 0;
    struct source_fold folds[GRAPH_TASKS];
    const int count = block_fold_list(expert ? g->body : g, folds);
    for (int i = 0; i < count; i++)
        if (folds[i].fold.producer == module->at.node)
            return scales_of(run, module, expert)->channels[folds[i].source];
    return NULL;
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
    const float *columns = column_scales(run, module);
    const int64_t n = module->shape.n, k = module->shape.k;
    struct quant_grid grid = run_grid(run, module);
    struct qlinear q = {0};
    quant_importance(H, k, importance);
    for (int64_t i = 0; columns && i < k; i++)
        importance[i] *= columns[i] * columns[i];
    enum llmq_status status = rtn_quantize(&grid, W, importance, n, k, &q, err);
    for (int64_t row = 0; status == LLMQ_OK && row < n; row++)
        for (int64_t i = 0; i < k; i++) {
            int64_t at = row * q.groups + i / q.group;
            float d = W[row * k + i] -
                      (float)((int)q.codes[row * k + i] - (int)q.zeros[at]) * q.scales[at];
            W[row * k + i] = d * (columns ? columns[i] : 1);
        }
    qlinear_free(&q);
    return status;
}

/* tr of the errors of rounding the unfolded weights. */
static enum llmq_status plain_error(const struct run *run, const struct plan_module *module,
                                    const struct quant_problem *p, double *errors, double *sum,
                                    llmq_error *err) {
    enum { PANEL = 512 };
    const int64_t n = module->shape.n, k = module->shape.k;
    float *W = malloc((size_t)n * (size_t)k * sizeof *W);
    float *P = malloc((size_t)PANEL * QUANT_FORM_COLUMNS * sizeof *P);
    float *importance = malloc((size_t)k * sizeof *importance);
    enum llmq_status status = LLMQ_OK;
    if (!W || !P || !importance)
        LLMQ_TRY(error_memory(err, "a module's weights"));
    LLMQ_TRY(model_load_weight(&run->model, module->at, W, err));
    LLMQ_TRY(rounding_error(run, module, p->H, importance, W, err));
    for (int64_t at = 0; at < n; at += PANEL)
        quant_forms(W + at * k, n - at < PANEL ? n - at : PANEL, k, &p->inputs, P, errors + at);
    *sum = sum_rows(errors, NULL, n);
cleanup:
    free(W);
    free(P);
    free(importance);
    return status;
}

enum llmq_status block_fold_outcome(const struct run *run, const struct plan_module *module,
                                    const struct quant_problem *p, const struct qlinear *q,
                                    struct quant_outcome *outcome, llmq_error *err) {
    const float *columns = column_scales(run, module);
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
    LLMQ_TRY(quant_row_errors(p->W, q, &p->inputs, errors, norms, err));
    double norm = sum_rows(norms, rows, q->n), error = sum_rows(errors, rows, q->n);
    LLMQ_TRY(plain_error(run, module, p, errors, &plain, err));
    outcome->error = norm > 0 ? error / norm : 0;
    outcome->rtn_error = norm > 0 ? plain / norm : 0;
    if (columns)
        outcome->method = strcmp(outcome->method, "gptq") == 0 ? "awq+gptq" : "awq";
cleanup:
    free(errors);
    free(norms);
    return status;
}
