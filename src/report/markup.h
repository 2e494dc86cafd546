/* SPDX-License-Identifier: Apache-2.0 */
/* Text for HTML, SVG and CSV: whatever it holds, it stays text. */
#ifndef LLMQ_REPORT_MARKUP_H
#define LLMQ_REPORT_MARKUP_H

#include "base/strbuf.h"

/* Append text between tags or within a quoted attribute. What is not seen, or changes the direction
 * of reading, shows escaped (llmq/printable.h). NULL: nothing. */
void markup_text(struct strbuf *b, const char *text);

/* Append <tag>text</tag>. */
void markup_element(struct strbuf *b, const char *tag, const char *text);

/* Append a number with so many significant digits; a dash for one that is none. */
void markup_number(struct strbuf *b, double value, int digits);

/* Append bytes with a binary unit. */
void markup_bytes(struct strbuf *b, double bytes);

/* Append a field of a CSV line (RFC 4180), quoted, control characters escaped. */
void markup_field(struct strbuf *b, const char *text);

#endif
