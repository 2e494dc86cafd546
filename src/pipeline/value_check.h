/* Values that a result must not hold, or that the type its config names does not: found in the
 * tensors as they are stored, before anything is made of them. */
#ifndef LLMQ_PIPELINE_VALUE_CHECK_H
#define LLMQ_PIPELINE_VALUE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/strbuf.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "pipeline/plan.h"

/* The largest float16. */
#define HALF_MOST 65504.0f

/* What helps when a model is to run in float16 and does not fit. */
#define HALF_HINT "run it in bfloat16 or float32, which config.json should name then"

/* An element of a tensor. */
struct value_at {
    uint64_t index; /* in the order of the file */
    float value;
};

/* Read a floating tensor and find its largest element, not finite ones first and the first of
 * equals. Nothing is found in an empty one: value 0. */
LLMQ_NODISCARD enum llmq_status value_peak(const struct st_set *set, const struct st_tensor *t,
                                           const llmq_context *ctx, struct value_at *peak,
                                           llmq_error *err);

/* "row 3, column 7" in `text`; "element 5" of a vector. */
#define VALUE_PLACE_MAX 96
const char *value_place(const struct st_tensor *t, uint64_t index, char text[VALUE_PLACE_MAX]);

/* LLMQ_E_NUMERIC naming file, tensor, element and value: a value that is not finite. */
LLMQ_NODISCARD enum llmq_status value_not_finite(const struct st_set *set,
                                                 const struct st_tensor *t,
                                                 const struct value_at *at, llmq_error *err);

/* Does a config.json name float16 as the type the model runs in? */
bool config_names_half(const struct json *config);

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
