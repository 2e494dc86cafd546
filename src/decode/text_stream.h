/* SPDX-License-Identifier: Apache-2.0 */
/* Text that grows token by token: whole characters are given out as soon as nothing that follows
 * can change them, and no further than a text that ends it. */
#ifndef LLMQ_DECODE_TEXT_STREAM_H
#define LLMQ_DECODE_TEXT_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"

struct text_stream {
    const char *const *stops; /* texts that end it; the caller's */
    size_t stop_count;
    struct strbuf text; /* all of it, without a stop and what follows */
    size_t given;       /* bytes that text_stream_take gave */
    bool stopped;
};

/* Append bytes; afterwards `stopped` says whether the text has ended. */
void text_stream_add(struct text_stream *s, const char *bytes, size_t len);

/* The text that can be given out and was not, *len bytes, until the next call; with `ends` all that
 * there is, where bytes that are no character become U+FFFD. */
const char *text_stream_take(struct text_stream *s, bool ends, size_t *len);

void text_stream_free(struct text_stream *s);

#endif
