/* SPDX-License-Identifier: Apache-2.0 */
/* Literals: see literal.h. */
#include "chat/literal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chat/text_ops.h"

/* --- strings ---------------------------------------------------------------------------------- */

static int digit_of(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *found = c ? strchr(digits, c | (c >= 'A' ? 0x20 : 0)) : NULL;
    return found ? (int)(found - digits) : 16;
}

/* Up to `most` digits of `base` at `at`; how many there are. */
static size_t read_digits(struct jinja_text t, size_t at, int base, size_t most, uint32_t *out) {
    size_t n = 0;
    *out = 0;
    for (; n < most && at + n < t.len && digit_of(t.at[at + n]) < base; n++)
        *out = *out * (uint32_t)base + (uint32_t)digit_of(t.at[at + n]);
    return n;
}

/* The character of \x, \u, \U or an octal escape whose letter or first digit is at `at`; the
 * bytes passed. */
static size_t numbered(struct jinja_run *run, struct jinja_text t, size_t at, struct strbuf *b) {
    const char c = t.at[at];
    const bool octal = c >= '0' && c <= '7';
    const size_t digits = octal ? 3 : c == 'x' ? 2 : c == 'u' ? 4 : 8;
    uint32_t cp = 0;
    char bytes[4];
    const size_t n = read_digits(t, at + !octal, octal ? 8 : 16, digits, &cp);
    if ((!octal && n < digits) || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) {
        jinja_fail(run, LLMQ_E_INPUT, "the escape '\\%c' in a string names no character", c);
        return 1;
    }
    strbuf_append(b, bytes, jinja_encode((int32_t)cp, bytes));
    return n + !octal;
}

/* The escape behind a backslash at `at`; the bytes passed. */
static size_t read_escape(struct jinja_run *run, struct jinja_text t, size_t at, struct strbuf *b) {
    static const char letters[] = "\\'\"abfnrtv", meanings[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = at < t.len ? t.at[at] : '\0';
    const char *known = c ? strchr(letters, c) : NULL;
    if (known)
        strbuf_append(b, &meanings[known - letters], 1);
    else if (c == 'x' || c == 'u' || c == 'U' || (c >= '0' && c <= '7'))
        return numbered(run, t, at, b);
    else if (c == 'N')
        jinja_fail(run, LLMQ_E_UNSUPPORTED, "characters by name (\\N) are not supported");
    else if (c != '\n') {
        strbuf_puts(b, "\\");
        return 0;
    }
    return 1;
}

struct jinja_value jinja_read_string(struct jinja_run *run, struct jinja_text inside) {
    struct strbuf b = {0};
    for (size_t at = 0; at < inside.len && !jinja_failed(run);) {
        if (inside.at[at] == '\\')
            at += 1 + read_escape(run, inside, at + 1, &b);
        else
            strbuf_append(&b, inside.at + at++, 1);
    }
    return jinja_take(run, &b);
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* Digits with underscores between them, at `at`. */
static size_t digits_at(struct jinja_text t, size_t at) {
    size_t end = at;
    while (end < t.len && ((t.at[end] >= '0' && t.at[end] <= '9') ||
                           (end > at && t.at[end] == '_' && end + 1 < t.len &&
                            t.at[end + 1] >= '0' && t.at[end + 1] <= '9')))
        end++;
    return end - at;
}

static size_t fraction_at(struct jinja_text t, size_t at) {
    size_t n = 0, more = 0;
    if (at + 1 < t.len && t.at[at] == '.' && (more = digits_at(t, at + 1)) > 0)
        n = 1 + more;
    if (at + n < t.len && (t.at[at + n] == 'e' || t.at[at + n] == 'E')) {
        const size_t sign = at + n + 1 < t.len && strchr("+-", t.at[at + n + 1]) ? 1 : 0;
        more = digits_at(t, at + n + 1 + sign);
        n += more ? 1 + sign + more : 0;
    }
    return n;
}

/* A copy without underscores; false when it is too long for a number. */
static bool plain(struct jinja_text t, char out[128]) {
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++) {
        if (n == 127 || t.at[i] == '\0')
            return false;
        if (t.at[i] != '_')
            out[n++] = t.at[i];
    }
    out[n] = '\0';
    return true;
}

bool jinja_text_to_int(struct jinja_text text, int base, int64_t *out) {
    char digits[128];
    char *end = digits;
    errno = 0;
    if (!plain(jinja_strip(text, NULL, true, true), digits) || digits[0] == '\0')
        return false;
    *out = strtoll(digits, &end, base);
    return *end == '\0' && errno == 0;
}

bool jinja_text_to_float(struct jinja_text text, double *out) {
    char digits[128];
    char *end = digits;
    if (!plain(jinja_strip(text, NULL, true, true), digits) || digits[0] == '\0' ||
        strpbrk(digits, "xXpP"))
        return false;
    *out = strtod(digits, &end);
    return *end == '\0';
}

/* 0x, 0o and 0b. */
static size_t based(struct jinja_text t, int64_t *out) {
    const char letter = t.len > 2 && t.at[0] == '0' ? (char)(t.at[1] | 0x20) : '\0';
    const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    uint32_t value = 0;
    const size_t n = base ? read_digits(t, 2, base, 7, &value) : 0;
    *out = value;
    return n ? n + 2 : 0;
}

struct jinja_value jinja_read_number(struct jinja_run *run, struct jinja_text text, bool whole,
                                     size_t *used) {
    int64_t integer = 0;
    double real = 0;
    *used = based(text, &integer);
    if (*used)
        return jinja_int(integer);
    const size_t digits = digits_at(text, 0), more = whole ? 0 : fraction_at(text, digits);
    *used = digits + more;
    const struct jinja_text number = {text.at, *used};
    if (more && jinja_text_to_float(number, &real))
        return jinja_float(real);
    if (!more && jinja_text_to_int(number, 10, &integer))
        return jinja_int(integer);
    return jinja_fail(run, LLMQ_E_UNSUPPORTED, "the number %.*s is too large",
                      (int)(*used < 40 ? *used : 40), text.at);
}
