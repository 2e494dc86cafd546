/* SPDX-License-Identifier: Apache-2.0 */
/* A stage after the last block and the head: scales tuned on the predictions of the whole model
 * (tune/tune.h), and put in their place.
 *
 * The journal says what blocks and head made. Before the first scale is overwritten all of them are
 * in a file beside the tensors; a run that continues one that was killed puts them back, and tunes
 * again from there. The file goes when the result is complete, behind the journal (output.h). */
#ifndef LLMQ_PIPELINE_RUN_TUNE_H
#define LLMQ_PIPELINE_RUN_TUNE_H

#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/quantize.h"
#include "pipeline/plan.h"

struct run;

/* Tune, store, and change run->blocks.hashes and the report; nothing where plan_tunes says OFF. */
LLMQ_NODISCARD enum llmq_status run_tune(struct run *run, llmq_error *err);

/* What a run that continues begins with: scales as blocks and head made them. */
LLMQ_NODISCARD enum llmq_status run_tune_undo(struct run *run, llmq_error *err);

/* Can scales be tuned with these options? LLMQ_E_USAGE. In the format of this plan?
 * LLMQ_E_UNSUPPORTED, where that was asked for; where it was left to the plan, it is told. */
LLMQ_NODISCARD enum llmq_status run_tune_check_options(const llmq_quantize_options *o,
                                                       llmq_error *err);
LLMQ_NODISCARD enum llmq_status plan_check_tuning(const struct plan *p,
                                                  const llmq_quantize_options *o,
                                                  const llmq_context *ctx, llmq_error *err);

/* Windows to learn from where the longest has so many tokens. */
int64_t plan_tune_windows(const llmq_quantize_options *o, int64_t longest);

/* What the options ask for, AUTO settled by the format. */
enum llmq_tune plan_tunes(const struct plan *p, const llmq_quantize_options *o);

#endif
