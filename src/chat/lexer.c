/* SPDX-License-Identifier: Apache-2.0 */
/* The lexer: see lexer.h.
 *
 * White space around tags (https://jinja.palletsprojects.com, "Whitespace Control"): "-" takes off
 * all of it on its side; otherwise what stands between the beginning of the line and a block or
 * comment goes, and so does one newline behind it; "+" keeps them. A newline at the very end of the
 * template is not part of it. */
#include "chat/lexer.h"

#include <string.h>

#include "chat/literal.h"
#include "chat/text_ops.h"

struct lexer {
    struct jinja_run *run;
    const char *text;
    size_t len, at;
    struct jinja_token *tokens;
    size_t count, room;
    char open[JINJA_MAX_DEPTH]; /* what closes the brackets that are open */
    size_t open_count;
};

/* --- tokens ----------------------------------------------------------------------------------- */

static void add(struct lexer *x, enum jinja_token_type type, size_t begin, size_t end) {
    if (x->count == x->room) {
        struct jinja_token *moved =
            jinja_more_room(x->run, x->tokens, x->count, sizeof *moved, &x->room);
        if (!moved)
            return;
        x->tokens = moved;
    }
    x->tokens[x->count++] = (struct jinja_token){
        .type = type, .text = {x->text + begin, end - begin}, .line = x->run->line};
}

/* Move on, counting lines. */
static void advance(struct lexer *x, size_t to) {
    for (; x->at < to; x->at++)
        x->run->line += x->text[x->at] == '\n';
}

static bool sees(const struct lexer *x, size_t at, const char *word) {
    const size_t len = strlen(word);
    return at <= x->len && len <= x->len - at && memcmp(x->text + at, word, len) == 0;
}

static size_t skip_space(const struct lexer *x, size_t at) {
    return at + jinja_leading_space((struct jinja_text){x->text + at, x->len - at});
}

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* --- inside of tags --------------------------------------------------------------------------- */

static void lex_name(struct lexer *x) {
    size_t end = x->at;
    while (end < x->len && (is_name_start(x->text[end]) || is_digit(x->text[end])))
        end++;
    add(x, JINJA_TOKEN_NAME, x->at, end);
    advance(x, end);
}

static void add_constant(struct lexer *x, size_t end, struct jinja_value value) {
    add(x, JINJA_TOKEN_CONSTANT, x->at, end);
    if (!jinja_failed(x->run))
        x->tokens[x->count - 1].value = value;
    advance(x, end);
}

static void lex_string(struct lexer *x) {
    size_t end = x->at + 1;
    while (end < x->len && x->text[end] != x->text[x->at])
        end += x->text[end] == '\\' ? 2 : 1;
    if (end >= x->len) {
        jinja_fail(x->run, LLMQ_E_INPUT, "the string has no end");
        return;
    }
    const struct jinja_text inside = {x->text + x->at + 1, end - x->at - 1};
    add_constant(x, end + 1, jinja_read_string(x->run, inside));
}

static void lex_number(struct lexer *x) {
    const bool is_member = x->at > 0 && x->text[x->at - 1] == '.'; /* no fraction in a.0.1 */
    const struct jinja_text rest = {x->text + x->at, x->len - x->at};
    size_t used = 0;
    const struct jinja_value value = jinja_read_number(x->run, rest, is_member, &used);
    add_constant(x, x->at + used, value);
}

static void note_bracket(struct lexer *x, char c) {
    const char *opening = "([{", *closing = ")]}";
    const char *opens = strchr(opening, c);
    if (opens && x->open_count == sizeof x->open)
        jinja_fail(x->run, LLMQ_E_INPUT, "nested deeper than %d levels", JINJA_MAX_DEPTH);
    else if (opens)
        x->open[x->open_count++] = closing[opens - opening];
    else if (strchr(closing, c) && (x->open_count == 0 || x->open[--x->open_count] != c))
        jinja_fail(x->run, LLMQ_E_INPUT, "'%c' closes nothing", c);
}

static void lex_operator(struct lexer *x) {
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (!sees(x, x->at, operators[i]))
            continue;
        const size_t end = x->at + strlen(operators[i]);
        add(x, JINJA_TOKEN_OPERATOR, x->at, end);
        if (end == x->at + 1)
            note_bracket(x, x->text[x->at]);
        advance(x, end);
        return;
    }
    jinja_fail(x->run, LLMQ_E_INPUT, "unexpected '%.*s'",
               (int)(x->len - x->at < 12 ? x->len - x->at : 12), x->text + x->at);
}

static void lex_inside(struct lexer *x) {
    const char c = x->text[x->at];
    if (c == '"' || c == '\'')
        lex_string(x);
    else if (is_digit(c))
        lex_number(x);
    else if (is_name_start(c))
        lex_name(x);
    else
        lex_operator(x);
}

/* Behind the closing of a tag at `at`, which `sign` precedes: "-" takes the white space that
 * follows, and blocks and comments (`trims`) take one newline. */
static size_t behind(const struct lexer *x, size_t at, char sign, bool trims) {
    if (sign == '-')
        return skip_space(x, at);
    return at + (sign != '+' && trims && sees(x, at, "\n"));
}

