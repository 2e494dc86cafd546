/* SPDX-License-Identifier: Apache-2.0 */
/* Values that a result must not hold, or that the type its config names does not: found in the
 * tensors as they are stored, before anything is made of them. */
#ifndef LLMQ_PIPELINE_VALUE_CHECK_H
#define LLMQ_PIPELINE_VALUE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "formats/safetensors/value_peak.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "pipeline/plan.h"

/* Check what of `from` enters the result of a plan: every tensor that is kept or folded, and with
 * `linears` the weights of its modules too (which reads the whole model). LLMQ_E_NUMERIC: a value
 * that is not finite, or one that the plan rounds to float16 and that does not fit. When the
 * result's config names float16 (`half`), tensors beyond its range are warned of. */
LLMQ_NODISCARD enum llmq_status value_check(const struct plan *plan, const struct st_set *from,
                                            bool linears, bool half, const llmq_context *ctx,
                                            llmq_error *err);

/* A module's weight was refused for a value that is not finite: say which it is in the file. Leaves
 * the error as it is when there is none. */
enum llmq_status value_check_tensor(const struct st_set *set, const struct plan_module *module,
                                    const llmq_context *ctx, llmq_error *err);

/* Will the result's config name float16? `config` is the source's. */
bool value_half_result(const struct plan *plan, const struct json *config);

#endif
