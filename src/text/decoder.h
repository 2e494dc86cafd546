/* SPDX-License-Identifier: Apache-2.0 */
/* Decoders of tokenizer.json: from the texts of tokens back to a text, equal to the reference
 * `tokenizers` library. */
#ifndef LLMQ_TEXT_DECODER_H
#define LLMQ_TEXT_DECODER_H

#include <stddef.h>

#include "base/json.h"
#include "base/strbuf.h"
#include "llmq/error.h"
#include "text/vocab.h"

/* Immutable after parsing. */
struct decoder;

/* Parse a decoder object; null or absent: tokens are written with a blank between them, as the
 * reference does. One that is not implemented is an error only where it is used: a text can be read
 * without it. LLMQ_E_INPUT for members that are missing or of wrong types. */
LLMQ_NODISCARD enum llmq_status decoder_parse(const struct json *value, struct decoder **out,
                                              llmq_error *err);
void decoder_free(struct decoder **d);

/* Append the text of tokens. Bytes that are no UTF-8 become U+FFFD where the reference puts it.
 * LLMQ_E_UNSUPPORTED names a decoder that is not implemented. */
LLMQ_NODISCARD enum llmq_status decoder_apply(const struct decoder *d,
                                              const struct vocab_text *tokens, size_t count,
                                              struct strbuf *out, llmq_error *err);

/* Append what one token stands for within a text: bytes, that may be a part of a character. What a
 * decoder does at a text's ends alone is not done. False: the tokenizer does not say, having no
 * decoder or one that is not implemented. */
bool decoder_piece(const struct decoder *d, struct vocab_text token, struct strbuf *out);

#endif
