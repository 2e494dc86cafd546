/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_config.json: the begin- and end-of-text tokens that tokenizer.json does not tell of. */
#ifndef LLMQ_TEXT_TOKENIZER_CONFIG_H
#define LLMQ_TEXT_TOKENIZER_CONFIG_H

#include <stdbool.h>

#include "base/json.h"
#include "llmq/error.h"

/* What a tokenizer_config.json says; the texts point into the document or are static. */
struct tokenizer_config {
    bool frames; /* its class of tokenizers acts on the flags, which are false elsewhere */
    bool add_bos, add_eos;   /* put the tokens before and after a text */
    bool says_bos, says_eos; /* the flag is in the file, not the class's default */
    const char *bos, *eos;   /* texts of the tokens, or NULL: none is named */
};

/* Read a document; NULL or a document that is no object says nothing. LLMQ_E_INPUT for flags and
 * tokens of wrong types. */
LLMQ_NODISCARD enum llmq_status
tokenizer_config_read(const struct json *document, struct tokenizer_config *out, llmq_error *err);

#endif
