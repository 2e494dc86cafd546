/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations in records of the usual kinds of data sets. */
#ifndef LLMQ_TEXT_CONVERSATION_H
#define LLMQ_TEXT_CONVERSATION_H

#include <stdbool.h>

#include "chat/rendering.h"

/* The messages of a list: of {"role", "content"}, which stay as they are, or of {"from", "value"}
 * (ShareGPT), whose speakers become roles. Fails (run->status) for others. */
struct jinja_value conversation_of_list(struct jinja_run *run, const struct jinja_value *list);

/* The messages of a record: its "messages" or "conversations", or a question and its answer
 * (instruction, input, output; prompt, completion; question, answer; and the like). False when it
 * has nothing of the kind. */
bool conversation_of_record(struct jinja_run *run, const struct jinja_value *record,
                            struct jinja_value *messages);

#endif
