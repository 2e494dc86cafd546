/* SPDX-License-Identifier: Apache-2.0 */
/* Putting a result's tensors into its files: packed modules, and copies of what stays as it is. */
#ifndef LLMQ_PIPELINE_STORE_H
#define LLMQ_PIPELINE_STORE_H

#include "formats/safetensors/safetensors.h"
#include "llmq/context.h"
#include "pipeline/plan.h"

/* Encode a module into the tensors its layout gives it and put them. With a NULL `writer` it is
 * only tried whether the layout can hold the module's contents. */
LLMQ_NODISCARD enum llmq_status store_module(const struct layout *layout,
                                             const struct plan_module *module,
                                             const struct qlinear *q, struct st_writer *writer,
                                             llmq_error *err);

/* Copy the tensors of a module that is packed in `from` in that layout, and kept. */
LLMQ_NODISCARD enum llmq_status store_packed(const struct layout *layout,
                                             const struct plan_module *module,
                                             const struct st_set *from, struct st_writer *writer,
                                             llmq_error *err);

/* What rounding to another type changed. */
struct store_rounding {
    double max_error, max_relative_error;
};

/* Memory that store_kept takes beside its buffer, in bytes. */
uint64_t store_kept_bytes(const struct plan *plan, const struct st_set *from);

/* Copy the tensors the plan keeps through a buffer: embeddings may be larger than a block. Those
 * that the plan gives another type (see plan_kept_dtype) are converted, and *rounding, unless it is
 * NULL, is raised to the largest change. Values were checked before, see value_check. */
LLMQ_NODISCARD enum llmq_status store_kept(const struct plan *plan, const struct st_set *from,
                                           struct st_writer *writer,
                                           struct store_rounding *rounding, const llmq_context *ctx,
                                           llmq_error *err);

#endif
