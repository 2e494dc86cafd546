/* SPDX-License-Identifier: Apache-2.0 */
/* The front matter of a model card: the YAML between two lines of three dashes at the beginning of
 * a README.md, by which hubs list a model.
 *
 * Read is what cards have: keys at the line's beginning, whose values are words or texts on the
 * line, or lists of them, on the line or below it. A value of another form is not understood, and
 * nothing is when the block itself is of another form: what is written again is what was
 * understood, as words and texts of this module's own spelling, so that it is YAML whatever the
 * card held. */
#ifndef LLMQ_PIPELINE_FRONT_MATTER_H
#define LLMQ_PIPELINE_FRONT_MATTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "llmq/error.h"

/* A key and its value. */
struct front_value {
    char *key;
    char **items; /* of a list, or the one that it is */
    size_t count;
    bool list;
    bool understood; /* else it has no items */
};

enum front_form {
    FRONT_NONE,    /* the card begins with something else */
    FRONT_READ,    /* `values` are its keys, in order */
    FRONT_STRANGE, /* there is one, of a form that is not read */
};

/* A card taken apart. The body is a view of the text. */
struct front_matter {
    enum front_form form;
    struct front_value *values;
    size_t count;
    const char *body;
    size_t body_len;
};

/* Take the text of a card apart. LLMQ_E_MEMORY. Release with front_matter_free. */
LLMQ_NODISCARD enum llmq_status front_matter_read(const char *text, size_t len,
                                                  struct front_matter *out, llmq_error *err);
void front_matter_free(struct front_matter *f); /* accepts a zeroed struct */

/* The value of a key, if it was understood; else NULL. */
const struct front_value *front_matter_find(const struct front_matter *f, const char *key);

/* Write a line "key: text", or the lines of a list. */
void front_matter_put(struct strbuf *out, const char *key, const char *text);
void front_matter_put_value(struct strbuf *out, const struct front_value *value);
void front_matter_put_item(struct strbuf *out, const char *text);

#endif
