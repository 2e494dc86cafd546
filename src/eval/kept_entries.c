/* SPDX-License-Identifier: Apache-2.0 */
/* See kept_entries.h. */
#include "eval/kept_entries.h"

#include <math.h>

/* Smaller probabilities than exp(-MOST) count as that. */
#define MOST 32.0

uint16_t kept_code(double x) {
    const double clamped = fmin(fmax(x, 0), MOST);
    return (uint16_t)lround(65535 * sqrt(clamped / MOST));
}

double kept_value(uint16_t code) {
    const double root = code / 65535.0;
    return MOST * root * root;
}

bool kept_certain(uint16_t code) {
    return kept_value(code) <= log(KEPT_DENSITY);
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool read_number(struct kept_cursor *c, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 63; shift += 7) {
        if (c->at == c->end)
            return false;
        const unsigned char byte = *c->at++;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

bool kept_begin(const unsigned char *bytes, const unsigned char *end, struct kept_cursor *out) {
    *out = (struct kept_cursor){.at = bytes, .end = end, .id = -1};
    return read_number(out, &out->left) && kept_next(out);
}

bool kept_next(struct kept_cursor *c) {
    uint64_t gap;
    if (c->left == 0) {
        c->id = INT64_MAX;
        return true;
    }
    if (!read_number(c, &gap) || c->end - c->at < 2 || gap > INT32_MAX)
        return false;
    c->left--;
    c->id += (int64_t)gap + 1;
    c->code = (uint16_t)(c->at[0] | c->at[1] << 8);
    c->at += 2;
    return true;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void append_number(struct strbuf *b, uint64_t number) {
    unsigned char bytes[10];
    size_t count = 0;
    for (; number >= 0x80; number >>= 7)
        bytes[count++] = (unsigned char)(number | 0x80);
    bytes[count++] = (unsigned char)number;
    strbuf_append(b, (const char *)bytes, count);
}

void kept_append(struct strbuf *b, const struct kept_entry *entries, int64_t count) {
    int32_t before = -1;
    append_number(b, (uint64_t)count);
    for (int64_t i = 0; i < count; i++) {
        const char code[2] = {(char)(entries[i].code & 0xFF), (char)(entries[i].code >> 8)};
        append_number(b, (uint64_t)(entries[i].id - before - 1));
        strbuf_append(b, code, sizeof code);
        before = entries[i].id;
    }
}
