/* SPDX-License-Identifier: Apache-2.0 */
/* Strings and numbers as they stand in templates. */
#ifndef LLMQ_CHAT_LITERAL_H
#define LLMQ_CHAT_LITERAL_H

#include "chat/rendering.h"

/* What stands between the quotes, escapes read as Python's. */
struct jinja_value jinja_read_string(struct jinja_run *run, struct jinja_text inside);

/* The number that `text` begins with, *used bytes; `whole`: no fraction and no exponent. */
struct jinja_value jinja_read_number(struct jinja_run *run, struct jinja_text text, bool whole,
                                     size_t *used);

/* A whole text as Python's int() and float() take one, white space around it; false when it is
 * none. */
bool jinja_text_to_int(struct jinja_text text, int base, int64_t *out);
bool jinja_text_to_float(struct jinja_text text, double *out);

#endif
