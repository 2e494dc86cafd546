/* SPDX-License-Identifier: Apache-2.0 */
/* Code points in UTF-8. */
#ifndef LLMQ_TEXT_UTF8_H
#define LLMQ_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/* Offset of the first byte that does not belong to well-formed UTF-8, or `len` when all does. */
size_t utf8_first_invalid(const char *text, size_t len);

/* Decode the code point at `text`, which must be well-formed; returns its length in bytes. */
size_t utf8_decode(const char *text, uint32_t *cp);

/* Encode a scalar value; returns the number of bytes written, 1 to 4. */
size_t utf8_encode(uint32_t cp, char out[4]);

/* Start of the code point that ends just before `end` (> 0). */
size_t utf8_previous(const char *text, size_t end);

/* What stands for bytes that are no UTF-8: U+FFFD. */
#define UTF8_REPLACEMENT "\xef\xbf\xbd"

/* Append the text with every longest piece that begins as a character and is none replaced by one
 * U+FFFD (The Unicode Standard 15, section 3.9, "substitution of maximal subparts"). */
void utf8_append_repaired(struct strbuf *out, const char *text, size_t len);

/* Bytes at the end of the text that begin a character which further bytes may complete. */
size_t utf8_open_end(const char *text, size_t len);

#endif
