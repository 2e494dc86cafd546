/* SPDX-License-Identifier: Apache-2.0 */
/* Writing Protocol Buffers messages, wire format only: a message is a string buffer to which
 * fields are appended, and a message inside another one is a field of bytes. Failure is sticky as
 * in strbuf.h and travels from a part to the whole.
 * Source: https://protobuf.dev/programming-guides/encoding/
 * Not for use outside formats/. */
#ifndef LLMQ_FORMATS_LAYOUTS_PROTOBUF_H
#define LLMQ_FORMATS_LAYOUTS_PROTOBUF_H

#include <stdint.h>

#include "base/strbuf.h"

/* An integer or enum field; `value` is not negative. */
void protobuf_put_int(struct strbuf *message, int field, int64_t value);

/* A string field, NUL-terminated UTF-8. */
void protobuf_put_string(struct strbuf *message, int field, const char *text);

/* A message field. `part` is released and empty afterwards. */
void protobuf_put_message(struct strbuf *message, int field, struct strbuf *part);

#endif
