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
