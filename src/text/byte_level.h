/* GPT-2's alphabet: every byte as a printable character, so that any text is made of 256 symbols.
 */
#ifndef LLMQ_TEXT_BYTE_LEVEL_H
#define LLMQ_TEXT_BYTE_LEVEL_H

#include <stddef.h>

#include "base/strbuf.h"

/* Append `text` with each byte spelled in the alphabet. */
void byte_level_append(struct strbuf *out, const char *text, size_t len);

#endif
