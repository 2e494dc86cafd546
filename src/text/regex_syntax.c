/* Translating regular expressions: see regex_syntax.h.
 *
 * The two engines agree on nearly everything that tokenizers use. Where they differ:
 *   \s    PCRE2 adds U+180E, which Unicode no longer counts as white space
 *   \w    PCRE2 before 10.43 leaves out marks and connector punctuation; Oniguruma counts the
 *         superscripts and fractions of Latin-1 in
 *   \h    a hexadecimal digit in Oniguruma, a horizontal space in PCRE2
 *   [..[..]..] and &&   set operations in Oniguruma, plain characters in PCRE2
 *   (?m)  "dot matches newline" in Oniguruma, called (?s) in PCRE2
 * Escapes are replaced by explicit classes, set operations are refused. */
#include "text/regex_syntax.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

#define SPACE "\\p{Z}\\t-\\r\\x{85}"
#define WORD  "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

static const struct escape {
    char letter;
    const char *outside;  /* replacement for \letter */
    const char *in_class; /* the same between brackets; NULL: impossible */
} escapes[] = {
    /* clang-format off */
    {'s', "[" SPACE "]",     SPACE},
    {'S', "[^" SPACE "]",    "\\P{White_Space}"},
    {'w', "[" WORD "]",      WORD},
    {'W', "[^" WORD "]",     NULL},
    {'h', "[0-9a-fA-F]",     "0-9a-fA-F"},
    {'H', "[^0-9a-fA-F]",    NULL},
    /* clang-format on */
};

static enum llmq_status unsupported(const char *what, size_t at, llmq_error *err) {
    return error_set(err, LLMQ_E_UNSUPPORTED, "regular expression: %s at byte %zu is not supported",
                     what, at);
}

/* Translate the escape at e[at] == '\\'; advances *at past it. */
static enum llmq_status translate_escape(const char *e, size_t *at, bool in_class,
                                         struct strbuf *out, llmq_error *err) {
    char letter = e[*at + 1];
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        if (escapes[i].letter != letter)
            continue;
        const char *text = in_class ? escapes[i].in_class : escapes[i].outside;
        if (!text)
            return unsupported("a negated escape inside [...]", *at, err);
        strbuf_puts(out, text);
        *at += 2;
        return LLMQ_OK;
    }
    size_t len = letter ? 2 : 1;
    strbuf_append(out, e + *at, len);
    *at += len;
    return LLMQ_OK;
}

/* Translate the class at e[at] == '['; advances *at past its closing bracket. */
static enum llmq_status translate_class(const char *e, size_t *at, struct strbuf *out,
                                        llmq_error *err) {
    size_t head = e[*at + 1] == '^' ? 2 : 1;
    if (e[*at + head] == ']')
        head++; /* a bracket in first place stands for itself */
    strbuf_append(out, e + *at, head);
    *at += head;
    while (e[*at] && e[*at] != ']') {
        enum llmq_status status = LLMQ_OK;
        const char *posix_end = e[*at] == '[' && e[*at + 1] == ':' ? strstr(e + *at, ":]") : NULL;
        size_t len = posix_end ? (size_t)(posix_end - (e + *at)) + 2 : 1;
        if (e[*at] == '[' && !posix_end)
            return unsupported("a set inside a set", *at, err);
        if (e[*at] == '&' && e[*at + 1] == '&')
            return unsupported("the intersection &&", *at, err);
        if (e[*at] == '\\') {
            status = translate_escape(e, at, true, out, err);
        } else {
            strbuf_append(out, e + *at, len);
            *at += len;
        }
        if (status != LLMQ_OK)
            return status;
    }
    if (e[*at] == ']')
        strbuf_append(out, e + (*at)++, 1);
    return LLMQ_OK;
}

/* Translate the option letters of (?imx-imx) or (?imx:...); advances *at past them. */
static void translate_options(const char *e, size_t *at, struct strbuf *out) {
    size_t letters = strspn(e + *at + 2, "imx-");
    char end = e[*at + 2 + letters];
    size_t len = end == ')' || end == ':' ? letters + 2 : 1;
    for (size_t i = 0; i < len; i++)
        strbuf_append(out, e[*at + i] == 'm' ? "s" : e + *at + i, 1);
    *at += len;
}

enum llmq_status regex_translate(const char *expression, char **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct strbuf b = {0};
    for (size_t at = 0; expression[at];) {
        char c = expression[at];
        if (c == '\\') {
            LLMQ_TRY(translate_escape(expression, &at, false, &b, err));
        } else if (c == '[') {
            LLMQ_TRY(translate_class(expression, &at, &b, err));
        } else if (c == '(' && expression[at + 1] == '?') {
            translate_options(expression, &at, &b);
        } else {
            strbuf_append(&b, expression + at, 1);
            at++;
        }
    }
    *out = strbuf_take(&b);
    if (!*out)
        status = error_memory(err, "a regular expression");
cleanup:
    strbuf_free(&b);
    return status;
}
