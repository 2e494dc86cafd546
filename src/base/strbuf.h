/* SPDX-License-Identifier: Apache-2.0 */
/* A growing string. Failure is sticky: append freely, test once with strbuf_ok. */
#ifndef LLMQ_BASE_STRBUF_H
#define LLMQ_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

#include "llmq/error.h"

/* Zero-initialise before use. `data` is NUL-terminated once anything was appended, else NULL. */
struct strbuf {
    char *data;
    size_t len;
    size_t cap;
    bool failed;
};

void strbuf_append(struct strbuf *b, const char *text, size_t len);
void strbuf_puts(struct strbuf *b, const char *text);
void strbuf_printf(struct strbuf *b, const char *fmt, ...) LLMQ_PRINTF(2, 3);

/* False when an append ran out of memory. */
bool strbuf_ok(const struct strbuf *b);

/* Hand the string to the caller, who frees it; "" when nothing was appended; NULL when an append
 * failed. The buffer is empty afterwards. */
char *strbuf_take(struct strbuf *b);

void strbuf_free(struct strbuf *b);

/* Does `text` end in `end`? */
bool text_ends_with(const char *text, const char *end);

#endif
