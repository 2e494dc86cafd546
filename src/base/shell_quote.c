/* SPDX-License-Identifier: Apache-2.0 */
/* Words for a shell: see llmq/printable.h. */
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "llmq/printable.h"

/* Whether every character of `text` is seen when it is pasted. */
static bool all_visible(const char *text) {
    uint32_t code;
    bool valid, visible = true;
    for (size_t len; visible && (len = llmq_character(text, &code, &valid, &visible)) > 0;)
        text += len;
    return visible || !*text;
}

/* $'...': every byte that is not a plain character as three octal digits, which no digit behind
 * them can change. */
static void quote_bytes(struct strbuf *out, const char *text) {
    strbuf_puts(out, "$'");
    for (; *text; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte < ' ' || byte > '~' || byte == '\'' || byte == '\\')
            strbuf_printf(out, "\\%03o", byte);
        else
            strbuf_append(out, text, 1);
    }
    strbuf_puts(out, "'");
}

static void quote_text(struct strbuf *out, const char *text) {
    strbuf_puts(out, "'");
    for (; *text; text++)
        if (*text == '\'')
            strbuf_puts(out, "'\\''");
        else
            strbuf_append(out, text, 1);
    strbuf_puts(out, "'");
}

char *llmq_shell_quoted(const char *text) {
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "-_./:=,+@%";
    struct strbuf out = {0};
    if (*text && strspn(text, safe) == strlen(text))
        strbuf_puts(&out, text);
    else if (!all_visible(text))
        quote_bytes(&out, text);
    else
        quote_text(&out, text);
    return strbuf_take(&out);
}
