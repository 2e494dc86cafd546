/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-tokenizers of tokenizer.json: cut normalized text into the pieces the model sees. */
#ifndef LLMQ_TEXT_PRETOKENIZER_H
#define LLMQ_TEXT_PRETOKENIZER_H

#include "base/json.h"
#include "llmq/error.h"
#include "text/pattern.h"
#include "text/pieces.h"

/* Immutable after parsing. */
struct pretokenizer;

/* Parse a pre-tokenizer object; null or absent gives *out = NULL, which cuts nothing.
 * LLMQ_E_UNSUPPORTED names a type that is not implemented. */
LLMQ_NODISCARD enum llmq_status pretokenizer_parse(const struct json *value,
                                                   struct pretokenizer **out, llmq_error *err);
void pretokenizer_free(struct pretokenizer **p);

/* Cut the text pieces of *pieces further; tokens stay. `p` may be NULL. */
LLMQ_NODISCARD enum llmq_status pretokenizer_apply(const struct pretokenizer *p,
                                                   struct expr_scratch *scratch,
                                                   struct piece_list *pieces, llmq_error *err);

/* Is a text cut, from the begin of a piece that is PIECE_FRESH on, as if it began there? */
bool pretokenizer_restarts(const struct pretokenizer *p);

#endif
