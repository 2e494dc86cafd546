/* SPDX-License-Identifier: Apache-2.0 */
/* Experts of a block over several ranks: see run_experts.c. */
#ifndef LLMQ_PIPELINE_RUN_EXPERTS_H
#define LLMQ_PIPELINE_RUN_EXPERTS_H

#include "pipeline/run.h"
#include "pipeline/solve_module.h"

/* Before the first task of a block. */
void run_experts_begin(struct run *run, int64_t block);

/* A module of the expert that is this rank's alone: keep it until the turn has ended. */
LLMQ_NODISCARD enum llmq_status run_experts_keep(struct run *run, const struct solved_module *s,
                                                 const struct module_tokens *seen, llmq_error *err);

/* What it is sent in. */
size_t run_experts_module_bytes(const struct plan *p, const struct plan_module *module);

/* The turn that `task` tells of has ended: rank 0 stores the modules of all its experts. */
LLMQ_NODISCARD enum llmq_status run_experts_end_turn(struct run *run, int64_t block,
                                                     const struct calib_task *task,
                                                     llmq_error *err);

#endif
