/* SPDX-License-Identifier: Apache-2.0 */
/* What the user should know of a model that is not plain from its files. */
#ifndef LLMQ_PIPELINE_NOTES_H
#define LLMQ_PIPELINE_NOTES_H

#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/quantize.h"
#include "pipeline/plan.h"

/* Where config.json and the tensors disagree, and what llmq goes by. */
void notes_of_model(const struct model *m, const llmq_context *ctx);

/* Options given (other than the method's defaults) that change nothing about this run. */
void notes_of_options(const llmq_quantize_options *o, const struct model *m,
                      const llmq_context *ctx);

/* Fewer calibration tokens than the inputs of linears ask for. Experts, whose share is not known
 * beforehand, have --expert-tokens. */
void notes_of_tokens(const struct plan *p, const struct calib_tokens *tokens,
                     const llmq_context *ctx);

/* Tensors that computing with the model passes over. */
void notes_of_use(const struct model *m, const llmq_context *ctx);

/* What a result leaves out, and why, what its config.json says otherwise, and that a file which is
 * not split passes over the size of shards. */
void notes_of_result(const struct model *m, const struct plan *p, uint64_t shard_limit,
                     const llmq_context *ctx);

#endif
