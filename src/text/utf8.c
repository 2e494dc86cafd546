/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8: see utf8.h. */
#include "text/utf8.h"

#include <utf8proc.h>

size_t utf8_first_invalid(const char *text, size_t len) {
    const utf8proc_uint8_t *s = (const utf8proc_uint8_t *)text;
    utf8proc_int32_t cp = 0;
    for (size_t at = 0; at < len;) {
        utf8proc_ssize_t n = 1;
        if (s[at] >= 0x80)
            n = utf8proc_iterate(s + at, (utf8proc_ssize_t)(len - at), &cp);
        if (n <= 0)
            return at;
        at += (size_t)n;
    }
    return len;
}

size_t utf8_decode(const char *text, uint32_t *cp) {
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *cp = s[0];
        return 1;
    }
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    uint32_t value = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        value = value << 6 | (s[i] & 0x3fu);
    *cp = value;
    return n;
}

size_t utf8_encode(uint32_t cp, char out[4]) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)out);
}

size_t utf8_previous(const char *text, size_t end) {
    do
        end--;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80);
    return end;
}

/* Which second bytes may follow a first one; 0: it begins nothing. Returns the character's length.
 */
static size_t length_by_first(unsigned char first, unsigned char *low, unsigned char *high) {
    *low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    *high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* The longest piece at the text's begin that is a character, or begins like one; at least 1 byte.
 * *missing: bytes that would complete it. */
static size_t piece_at(const char *text, size_t len, size_t *missing) {
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low = 0, high = 0;
    const size_t whole = length_by_first(s[0], &low, &high);
    size_t have = 1;
    while (have < whole && have < len && s[have] >= low && s[have] <= high) {
        low = 0x80;
        high = 0xbf;
        have++;
    }
    *missing = whole == 0 ? SIZE_MAX : whole - have;
    return have;
}

void utf8_append_repaired(struct strbuf *out, const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        size_t missing = 0;
        const size_t piece = piece_at(text + at, len - at, &missing);
        if (missing == 0)
            strbuf_append(out, text + at, piece);
        else
            strbuf_puts(out, UTF8_REPLACEMENT);
        at += piece;
    }
}

size_t utf8_open_end(const char *text, size_t len) {
    for (size_t back = 1; back < 4 && back <= len; back++) {
        size_t missing = 0;
        if (((unsigned char)text[len - back] & 0xc0) == 0x80)
            continue;
        const bool open = piece_at(text + len - back, back, &missing) == back && missing > 0 &&
                          missing != SIZE_MAX;
        return open ? back : 0;
    }
    return 0;
}
