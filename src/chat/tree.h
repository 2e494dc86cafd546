/* SPDX-License-Identifier: Apache-2.0 */
/* Templates as trees: one kind of node, whose fields each kind uses as the list says. */
#ifndef LLMQ_CHAT_TREE_H
#define LLMQ_CHAT_TREE_H

#include "chat/lexer.h"

enum jinja_kind {
    /* Statements; lists of them are linked by `next`.
     *                  a            b               c          further                          */
    JINJA_DATA,      /* -            -               -          value: the text                  */
    JINJA_PRINT,     /* expression                                                               */
    JINJA_IF,        /* condition    body            else                                        */
    JINJA_FOR,       /* iterated     body            else       target, filter                   */
    JINJA_SET,       /* expression   -               -          target                           */
    JINJA_SET_BLOCK, /* filters      body            -          target; filters end in HELD      */
    JINJA_MACRO,     /* parameters   body            -          name; parameters: PARAMETER      */
    JINJA_CALLING,   /* call         body            parameters of caller()                      */
    JINJA_FILTERED,  /* filters      body            -          filters end in HELD              */
    JINJA_WITH,      /* list of SET  body                                                        */
    JINJA_BODY,      /* -            body            -          of {% generation %}              */
    JINJA_BREAK,
    JINJA_CONTINUE,
    /* Expressions; lists of arguments and items are linked by `next`. */
    JINJA_CONSTANT,  /* value                                                                    */
    JINJA_NAME,      /* name                                                                     */
    JINJA_HELD,      /* what the block that is being filtered gave                               */
    JINJA_ITEMS,     /* items        -               -          name: "(" a tuple, "[" a list    */
    JINJA_PAIRS,     /* list of PAIR                                                             */
    JINJA_PAIR,      /* key          value                                                       */
    JINJA_MEMBER,    /* object       -               -          name                             */
    JINJA_AT,        /* object       index                                                       */
    JINJA_SLICE,     /* object       begin or NULL   end or NULL   target: step or NULL          */
    JINJA_CALL,      /* function     arguments                                                   */
    JINJA_FILTER,    /* value        arguments       -          name                             */
    JINJA_TEST,      /* value        arguments       -          name                             */
    JINJA_NAMED,     /* value        -               -          name: an argument by name        */
    JINJA_PARAMETER, /* default or NULL              -          name                             */
    JINJA_NOT,       /* value                                                                    */
    JINJA_SIGN,      /* value        -               -          name: "-" or "+"                 */
    JINJA_AND,       /* left         right                                                       */
    JINJA_OR,        /* left         right                                                       */
    JINJA_CHOICE,    /* condition    then            else or NULL                                */
    JINJA_COMPARE,   /* first        COMPARED, linked by `next`                                  */
    JINJA_COMPARED,  /* value        -               -          name: the operator               */
    JINJA_BINARY,    /* left         right           -          name: the operator               */
};

struct jinja_node {
    enum jinja_kind kind;
    int line;
    const struct jinja_node *a, *b, *c;
    const struct jinja_node *target; /* NAME, MEMBER or ITEMS of them */
    const struct jinja_node *filter; /* of a loop: which items it takes, or NULL */
    struct jinja_node *next;
    struct jinja_text name;
    struct jinja_value value;
};

/* A list of nodes that grows at its end. */
struct jinja_nodes {
    struct jinja_node *first, *last;
};

/* A template that is being read. */
struct jinja_parser {
    struct jinja_run *run;
    const struct jinja_token *at;
    int loops; /* that we are in, for break and continue */
};

/* A fresh node at the current line; NULL when memory is short (jinja_failed). */
struct jinja_node *jinja_node(struct jinja_parser *p, enum jinja_kind kind);
void jinja_add(struct jinja_nodes *list, struct jinja_node *node); /* NULL adds nothing */

/* Is the token that operator or word? Passed, if so. */
bool jinja_is(const struct jinja_token *token, enum jinja_token_type type, const char *text);
bool jinja_skip(struct jinja_parser *p, enum jinja_token_type type, const char *text);

/* Pass a token of that type (and text, if any), or fail. */
void jinja_expect(struct jinja_parser *p, enum jinja_token_type type, const char *text);

/* The name that is next. */
struct jinja_text jinja_expect_name(struct jinja_parser *p);

/* Fail at the token that is next. */
struct jinja_node *jinja_unexpected(struct jinja_parser *p);

/* An expression; several with commas between are a tuple. */
struct jinja_node *jinja_parse_expression(struct jinja_parser *p);
struct jinja_node *jinja_parse_tuple(struct jinja_parser *p);

/* Behind an opening bracket: parts with commas between them, up to the closing one, as a list. */
struct jinja_node *jinja_parse_list(struct jinja_parser *p, const char *closing,
                                    struct jinja_node *(*part)(struct jinja_parser *));

/* A tuple, where "if" ends it, as behind "in" of a loop. */
struct jinja_node *jinja_parse_iterated(struct jinja_parser *p);

/* What can be assigned to: names, members of namespaces, tuples of them. */
struct jinja_node *jinja_parse_target(struct jinja_parser *p);

/* "| filter" as often as it comes, on `value`. */
struct jinja_node *jinja_parse_filters(struct jinja_parser *p, struct jinja_node *value);

/* A filter that stands behind "{% filter": without the bar. */
struct jinja_node *jinja_parse_filter(struct jinja_parser *p, struct jinja_node *value);

/* A primary expression and what follows it: for the call of a call block. */
struct jinja_node *jinja_parse_unary(struct jinja_parser *p);

/* A template's statements, in the run's memory; NULL when empty or jinja_failed. */
const struct jinja_node *jinja_parse_statements(struct jinja_run *run, const char *text,
                                                size_t len);

#endif
