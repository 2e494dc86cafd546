/* SPDX-License-Identifier: Apache-2.0 */
/* Statements of templates. Each tag has a row in the table `tags`; what stands behind its name is
 * read by the row's function, up to and with the tag that ends it. */
#include "chat/tree.h"

#include <string.h>

#define OPERATOR JINJA_TOKEN_OPERATOR
#define NAME     JINJA_TOKEN_NAME

/* --- what both parsers use -------------------------------------------------------------------- */

struct jinja_node *jinja_node(struct jinja_parser *p, enum jinja_kind kind) {
    struct jinja_node *node = jinja_alloc(p->run, 1, sizeof *node);
    if (node)
        *node = (struct jinja_node){.kind = kind, .line = p->at->line};
    return node;
}

void jinja_add(struct jinja_nodes *list, struct jinja_node *node) {
    if (!node)
        return;
    if (list->last)
        list->last->next = node;
    else
        list->first = node;
    list->last = node;
}

bool jinja_is(const struct jinja_token *token, enum jinja_token_type type, const char *text) {
    return token->type == type && (!text || jinja_text_is(token->text, text));
}

bool jinja_skip(struct jinja_parser *p, enum jinja_token_type type, const char *text) {
    const bool is = !jinja_failed(p->run) && jinja_is(p->at, type, text);
    p->at += is;
    return is;
}

struct jinja_node *jinja_unexpected(struct jinja_parser *p) {
    p->run->line = p->at->line;
    if (p->at->type == JINJA_TOKEN_END)
        jinja_fail(p->run, LLMQ_E_INPUT, "unexpected end of the template");
    else
        jinja_fail(p->run, LLMQ_E_INPUT, "unexpected '%.*s'",
                   (int)(p->at->text.len < 40 ? p->at->text.len : 40), p->at->text.at);
    return NULL;
}

void jinja_expect(struct jinja_parser *p, enum jinja_token_type type, const char *text) {
    if (!jinja_skip(p, type, text))
        jinja_unexpected(p);
}

struct jinja_text jinja_expect_name(struct jinja_parser *p) {
    const struct jinja_text name = p->at->text;
    jinja_expect(p, NAME, NULL);
    return name;
}

/* --- bodies ----------------------------------------------------------------------------------- */

static struct jinja_node *parse_statement(struct jinja_parser *p);

/* Is the tag that is next named so? */
static bool at_tag(const struct jinja_parser *p, const char *name) {
    return p->at->type == JINJA_TOKEN_BLOCK && jinja_is(p->at + 1, NAME, name);
}

static bool at_any(const struct jinja_parser *p, const char *const *ends) {
    for (; *ends; ends++)
        if (at_tag(p, *ends))
            return true;
    return false;
}

/* Statements up to a tag of `ends`, whose "{%" and name are passed; *end is the one found, for
 * ends[0] when it is the last and everything is well its "%}" is passed too. */
static struct jinja_node *parse_body(struct jinja_parser *p, const char *const *ends,
                                     struct jinja_text *end) {
    struct jinja_nodes list = {0};
    const int line = p->at[-1].line; /* of the tag that began it */
    while (!jinja_failed(p->run) && !at_any(p, ends)) {
        if (p->at->type == JINJA_TOKEN_END) {
            p->run->line = line;
            jinja_fail(p->run, LLMQ_E_INPUT, "{%% %s %%} is missing", ends[0]);
            return NULL;
        }
        jinja_add(&list, parse_statement(p));
    }
    if (jinja_failed(p->run))
        return NULL;
    *end = p->at[1].text;
    p->at += 2;
    return list.first;
}

/* "%}", statements, and the tag `name` that ends them. */
static struct jinja_node *parse_whole_body(struct jinja_parser *p, const char *name) {
    const char *const ends[] = {name, NULL};
    struct jinja_text end = {0};
    jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
    struct jinja_node *body = parse_body(p, ends, &end);
    jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
    return body;
}

/* --- tags ------------------------------------------------------------------------------------- */

