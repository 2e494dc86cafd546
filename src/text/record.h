/* SPDX-License-Identifier: Apache-2.0 */
/* Records of data sets, each a line of JSON, to texts: the one place that knows how they look. */
#ifndef LLMQ_TEXT_RECORD_H
#define LLMQ_TEXT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"
#include "text/chat_template.h"
#include "text/corpus_file.h"

/* How records are read, and what they were so far. */
struct record_reader {
    const struct corpus_file *file; /* for hints */
    struct chat_template *chat;     /* of the model */
    const char *field;              /* the member that holds the text, NULL: as usual */
    const char *field_option;       /* what the command calls `field`, for messages */
    int64_t chats;                  /* that the template wrote */
};

struct record {
    char *text; /* the caller frees it */
    size_t len;
    bool is_chat; /* the template wrote it: its special tokens are all that it gets */
};

/* The text of a line: its member `field` or "text", else the conversation that it holds
 * (conversation.h; the member `field` may be a list of messages, too), as the model's template
 * writes it, with the line's "tools" and "chat_template_kwargs". LLMQ_E_INPUT for a line that is no
 * JSON object, has a key twice, or holds neither. */
LLMQ_NODISCARD enum llmq_status record_read(struct record_reader *reader, const char *line,
                                            size_t len, struct record *out, llmq_error *err);

#endif
