/* SPDX-License-Identifier: Apache-2.0 */
/* The factor that a task's linears are solved with. */
#ifndef LLMQ_PIPELINE_TASK_FACTOR_H
#define LLMQ_PIPELINE_TASK_FACTOR_H

#include "pipeline/run.h"
#include "quant/quant.h"

/* Experts of a layer whose damping is chosen; the others, which read the same kind of input, take
 * the mean of theirs: a choice costs several factors, and there are hundreds of experts. */
enum { TASK_EXPERTS_ASKED = 4 };

struct task_factor {
    struct gptq_factor *factor;         /* of H; NULL until a module needs one, ... */
    const struct plan_module *made_for; /* ... then as this one wants it */
};

/* The factor for the module that is node `i` of the task: mostly the one of the linears before it.
 * Its damping is what the options say or else chosen on the rows held back. */
LLMQ_NODISCARD enum llmq_status task_factor_make(struct run *run, int64_t block,
                                                 const struct calib_task *task, int i,
                                                 struct task_factor *f, llmq_error *err);

/* The options of quantizing a module, and the damping a factor is created with. */
struct quant_options run_quant_options(const struct run *run, const struct plan_module *module);

#endif
