/* SPDX-License-Identifier: Apache-2.0 */
/* Characters and escapes of regular expressions: see expr_lexer.h. */
#include "text/expr_lexer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum llmq_status expr_fail(struct expr_parser *p, enum llmq_status status, size_t at,
                           const char *what) {
    p->tree->status = error_set(p->err, status, "regular expression '%.*s': %s (at byte %zu)",
                                (int)(p->len < 200 ? p->len : 200), p->text, what, at);
    return p->tree->status;
}

struct expr_node *expr_node_at(struct expr_parser *p, uint32_t node) {
    return &p->tree->nodes[node];
}

uint32_t expr_new(struct expr_parser *p, enum expr_kind kind) {
    return expr_node_new(p->tree, kind, p->err);
}

uint32_t expr_wrap(struct expr_parser *p, enum expr_kind kind, uint32_t child) {
    uint32_t node = child ? expr_new(p, kind) : 0;
    if (node)
        expr_node_append(p->tree, node, child);
    return node;
}

uint32_t expr_new_set(struct expr_parser *p, struct code_set *set) {
    uint32_t node = expr_node_set(p->tree, set, p->err);
    code_set_free(set);
    return node;
}

int expr_peek(const struct expr_parser *p, size_t ahead) {
    return p->at + ahead < p->len ? (unsigned char)p->text[p->at + ahead] : -1;
}

uint32_t expr_take(struct expr_parser *p) {
    uint32_t cp = 0;
    p->at += utf8_decode(p->text + p->at, &cp);
    return cp;
}

/* --- numbers ---------------------------------------------------------------------------------- */

static int digit_of(int c, unsigned base) {
    int value = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    return value < (int)base ? value : -1;
}

/* Up to `max` digits; the number of digits read. */
static unsigned read_digits(struct expr_parser *p, unsigned base, unsigned max, uint32_t *value) {
    unsigned n = 0;
    *value = 0;
    for (; n < max && digit_of(expr_peek(p, 0), base) >= 0; n++)
        *value = *value * base + (uint32_t)digit_of(expr_peek(p, 0), base), p->at++;
    return n;
}

static enum llmq_status check_scalar(struct expr_parser *p, uint32_t cp, size_t at) {
    if (cp > CODE_POINT_MAX || (cp >= 0xd800 && cp <= 0xdfff))
        return expr_fail(p, LLMQ_E_INPUT, at, "the number is not that of a character");
    return LLMQ_OK;
}

/* {digits} after \x or \o. */
static enum llmq_status read_braced(struct expr_parser *p, unsigned base, uint32_t *cp) {
    size_t at = p->at++;
    unsigned n = read_digits(p, base, base == 16 ? 8 : 10, cp);
    if (n == 0 || expr_peek(p, 0) != '}')
        return expr_fail(p, LLMQ_E_UNSUPPORTED, at, "braces that hold other than one number");
    p->at++;
    return check_scalar(p, *cp, at);
}

/* \xHH: a character below 0x80, or the bytes of one in UTF-8. */
static enum llmq_status read_bytes(struct expr_parser *p, uint32_t *cp) {
    char bytes[4];
    size_t at = p->at, need = 1;
    for (size_t n = 0; n < need; n++) {
        uint32_t value = 0;
        if (n > 0 && (expr_peek(p, 0) != '\\' || expr_peek(p, 1) != 'x'))
            return expr_fail(p, LLMQ_E_INPUT, at, "the bytes do not make a character");
        p->at += n > 0 ? 2 : 0;
        read_digits(p, 16, 2, &value);
        bytes[n] = (char)value;
        if (n == 0)
            need = value < 0x80 ? 1 : value < 0xe0 ? 2 : value < 0xf0 ? 3 : 4;
    }
    if (utf8_first_invalid(bytes, need) < need)
        return expr_fail(p, LLMQ_E_INPUT, at, "the bytes do not make a character");
    utf8_decode(bytes, cp);
    return LLMQ_OK;
}

