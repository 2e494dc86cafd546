/* One text of a corpus to ids: what all that is read goes through. */
#ifndef LLMQ_TEXT_DOCUMENT_H
#define LLMQ_TEXT_DOCUMENT_H

#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"
#include "llmq/special.h"
#include "text/tokenizer.h"

/* How texts are read, and what became of those so far. */
struct document_reader {
    const struct tokenizer *tok;
    enum llmq_special special;
    int64_t texts;
    int64_t empty; /* of them nothing but special tokens, if anything: left out */
    int64_t begun; /* began with what is put before a text: not put there again */
};

/* Append the ids of a text with the special tokens around it, as tokenizer_encode does, but for two
 * things: a text that begins with the tokens that would be put before it gets no second ones, and a
 * text without content adds nothing. Errors as of tokenizer_encode. */
LLMQ_NODISCARD enum llmq_status document_encode(struct document_reader *reader, const char *text,
                                                size_t len, struct id_list *out, llmq_error *err);

/* The same for a text that a chat template wrote, with all the special tokens that its model wants:
 * what a model's own tokenizer would put around a text is not put there again. */
LLMQ_NODISCARD enum llmq_status document_encode_chat(struct document_reader *reader,
                                                     const char *text, size_t len,
                                                     struct id_list *out, llmq_error *err);

#endif
