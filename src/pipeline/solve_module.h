/* SPDX-License-Identifier: Apache-2.0 */
/* One module solved: its target, its codes, and the verdict on them. Its rows are shared out among
 * the ranks, where they can be; every rank has the whole result. */
#ifndef LLMQ_PIPELINE_SOLVE_MODULE_H
#define LLMQ_PIPELINE_SOLVE_MODULE_H

#include "calib/calib.h"
#include "pipeline/module_report.h"
#include "pipeline/run.h"
#include "pipeline/task_factor.h"
#include "quant/correct.h"
#include "quant/judge.h"

/* What a task's modules have in common. */
struct task_moments {
    struct calib_moments moments;
    struct module_tokens seen;
    struct task_factor factor; /* of H; none when neither method nor correction needs one */
    int64_t stream;            /* outputs that R is of; 0: there is none */
    float *B;                  /* R once it was multiplied, the rank's rows: see correct_stream */
    float *WD;                 /* [n, k] of the module at hand, or NULL */
    bool alone;                /* this rank has all rows */
    bool kept;                 /* of an expert that is this rank's alone: see run_experts.h */
};

/* What became of a module. */
struct solved_module {
    struct qlinear q;
    struct quant_outcome outcome;
    struct correction strength;
};

/* Where the rows of rank `rank` of `ranks` begin, of n. */
int64_t solve_share_begin(int64_t n, int rank, int ranks);

/* Are the module's weights moved before they are rounded? */
bool solve_corrects(const struct run *run, const struct plan_module *module);

/* What the residual stream lacks, once for all linears that add to it. */
LLMQ_NODISCARD enum llmq_status solve_stream(struct run *run, const struct plan_module *module,
                                             struct task_moments *task, llmq_error *err);

/* Quantize the linear; `task` is NULL without calibration, and then this rank has all rows. l->w is
 * moved to the target. The caller frees out->q. */
LLMQ_NODISCARD enum llmq_status solve_module(struct run *run, const struct plan_module *module,
                                             struct linear *l, const struct task_moments *task,
                                             struct solved_module *out, llmq_error *err);

#endif
