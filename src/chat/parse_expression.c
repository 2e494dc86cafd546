/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions of templates, by recursive descent. The grammar, loosest first:
 *
 *     choice     := or ("if" or ["else" choice])*
 *     or, and    := words between; not := "not" not | compare
 *     compare    := sum (("==" | "<" | ... | "in" | "not in") sum)*
 *     sum        := concat (("+" | "-") concat)*
 *     concat     := product ("~" product)*
 *     product    := power (("*" | "/" | "//" | "%") power)*
 *     power      := unary ("**" unary)*
 *     unary      := ("-" | "+") unary without filters | primary postfix* (filter | test | call)*
 */
#include "chat/tree.h"

#define OPERATOR JINJA_TOKEN_OPERATOR
#define NAME     JINJA_TOKEN_NAME

/* A node of two. */
static struct jinja_node *two(struct jinja_parser *p, enum jinja_kind kind,
                              const struct jinja_node *a, const struct jinja_node *b) {
    struct jinja_node *node = jinja_node(p, kind);
    if (node) {
        node->a = a;
        node->b = b;
    }
    return node;
}

static struct jinja_node *named(struct jinja_node *node, struct jinja_text name) {
    if (node)
        node->name = name;
    return node;
}

/* --- lists ------------------------------------------------------------------------------------ */

struct jinja_node *jinja_parse_list(struct jinja_parser *p, const char *closing,
                                    struct jinja_node *(*part)(struct jinja_parser *)) {
    struct jinja_nodes list = {0};
    while (!jinja_failed(p->run) && !jinja_skip(p, OPERATOR, closing)) {
        jinja_add(&list, part(p));
        if (!jinja_is(p->at, OPERATOR, closing))
            jinja_expect(p, OPERATOR, ",");
    }
    return list.first;
}

static struct jinja_node *parse_argument(struct jinja_parser *p) {
    if (p->at->type == NAME && jinja_is(p->at + 1, OPERATOR, "=")) {
        const struct jinja_text name = jinja_expect_name(p);
        p->at++;
        return named(two(p, JINJA_NAMED, jinja_parse_expression(p), NULL), name);
    }
    if (jinja_is(p->at, OPERATOR, "*") || jinja_is(p->at, OPERATOR, "**")) {
        jinja_fail(p->run, LLMQ_E_UNSUPPORTED, "arguments from a list (%.*s) are not supported",
                   (int)p->at->text.len, p->at->text.at);
        return NULL;
    }
    return jinja_parse_expression(p);
}

/* Behind "(" up to ")". */
static struct jinja_node *parse_arguments(struct jinja_parser *p) {
    return jinja_parse_list(p, ")", parse_argument);
}

/* --- primary expressions ---------------------------------------------------------------------- */

static struct jinja_node *parse_pair(struct jinja_parser *p) {
    const struct jinja_node *key = jinja_parse_expression(p);
    jinja_expect(p, OPERATOR, ":");
    return two(p, JINJA_PAIR, key, jinja_parse_expression(p));
}

/* Behind an opening bracket up to `closing`: a node of the parts. */
static struct jinja_node *parse_parts(struct jinja_parser *p, enum jinja_kind kind,
                                      const char *closing,
                                      struct jinja_node *(*part)(struct jinja_parser *)) {
    struct jinja_node *node = jinja_node(p, kind);
    const struct jinja_node *parts = jinja_parse_list(p, closing, part);
    if (node)
        node->a = parts;
    return node;
}

/* Behind "(": an expression, or a tuple. */
static struct jinja_node *parse_parentheses(struct jinja_parser *p) {
    if (jinja_skip(p, OPERATOR, ")"))
        return named(jinja_node(p, JINJA_ITEMS), jinja_text_of("("));
    struct jinja_node *node = jinja_parse_tuple(p);
    jinja_expect(p, OPERATOR, ")");
    return node;
}

/* Strings that stand one behind the other are one. */
static struct jinja_node *parse_constant(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_CONSTANT);
    struct jinja_value value = p->at++->value;
    while (value.type == JINJA_STRING && p->at->type == JINJA_TOKEN_CONSTANT &&
           p->at->value.type == JINJA_STRING && !jinja_failed(p->run)) {
        struct strbuf b = {0};
        jinja_append(p->run, &b, value.text.at, value.text.len);
        jinja_append(p->run, &b, p->at->value.text.at, p->at->value.text.len);
        value = jinja_take(p->run, &b);
        p->at++;
    }
    if (node)
        node->value = value;
    return node;
}

