/* UTF-8 and character classes: see utf8.h.
 *
 * Categories come from utf8proc. It has no derived properties, so White_Space and the part of
 * Alphabetic that categories do not cover are spelled out (Unicode PropList.txt). */
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

static utf8proc_category_t category(uint32_t cp) {
    return utf8proc_category((utf8proc_int32_t)cp);
}

bool unicode_is_space(uint32_t cp) {
    if (cp < 0x80)
        return cp == ' ' || (cp >= '\t' && cp <= '\r');
    utf8proc_category_t c = category(cp);
    return cp == 0x85 || c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL ||
           c == UTF8PROC_CATEGORY_ZP;
}

bool unicode_is_mark(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
}

/* Symbols with Other_Alphabetic: circled, negative circled and squared Latin letters. */
static bool is_alphabetic_symbol(uint32_t cp) {
    return (cp >= 0x24b6 && cp <= 0x24e9) || (cp >= 0x1f130 && cp <= 0x1f149) ||
           (cp >= 0x1f150 && cp <= 0x1f169) || (cp >= 0x1f170 && cp <= 0x1f189);
}

bool unicode_is_word(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    bool letter = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
    bool number = c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL;
    bool joiner = c == UTF8PROC_CATEGORY_PC || cp == 0x200c || cp == 0x200d;
    return letter || number || joiner || unicode_is_mark(cp) || is_alphabetic_symbol(cp);
}
