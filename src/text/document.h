/* SPDX-License-Identifier: Apache-2.0 */
/* One text of a corpus to ids: what all that is read goes through, a long one in parts. */
#ifndef LLMQ_TEXT_DOCUMENT_H
#define LLMQ_TEXT_DOCUMENT_H

#include <stdbool.h>
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

/* A text that is being read. */
struct document {
    struct document_reader *reader;
    enum llmq_special special;
    bool begun;          /* a part was encoded */
    bool has_content;    /* more than special tokens, and the tokens before it are written */
    struct id_list head; /* until then */
};

/* Begin a text. is_chat: a chat template wrote it, with all the special tokens that its model
 * wants: what a model's own tokenizer would put around a text is not put there again. */
void document_begin(struct document_reader *reader, bool is_chat, struct document *out);

/* Append the ids of a part of the text, valid UTF-8 that follows those before, with the special
 * tokens around the whole as tokenizer_encode has them, but for two things: a text that begins with
 * the tokens that would be put before it gets no second ones, and a text without content adds
 * nothing. *used of its bytes were read: the next part begins behind them, and is to be longer
 * where there were none. `ends`: it is the last part, and all of it is used. Errors as of
 * tokenizer_encode. */
LLMQ_NODISCARD enum llmq_status document_part(struct document *d, const char *text, size_t len,
                                              bool ends, struct id_list *out, size_t *used,
                                              llmq_error *err);
void document_end(struct document *d);

/* A whole text at once. */
LLMQ_NODISCARD enum llmq_status document_encode(struct document_reader *reader, const char *text,
                                                size_t len, struct id_list *out, llmq_error *err);

#endif
