/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of regular expressions: see expr_tree.h and, for what is known, expr.h.
 *
 * Recursive descent: alternatives of branches of atoms with quantifiers. Characters whose case does
 * not count stay marked until their branch is complete, because a few letters in a row can equal
 * one other letter ("ss" and U+00DF): expr_fold.c. */
#include <string.h>

#include "base/error.h"
#include "text/expr_lexer.h"
#include "text/unicode.h"

#define DEPTH_MAX 100
#define TIMES_MAX 100000u /* the engine's own limit on {n,m} */

static uint32_t parse_alternatives(struct expr_parser *p);

static uint32_t fail_input(struct expr_parser *p, size_t at, const char *what) {
    (void)expr_fail(p, LLMQ_E_INPUT, at, what);
    return 0;
}

static uint32_t fail_unsupported(struct expr_parser *p, size_t at, const char *what) {
    (void)expr_fail(p, LLMQ_E_UNSUPPORTED, at, what);
    return 0;
}

static uint32_t char_node(struct expr_parser *p, uint32_t cp) {
    uint32_t node = expr_new(p, EXPR_CHAR);
    if (node) {
        expr_node_at(p, node)->code = cp;
        expr_node_at(p, node)->fold = p->ignore_case;
    }
    return node;
}

/* --- classes ---------------------------------------------------------------------------------- */

static uint32_t parse_class(struct expr_parser *p) {
    struct code_set set = {0}, copy = {0};
    bool negative = false;
    p->at++;
    if (expr_read_class(p, &set, &negative) != LLMQ_OK)
        return 0;
    if (p->ignore_case)
        unicode_close_case(&set);
    if (negative)
        code_set_invert(&set);
    else if (p->ignore_case)
        code_set_add_set(&copy, &set);
    uint32_t node = expr_new_set(p, &set);
    if (node && copy.count > 0)
        node = expr_add_expansions(p, &copy, node);
    code_set_free(&copy);
    return node;
}

/* --- escapes and single signs ----------------------------------------------------------------- */

static uint32_t anchor_node(struct expr_parser *p, enum expr_anchor anchor, size_t len) {
    uint32_t node = expr_new(p, EXPR_ANCHOR);
    p->at += len;
    if (node)
        expr_node_at(p, node)->anchor = anchor;
    return node;
}

/* Anything but the end of a line, or anything. */
static uint32_t any_node(struct expr_parser *p, bool newline, size_t len) {
    struct code_set set = {0};
    p->at += len;
    if (!newline)
        code_set_add(&set, '\n', '\n');
    code_set_invert(&set);
    return expr_new_set(p, &set);
}

/* \R: CR LF, or one character that ends a line, without a way back. */
static uint32_t newline_node(struct expr_parser *p) {
    struct code_set set = {0};
    p->at += 2;
    code_set_add(&set, '\n', '\r');
    code_set_add(&set, 0x85, 0x85);
    code_set_add(&set, 0x2028, 0x2029);
    uint32_t pair = expr_new(p, EXPR_CAT), alt = expr_new(p, EXPR_ALT);
    bool ignore_case = p->ignore_case;
    p->ignore_case = false;
    uint32_t cr = char_node(p, '\r'), lf = char_node(p, '\n'), one = expr_new_set(p, &set);
    p->ignore_case = ignore_case;
    if (!pair || !alt || !cr || !lf || !one)
        return 0;
    expr_node_append(p->tree, pair, cr);
    expr_node_append(p->tree, pair, lf);
    expr_node_append(p->tree, alt, pair);
    expr_node_append(p->tree, alt, one);
    return expr_wrap(p, EXPR_ATOMIC, alt);
}

