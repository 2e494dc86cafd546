/* SPDX-License-Identifier: Apache-2.0 */
/* Growing string: see strbuf.h. */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

static bool reserve(struct strbuf *b, size_t extra) {
    size_t need = 0;
    if (b->failed || !checked_add_size(b->len, extra, &need) || !checked_add_size(need, 1, &need)) {
        b->failed = true;
        return false;
    }
    if (need <= b->cap)
        return true;
    size_t cap = b->cap > need / 2 ? b->cap * 2 : need + 64;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void strbuf_append(struct strbuf *b, const char *text, size_t len) {
    if (!reserve(b, len))
        return;
    memcpy(b->data + b->len, text, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void strbuf_puts(struct strbuf *b, const char *text) {
    strbuf_append(b, text, strlen(text));
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        b->failed = true;
    else if (reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

bool strbuf_ok(const struct strbuf *b) {
    return !b->failed;
}

char *strbuf_take(struct strbuf *b) {
    strbuf_append(b, "", 0);
    char *data = b->failed ? NULL : b->data;
    if (!data)
        free(b->data);
    *b = (struct strbuf){0};
    return data;
}

void strbuf_free(struct strbuf *b) {
    free(b->data);
    *b = (struct strbuf){0};
}

bool text_ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}
