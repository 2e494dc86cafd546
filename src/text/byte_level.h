/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-2's alphabet: every byte as a printable character, so that any text is made of 256 symbols.
 */
#ifndef LLMQ_TEXT_BYTE_LEVEL_H
#define LLMQ_TEXT_BYTE_LEVEL_H

#include <stddef.h>

#include "base/strbuf.h"

/* Append `text` with each byte spelled in the alphabet. */
void byte_level_append(struct strbuf *out, const char *text, size_t len);

/* Append the bytes that `text` spells in the alphabet; characters outside of it stay. */
void byte_level_decode(struct strbuf *out, const char *text, size_t len);

/* The same of a token, whose characters are all of the alphabet or stand for themselves. */
void byte_level_decode_all(struct strbuf *out, const char *text, size_t len);

#endif
