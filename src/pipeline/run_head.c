/* SPDX-License-Identifier: Apache-2.0 */
/* The output head of a run: see run.h.
 *
 * It has as many rows as the vocabulary, and rows are independent of each other once the factor of
 * H is there: some thousand are solved at a time, so that its weights never lie in memory whole. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "pipeline/module_report.h"
#include "pipeline/run.h"
#include "pipeline/run_ranks.h"
#include "pipeline/store.h"
#include "pipeline/task_factor.h"
#include "quant/damping.h"
#include "quant/grid.h"
#include "quant/judge.h"

/* Rows that are solved at a time. */
enum { ROWS = 4096 };

static const struct plan_module *head_of(const struct run *run) {
    return plan_head(&run->plan);
}

bool run_head_reads(const struct run *run) {
    const struct plan_module *head = head_of(run);
    return run->calib && head && head->fate == MODULE_QUANTIZED;
}

/* What the rows are solved with, and the sums of what became of those that are. */
struct solving {
    const struct plan_module *module;
    struct quant_grid grid;
    struct quant_problem problem; /* of the rows at hand */
    struct gptq_factor *factor;   /* NULL unless by GPTQ */
    struct quant_outcome outcome;
    double error, rtn_error; /* not yet parts of the norm */
};

/* Errors are relative, each to its own rows. */
static void add_outcome(struct solving *s, const struct quant_outcome *o) {
    struct quant_outcome *sum = &s->outcome;
    if (!sum->method || strcmp(o->method, "gptq") == 0)
        sum->method = o->method;
    sum->damp = o->damp;
    sum->damp_retries = o->damp_retries;
    sum->dead_columns = o->dead_columns;
    sum->fell_back = o->fell_back;
    sum->beaten = strcmp(sum->method, "rtn") == 0 && o->beaten;
    sum->rows_kept_rtn += o->beaten ? s->problem.n : o->rows_kept_rtn;
    sum->norm += o->norm;
    s->error += o->error * o->norm;
    s->rtn_error += o->rtn_error * o->norm;
}

/* The rows from `begin` on take their place in the whole. */
static void put_rows(const struct qlinear *part, int64_t begin, struct qlinear *whole) {
    const size_t params = (size_t)(part->n * part->groups);
    memcpy(whole->codes + begin * whole->k, part->codes, (size_t)(part->n * part->k));
    memcpy(whole->scales + begin * whole->groups, part->scales, params * sizeof *part->scales);
    memcpy(whole->zeros + begin * whole->groups, part->zeros, params);
}

static enum llmq_status solve(const struct run *run, struct solving *s, struct qlinear *whole,
                              llmq_error *err) {
    const struct quant_shape *shape = &s->module->shape;
    const int64_t most = min_i64(shape->n, ROWS);
    float *W = malloc((size_t)(most * shape->k) * sizeof *W);
    enum llmq_status status = W ? LLMQ_OK : error_memory(err, "rows of the output head");
    for (int64_t begin = 0; status == LLMQ_OK && begin < shape->n; begin += most) {
        const int64_t rows = min_i64(most, shape->n - begin);
        struct quant_outcome o = {0};
        struct qlinear part = {0};
        s->problem.W = W;
        s->problem.n = rows;
        log_progress(run->ctx, begin, shape->n, "output head");
        status = interrupt_check(run->ctx, err);
        if (status == LLMQ_OK)
            status = model_head_rows(&run->model, begin, begin + rows, W, err);
        if (status == LLMQ_OK)
            status = quant_solve(&s->problem, &part, &o, err);
        if (status == LLMQ_OK) {
            add_outcome(s, &o);
            put_rows(&part, begin, whole);
        }
        qlinear_free(&part);
    }
    free(W);
    return status;
}

/* The damping that rounds some rows, evenly spread over the vocabulary, best. */
static enum llmq_status choose_damping(const struct run *run, const struct solving *s,
                                       llmq_error *err) {
    const struct quant_shape *shape = &s->module->shape;
    const int64_t rows = min_i64(shape->n, DAMPING_SAMPLE), k = shape->k;
    float *W = malloc((size_t)(rows * k) * sizeof *W);
    const struct damping_linear linear = {&s->grid, W, rows};
    const struct damping_trial trial = {run->head.H, &linear, 1, s->problem.inputs};
    enum llmq_status status = W ? LLMQ_OK : error_memory(err, "rows of the output head");
    for (int64_t i = 0; status == LLMQ_OK && i < rows; i++) {
        const int64_t row = i * shape->n / rows;
        status = model_head_rows(&run->model, row, row + 1, W + i * k, err);
    }
    if (status == LLMQ_OK)
        status = damping_choose(&trial, s->factor, err);
    free(W);
    return status;
}

