/* Post-processors of tokenizer.json: the special tokens around the ids of a text. */
#ifndef LLMQ_TEXT_POSTPROCESSOR_H
#define LLMQ_TEXT_POSTPROCESSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"
#include "text/tokenizer.h"

/* Immutable after parsing. */
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

/* One more than the largest special id, 0 without any. */
int32_t postprocessor_limit(const struct postprocessor *p);

#endif
