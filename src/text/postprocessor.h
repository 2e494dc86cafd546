/* SPDX-License-Identifier: Apache-2.0 */
/* Post-processors of tokenizer.json: the special tokens around the ids of a text. */
#ifndef LLMQ_TEXT_POSTPROCESSOR_H
#define LLMQ_TEXT_POSTPROCESSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"
#include "text/tokenizer.h"

/* Immutable after parsing and postprocessor_frame. */
struct postprocessor;

/* Parse a post-processor object; null or absent adds nothing. LLMQ_E_UNSUPPORTED names a type that
 * is not implemented. */
LLMQ_NODISCARD enum llmq_status postprocessor_parse(const struct json *value,
                                                    struct postprocessor **out, llmq_error *err);
void postprocessor_free(struct postprocessor **p);

/* Append `ids` to *out as the template says; special tokens only with add_special. */
LLMQ_NODISCARD enum llmq_status postprocessor_apply(const struct postprocessor *p,
                                                    const struct id_list *ids, bool add_special,
                                                    struct id_list *out, llmq_error *err);

/* Put the ids `before` and `after` around a text; -1: none. For a post-processor without a template
 * of its own, or with one that adds nothing. */
LLMQ_NODISCARD enum llmq_status postprocessor_frame(struct postprocessor *p, int32_t before,
                                                    int32_t after, llmq_error *err);

/* The special ids before a text; valid as long as the post-processor. */
const int32_t *postprocessor_prefix(const struct postprocessor *p, size_t *count);

/* Those behind it. */
const int32_t *postprocessor_suffix(const struct postprocessor *p, size_t *count);

/* Is the text in it once? */
bool postprocessor_is_frame(const struct postprocessor *p);

/* Does it put special ids after a text? */
bool postprocessor_has_suffix(const struct postprocessor *p);

/* One more than the largest special id, 0 without any. */
int32_t postprocessor_limit(const struct postprocessor *p);

#endif
