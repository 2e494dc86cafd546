/* SPDX-License-Identifier: Apache-2.0 */
/* See task_factor.h. */
#include "pipeline/task_factor.h"

#include <math.h>

#include "quant/damping.h"
#include "quant/judge.h"

struct quant_options run_quant_options(const struct run *run, const struct plan_module *module) {
    const struct module_manner *manner = &module->manner;
    const double damp = run->options->damp;
    return (struct quant_options){.act_order = (enum act_order)manner->act_order,
                                  .damp = damp > 0 ? damp : DAMPING_FIRST,
                                  .descent_passes = manner->descent,
                                  .rounds = manner->rounds};
}

/* Is a factor that was made for `a` what `b` wants? */
static bool serves(const struct plan_module *a, const struct plan_module *b) {
    return a->shape.group == b->shape.group && a->manner.act_order == b->manner.act_order &&
           a->manner.descent == b->manner.descent && a->manner.rounds == b->manner.rounds;
}

/* What is known of the damping of a task's experts; NULL: it is none of theirs. */
static struct expert_damping *known_of(struct run *run, const struct calib_task *task) {
    return task->expert < 0 ? NULL : &run->expert_damping[task->linears - task->graph->task];
}

/* The damping that rounds the linears from `i` on, as far as the factor serves them, best. */
static enum llmq_status choose(const struct run *run, int64_t block, const struct calib_task *task,
                               int i, const struct task_factor *f, llmq_error *err) {
    const struct calib_held *held = &task->moments.held;
    struct quant_grid grids[GRAPH_NODES];
    struct damping_linear linears[GRAPH_NODES];
    struct damping_trial trial = {
        .H = task->moments.H,
        .linears = linears,
        .held = quant_unseen(task->moments.H, held->square, held->X, held->count)};
    for (; i < task->graph->count; i++) {
        const struct plan_module *module =
            task->linears->nodes >> i & 1
                ? plan_module_of(&run->model, &run->plan,
                                 (struct linear_place){block, i, task->expert})
                : NULL;
        if (!module || module->fate != MODULE_QUANTIZED || !serves(f->made_for, module))
            continue;
        const struct linear *l = &task->params[i].linear;
        grids[trial.count] = run_grid(run, module);
        linears[trial.count] = (struct damping_linear){&grids[trial.count], l->w, l->n};
        trial.count++;
    }
    return damping_choose(&trial, f->factor, err);
}

/* Choose the factor's damping, and remember it for the experts to come. */
static enum llmq_status settle(struct run *run, int64_t block, const struct calib_task *task, int i,
                               const struct task_factor *f, llmq_error *err) {
    struct expert_damping *known = known_of(run, task);
    const enum llmq_status status = choose(run, block, task, i, f, err);
    if (status == LLMQ_OK && known && gptq_factor_usable(f->factor)) {
        known->logs += log(gptq_factor_damp(f->factor));
        known->count++;
    }
    return status;
}

enum llmq_status task_factor_make(struct run *run, int64_t block, const struct calib_task *task,
                                  int i, struct task_factor *f, llmq_error *err) {
    const struct plan_module *module =
        plan_module_of(&run->model, &run->plan, (struct linear_place){block, i, task->expert});
    const struct expert_damping *known = known_of(run, task);
    struct quant_options quant = run_quant_options(run, module);
    bool open =
        plan_chooses_damping(run->options, &run->plan, (double)task->tokens, task->moments.k) &&
        task->moments.held.count > 0;
    if (f->factor && serves(f->made_for, module))
        return LLMQ_OK;
    if (open && known && known->count >= TASK_EXPERTS_ASKED) {
        quant.damp = exp(known->logs / known->count);
        open = false;
    }
    gptq_factor_free(&f->factor);
    f->made_for = module;
    enum llmq_status status = gptq_factor_create(task->moments.H, task->moments.k,
                                                 module->shape.group, &quant, &f->factor, err);
    if (status == LLMQ_OK && open)
        status = settle(run, block, task, i, f, err);
    tally_read(&run->tally, TALLY_FACTOR, plan_factor_flops(task->moments.k, open));
    return status;
}
