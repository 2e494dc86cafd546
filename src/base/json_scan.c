/* SPDX-License-Identifier: Apache-2.0 */
/* Pull scanner for JSON: see json_scan.h.
 *
 * The scanner is a small state machine: `state` says what may come next, `in_object` remembers for
 * every open bracket which kind it is. No recursion, no allocation. */
#include "base/json_scan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum {
    EXPECT_VALUE,        /* at the start, after a colon, after a comma in an array */
    EXPECT_VALUE_OR_END, /* after [ */
    EXPECT_KEY_OR_END,   /* after { */
    EXPECT_KEY,          /* after a comma in an object */
    EXPECT_COMMA_OR_END, /* after a value inside a container */
    EXPECT_EOF,          /* after the root value */
};

void json_scan_init(struct json_scan *s, const char *text, size_t len, int max_depth) {
    assert(max_depth > 0 && max_depth <= JSON_MAX_DEPTH);
    *s = (struct json_scan){.text = text, .len = len, .max_depth = max_depth};
}

size_t json_scan_line(const struct json_scan *s, size_t at) {
    size_t line = 1;
    for (size_t i = 0; i < at && i < s->len; i++)
        line += s->text[i] == '\n';
    return line;
}

enum llmq_status json_scan_fail(const struct json_scan *s, size_t at, const char *what,
                                llmq_error *err) {
    size_t column = 1;
    for (size_t i = at < s->len ? at : s->len; i > 0 && s->text[i - 1] != '\n'; i--)
        column++;
    return error_set(err, LLMQ_E_INPUT, "JSON, line %zu column %zu: %s", json_scan_line(s, at),
                     column, what);
}

/* --- UTF-8 ------------------------------------------------------------------------------------ */