static struct jinja_node *parse_name(struct jinja_parser *p) {
    static const struct {
        const char *word;
        enum jinja_type type;
        bool truth;
    } words[] = {{"true", JINJA_BOOL, true},   {"True", JINJA_BOOL, true},
                 {"false", JINJA_BOOL, false}, {"False", JINJA_BOOL, false},
                 {"none", JINJA_NONE, false},  {"None", JINJA_NONE, false}};
    const struct jinja_text name = p->at->text;
    struct jinja_node *node = named(jinja_node(p, JINJA_NAME), name);
    p->at++;
    for (size_t i = 0; node && i < sizeof words / sizeof words[0]; i++)
        if (jinja_text_is(name, words[i].word)) {
            node->kind = JINJA_CONSTANT;
            node->value = words[i].type == JINJA_BOOL ? jinja_bool(words[i].truth) : jinja_none();
        }
    return node;
}

static struct jinja_node *parse_primary(struct jinja_parser *p) {
    if (p->at->type == NAME)
        return parse_name(p);
    if (p->at->type == JINJA_TOKEN_CONSTANT)
        return parse_constant(p);
    if (jinja_skip(p, OPERATOR, "("))
        return parse_parentheses(p);
    if (jinja_skip(p, OPERATOR, "["))
        return named(parse_parts(p, JINJA_ITEMS, "]", jinja_parse_expression), jinja_text_of("["));
    if (jinja_skip(p, OPERATOR, "{"))
        return parse_parts(p, JINJA_PAIRS, "}", parse_pair);
    return jinja_unexpected(p);
}

/* --- what follows a primary expression -------------------------------------------------------- */

/* A part of a slice, or NULL where it is left out. */
static struct jinja_node *parse_bound(struct jinja_parser *p) {
    const bool absent = jinja_is(p->at, OPERATOR, ":") || jinja_is(p->at, OPERATOR, "]");
    return absent ? NULL : jinja_parse_expression(p);
}

/* Behind "[". */
static struct jinja_node *parse_subscript(struct jinja_parser *p, struct jinja_node *object) {
    struct jinja_node *first = parse_bound(p);
    struct jinja_node *node = two(p, JINJA_AT, object, first);
    if (jinja_skip(p, OPERATOR, ":")) {
        const struct jinja_node *end = parse_bound(p);
        const struct jinja_node *step = jinja_skip(p, OPERATOR, ":") ? parse_bound(p) : NULL;
        if (node) {
            node->kind = JINJA_SLICE;
            node->c = end;
            node->target = step;
        }
    } else if (!first) {
        return jinja_unexpected(p);
    }
    jinja_expect(p, OPERATOR, "]");
    return node;
}

/* Behind ".": a name, or a number that is an index. */
static struct jinja_node *parse_member(struct jinja_parser *p, struct jinja_node *object) {
    if (p->at->type == JINJA_TOKEN_CONSTANT && p->at->value.type == JINJA_INT)
        return two(p, JINJA_AT, object, parse_constant(p));
    struct jinja_node *node = two(p, JINJA_MEMBER, object, NULL);
    return named(node, jinja_expect_name(p));
}

static struct jinja_node *parse_postfix(struct jinja_parser *p, struct jinja_node *node) {
    while (!jinja_failed(p->run)) {
        if (jinja_skip(p, OPERATOR, "."))
            node = parse_member(p, node);
        else if (jinja_skip(p, OPERATOR, "["))
            node = parse_subscript(p, node);
        else if (jinja_skip(p, OPERATOR, "("))
            node = two(p, JINJA_CALL, node, parse_arguments(p));
        else
            break;
    }
    return node;
}

struct jinja_node *jinja_parse_filter(struct jinja_parser *p, struct jinja_node *value) {
    struct jinja_node *node = two(p, JINJA_FILTER, value, NULL);
    named(node, jinja_expect_name(p));
    if (jinja_skip(p, OPERATOR, "(")) {
        struct jinja_node *arguments = parse_arguments(p);
        if (node)
            node->b = arguments;
    }
    return node;
}

