/* SPDX-License-Identifier: Apache-2.0 */
/* Pull scanner for JSON text: strict RFC 8259 grammar, UTF-8 checked, bounded depth, no memory.
 *
 * It exists beside the tree of json.h because safetensors headers need what a tree of doubles
 * cannot give: exact 64-bit integers, duplicate keys, and positions in the text. json_parse runs
 * it first, so that what the tree accepts is what the standard accepts. */
#ifndef LLMQ_BASE_JSON_SCAN_H
#define LLMQ_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

#define JSON_MAX_DEPTH 128

enum json_token_type {
    JSON_TOKEN_OBJECT_BEGIN,
    JSON_TOKEN_OBJECT_END,
    JSON_TOKEN_ARRAY_BEGIN,
    JSON_TOKEN_ARRAY_END,
    JSON_TOKEN_KEY, /* a string that is a key; its colon is consumed */
    JSON_TOKEN_STRING,
    JSON_TOKEN_NUMBER,
    JSON_TOKEN_TRUE,
    JSON_TOKEN_FALSE,
    JSON_TOKEN_NULL,
    JSON_TOKEN_END, /* the document is complete and only whitespace followed it */
};

/* `begin` and `len` give the token's text in the input. For keys and strings the quotes are
 * excluded and escapes are as written: json_scan_unescape decodes them. */
struct json_token {
    enum json_token_type type;
    size_t begin;
    size_t len;
};

struct json_scan {
    const char *text;
    size_t len;
    size_t pos;
    int max_depth;
    int depth;
    unsigned state;
    bool nonfinite;         /* accept NaN, Infinity and -Infinity, as Python's json module does */
    size_t nonfinite_count; /* number tokens of that kind so far */
    size_t most_values;     /* that json_check accepts; 0: any number */
    bool in_object[JSON_MAX_DEPTH];
};

/* Scan `len` bytes at `text`, which must outlive the scanner. max_depth <= JSON_MAX_DEPTH. What is
 * accepted is RFC 8259 unless `nonfinite` is set afterwards. */
void json_scan_init(struct json_scan *s, const char *text, size_t len, int max_depth);

/* Next token. LLMQ_E_INPUT with line and column for anything the grammar forbids. */
LLMQ_NODISCARD enum llmq_status json_scan_next(struct json_scan *s, struct json_token *token,
                                               llmq_error *err);

/* Skip the value that starts with `token` (returned last by json_scan_next). */
LLMQ_NODISCARD enum llmq_status json_scan_skip(struct json_scan *s, const struct json_token *token,
                                               llmq_error *err);

/* Decode a key or string token to UTF-8, NUL-terminated, in a buffer the caller frees. *out_len
 * counts bytes without the NUL; it differs from strlen when the text holds \u0000. */
LLMQ_NODISCARD enum llmq_status json_scan_unescape(const struct json_scan *s,
                                                   const struct json_token *token, char **out,
                                                   size_t *out_len, llmq_error *err);

/* Decode the character at *at of a key or string token (between its quotes) to UTF-8 and move *at
 * behind it; returns the bytes written. */
size_t json_scan_decode(const struct json_scan *s, size_t *at, char out[4]);

/* LLMQ_E_INPUT: `what`, with line and column of the byte at `at`. */
enum llmq_status json_scan_fail(const struct json_scan *s, size_t at, const char *what,
                                llmq_error *err);

/* Line of the byte at `at`, counted from 1. */
size_t json_scan_line(const struct json_scan *s, size_t at);

/* Exact value of a number token; false when it is negative, has a fraction or exponent, or does
 * not fit 64 bits. */
bool json_token_u64(const struct json_scan *s, const struct json_token *token, uint64_t *out);

/* Does the key or string token stand for `text`? Escapes are decoded. */
bool json_token_is(const struct json_scan *s, const struct json_token *token, const char *text);

/* Length of the well-formed UTF-8 sequence that `len` (> 0) bytes begin with, 1 to 4, or 0. */
size_t utf8_sequence(const unsigned char *p, size_t len);

/* How many of the first `len` bytes of a longer text to keep so that no character is cut. */
size_t utf8_complete(const char *text, size_t len);

/* True when the bytes are well-formed UTF-8 (no overlong forms, no surrogates). */
bool utf8_valid(const char *text, size_t len);

#endif
