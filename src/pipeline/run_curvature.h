/* SPDX-License-Identifier: Apache-2.0 */
/* The original model's gradients in a run: collected before its blocks into a folder of
 * <out>.partial, found there by a run that is resumed, removed before the result gets its name. */
#ifndef LLMQ_PIPELINE_RUN_CURVATURE_H
#define LLMQ_PIPELINE_RUN_CURVATURE_H

#include "pipeline/run.h"

/* Open run->curvature where the plan asks for it and blocks are left to do, collected first unless
 * an interrupted run has: by rank 0, for all. The folder has its name only when it is whole. */
LLMQ_NODISCARD enum llmq_status run_curvature_open(struct run *run, llmq_error *err);

/* Close it; rank 0 removes it. */
LLMQ_NODISCARD enum llmq_status run_curvature_remove(struct run *run, llmq_error *err);

/* The output metric B [n, n] of a module, as coupled_refine takes it: *out for the caller to free;
 * NULL where there is none: blocks behind the last, of which no gradient is known. */
LLMQ_NODISCARD enum llmq_status run_output_metric(const struct run *run,
                                                  const struct plan_module *module, float **out,
                                                  llmq_error *err);

#endif