static uint32_t parse_escape(struct expr_parser *p) {
    static const char anchors[] = "AzZGbB";
    static const enum expr_anchor kinds[] = {ANCHOR_TEXT_BEGIN,    ANCHOR_TEXT_END,
                                             ANCHOR_LAST_LINE_END, ANCHOR_SEARCH_BEGIN,
                                             ANCHOR_WORD_EDGE,     ANCHOR_NO_WORD_EDGE};
    struct code_set set = {0};
    bool is_set = false;
    size_t at = p->at;
    int letter = expr_peek(p, 1);
    uint32_t cp = 0;
    if (letter < 0)
        return fail_input(p, at, "the expression ends in a backslash");
    if (expr_read_set_escape(p, false, &set, &is_set) != LLMQ_OK) {
        code_set_free(&set);
        return 0;
    }
    if (is_set)
        return expr_new_set(p, &set);
    const char *anchor = letter ? strchr(anchors, letter) : NULL;
    if (anchor)
        return anchor_node(p, kinds[anchor - anchors], 2);
    if (letter == 'R')
        return newline_node(p);
    if (letter == 'N' || letter == 'O')
        return any_node(p, letter == 'O', 2);
    bool reference =
        ((letter == 'k' || letter == 'g') && (expr_peek(p, 2) == '<' || expr_peek(p, 2) == '\''));
    if (reference || (letter >= '1' && letter <= '9'))
        return fail_unsupported(p, at, "a reference to a group");
    if (letter && strchr("XyYK", letter))
        return fail_unsupported(p, at, "text segments and \\K");
    p->at++;
    return expr_read_escape(p, &cp) == LLMQ_OK ? char_node(p, cp) : 0;
}

/* --- groups ----------------------------------------------------------------------------------- */

/* The alternatives up to the closing parenthesis, and it. */
static uint32_t parse_body(struct expr_parser *p, size_t begin) {
    if (++p->depth > DEPTH_MAX)
        return fail_unsupported(p, begin, "groups are nested too deeply");
    uint32_t node = parse_alternatives(p);
    p->depth--;
    if (!node)
        return 0;
    if (expr_peek(p, 0) != ')')
        return fail_input(p, begin, "the group does not end");
    p->at++;
    return node;
}

static uint32_t parse_look(struct expr_parser *p, size_t begin, bool behind, bool negative) {
    bool outside = p->behind;
    p->behind = outside || behind;
    uint32_t node = expr_wrap(p, EXPR_LOOK, parse_body(p, begin));
    p->behind = outside;
    if (node) {
        expr_node_at(p, node)->behind = behind;
        expr_node_at(p, node)->negative = negative;
    }
    return node;
}

/* (?<name>...): the name does not matter, nothing refers to it. */
static uint32_t parse_named(struct expr_parser *p, size_t begin, char end) {
    const char *stop = memchr(p->text + p->at, end, p->len - p->at);
    if (!stop || stop == p->text + p->at)
        return fail_input(p, begin, "the group has no name");
    p->at = (size_t)(stop - p->text) + 1;
    return parse_body(p, begin);
}

/* (?imx-imx:...) or (?imx-imx), which holds to the end of the group around it, alternatives and
 * all. *rest: it is the latter. */
static uint32_t parse_options(struct expr_parser *p, size_t begin, bool *rest) {
    struct expr_parser saved = *p;
    bool on = true;
    for (; expr_peek(p, 0) >= 0 && strchr("imx-", expr_peek(p, 0) ? expr_peek(p, 0) : '?');
         p->at++) {
        int c = expr_peek(p, 0);
        on = on && c != '-';
        p->ignore_case = c == 'i' ? on : p->ignore_case;
        p->dot_all = c == 'm' ? on : p->dot_all;
        p->extended = c == 'x' ? on : p->extended;
    }
    int end = expr_peek(p, 0);
    if (end != ':' && end != ')')
        return fail_unsupported(p, begin, "this kind of group");
    p->at++;
    *rest = end == ')';
    uint32_t node = 0;
    if (!*rest)
        node = parse_body(p, begin);
    else if (++p->depth > DEPTH_MAX)
        return fail_unsupported(p, begin, "groups are nested too deeply");
    else
        node = parse_alternatives(p);
    p->depth = saved.depth;
    p->ignore_case = saved.ignore_case;
    p->dot_all = saved.dot_all;
    p->extended = saved.extended;
    return node;
}

