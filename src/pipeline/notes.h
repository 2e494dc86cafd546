/* What the user should know of a model that is not plain from its files. */
#ifndef LLMQ_PIPELINE_NOTES_H
#define LLMQ_PIPELINE_NOTES_H

#include "graph/model.h"
#include "llmq/context.h"
#include "pipeline/plan.h"

/* Where config.json and the tensors disagree, and what llmq goes by. */
void notes_of_model(const struct model *m, const llmq_context *ctx);

/* Tensors that computing with the model passes over. */
void notes_of_use(const struct model *m, const llmq_context *ctx);

/* What a result leaves out, and why, and what its config.json says otherwise. */
void notes_of_result(const struct model *m, const struct plan *p, const llmq_context *ctx);

#endif
