/* SPDX-License-Identifier: Apache-2.0 */
/* See text_stream.h. */
#include "decode/text_stream.h"

#include <string.h>

#include "text/utf8.h"

/* Where a stop begins in the text from `from` on; its length where there is none. */
static size_t find_stop(const struct text_stream *s, size_t from) {
    size_t first = s->text.len;
    for (size_t i = 0; i < s->stop_count; i++) {
        const size_t len = strlen(s->stops[i]);
        for (size_t at = from; len > 0 && at + len <= s->text.len && at < first; at++)
            if (memcmp(s->text.data + at, s->stops[i], len) == 0)
                first = at;
    }
    return first;
}

/* Bytes at the end of the text that a stop may begin with. */
static size_t open_stop(const struct text_stream *s) {
    size_t most = 0;
    for (size_t i = 0; i < s->stop_count; i++) {
        const size_t len = strlen(s->stops[i]);
        for (size_t n = len; n-- > most + 1;)
            if (n <= s->text.len && memcmp(s->text.data + s->text.len - n, s->stops[i], n) == 0)
                most = n;
    }
    return most;
}

void text_stream_add(struct text_stream *s, const char *bytes, size_t len) {
    if (s->stopped || len == 0)
        return;
    strbuf_append(&s->text, bytes, len);
    if (!strbuf_ok(&s->text))
        return;
    const size_t stop = find_stop(s, s->given);
    s->stopped = stop < s->text.len;
    s->text.len = stop;
    s->text.data[stop] = '\0';
}

/* Make the bytes from `given` on text, up to `end`. */
static void repair(struct text_stream *s, size_t end) {
    struct strbuf repaired = {0};
    const size_t len = end - s->given;
    if (utf8_first_invalid(s->text.data + s->given, len) == len)
        return;
    utf8_append_repaired(&repaired, s->text.data + s->given, len);
    strbuf_append(&repaired, s->text.data + end, s->text.len - end);
    s->text.len = s->given;
    strbuf_append(&s->text, repaired.data, repaired.len);
    s->text.failed |= repaired.failed;
    strbuf_free(&repaired);
}

const char *text_stream_take(struct text_stream *s, bool ends, size_t *len) {
    size_t held = 0;
    *len = 0;
    if (s->text.len <= s->given || !strbuf_ok(&s->text))
        return "";
    if (!ends && !s->stopped) {
        const size_t stop = open_stop(s), open = utf8_open_end(s->text.data, s->text.len);
        held = stop > open ? stop : open;
    }
    if (held >= s->text.len - s->given)
        return "";
    repair(s, s->text.len - held);
    *len = s->text.len - held - s->given;
    s->given += *len;
    return s->text.data + s->given - *len;
}

void text_stream_free(struct text_stream *s) {
    strbuf_free(&s->text);
    *s = (struct text_stream){0};
}