static enum llmq_status read_octal(struct expr_parser *p, uint32_t *cp) {
    size_t at = p->at;
    read_digits(p, 8, 3, cp);
    if (*cp >= 0x80)
        return expr_fail(p, LLMQ_E_UNSUPPORTED, at, "an octal number above 177");
    return LLMQ_OK;
}

/* --- escapes ---------------------------------------------------------------------------------- */

enum llmq_status expr_read_escape(struct expr_parser *p, uint32_t *cp) {
    static const char letters[] = "ntrfvae", values[] = "\n\t\r\f\v\a\x1b";
    size_t at = p->at;
    *cp = expr_take(p);
    const char *letter = *cp && *cp < 0x80 ? strchr(letters, (int)*cp) : NULL;
    if (letter) {
        *cp = (unsigned char)values[letter - letters];
        return LLMQ_OK;
    }
    switch (*cp) {
    case 'x':
        return expr_peek(p, 0) == '{' ? read_braced(p, 16, cp) : read_bytes(p, cp);
    case 'o':
        return expr_peek(p, 0) == '{' ? read_braced(p, 8, cp) : LLMQ_OK;
    case 'u':
        if (read_digits(p, 16, 4, cp) < 4)
            return expr_fail(p, LLMQ_E_INPUT, at, "\\u wants four hexadecimal digits");
        return check_scalar(p, *cp, at);
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
        p->at--;
        return read_octal(p, cp);
    case 'c':
    case 'C':
    case 'M':
        return expr_fail(p, LLMQ_E_UNSUPPORTED, at, "a control or meta character");
    default:
        return LLMQ_OK; /* stands for itself */
    }
}

/* \p{name}, \P{name}, \p{^name}; the parser is at the brace. */
static enum llmq_status read_property(struct expr_parser *p, bool negative, bool in_class,
                                      struct code_set *out) {
    size_t at = p->at++;
    if (expr_peek(p, 0) == '^') {
        negative = !negative;
        p->at++;
    }
    const char *name = p->text + p->at;
    const char *end = memchr(name, '}', p->len - p->at);
    size_t len = end ? (size_t)(end - name) : p->len - p->at;
    if (!end || *name == ':' || !unicode_property(name, len, out)) {
        char what[120];
        snprintf(what, sizeof what, "there is no property '%.*s'", (int)(len < 60 ? len : 60),
                 name);
        return expr_fail(p, end ? LLMQ_E_UNSUPPORTED : LLMQ_E_INPUT, at, what);
    }
    p->at += len + 1;
    if (!in_class && len == 4 && strncasecmp(name, "word", 4) == 0)
        expr_word_characters(out);
    if (negative)
        code_set_invert(out);
    return LLMQ_OK;
}

/* The engine counts the superscripts and fractions of Latin-1 as word characters, but not between
 * brackets. */
void expr_word_characters(struct code_set *out) {
    unicode_property("word", 4, out);
    code_set_add(out, 0xb2, 0xb3);
    code_set_add(out, 0xb9, 0xb9);
    code_set_add(out, 0xbc, 0xbe);
}

enum llmq_status expr_read_set_escape(struct expr_parser *p, bool in_class, struct code_set *out,
                                      bool *found) {
    int letter = expr_peek(p, 1);
    bool property = (letter == 'p' || letter == 'P') && expr_peek(p, 2) == '{';
    struct code_set set = {0};
    *found = property || (letter > 0 && strchr("wWdDsShH", letter));
    if (!*found)
        return LLMQ_OK;
    p->at += 2;
    enum llmq_status status = LLMQ_OK;
    if (property)
        status = read_property(p, letter == 'P', in_class, &set);
    else if ((letter == 'w' || letter == 'W') && in_class)
        unicode_property("word", 4, &set);
    else if (letter == 'w' || letter == 'W')
        expr_word_characters(&set);
    else if (letter == 'd' || letter == 'D')
        unicode_property("digit", 5, &set);
    else if (letter == 's' || letter == 'S')
        unicode_property("space", 5, &set);
    else
        unicode_property("xdigit", 6, &set);
    if (!property && letter < 'a')
        code_set_invert(&set);
    code_set_add_set(out, &set);
    code_set_free(&set);
    return status;
}
