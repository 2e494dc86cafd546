/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text, and JSON as values. */
#ifndef LLMQ_CHAT_FORMAT_H
#define LLMQ_CHAT_FORMAT_H

#include "chat/rendering.h"

/* Python's str(): strings as they are, nothing for what is undefined. */
struct jinja_value jinja_to_string(struct jinja_run *run, const struct jinja_value *v);

/* Append str() of a value. */
void jinja_print(struct jinja_run *run, struct strbuf *b, const struct jinja_value *v);

/* How Python's json.dumps writes. */
struct jinja_json_style {
    bool ascii;  /* everything else by \u */
    bool sorted; /* by keys */
    bool breaks; /* a line for each item, behind `indent` as often as it is deep */
    struct jinja_text indent;
    struct jinja_text between_items, behind_keys;
};

void jinja_write_json(struct jinja_run *run, struct strbuf *b, const struct jinja_value *v,
                      const struct jinja_json_style *style);

/* The values that a JSON text holds; NaN and infinities are taken, as Python does. Fails with the
 * place for anything else that is no JSON, and for a key that an object has twice. */
struct jinja_value jinja_from_json(struct jinja_run *run, const char *text, size_t len);

#endif
