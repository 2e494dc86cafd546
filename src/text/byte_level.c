/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-2's byte alphabet: see byte_level.h.
 *
 * Printable Latin-1 bytes (0x21-0x7e, 0xa1-0xac, 0xae-0xff) stand for themselves. The other 68, in
 * order, become U+0100, U+0101, ...: 33 controls and space, 34 from 0x7f to 0xa0, and 0xad.
 * Source: Radford et al. 2019, GPT-2's encoder.py, bytes_to_unicode. */
#include "text/byte_level.h"

#include <stdbool.h>

#include "text/utf8.h"

static unsigned symbol_of(unsigned char byte) {
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0)
        return 0x100u + 0x21 + (byte - 0x7fu);
    if (byte == 0xad)
        return 0x100u + 0x21 + 0x22;
    return byte;
}

void byte_level_append(struct strbuf *out, const char *text, size_t len) {
    char block[128];
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned symbol = symbol_of((unsigned char)text[i]); /* below U+0800: two bytes at most */
        if (symbol >= 0x80) {
            block[used++] = (char)(0xc0u | symbol >> 6);
            symbol = 0x80u | (symbol & 0x3fu);
        }
        block[used++] = (char)symbol;
        if (used >= sizeof block - 1) {
            strbuf_append(out, block, used);
            used = 0;
        }
    }
    strbuf_append(out, block, used);
}

/* The byte that a symbol stands for, or -1. */
static int byte_of(uint32_t symbol) {
    if (symbol < 0x100)
        return symbol_of((unsigned char)symbol) == symbol ? (int)symbol : -1;
    if (symbol <= 0x120)
        return (int)(symbol - 0x100);
    if (symbol <= 0x142)
        return (int)(symbol - 0x121 + 0x7f);
    return symbol == 0x143 ? 0xad : -1;
}

void byte_level_decode(struct strbuf *out, const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        uint32_t symbol = 0;
        const size_t step = utf8_decode(text + at, &symbol);
        const int byte = byte_of(symbol);
        const char decoded = (char)byte;
        strbuf_append(out, byte < 0 ? text + at : &decoded, byte < 0 ? step : 1);
        at += step;
    }
}

static bool in_alphabet(const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        uint32_t symbol = 0;
        at += utf8_decode(text + at, &symbol);
        if (byte_of(symbol) < 0)
            return false;
    }
    return true;
}

void byte_level_decode_all(struct strbuf *out, const char *text, size_t len) {
    if (in_alphabet(text, len))
        byte_level_decode(out, text, len);
    else
        strbuf_append(out, text, len);
}
