/* SPDX-License-Identifier: Apache-2.0 */
/* See markup.h. */
#include "report/markup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llmq/printable.h"

/* As people may see it; the caller frees it. NULL when memory is short: the buffer has failed. */
static char *shown(struct strbuf *b, const char *text) {
    enum { LONGEST_ESCAPE = 10 };
    const size_t size = LONGEST_ESCAPE * strlen(text) + 1;
    char *out = malloc(size);
    if (!out)
        b->failed = true;
    return out ? (char *)(uintptr_t)llmq_printable(text, out, size) : NULL;
}

void markup_text(struct strbuf *b, const char *text) {
    char *safe = text ? shown(b, text) : NULL;
    for (const char *at = safe; at && *at;) {
        const size_t plain = strcspn(at, "&<>\"'");
        strbuf_append(b, at, plain);
        at += plain;
        if (*at)
            strbuf_printf(b, "&#%d;", *at++);
    }
    free(safe);
}

void markup_element(struct strbuf *b, const char *tag, const char *text) {
    strbuf_printf(b, "<%s>", tag);
    markup_text(b, text);
    strbuf_printf(b, "</%s>", tag);
}

void markup_number(struct strbuf *b, double value, int digits) {
    if (isfinite(value))
        strbuf_printf(b, "%.*g", digits, value);
    else
        strbuf_puts(b, "–");
}

void markup_bytes(struct strbuf *b, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    for (; bytes >= 1000 && unit + 1 < sizeof units / sizeof *units; unit++)
        bytes /= 1024;
    strbuf_printf(b, "%.3g %s", bytes, units[unit]);
}

void markup_field(struct strbuf *b, const char *text) {
    char *safe = shown(b, text ? text : "");
    strbuf_puts(b, "\"");
    for (const char *at = safe; at && *at; at++)
        strbuf_printf(b, *at == '"' ? "\"\"" : "%c", *at);
    strbuf_puts(b, "\"");
    free(safe);
}