enum llmq_status run_head_look(struct run *run, llmq_error *err) {
    return run_head_reads(run) ? calib_head_moments(run->calib, &run->head, err) : LLMQ_OK;
}

/* The moments are taken; nothing asks for the activations any more. */
static enum llmq_status prepare(struct run *run, struct solving *s, llmq_error *err) {
    const struct plan_module *module = s->module;
    const struct quant_options quant = run_quant_options(run, module);
    const bool choosing = run->options->damp <= 0;
    const struct calib_head *m = &run->head;
    enum llmq_status status = LLMQ_OK;
    s->grid = run_grid(run, module);
    s->problem = (struct quant_problem){.grid = &s->grid, .k = module->shape.k};
    if (!run->calib)
        return LLMQ_OK;
    if (!m->H)
        LLMQ_TRY(run_head_look(run, err));
    calib_free(&run->calib);
    tally_read(&run->tally, TALLY_MOMENTS, 0);
    s->problem.H = m->H;
    s->problem.inputs = quant_unseen(m->H, NULL, m->X, m->count);
    if (module->manner.method != LLMQ_METHOD_GPTQ)
        return LLMQ_OK;
    LLMQ_TRY(
        gptq_factor_create(m->H, module->shape.k, module->shape.group, &quant, &s->factor, err));
    s->problem.factor = s->factor;
    if (choosing && m->count > 0)
        LLMQ_TRY(choose_damping(run, s, err));
    tally_read(&run->tally, TALLY_FACTOR, plan_factor_flops(module->shape.k, choosing));
cleanup:
    return status;
}

static enum llmq_status quantize_head(struct run *run, const struct plan_module *module,
                                      llmq_error *err) {
    const struct quant_shape *shape = &module->shape;
    const struct module_tokens seen = {run->calib ? calib_fitted_tokens(&run->tokens) : 0, 0};
    const bool calibrated = run->calib != NULL;
    struct solving s = {.module = module};
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(prepare(run, &s, err));
    LLMQ_TRY(
        qlinear_alloc(shape->n, shape->k, shape->bits, grid_group(&s.grid, shape->k), &q, err));
    q.sym = shape->sym;
    q.number = s.grid.number;
    q.unit = s.grid.unit;
    LLMQ_TRY(solve(run, &s, &q, err));
    s.outcome.error = s.outcome.norm > 0 ? s.error / s.outcome.norm : 0;
    s.outcome.rtn_error = s.outcome.norm > 0 ? s.rtn_error / s.outcome.norm : 0;
    tally_read(&run->tally, TALLY_SOLVE,
               calibrated ? plan_rounding_flops(&module->manner, shape->n, shape->k) +
                                plan_judging_flops(shape->n, shape->k, run->head.count, false)
                          : 0);
    run->blocks.hashes[module - run->plan.modules] = output_hash(&q);
    if (run_writes())
        LLMQ_TRY(store_module(run->plan.layout, module, &q, run->writer, err));
    LLMQ_TRY(module_report_add(run, module, &s.outcome, (struct correction){0},
                               calibrated ? &seen : NULL, err));
    tally_read(&run->tally, TALLY_WRITE, 0);
cleanup:
    qlinear_free(&q);
    gptq_factor_free(&s.factor);
    calib_head_free(&run->head);
    return status;
}

enum llmq_status run_head(struct run *run, llmq_error *err) {
    const struct plan_module *head = head_of(run);
    if (!head)
        return LLMQ_OK;
    const enum llmq_status status = head->fate == MODULE_QUANTIZED
                                        ? quantize_head(run, head, err)
                                        : run_keep_module(run, head, err);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "%s", head->name);
}

uint64_t plan_head_bytes(const struct model *m, const struct plan *p,
                         const struct calib_tokens *tokens) {
    const struct plan_module *head = plan_head(p);
    if (!head || head->fate != MODULE_QUANTIZED)
        return 0;
    const uint64_t n = (uint64_t)head->shape.n, k = (uint64_t)head->shape.k;
    const uint64_t rows = n < ROWS ? n : ROWS;
    const uint64_t parts = head->shape.group <= 0 ? 1 : k / (uint64_t)head->shape.group;
    enum { WEIGHTS = 3 }; /* of rows: theirs, two candidates' codes, forms */
    const uint64_t moments =
        tokens ? calib_head_bytes(m, tokens) + gptq_factor_bytes(head->shape.k) : 0;
    return 2 * n * k + n * parts * (sizeof(float) + 1) + WEIGHTS * rows * k * sizeof(float) +
           moments;
}
