/* SPDX-License-Identifier: Apache-2.0 */
/* Added tokens: strings that become ids before anything else looks at the text. */
#ifndef LLMQ_TEXT_ADDED_TOKENS_H
#define LLMQ_TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"
#include "text/normalizer.h"
#include "text/pattern.h"
#include "text/pieces.h"
#include "text/vocab.h"

/* Immutable after parsing. */
struct added_tokens;

/* What parsing needs of the rest of the tokenizer: ids of known tokens, and the normalizer that
 * tokens with "normalized": true go through before they are looked for. */
struct added_context {
    const struct vocab *vocab;
    const struct normalizer *normalizer; /* may be NULL */
    struct expr_scratch *scratch;
};

/* Parse the "added_tokens" array; null or absent is an empty set. As in the reference, a token
 * gets the id of the vocabulary or else the next free one; the id in the file is only checked to
 * be an id. */
LLMQ_NODISCARD enum llmq_status added_tokens_parse(const struct json *array,
                                                   const struct added_context *context,
                                                   struct added_tokens **out, llmq_error *err);
void added_tokens_free(struct added_tokens **a);

/* Cut `text` at the added tokens that are (or are not) matched after normalization, and append the
 * parts: tokens as ids, what is between them as text. at_start: the text begins where the input
 * begins. out->unsettled is set where what follows the text may change the tokens that it ends in.
 */
LLMQ_NODISCARD enum llmq_status added_tokens_split(const struct added_tokens *a, bool normalized,
                                                   const struct strbuf *text, bool at_start,
                                                   struct piece_list *out, llmq_error *err);

/* One more than the largest id, 0 without tokens. */
int32_t added_tokens_limit(const struct added_tokens *a);

/* Id of the added token with this content, or -1. Linear. */
int32_t added_tokens_find(const struct added_tokens *a, const char *content);

/* Is it an added token that is marked special? */
bool added_tokens_is_special(const struct added_tokens *a, int32_t id);

/* Content of an added token, or NULL; its length, 0 where there is none. */
const char *added_tokens_content(const struct added_tokens *a, int32_t id);
size_t added_tokens_length(const struct added_tokens *a, int32_t id);

#endif