/* The parser is at '('; comments were skipped before. */
static uint32_t parse_group(struct expr_parser *p, bool *rest) {
    size_t begin = p->at++;
    if (expr_peek(p, 0) == '*')
        return fail_unsupported(p, begin, "callouts");
    if (expr_peek(p, 0) != '?')
        return parse_body(p, begin);
    int c = expr_peek(p, 1), d = expr_peek(p, 2);
    bool look_behind = c == '<' && (d == '=' || d == '!');
    p->at += look_behind ? 3 : 2;
    if (look_behind)
        return parse_look(p, begin, true, d == '!');
    switch (c) {
    case ':':
        return parse_body(p, begin);
    case '=':
    case '!':
        return parse_look(p, begin, false, c == '!');
    case '>':
        return expr_wrap(p, EXPR_ATOMIC, parse_body(p, begin));
    case '<':
        return parse_named(p, begin, '>');
    case '\'':
        return parse_named(p, begin, '\'');
    default:
        p->at--;
        return parse_options(p, begin, rest);
    }
}

/* --- quantifiers ------------------------------------------------------------------------------ */

struct quantifier {
    uint32_t min, max;
    bool lazy, possessive;
};

static bool read_times(struct expr_parser *p, size_t *at, uint32_t *value) {
    size_t begin = *at;
    *value = 0;
    for (; *at < p->len && p->text[*at] >= '0' && p->text[*at] <= '9'; (*at)++)
        *value = *value > TIMES_MAX ? *value : *value * 10 + (uint32_t)(p->text[*at] - '0');
    return *at > begin;
}

/* {n} {n,} {n,m} {,m} at the parser's place; false, and nothing read, where the brace stands for
 * itself. */
static bool read_interval(struct expr_parser *p, struct quantifier *q, bool *fixed) {
    size_t at = p->at + 1;
    bool has_min = read_times(p, &at, &q->min);
    *fixed = at < p->len && p->text[at] != ',';
    q->max = q->min;
    if (!*fixed && at < p->len) {
        at++;
        bool has_max = read_times(p, &at, &q->max);
        if (!has_min && !has_max)
            return false;
        q->max = has_max ? q->max : EXPR_INFINITE;
    } else if (!has_min) {
        return false;
    }
    if (at >= p->len || p->text[at] != '}')
        return false;
    p->at = at + 1;
    return true;
}

/* Read a quantifier if there is one. What follows an interval is the engine's choice: '?' makes it
 * lazy unless it is {n}, and '+' never makes one possessive but repeats it. */
static bool read_quantifier(struct expr_parser *p, struct quantifier *q) {
    int c = expr_peek(p, 0);
    bool fixed = false, interval = c == '{';
    *q = (struct quantifier){.max = EXPR_INFINITE};
    if (interval && !read_interval(p, q, &fixed))
        return false;
    if (!interval) {
        if (c != '*' && c != '+' && c != '?')
            return false;
        q->min = c == '+';
        q->max = c == '?' ? 1 : EXPR_INFINITE;
        p->at++;
    }
    if (q->min > q->max) { /* the other way round: possessive */
        uint32_t min = q->max;
        q->max = q->min;
        q->min = min;
        q->possessive = true;
    }
    int after = expr_peek(p, 0);
    q->lazy = after == '?' && !fixed && !q->possessive;
    q->possessive = q->possessive || (after == '+' && !interval);
    p->at += q->lazy || (after == '+' && !interval);
    return true;
}