/* Ranges as in Unicode, table 3-7. */
size_t utf8_sequence(const unsigned char *p, size_t len) {
    unsigned char lo = 0x80, hi = 0xbf;
    size_t n = 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        n = 2;
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        n = 3;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        n = 4;
    if (n == 0 || n > len)
        return 0;
    lo = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : lo; /* overlong forms */
    hi = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : hi; /* surrogates, beyond U+10FFFF */
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

size_t utf8_complete(const char *text, size_t len) {
    size_t start = len;
    while (start > 0 && len - start < 3 && ((unsigned char)text[start] & 0xc0) == 0x80)
        start--;
    return ((unsigned char)text[start] & 0xc0) == 0x80 ? len : start;
}

bool utf8_valid(const char *text, size_t len) {
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_sequence(p + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* --- lexical elements ------------------------------------------------------------------------- */

static void skip_space(struct json_scan *s) {
    while (s->pos < s->len && (s->text[s->pos] == ' ' || s->text[s->pos] == '\t' ||
                               s->text[s->pos] == '\n' || s->text[s->pos] == '\r'))
        s->pos++;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Four hex digits at `at`, or -1. */
static int32_t hex4(const struct json_scan *s, size_t at) {
    int32_t value = 0;
    if (s->len - at < 4)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(s->text[at + i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Bytes of the escape whose backslash is at `at`, or 0. A high surrogate must bring its low one. */
static size_t escape_length(const struct json_scan *s, size_t at) {
    if (at + 1 >= s->len)
        return 0;
    if (s->text[at + 1] != 'u')
        return s->text[at + 1] != '\0' && strchr("\"\\/bfnrt", s->text[at + 1]) ? 2 : 0;
    int32_t unit = hex4(s, at + 2);
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return 0;
    if (unit < 0xd800 || unit > 0xdbff)
        return 6;
    if (s->len - at < 12 || s->text[at + 6] != '\\' || s->text[at + 7] != 'u')
        return 0;
    int32_t low = hex4(s, at + 8);
    return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

/* What is wrong with the escape at `at`. */
static const char *invalid_escape(const struct json_scan *s, size_t at) {
    const int32_t unit = at + 1 < s->len && s->text[at + 1] == 'u' ? hex4(s, at + 2) : -1;
    return unit >= 0 ? "half of a surrogate pair: no character" : "invalid escape";
}

/* A string whose opening quote is at pos; leaves pos after the closing one. */
static enum llmq_status scan_string(struct json_scan *s, struct json_token *token,
                                    llmq_error *err) {
    size_t begin = s->pos + 1, at = begin;
    for (;;) {
        if (at >= s->len)
            return json_scan_fail(s, s->pos, "string without an end", err);
        unsigned char c = (unsigned char)s->text[at];
        size_t n = 0;
        if (c == '"')
            break;
        if (c == '\\')
            n = escape_length(s, at);
        else if (c >= 0x20)
            n = utf8_sequence((const unsigned char *)s->text + at, s->len - at);
        if (n == 0)
            return json_scan_fail(s, at,
                                  c == '\\'  ? invalid_escape(s, at)
                                  : c < 0x20 ? "control character in a string"
                                             : "invalid UTF-8",
                                  err);
        at += n;
    }
    token->begin = begin;
    token->len = at - begin;
    s->pos = at + 1;
    return LLMQ_OK;
}

static size_t scan_digits(const struct json_scan *s, size_t at) {
    while (at < s->len && s->text[at] >= '0' && s->text[at] <= '9')
        at++;
    return at;
}

static enum llmq_status scan_number(struct json_scan *s, struct json_token *token,
                                    llmq_error *err) {
    size_t at = s->pos + (s->text[s->pos] == '-');
    size_t digits = at;
    at = scan_digits(s, at);
    if (at == digits || (s->text[digits] == '0' && at > digits + 1))
        return json_scan_fail(s, s->pos, "malformed number", err);
    if (at < s->len && s->text[at] == '.') {
        digits = ++at;
        at = scan_digits(s, at);
        if (at == digits)
            return json_scan_fail(s, s->pos, "malformed number", err);
    }
    if (at < s->len && (s->text[at] == 'e' || s->text[at] == 'E')) {
        at++;
        at += at < s->len && (s->text[at] == '+' || s->text[at] == '-');
        digits = at;
        at = scan_digits(s, at);
        if (at == digits)
            return json_scan_fail(s, s->pos, "malformed number", err);
    }
    token->type = JSON_TOKEN_NUMBER;
    token->begin = s->pos;
    token->len = at - s->pos;
    s->pos = at;
    return LLMQ_OK;
}

static enum llmq_status scan_word(struct json_scan *s, struct json_token *token, llmq_error *err) {
    static const struct {
        const char *text;
        enum json_token_type type;
        bool nonfinite;
    } words[] = {{"true", JSON_TOKEN_TRUE, false},      {"false", JSON_TOKEN_FALSE, false},
                 {"null", JSON_TOKEN_NULL, false},      {"NaN", JSON_TOKEN_NUMBER, true},
                 {"Infinity", JSON_TOKEN_NUMBER, true}, {"-Infinity", JSON_TOKEN_NUMBER, true}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i].text);
        if (s->len - s->pos < n || memcmp(s->text + s->pos, words[i].text, n) != 0)
            continue;
        if (words[i].nonfinite && !s->nonfinite)
            return json_scan_fail(s, s->pos, "NaN and Infinity are not JSON", err);
        s->nonfinite_count += words[i].nonfinite;
        *token = (struct json_token){words[i].type, s->pos, n};
        s->pos += n;
        return LLMQ_OK;
    }
    return json_scan_fail(s, s->pos, "expected a value", err);
}

/* --- grammar ---------------------------------------------------------------------------------- */

static void value_done(struct json_scan *s) {
    s->state = s->depth == 0 ? EXPECT_EOF : EXPECT_COMMA_OR_END;
}

static enum llmq_status open_container(struct json_scan *s, struct json_token *token,
                                       llmq_error *err) {
    bool object = s->text[s->pos] == '{';
    if (s->depth == s->max_depth)
        return json_scan_fail(s, s->pos, "nested too deeply", err);
    s->in_object[s->depth++] = object;
    *token =
        (struct json_token){object ? JSON_TOKEN_OBJECT_BEGIN : JSON_TOKEN_ARRAY_BEGIN, s->pos, 1};
    s->pos++;
    s->state = object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
    return LLMQ_OK;
}

static void close_container(struct json_scan *s, struct json_token *token) {
    bool object = s->in_object[--s->depth];
    *token = (struct json_token){object ? JSON_TOKEN_OBJECT_END : JSON_TOKEN_ARRAY_END, s->pos, 1};
    s->pos++;
    value_done(s);
}

static enum llmq_status scan_value(struct json_scan *s, struct json_token *token, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char c = s->text[s->pos];
    if (c == '{' || c == '[')
        return open_container(s, token, err);
    if (c == '"') {
        token->type = JSON_TOKEN_STRING;
        status = scan_string(s, token, err);
    } else if ((c == '-' && !(s->pos + 1 < s->len && s->text[s->pos + 1] == 'I')) ||
               (c >= '0' && c <= '9')) {
        status = scan_number(s, token, err);
    } else {
        status = scan_word(s, token, err);
    }
    value_done(s);
    return status;
}

static enum llmq_status scan_key(struct json_scan *s, struct json_token *token, llmq_error *err) {
    if (s->text[s->pos] != '"')
        return json_scan_fail(s, s->pos, "expected a key in quotes", err);
    enum llmq_status status = scan_string(s, token, err);
    if (status != LLMQ_OK)
        return status;
    token->type = JSON_TOKEN_KEY;
    skip_space(s);
    if (s->pos >= s->len || s->text[s->pos] != ':')
        return json_scan_fail(s, s->pos, "expected ':'", err);
    s->pos++;
    s->state = EXPECT_VALUE;
    return LLMQ_OK;
}

/* After a value inside a container: its end, or a comma and what follows it. */
static enum llmq_status scan_after_value(struct json_scan *s, struct json_token *token,
                                         llmq_error *err) {
    bool object = s->in_object[s->depth - 1];
    char c = s->text[s->pos];
    if (c == (object ? '}' : ']')) {
        close_container(s, token);
        return LLMQ_OK;
    }
    if (c != ',')
        return json_scan_fail(s, s->pos, object ? "expected ',' or '}'" : "expected ',' or ']'",
                              err);
    s->pos++;
    skip_space(s);
    if (s->pos >= s->len)
        return json_scan_fail(s, s->pos, "unexpected end", err);
    return object ? scan_key(s, token, err) : scan_value(s, token, err);
}

enum llmq_status json_scan_next(struct json_scan *s, struct json_token *token, llmq_error *err) {
    skip_space(s);
    if (s->pos >= s->len) {
        if (s->state != EXPECT_EOF)
            return json_scan_fail(s, s->pos, "unexpected end", err);
        *token = (struct json_token){JSON_TOKEN_END, s->pos, 0};
        return LLMQ_OK;
    }
    char c = s->text[s->pos];
    switch (s->state) {
    case EXPECT_EOF:
        return json_scan_fail(s, s->pos, "unexpected text after the document", err);
    case EXPECT_COMMA_OR_END:
        return scan_after_value(s, token, err);
    case EXPECT_KEY_OR_END:
        if (c == '}') {
            close_container(s, token);
            return LLMQ_OK;
        }
        return scan_key(s, token, err);
    case EXPECT_VALUE_OR_END:
        if (c == ']') {
            close_container(s, token);
            return LLMQ_OK;
        }
        return scan_value(s, token, err);
    default:
        return scan_value(s, token, err);
    }
}

enum llmq_status json_scan_skip(struct json_scan *s, const struct json_token *token,
                                llmq_error *err) {
    if (token->type != JSON_TOKEN_OBJECT_BEGIN && token->type != JSON_TOKEN_ARRAY_BEGIN)
        return LLMQ_OK;
    int outside = s->depth - 1;
    struct json_token inner;
    while (s->depth > outside) {
        enum llmq_status status = json_scan_next(s, &inner, err);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

/* --- token values ----------------------------------------------------------------------------- */

static size_t put_utf8(uint32_t c, char *out) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)(lead[n] | c);
    return n;
}

size_t json_scan_decode(const struct json_scan *s, size_t *at, char out[4]) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const size_t begin = *at;
    if (s->text[begin] != '\\') {
        *at += utf8_sequence((const unsigned char *)s->text + begin, s->len - begin);
        memcpy(out, s->text + begin, *at - begin);
        return *at - begin;
    }
    const size_t escape_len = escape_length(s, begin); /* validated: never 0 */
    *at += escape_len;
    if (escape_len == 2) {
        out[0] = to[strchr(from, s->text[begin + 1]) - from];
        return 1;
    }
    uint32_t unit = (uint32_t)hex4(s, begin + 2);
    if (escape_len == 12)
        unit = 0x10000 + ((unit - 0xd800) << 10) + ((uint32_t)hex4(s, begin + 8) - 0xdc00);
    return put_utf8(unit, out);
}

enum llmq_status json_scan_unescape(const struct json_scan *s, const struct json_token *token,
                                    char **out, size_t *out_len, llmq_error *err) {
    char *text = malloc(token->len + 1); /* an escape is never shorter than what it stands for */
    if (!text)
        return error_memory(err, "a JSON string");
    size_t n = 0, end = token->begin + token->len;
    for (size_t at = token->begin; at < end;) {
        const char *escape = memchr(s->text + at, '\\', end - at);
        const size_t plain = escape ? (size_t)(escape - s->text) - at : end - at;
        memcpy(text + n, s->text + at, plain);
        n += plain;
        at += plain;
        if (escape) {
            char c[4];
            const size_t len = json_scan_decode(s, &at, c);
            memcpy(text + n, c, len);
            n += len;
        }
    }
    text[n] = '\0';
    *out = text;
    *out_len = n;
    return LLMQ_OK;
}

bool json_token_u64(const struct json_scan *s, const struct json_token *token, uint64_t *out) {
    uint64_t value = 0;
    if (token->type != JSON_TOKEN_NUMBER)
        return false;
    for (size_t i = 0; i < token->len; i++) {
        char c = s->text[token->begin + i];
        if (c < '0' || c > '9')
            return false;
        uint64_t digit = (uint64_t)(c - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool json_token_is(const struct json_scan *s, const struct json_token *token, const char *text) {
    size_t len = strlen(text), end = token->begin + token->len;
    for (size_t at = token->begin; at < end;) {
        char c[4];
        const size_t n = json_scan_decode(s, &at, c);
        if (n > len || memcmp(c, text, n) != 0)
            return false;
        text += n;
        len -= n;
    }
    return len == 0;
}
