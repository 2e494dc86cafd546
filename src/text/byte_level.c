/* GPT-2's byte alphabet: see byte_level.h.
 *
 * Printable Latin-1 bytes (0x21-0x7e, 0xa1-0xac, 0xae-0xff) stand for themselves. The other 68, in
 * order, become U+0100, U+0101, ...: 33 controls and space, 34 from 0x7f to 0xa0, and 0xad.
 * Source: Radford et al. 2019, GPT-2's encoder.py, bytes_to_unicode. */
#include "text/byte_level.h"

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