struct jinja_node *jinja_parse_filters(struct jinja_parser *p, struct jinja_node *value) {
    while (!jinja_failed(p->run) && jinja_skip(p, OPERATOR, "|"))
        value = jinja_parse_filter(p, value);
    return value;
}

/* Does an argument of a test begin here, without parentheses? */
static bool begins_argument(const struct jinja_token *t) {
    if (t->type == NAME)
        return !jinja_is(t, NAME, "else") && !jinja_is(t, NAME, "or") &&
               !jinja_is(t, NAME, "and") && !jinja_is(t, NAME, "if");
    return t->type == JINJA_TOKEN_CONSTANT || jinja_is(t, OPERATOR, "[") ||
           jinja_is(t, OPERATOR, "{");
}

/* Behind "is". */
static struct jinja_node *parse_test(struct jinja_parser *p, struct jinja_node *value) {
    const bool negated = jinja_skip(p, NAME, "not");
    struct jinja_node *node = two(p, JINJA_TEST, value, NULL), *arguments = NULL;
    named(node, jinja_expect_name(p));
    if (jinja_skip(p, OPERATOR, "("))
        arguments = parse_arguments(p);
    else if (begins_argument(p->at))
        arguments = parse_postfix(p, parse_primary(p));
    if (node)
        node->b = arguments;
    return negated ? two(p, JINJA_NOT, node, NULL) : node;
}

static struct jinja_node *parse_filters_and_tests(struct jinja_parser *p, struct jinja_node *node) {
    while (!jinja_failed(p->run)) {
        if (jinja_skip(p, OPERATOR, "|"))
            node = jinja_parse_filter(p, node);
        else if (jinja_skip(p, NAME, "is"))
            node = parse_test(p, node);
        else if (jinja_skip(p, OPERATOR, "("))
            node = two(p, JINJA_CALL, node, parse_arguments(p));
        else
            break;
    }
    return node;
}