/* Behind "if" or "elif". */
static struct jinja_node *parse_if(struct jinja_parser *p) {
    static const char *const ends[] = {"endif", "else", "elif", NULL}, *const last[] = {"endif",
                                                                                        NULL};
    struct jinja_node *node = jinja_node(p, JINJA_IF), *condition = NULL, *body = NULL,
                      *other = NULL;
    struct jinja_text end = {0};
    if (!jinja_enter(p->run))
        return NULL;
    condition = jinja_parse_tuple(p);
    jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
    body = parse_body(p, ends, &end);
    if (jinja_text_is(end, "elif")) {
        other = parse_if(p);
    } else {
        if (jinja_text_is(end, "else")) {
            jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
            other = parse_body(p, last, &end);
        }
        jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
    }
    p->run->depth--;
    if (node) {
        node->a = condition;
        node->b = body;
        node->c = other;
    }
    return node;
}

/* The body of a loop, and what is done when there is nothing to loop over. */
static void parse_loop(struct jinja_parser *p, struct jinja_node *node) {
    static const char *const ends[] = {"endfor", "else", NULL}, *const last[] = {"endfor", NULL};
    struct jinja_text end = {0};
    p->loops++;
    node->b = parse_body(p, ends, &end);
    p->loops--;
    if (jinja_text_is(end, "else")) {
        jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
        node->c = parse_body(p, last, &end);
    }
    jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
}

static struct jinja_node *parse_for(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_FOR);
    const struct jinja_node *target = jinja_parse_target(p);
    jinja_expect(p, NAME, "in");
    const struct jinja_node *iterated = jinja_parse_iterated(p);
    const struct jinja_node *filter = jinja_skip(p, NAME, "if") ? jinja_parse_expression(p) : NULL;
    if (jinja_is(p->at, NAME, "recursive"))
        jinja_fail(p->run, LLMQ_E_UNSUPPORTED, "recursive loops are not supported");
    jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
    if (!node)
        return NULL;
    node->target = target;
    node->a = iterated;
    node->filter = filter;
    parse_loop(p, node);
    return node;
}

static struct jinja_node *held(struct jinja_parser *p) {
    return jinja_node(p, JINJA_HELD);
}

static struct jinja_node *parse_set(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_SET);
    const struct jinja_node *target = jinja_parse_target(p);
    if (!node)
        return NULL;
    node->target = target;
    if (jinja_skip(p, OPERATOR, "=")) {
        node->a = jinja_parse_tuple(p);
        jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
        return node;
    }
    node->kind = JINJA_SET_BLOCK;
    node->a = jinja_parse_filters(p, held(p));
    node->b = parse_whole_body(p, "endset");
    return node;
}

static struct jinja_node *parse_filtered(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_FILTERED);
    const struct jinja_node *filters = jinja_parse_filters(p, jinja_parse_filter(p, held(p)));
    const struct jinja_node *body = parse_whole_body(p, "endfilter");
    if (node) {
        node->a = filters;
        node->b = body;
    }
    return node;
}

static struct jinja_node *parse_parameter(struct jinja_parser *p) {
    struct jinja_node *parameter = jinja_node(p, JINJA_PARAMETER);
    const struct jinja_text name = jinja_expect_name(p);
    if (parameter) {
        parameter->name = name;
        parameter->a = jinja_skip(p, OPERATOR, "=") ? jinja_parse_expression(p) : NULL;
    }
    return parameter;
}

/* "(name, name=default, ...)". */
static struct jinja_node *parse_parameters(struct jinja_parser *p) {
    jinja_expect(p, OPERATOR, "(");
    return jinja_parse_list(p, ")", parse_parameter);
}

/* A body in which no loop around it can be left. */
static struct jinja_node *parse_apart(struct jinja_parser *p, const char *end) {
    const int loops = p->loops;
    p->loops = 0;
    struct jinja_node *body = parse_whole_body(p, end);
    p->loops = loops;
    return body;
}

static struct jinja_node *parse_macro(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_MACRO);
    const struct jinja_text name = jinja_expect_name(p);
    const struct jinja_node *parameters = parse_parameters(p);
    const struct jinja_node *body = parse_apart(p, "endmacro");
    if (node) {
        node->name = name;
        node->a = parameters;
        node->b = body;
    }
    return node;
}

static struct jinja_node *parse_calling(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_CALLING);
    const struct jinja_node *parameters =
        jinja_is(p->at, OPERATOR, "(") ? parse_parameters(p) : NULL;
    const struct jinja_node *call = jinja_parse_unary(p);
    if (call && call->kind != JINJA_CALL)
        jinja_fail(p->run, LLMQ_E_INPUT, "{%% call %%} needs a call");
    const struct jinja_node *body = parse_apart(p, "endcall");
    if (node) {
        node->name = jinja_text_of("caller");
        node->a = call;
        node->b = body;
        node->c = parameters;
    }
    return node;
}

