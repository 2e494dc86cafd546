/* SPDX-License-Identifier: Apache-2.0 */
/* Classes of regular expressions, [...]: see expr_lexer.h.
 *
 * A class is read token by token; where a hyphen stands for itself depends on what came before, and
 * the states are the engine's: at the start, after a value that may begin a range, after "value-",
 * and after a complete range or nested class. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "text/expr_lexer.h"
#include "text/unicode.h"

#define CLASS_DEPTH_MAX 100

enum token { TOKEN_CHAR, TOKEN_SET, TOKEN_RANGE, TOKEN_OPEN, TOKEN_AND, TOKEN_CLOSE, TOKEN_END };

enum state { STATE_START, STATE_VALUE, STATE_RANGE, STATE_COMPLETE };

struct class_reader {
    struct expr_parser *p;
    enum token token;
    size_t token_at;
    uint32_t code;         /* of TOKEN_CHAR */
    struct code_set added; /* of TOKEN_SET */
    enum state state;
    uint32_t value; /* waiting: alone or the begin of a range */
    bool value_is_set;
    struct code_set set;  /* since the last && */
    struct code_set left; /* what was before it */
    bool has_left;
};

static enum llmq_status fail(struct class_reader *r, const char *what) {
    return expr_fail(r->p, LLMQ_E_INPUT, r->token_at, what);
}

/* --- tokens ----------------------------------------------------------------------------------- */

/* Does "[:" begin a POSIX bracket: letters up to ":]"? */
static bool is_posix(const struct expr_parser *p) {
    size_t i = p->at + 2, letters = 0;
    for (; i < p->len && p->text[i] != ':'; i++, letters++) {
        bool letter =
            (p->text[i] >= 'a' && p->text[i] <= 'z') || (p->text[i] >= 'A' && p->text[i] <= 'Z');
        if (!letter && !(p->text[i] == '^' && letters == 0))
            return false;
    }
    return letters > 0 && i + 1 < p->len && p->text[i + 1] == ']';
}

/* [:name:] or [:^name:]; the parser is at its '['. */
static enum llmq_status read_posix(struct class_reader *r) {
    static const char names[] =
        " alnum alpha blank cntrl digit graph lower print punct space upper xdigit ascii word ";
    struct expr_parser *p = r->p;
    const char *name = p->text + p->at + 2;
    bool negative = *name == '^';
    name += negative;
    const char *end = memchr(name, ':', p->len - (size_t)(name - p->text));
    size_t len = (size_t)(end - name);
    char wanted[32] = "";
    if (len + 3 <= sizeof wanted)
        snprintf(wanted, sizeof wanted, " %.*s ", (int)len, name);
    if (!*wanted || !strstr(names, wanted))
        return fail(r, "there is no such POSIX bracket");
    bool punct = strcmp(wanted, " punct ") == 0; /* as POSIX has it: symbols, too */
    unicode_property(punct ? "posixpunct" : name, punct ? 10 : len, &r->added);
    if (negative)
        code_set_invert(&r->added);
    p->at = (size_t)(end - p->text) + 2;
    return LLMQ_OK;
}

static enum llmq_status read_escaped(struct class_reader *r) {
    bool is_set = false;
    if (r->p->at + 1 >= r->p->len)
        return fail(r, "the expression ends in a backslash");
    enum llmq_status status = expr_read_set_escape(r->p, true, &r->added, &is_set);
    if (status != LLMQ_OK || is_set) {
        r->token = TOKEN_SET;
        return status;
    }
    r->token = TOKEN_CHAR;
    r->p->at++;
    if (expr_peek(r->p, 0) == 'b') {
        r->p->at++;
        r->code = '\b';
        return LLMQ_OK;
    }
    return expr_read_escape(r->p, &r->code);
}

static enum llmq_status next_token(struct class_reader *r) {
    struct expr_parser *p = r->p;
    int c = expr_peek(p, 0);
    r->token_at = p->at;
    code_set_free(&r->added);
    if (c == '\\')
        return read_escaped(r);
    if (c == '[' && expr_peek(p, 1) == ':' && is_posix(p)) {
        r->token = TOKEN_SET;
        return read_posix(r);
    }
    bool and_op = c == '&' && expr_peek(p, 1) == '&';
    r->token = c < 0      ? TOKEN_END
               : c == ']' ? TOKEN_CLOSE
               : c == '-' ? TOKEN_RANGE
               : c == '[' ? TOKEN_OPEN
               : and_op   ? TOKEN_AND
                          : TOKEN_CHAR;
    if (c >= 0)
        r->code = expr_take(p);
    p->at += and_op;
    return LLMQ_OK;
}

/* --- values ----------------------------------------------------------------------------------- */

/* Add a value that turned out not to begin a range. */
static void flush(struct class_reader *r) {
    if (r->state == STATE_VALUE && !r->value_is_set)
        code_set_add(&r->set, r->value, r->value);
}