static struct jinja_node *parse_signed(struct jinja_parser *p, bool filters) {
    struct jinja_node *node = NULL;
    if (!jinja_enter(p->run))
        return NULL;
    if (jinja_is(p->at, OPERATOR, "-") || jinja_is(p->at, OPERATOR, "+")) {
        const struct jinja_text sign = p->at++->text;
        node = named(two(p, JINJA_SIGN, parse_signed(p, false), NULL), sign);
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (filters)
        node = parse_filters_and_tests(p, node);
    p->run->depth--;
    return node;
}

struct jinja_node *jinja_parse_unary(struct jinja_parser *p) {
    return parse_signed(p, true);
}

/* --- operators -------------------------------------------------------------------------------- */

/* Operators of one rank, left to right; `words` ends in NULL. */
static struct jinja_node *parse_rank(struct jinja_parser *p, const char *const *words,
                                     struct jinja_node *(*operand)(struct jinja_parser *)) {
    struct jinja_node *left = operand(p);
    for (size_t i = 0; words[i] && !jinja_failed(p->run);) {
        const struct jinja_text name = p->at->text;
        if (!jinja_skip(p, OPERATOR, words[i])) {
            i++;
            continue;
        }
        left = named(two(p, JINJA_BINARY, left, operand(p)), name);
        i = 0;
    }
    return left;
}

static struct jinja_node *parse_power(struct jinja_parser *p) {
    static const char *const words[] = {"**", NULL};
    return parse_rank(p, words, jinja_parse_unary);
}

static struct jinja_node *parse_product(struct jinja_parser *p) {
    static const char *const words[] = {"*", "/", "//", "%", NULL};
    return parse_rank(p, words, parse_power);
}

static struct jinja_node *parse_concat(struct jinja_parser *p) {
    static const char *const words[] = {"~", NULL};
    return parse_rank(p, words, parse_product);
}

static struct jinja_node *parse_sum(struct jinja_parser *p) {
    static const char *const words[] = {"+", "-", NULL};
    return parse_rank(p, words, parse_concat);
}

/* The comparison that is next, passed; no text: none. */
static struct jinja_text pass_comparison(struct jinja_parser *p) {
    static const char *const words[] = {"==", "!=", "<=", ">=", "<", ">", NULL};
    for (size_t i = 0; words[i]; i++)
        if (jinja_skip(p, OPERATOR, words[i]))
            return jinja_text_of(words[i]);
    if (jinja_skip(p, NAME, "in"))
        return jinja_text_of("in");
    if (jinja_is(p->at, NAME, "not") && jinja_is(p->at + 1, NAME, "in")) {
        p->at += 2;
        return jinja_text_of("not in");
    }
    return (struct jinja_text){0};
}

static struct jinja_node *parse_compare(struct jinja_parser *p) {
    struct jinja_node *first = parse_sum(p);
    struct jinja_nodes others = {0};
    for (struct jinja_text name; !jinja_failed(p->run) && (name = pass_comparison(p)).len > 0;)
        jinja_add(&others, named(two(p, JINJA_COMPARED, parse_sum(p), NULL), name));
    return others.first ? two(p, JINJA_COMPARE, first, others.first) : first;
}

static struct jinja_node *parse_not(struct jinja_parser *p) {
    struct jinja_node *node = NULL;
    if (!jinja_is(p->at, NAME, "not"))
        return parse_compare(p);
    if (!jinja_enter(p->run))
        return NULL;
    p->at++;
    node = two(p, JINJA_NOT, parse_not(p), NULL);
    p->run->depth--;
    return node;
}

static struct jinja_node *parse_and(struct jinja_parser *p) {
    struct jinja_node *left = parse_not(p);
    while (!jinja_failed(p->run) && jinja_skip(p, NAME, "and"))
        left = two(p, JINJA_AND, left, parse_not(p));
    return left;
}

static struct jinja_node *parse_or(struct jinja_parser *p) {
    struct jinja_node *left = parse_and(p);
    while (!jinja_failed(p->run) && jinja_skip(p, NAME, "or"))
        left = two(p, JINJA_OR, left, parse_and(p));
    return left;
}

struct jinja_node *jinja_parse_expression(struct jinja_parser *p) {
    if (!jinja_enter(p->run))
        return NULL;
    struct jinja_node *node = parse_or(p);
    while (!jinja_failed(p->run) && jinja_skip(p, NAME, "if")) {
        struct jinja_node *choice = two(p, JINJA_CHOICE, parse_or(p), node);
        struct jinja_node *other = jinja_skip(p, NAME, "else") ? jinja_parse_expression(p) : NULL;
        if (choice)
            choice->c = other;
        node = choice;
    }
    p->run->depth--;
    return node;
}

/* --- tuples ----------------------------------------------------------------------------------- */

static bool ends_tuple(const struct jinja_token *t) {
    return t->type == JINJA_TOKEN_BLOCKED || t->type == JINJA_TOKEN_PRINTED ||
           jinja_is(t, OPERATOR, ")") || jinja_is(t, OPERATOR, "=") || jinja_is(t, NAME, "in");
}

/* `part` once, or with commas as often as it comes. */
static struct jinja_node *parse_several(struct jinja_parser *p,
                                        struct jinja_node *(*part)(struct jinja_parser *)) {
    struct jinja_nodes list = {0};
    struct jinja_node *only = part(p);
    if (!jinja_is(p->at, OPERATOR, ","))
        return only;
    jinja_add(&list, only);
    while (!jinja_failed(p->run) && jinja_skip(p, OPERATOR, ",") && !ends_tuple(p->at))
        jinja_add(&list, part(p));
    return named(two(p, JINJA_ITEMS, list.first, NULL), jinja_text_of("("));
}

struct jinja_node *jinja_parse_tuple(struct jinja_parser *p) {
    return parse_several(p, jinja_parse_expression);
}

struct jinja_node *jinja_parse_iterated(struct jinja_parser *p) {
    return parse_several(p, parse_or);
}

static struct jinja_node *parse_one_target(struct jinja_parser *p) {
    if (jinja_skip(p, OPERATOR, "(")) {
        struct jinja_node *node = jinja_parse_target(p);
        jinja_expect(p, OPERATOR, ")");
        return node;
    }
    struct jinja_node *node = jinja_node(p, JINJA_NAME);
    named(node, jinja_expect_name(p));
    return jinja_skip(p, OPERATOR, ".") ? parse_member(p, node) : node;
}

struct jinja_node *jinja_parse_target(struct jinja_parser *p) {
    if (!jinja_enter(p->run))
        return NULL;
    struct jinja_node *node = parse_several(p, parse_one_target);
    p->run->depth--;
    return node;
}