static uint32_t quantify(struct expr_parser *p, uint32_t node, const struct quantifier *q,
                         size_t at) {
    enum expr_kind kind = expr_node_at(p, node)->kind;
    if ((q->min > TIMES_MAX || q->max > TIMES_MAX) && q->max != EXPR_INFINITE)
        return fail_input(p, at, "the number of repetitions is too large");
    if (kind == EXPR_ANCHOR || kind == EXPR_LOOK)
        return fail_unsupported(p, at, "a repeated anchor");
    if (expr_node_at(p, node)->fold)
        node = expr_resolve_letter(p, node);
    uint32_t repeat = expr_wrap(p, EXPR_REPEAT, node);
    if (!repeat)
        return 0;
    expr_node_at(p, repeat)->min = q->min;
    expr_node_at(p, repeat)->max = q->max;
    expr_node_at(p, repeat)->lazy = q->lazy;
    return q->possessive ? expr_wrap(p, EXPR_ATOMIC, repeat) : repeat;
}

/* --- branches --------------------------------------------------------------------------------- */

/* Skip comments and, with option x, white space. False on an error. */
static bool skip(struct expr_parser *p) {
    for (;;) {
        int c = expr_peek(p, 0);
        if (c == '(' && expr_peek(p, 1) == '?' && expr_peek(p, 2) == '#') {
            size_t begin = p->at;
            while (p->at < p->len && p->text[p->at] != ')')
                p->at += p->text[p->at] == '\\' ? 2 : 1;
            if (p->at >= p->len)
                return fail_input(p, begin, "the comment does not end") != 0;
            p->at++;
        } else if (p->extended && c == '#') {
            while (p->at < p->len && p->text[p->at] != '\n')
                p->at++;
        } else if (p->extended && c > 0 && strchr(" \t\n\r\f", c)) {
            p->at++;
        } else {
            return true;
        }
    }
}

static uint32_t parse_atom(struct expr_parser *p, bool *rest) {
    struct quantifier q;
    size_t at = p->at;
    switch (expr_peek(p, 0)) {
    case '\\':
        return parse_escape(p);
    case '[':
        return parse_class(p);
    case '(':
        return parse_group(p, rest);
    case '.':
        return any_node(p, p->dot_all, 1);
    case '^':
        return anchor_node(p, ANCHOR_LINE_BEGIN, 1);
    case '$':
        return anchor_node(p, ANCHOR_LINE_END, 1);
    default:
        if (read_quantifier(p, &q))
            return fail_input(p, at, "there is nothing to repeat");
        return char_node(p, expr_take(p));
    }
}

static uint32_t parse_branch(struct expr_parser *p) {
    uint32_t branch = expr_new(p, EXPR_CAT);
    bool rest = false; /* options without a body took the rest of the group */
    while (branch && !rest) {
        struct quantifier q;
        if (!skip(p))
            return 0;
        int c = expr_peek(p, 0);
        if (c < 0 || c == '|' || c == ')')
            break;
        uint32_t node = parse_atom(p, &rest);
        size_t at = p->at;
        while (node && !rest && skip(p) && read_quantifier(p, &q)) {
            node = quantify(p, node, &q, at);
            at = p->at;
        }
        if (!node)
            return 0;
        expr_node_append(p->tree, branch, node);
    }
    return branch ? expr_resolve_case(p, branch) : 0;
}

static uint32_t parse_alternatives(struct expr_parser *p) {
    uint32_t branch = parse_branch(p);
    if (!branch || expr_peek(p, 0) != '|')
        return branch;
    uint32_t alt = expr_wrap(p, EXPR_ALT, branch);
    while (alt && expr_peek(p, 0) == '|') {
        p->at++;
        branch = parse_branch(p);
        if (!branch)
            return 0;
        expr_node_append(p->tree, alt, branch);
    }
    return alt;
}

enum llmq_status expr_parse(const char *text, size_t len, struct expr_tree *tree, uint32_t *root,
                            llmq_error *err) {
    struct expr_parser p = {.text = text, .len = len, .tree = tree, .err = err};
    *root = parse_alternatives(&p);
    if (*root && p.at < p.len)
        *root = fail_input(&p, p.at, "a group ends that did not begin");
    return tree->status;
}