static struct jinja_node *parse_with(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_WITH);
    struct jinja_nodes list = {0};
    while (!jinja_failed(p->run) && p->at->type != JINJA_TOKEN_BLOCKED) {
        struct jinja_node *set = jinja_node(p, JINJA_SET);
        const struct jinja_node *target = jinja_parse_target(p);
        jinja_expect(p, OPERATOR, "=");
        const struct jinja_node *value = jinja_parse_expression(p);
        if (set) {
            set->target = target;
            set->a = value;
        }
        jinja_add(&list, set);
        if (p->at->type != JINJA_TOKEN_BLOCKED)
            jinja_expect(p, OPERATOR, ",");
    }
    const struct jinja_node *body = parse_whole_body(p, "endwith");
    if (node) {
        node->a = list.first;
        node->b = body;
    }
    return node;
}

/* transformers' own tag: what the assistant said. */
static struct jinja_node *parse_generation(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_BODY);
    const struct jinja_node *body = parse_whole_body(p, "endgeneration");
    if (node)
        node->b = body;
    return node;
}

static struct jinja_node *parse_leave(struct jinja_parser *p, enum jinja_kind kind,
                                      const char *word) {
    struct jinja_node *node = jinja_node(p, kind);
    if (p->loops == 0)
        jinja_fail(p->run, LLMQ_E_INPUT, "{%% %s %%} outside of a loop", word);
    jinja_expect(p, JINJA_TOKEN_BLOCKED, NULL);
    return node;
}

static struct jinja_node *parse_break(struct jinja_parser *p) {
    return parse_leave(p, JINJA_BREAK, "break");
}

static struct jinja_node *parse_continue(struct jinja_parser *p) {
    return parse_leave(p, JINJA_CONTINUE, "continue");
}

static const struct {
    const char *name;
    struct jinja_node *(*parse)(struct jinja_parser *);
} tags[] = {
    {"set", parse_set},           {"if", parse_if},
    {"for", parse_for},           {"macro", parse_macro},
    {"call", parse_calling},      {"filter", parse_filtered},
    {"with", parse_with},         {"break", parse_break},
    {"continue", parse_continue}, {"generation", parse_generation},
};

static struct jinja_node *parse_tag(struct jinja_parser *p) {
    const struct jinja_text name = p->at->type == NAME ? p->at->text : (struct jinja_text){0};
    p->run->line = p->at->line;
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        if (jinja_text_is(name, tags[i].name)) {
            p->at++;
            return tags[i].parse(p);
        }
    jinja_fail(p->run, LLMQ_E_UNSUPPORTED, "the tag {%% %.*s %%} is not supported here",
               (int)(p->at->text.len < 40 ? p->at->text.len : 40), p->at->text.at);
    return NULL;
}

static struct jinja_node *parse_print(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_PRINT);
    const struct jinja_node *value = jinja_parse_tuple(p);
    jinja_expect(p, JINJA_TOKEN_PRINTED, NULL);
    if (node)
        node->a = value;
    return node;
}

static struct jinja_node *parse_data(struct jinja_parser *p) {
    struct jinja_node *node = jinja_node(p, JINJA_DATA);
    if (node)
        node->value = jinja_string(p->at->text.at, p->at->text.len);
    p->at++;
    return node;
}

static struct jinja_node *parse_statement(struct jinja_parser *p) {
    struct jinja_node *node = NULL;
    if (!jinja_enter(p->run))
        return NULL;
    if (p->at->type == JINJA_TOKEN_DATA)
        node = parse_data(p);
    else if (jinja_skip(p, JINJA_TOKEN_PRINT, NULL))
        node = parse_print(p);
    else if (jinja_skip(p, JINJA_TOKEN_BLOCK, NULL))
        node = parse_tag(p);
    else
        node = jinja_unexpected(p);
    p->run->depth--;
    return node;
}

const struct jinja_node *jinja_parse_statements(struct jinja_run *run, const char *text,
                                                size_t len) {
    struct jinja_parser p = {.run = run, .at = jinja_lex(run, text, len)};
    struct jinja_nodes list = {0};
    while (!jinja_failed(run) && p.at->type != JINJA_TOKEN_END)
        jinja_add(&list, parse_statement(&p));
    return jinja_failed(run) ? NULL : list.first;
}
