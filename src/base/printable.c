/* SPDX-License-Identifier: Apache-2.0 */
/* What may be shown of text from files: see llmq/printable.h. */
#include "llmq/printable.h"

#include <stdio.h>
#include <string.h>

#include "base/json_scan.h"

enum { ESCAPE_MOST = 12 }; /* \U000e0001 and a NUL */

/* Code points that a reader does not see or that act on what he sees: controls, soft hyphen, marks
 * of direction, zero widths, separators of lines, byte order marks, annotations, tags. */
static const struct {
    uint32_t first, last;
} hidden[] = {
    {0x0, 0x1f},      {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},
    {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},
    {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0xe0fff},
};

static bool is_hidden(uint32_t code) {
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
        if (code >= hidden[i].first && code <= hidden[i].last)
            return true;
    return false;
}

size_t llmq_character(const char *text, uint32_t *code, bool *valid, bool *visible) {
    const unsigned char *p = (const unsigned char *)text;
    size_t len = *p ? utf8_sequence(p, strnlen(text, 4)) : 0;
    *code = *p;
    *valid = *p == 0 || len > 0;
    if (!*valid)
        len = 1;
    if (len > 1) {
        *code = *p & (0x7fU >> len);
        for (size_t i = 1; i < len; i++)
            *code = *code << 6 | (p[i] & 0x3fU);
    }
    *visible = *valid && !is_hidden(*code);
    return len;
}

/* The escape of a character that is not shown. */
static void escape(uint32_t code, bool valid, char out[ESCAPE_MOST]) {
    const char *letter = code == '\n' ? "\\n" : code == '\t' ? "\\t" : code == '\r' ? "\\r" : NULL;
    if (letter)
        snprintf(out, ESCAPE_MOST, "%s", letter);
    else if (!valid || code < 0x80)
        snprintf(out, ESCAPE_MOST, "\\x%02x", (unsigned)code);
    else if (code <= 0xffff)
        snprintf(out, ESCAPE_MOST, "\\u%04x", (unsigned)code);
    else
        snprintf(out, ESCAPE_MOST, "\\U%08x", (unsigned)code);
}

const char *llmq_printable(const char *text, char *out, size_t size) {
    size_t used = 0, len;
    uint32_t code;
    bool valid, visible;
    while ((len = llmq_character(text, &code, &valid, &visible)) > 0) {
        char escaped[ESCAPE_MOST];
        const char *piece = text;
        size_t piece_len = len;
        if (!visible) {
            escape(code, valid, escaped);
            piece = escaped;
            piece_len = strlen(escaped);
        }
        if (used + piece_len >= size)
            break;
        memcpy(out + used, piece, piece_len);
        used += piece_len;
        text += len;
    }
    out[used] = '\0';
    return out;
}

const char *llmq_duration(double seconds, char *out, size_t size) {
    static const struct {
        double below, unit;
        const char *name;
    } units[] = {{99.5, 1, "s"}, {99.5 * 60, 60, "min"}, {48 * 3600.0, 3600, "h"}};
    size_t i = 0;
    if (!(seconds < 1e9)) {
        snprintf(out, size, "?");
        return out;
    }
    while (i < 3 && seconds >= units[i].below)
        i++;
    const double unit = i < 3 ? units[i].unit : 86400;
    const double value = seconds > unit ? seconds / unit : 1;
    snprintf(out, size, "%.*f %s", i >= 2 && value < 9.95 ? 1 : 0, value,
             i < 3 ? units[i].name : "days");
    return out;
}
