/* SPDX-License-Identifier: Apache-2.0 */
/* See protobuf.h. A field is a key, (field number << 3 | wire type), and a value; keys, integers
 * and lengths are varints: seven bits to a byte, low bits first, the top bit set on all but the
 * last byte. */
#include "formats/layouts/protobuf.h"

#include <string.h>

#define WIRE_VARINT 0
#define WIRE_LENGTH 2

/* Bytes of the longest varint: 64 bits in sevens. */
#define VARINT_MAX 10

static void put_varint(struct strbuf *b, uint64_t value) {
    char bytes[VARINT_MAX];
    size_t count = 0;
    for (; value > 0x7F; value >>= 7)
        bytes[count++] = (char)(unsigned char)((value & 0x7F) | 0x80);
    bytes[count++] = (char)value;
    strbuf_append(b, bytes, count);
}

static void put_key(struct strbuf *b, int field, unsigned wire_type) {
    put_varint(b, (uint64_t)field << 3 | wire_type);
}

static void put_bytes(struct strbuf *b, int field, const char *bytes, size_t len) {
    put_key(b, field, WIRE_LENGTH);
    put_varint(b, len);
    if (len > 0) /* an empty part has no data */
        strbuf_append(b, bytes, len);
}

void protobuf_put_int(struct strbuf *message, int field, int64_t value) {
    put_key(message, field, WIRE_VARINT);
    put_varint(message, (uint64_t)value);
}

void protobuf_put_string(struct strbuf *message, int field, const char *text) {
    put_bytes(message, field, text, strlen(text));
}

void protobuf_put_message(struct strbuf *message, int field, struct strbuf *part) {
    message->failed = message->failed || part->failed;
    if (strbuf_ok(part))
        put_bytes(message, field, part->data, part->len);
    strbuf_free(part);
}