/* At the closing of the tag? Then pass it. */
static bool lex_closing(struct lexer *x, bool block) {
    const char *closing = block ? "%}" : "}}";
    const char c = x->text[x->at];
    const bool is_signed = (c == '-' || (block && c == '+')) && sees(x, x->at + 1, closing);
    if (x->open_count > 0 || (!is_signed && !sees(x, x->at, closing)))
        return false;
    const size_t end = x->at + 2 + is_signed;
    add(x, block ? JINJA_TOKEN_BLOCKED : JINJA_TOKEN_PRINTED, x->at, end);
    advance(x, behind(x, end, is_signed ? c : '\0', block));
    return true;
}

static void lex_tag(struct lexer *x, bool block) {
    const int line = x->run->line;
    add(x, block ? JINJA_TOKEN_BLOCK : JINJA_TOKEN_PRINT, x->at, x->at + 2);
    advance(x, x->at + 2);
    if (x->at < x->len && (x->text[x->at] == '-' || x->text[x->at] == '+'))
        advance(x, x->at + 1);
    while (!jinja_failed(x->run)) {
        advance(x, skip_space(x, x->at));
        if (x->at >= x->len) {
            x->run->line = line;
            jinja_fail(x->run, LLMQ_E_INPUT, "'%s' is not closed", block ? "{%" : "{{");
        } else if (lex_closing(x, block)) {
            return;
        } else {
            lex_inside(x);
        }
    }
}

static void lex_comment(struct lexer *x) {
    size_t end = x->at + 2;
    while (end < x->len && !sees(x, end, "#}"))
        end++;
    if (end >= x->len) {
        jinja_fail(x->run, LLMQ_E_INPUT, "the comment is not closed");
        return;
    }
    advance(x, behind(x, end + 2, end > x->at + 2 ? x->text[end - 1] : '\0', true));
}

/* --- between tags ----------------------------------------------------------------------------- */

/* The text from `begin` up to a tag, which may take white space off it. */
static void add_data(struct lexer *x, size_t begin, size_t tag, bool lstrip) {
    const char sign = tag + 2 < x->len ? x->text[tag + 2] : '\0';
    size_t end = tag;
    if (sign == '-') {
        const struct jinja_text data = {x->text + begin, end - begin};
        end -= jinja_trailing_space(data);
    } else if (sign != '+' && lstrip) {
        while (end > begin && x->text[end - 1] != '\n')
            end--;
        const bool at_line = end > 0 ? x->text[end - 1] == '\n' : true;
        if (!at_line || skip_space(x, end) < tag)
            end = tag;
    }
    if (end > begin)
        add(x, JINJA_TOKEN_DATA, begin, end);
}

/* Behind "{% word %}" (any signs and white space) at `at`, or 0 when it is not there. */
static size_t pass_word(const struct lexer *x, size_t at, const char *word, char *sign) {
    *sign = '\0';
    at += 2;
    at += at < x->len && (x->text[at] == '-' || x->text[at] == '+');
    at = skip_space(x, at);
    if (!sees(x, at, word))
        return 0;
    at = skip_space(x, at + strlen(word));
    if (at < x->len && (x->text[at] == '-' || x->text[at] == '+'))
        *sign = x->text[at++];
    return sees(x, at, "%}") ? at + 2 : 0;
}

/* {% raw %} at the place where we are: all up to {% endraw %} is text. */
static bool lex_raw(struct lexer *x) {
    char sign = '\0';
    const size_t begin = pass_word(x, x->at, "raw", &sign);
    if (begin == 0)
        return false;
    advance(x, behind(x, begin, sign, false));
    for (size_t tag = x->at; tag < x->len; tag++) {
        const size_t end = sees(x, tag, "{%") ? pass_word(x, tag, "endraw", &sign) : 0;
        if (end == 0)
            continue;
        add_data(x, x->at, tag, true);
        advance(x, behind(x, end, sign, true));
        return true;
    }
    jinja_fail(x->run, LLMQ_E_INPUT, "{%% raw %%} is not closed");
    return true;
}

static void lex_next(struct lexer *x) {
    size_t tag = x->at;
    while (tag < x->len && !sees(x, tag, "{{") && !sees(x, tag, "{%") && !sees(x, tag, "{#"))
        tag++;
    if (tag == x->len) {
        if (tag > x->at)
            add(x, JINJA_TOKEN_DATA, x->at, tag);
        advance(x, tag);
        return;
    }
    const char kind = x->text[tag + 1];
    add_data(x, x->at, tag, kind != '{');
    advance(x, tag);
    if (kind == '#')
        lex_comment(x);
    else if (kind == '{' || !lex_raw(x))
        lex_tag(x, kind == '%');
}

/* The template with "\n" for every kind of line end, and without one at its end. */
static void normalize(struct lexer *x, const char *text, size_t len) {
    char *copy = jinja_alloc(x->run, len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; copy && i < len; i++) {
        if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n')
            continue;
        copy[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    x->text = copy;
    x->len = n > 0 && copy[n - 1] == '\n' ? n - 1 : n;
}

struct jinja_token *jinja_lex(struct jinja_run *run, const char *text, size_t len) {
    struct lexer x = {.run = run};
    run->line = 1;
    normalize(&x, text, len);
    while (!jinja_failed(run) && x.at < x.len)
        lex_next(&x);
    add(&x, JINJA_TOKEN_END, x.at, x.at);
    return jinja_failed(run) ? NULL : x.tokens;
}
