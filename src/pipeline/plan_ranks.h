/* SPDX-License-Identifier: Apache-2.0 */
/* What a run takes when several ranks share it, before there are any: see plan_ranks.c. */
#ifndef LLMQ_PIPELINE_PLAN_RANKS_H
#define LLMQ_PIPELINE_PLAN_RANKS_H

#include <stdbool.h>

#include "pipeline/plan.h"
#include "ranks/ranks.h"

/* A run that is planned: of `model` by `options`, on `tokens`, which are NULL without calibration.
 */
struct planned_run {
    const struct model *model;
    const llmq_quantize_options *options;
    const struct calib_tokens *tokens;
    const struct plan *plan;
};

/* Are the rows of these linears of a block shared out among ranks? */
bool plan_divides_rows(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                       int64_t block, const struct graph_task *linears);

/* The part of a module's rows that the rank with most of them has; 1: each has all. */
double plan_row_share(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                      const struct plan_module *module, int ranks);

/* The part of a block's experts that the rank with most of them does. */
double plan_expert_share(const struct graph *g, const llmq_quantize_options *o, int ranks);

/* What one of so many ranks sends to the others during the whole run. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status plan_rank_sends(const struct planned_run *run, int rank, int ranks,
                                                struct ranks_traffic *sent, llmq_error *err);

/* Times by the link and the rate of products that are asked about, `gflops` where none is.
 * LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status plan_ranks(const struct planned_run *run, int ranks, double gflops,
                                           llmq_ranks_plan *out, llmq_error *err);

#endif