static enum llmq_status add_char(struct class_reader *r, uint32_t cp) {
    if (r->state == STATE_RANGE) {
        if (r->value > cp)
            return fail(r, "the range is empty");
        code_set_add(&r->set, r->value, cp);
        r->state = STATE_COMPLETE;
        return LLMQ_OK;
    }
    flush(r);
    r->state = STATE_VALUE;
    r->value = cp;
    r->value_is_set = false;
    return LLMQ_OK;
}

static enum llmq_status add_set(struct class_reader *r) {
    if (r->state == STATE_RANGE)
        return fail(r, "a range ends in a class");
    flush(r);
    code_set_add_set(&r->set, &r->added);
    r->state = STATE_VALUE;
    r->value_is_set = true;
    return LLMQ_OK;
}

/* A hyphen: the sign of a range after a value, itself elsewhere. Reads the token after it, except
 * where it ends a range. */
static enum llmq_status add_hyphen(struct class_reader *r, bool *read_ahead) {
    *read_ahead = r->state != STATE_RANGE;
    if (r->state == STATE_RANGE)
        return add_char(r, '-');
    enum llmq_status status = next_token(r);
    if (status != LLMQ_OK)
        return status;
    bool last = r->token == TOKEN_CLOSE || r->token == TOKEN_AND;
    if (r->state != STATE_VALUE || last)
        return add_char(r, '-');
    if (r->value_is_set)
        return fail(r, "a range begins with a class");
    r->state = STATE_RANGE;
    return LLMQ_OK;
}

static enum llmq_status add_nested(struct class_reader *r) {
    struct code_set nested = {0};
    bool negative = false;
    flush(r); /* nothing in "a-[": the engine forgets about the range */
    r->state = STATE_COMPLETE;
    if (++r->p->depth > CLASS_DEPTH_MAX)
        return fail(r, "classes are nested too deeply");
    enum llmq_status status = expr_read_class(r->p, &nested, &negative);
    r->p->depth--;
    if (negative)
        code_set_invert(&nested);
    code_set_add_set(&r->set, &nested);
    code_set_free(&nested);
    return status;
}

/* &&: what was so far must be in what follows, too. */
static void cut(struct class_reader *r) {
    flush(r);
    r->state = STATE_START;
    if (r->has_left) {
        code_set_intersect(&r->left, &r->set);
        code_set_free(&r->set);
    } else {
        r->left = r->set;
        r->set = (struct code_set){0};
    }
    r->has_left = true;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Is there a bracket further on that no backslash takes its meaning from? */
static bool closes_later(const struct expr_parser *p) {
    for (size_t i = p->at; i < p->len; i++) {
        if (p->text[i] == '\\')
            i++;
        else if (p->text[i] == ']')
            return true;
    }
    return false;
}

static enum llmq_status read_start(struct class_reader *r, bool *negative) {
    enum llmq_status status = LLMQ_OK;
    *negative = expr_peek(r->p, 0) == '^';
    r->p->at += *negative;
    LLMQ_TRY(next_token(r));
    if (r->token != TOKEN_CLOSE)
        return LLMQ_OK;
    if (!closes_later(r->p))
        return fail(r, "the class is empty");
    r->token = TOKEN_CHAR; /* a bracket in first place stands for itself */
cleanup:
    return status;
}

static enum llmq_status read_rest(struct class_reader *r) {
    enum llmq_status status = LLMQ_OK;
    while (r->token != TOKEN_CLOSE) {
        bool read_ahead = false;
        switch (r->token) {
        case TOKEN_CHAR:
            LLMQ_TRY(add_char(r, r->code));
            break;
        case TOKEN_SET:
            LLMQ_TRY(add_set(r));
            break;
        case TOKEN_RANGE:
            LLMQ_TRY(add_hyphen(r, &read_ahead));
            break;
        case TOKEN_OPEN:
            LLMQ_TRY(add_nested(r));
            break;
        case TOKEN_AND:
            cut(r);
            break;
        case TOKEN_CLOSE:
        case TOKEN_END:
            return fail(r, "the class does not end");
        }
        if (!read_ahead)
            LLMQ_TRY(next_token(r));
    }
cleanup:
    return status;
}

enum llmq_status expr_read_class(struct expr_parser *p, struct code_set *out, bool *negative) {
    enum llmq_status status = LLMQ_OK;
    struct class_reader r = {.p = p, .token_at = p->at};
    LLMQ_TRY(read_start(&r, negative));
    LLMQ_TRY(read_rest(&r));
    flush(&r);
    if (r.has_left) {
        code_set_intersect(&r.left, &r.set);
        *out = r.left;
        r.left = (struct code_set){0};
    } else {
        *out = r.set;
        r.set = (struct code_set){0};
    }
cleanup:
    code_set_free(&r.added);
    code_set_free(&r.set);
    code_set_free(&r.left);
    return status;
}
