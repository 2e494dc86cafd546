/* SPDX-License-Identifier: Apache-2.0 */
/* Normalizers of tokenizer.json: text to text, before it is cut. */
#ifndef LLMQ_TEXT_NORMALIZER_H
#define LLMQ_TEXT_NORMALIZER_H

#include <stdbool.h>

#include "base/json.h"
#include "base/strbuf.h"
#include "llmq/error.h"
#include "text/expr.h"
#include "text/pattern.h"

/* Immutable after parsing. */
struct normalizer;

/* Parse a normalizer object; null or absent gives *out = NULL, which changes nothing.
 * LLMQ_E_UNSUPPORTED names a type that is not implemented. */
LLMQ_NODISCARD enum llmq_status normalizer_parse(const struct json *value, struct normalizer **out,
                                                 llmq_error *err);
void normalizer_free(struct normalizer **n);

/* Normalize `text` in place. *at_start is cleared when the first character of the result no longer
 * stands for the first character of the input. goes_on: a part of the text came before, and nothing
 * is put in front. `n` may be NULL. */
LLMQ_NODISCARD enum llmq_status normalizer_apply(const struct normalizer *n,
                                                 struct expr_scratch *scratch, bool goes_on,
                                                 struct strbuf *text, bool *at_start,
                                                 llmq_error *err);

/* Is a text normalized in two parts as it is in one, wherever the second begins with an ASCII
 * character? */
bool normalizer_is_local(const struct normalizer *n);

#endif
