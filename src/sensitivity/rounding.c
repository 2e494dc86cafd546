/* SPDX-License-Identifier: Apache-2.0 */
/* Every module with every setting, by the run's own method: see study.h. */
#include <math.h>

#include "base/error.h"
#include "base/log.h"
#include "pipeline/task_factor.h"
#include "quant/judge.h"
#include "sensitivity/study.h"

struct plan_module *study_module(struct study *s, int64_t linear, int setting) {
    struct plan_module *module = &s->run.plan.modules[linear];
    const llmq_setting *wanted = &study_part(s, linear)->settings[setting];
    module->shape.bits = wanted->bits;
    module->shape.group = wanted->group;
    return module;
}

struct quant_grid study_plain_grid(const struct study *s, int64_t linear, int setting) {
    struct plan_module module = s->run.plan.modules[linear];
    const llmq_setting *wanted = &study_part(s, linear)->settings[setting];
    module.shape.bits = wanted->bits;
    module.shape.group = wanted->group;
    struct quant_grid grid = run_grid(&s->run, &module);
    grid.search = RANGE_MINMAX;
    return grid;
}

bool study_calibrates(const struct study *s) {
    return s->options->estimate != LLMQ_ESTIMATE_CURVATURE ||
           s->quantize.method != LLMQ_METHOD_RTN || s->quantize.search != LLMQ_RANGE_MINMAX;
}

static struct qlinear *codes_at(const struct study *s, int64_t linear, int setting) {
    const struct blocks *blocks = s->run.model.blocks;
    const int64_t first = blocks->first[blocks_linear_at(blocks, linear).block];
    return &s->codes[(linear - first) * LLMQ_CANDIDATES_MOST + setting];
}

/* What plain rounding does to the module's output on the inputs that it is judged on. */
static enum llmq_status plain_error(const struct quant_problem *problem,
                                    const struct quant_grid *grid, double *error, llmq_error *err) {
    struct quant_problem plain = *problem;
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    plain.grid = grid;
    LLMQ_TRY(quant_round(&plain, &q, err));
    LLMQ_TRY(quant_error_sums(problem->W, &q, &problem->inputs, error, NULL, err));
cleanup:
    qlinear_free(&q);
    return status;
}

/* The run's codes are to plain ones as their errors are to each other. */
static enum llmq_status add_curvature(struct study *s, int64_t linear, int setting,
                                      const struct quant_problem *problem, double error,
                                      llmq_error *err) {
    const struct quant_grid grid = study_plain_grid(s, linear, setting);
    double plain = 0;
    const enum llmq_status status = plain_error(problem, &grid, &plain, err);
    if (status == LLMQ_OK && plain > 0)
        s->slopes[linear * LLMQ_CANDIDATES_MOST + setting] *= error / plain;
    return status;
}

static enum llmq_status try_setting(struct study *s, int64_t linear, int setting,
                                    struct quant_problem *problem, llmq_error *err) {
    const struct quant_grid grid = run_grid(&s->run, study_module(s, linear, setting));
    const int64_t part = s->part_of[linear];
    struct quant_outcome outcome;
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    problem->grid = &grid;
    LLMQ_TRY(quant_solve(problem, &q, &outcome, err));
    s->errors[part * LLMQ_CANDIDATES_MOST + setting] += outcome.error * outcome.norm;
    s->norms[part] += setting == 0 ? outcome.norm : 0;
    if (s->slopes)
        LLMQ_TRY(add_curvature(s, linear, setting, problem, outcome.error * outcome.norm, err));
    if (s->codes) {
        *codes_at(s, linear, setting) = q;
        q = (struct qlinear){0};
    }
cleanup:
    qlinear_free(&q);
    return status;
}

enum llmq_status study_round(struct study *s, int64_t block, const struct calib_task *task,
                             llmq_error *err) {
    const struct calib_held *held = &task->moments.held;
    struct task_factor factor = {0};
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < task->graph->count; i++) {
        if (!(task->linears->nodes >> i & 1))
            continue;
        const int64_t linear = blocks_linear_number(s->run.model.blocks,
                                                    (struct linear_place){block, i, task->expert});
        const llmq_part_settings *part = study_part(s, linear);
        const struct linear *l = &task->params[i].linear;
        struct quant_problem problem = {
            .W = l->w,
            .n = l->n,
            .k = l->k,
            .H = task->moments.H,
            .inputs = quant_unseen(task->moments.H, held->square, held->X, held->count)};
        for (int c = 0; part && c < (int)part->setting_count; c++) {
            LLMQ_TRY(interrupt_check(s->run.ctx, err));
            if (study_module(s, linear, c)->manner.method == LLMQ_METHOD_GPTQ)
                LLMQ_TRY(task_factor_make(&s->run, block, task, i, &factor, err));
            problem.factor = factor.factor;
            status = try_setting(s, linear, c, &problem, err);
            if (status != LLMQ_OK)
                LLMQ_TRY(error_prefix(err, status, "%s", s->run.plan.modules[linear].name));
        }
    }
cleanup:
    gptq_factor_free(&factor.factor);
    return status;
}

void study_forget_codes(struct study *s, int64_t block) {
    const int64_t *first = s->run.model.blocks->first;
    for (int64_t i = 0; s->codes && i < (first[block + 1] - first[block]) * LLMQ_CANDIDATES_MOST;
         i++)
        qlinear_free(&s->codes[i]);
}
