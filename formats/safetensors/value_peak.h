/* SPDX-License-Identifier: Apache-2.0 */
/* The largest value of a tensor as it is stored, and what float16 holds. */
#ifndef LLMQ_FORMATS_SAFETENSORS_VALUE_PEAK_H
#define LLMQ_FORMATS_SAFETENSORS_VALUE_PEAK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/context.h"
#include "llmq/error.h"

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

/* Does a config.json name float16 as the type the model runs in? */
bool config_names_half(const struct json *config);

#endif
