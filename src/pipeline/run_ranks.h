/* SPDX-License-Identifier: Apache-2.0 */
/* A run over several ranks. All of them go through the same steps with the same model, plan and
 * tokens, and load what they need themselves. Rank 0 alone claims <out>.partial, writes files and
 * the journal, and delivers messages; what it finds there, the others are told. What is divided:
 * batches (calib/share.h), rows of modules (solve_module.h), modules where nothing is calibrated.
 */
#ifndef LLMQ_PIPELINE_RUN_RANKS_H
#define LLMQ_PIPELINE_RUN_RANKS_H

#include <stdbool.h>

#include "pipeline/run.h"

/* Does this rank write? */
bool run_writes(void);

/* Can a plan be made for the ranks that the options ask about? LLMQ_E_USAGE. */
LLMQ_NODISCARD enum llmq_status run_ranks_check_options(const llmq_quantize_options *o,
                                                        llmq_error *err);

/* Can the run that is planned go over so many ranks? LLMQ_E_UNSUPPORTED says what of it cannot. */
LLMQ_NODISCARD enum llmq_status run_ranks_check(const struct run *run, int ranks, llmq_error *err);

/* Do all ranks have the same run before them, in version, kernels, options, texts and files?
 * LLMQ_E_INPUT. */
LLMQ_NODISCARD enum llmq_status run_ranks_compare(const struct run *run, llmq_error *err);

/* What is left to do, as rank 0 found out. */
LLMQ_NODISCARD enum llmq_status run_ranks_tell_task(struct run *run, llmq_error *err);

/* The blocks that an interrupted run finished, as rank 0 found them in the journal; and do all
 * ranks see that journal? LLMQ_E_IO: they do not share a file system. */
LLMQ_NODISCARD enum llmq_status run_ranks_tell_blocks(struct run *run, llmq_error *err);

/* Tell what rank 0 sent to the others, and how long it waited for them. */
void run_ranks_note(const struct run *run);

#endif
