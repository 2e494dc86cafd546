/* Code points in UTF-8. */
#ifndef LLMQ_TEXT_UTF8_H
#define LLMQ_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Offset of the first byte that does not belong to well-formed UTF-8, or `len` when all does. */
size_t utf8_first_invalid(const char *text, size_t len);

/* Decode the code point at `text`, which must be well-formed; returns its length in bytes. */
size_t utf8_decode(const char *text, uint32_t *cp);

/* Encode a scalar value; returns the number of bytes written, 1 to 4. */
size_t utf8_encode(uint32_t cp, char out[4]);

/* Start of the code point that ends just before `end` (> 0). */
size_t utf8_previous(const char *text, size_t end);

#endif
