/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the parser of regular expressions share: the place in the text, options, and
 * escapes, which mean the same inside and outside of brackets. */
#ifndef LLMQ_TEXT_EXPR_LEXER_H
#define LLMQ_TEXT_EXPR_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/expr_tree.h"

struct expr_parser {
    const char *text;
    size_t len, at;
    bool ignore_case, dot_all, extended;
    bool behind; /* in a lookbehind */
    unsigned depth;
    struct expr_tree *tree;
    llmq_error *err;
};

/* Report `what` at byte `at` of the expression. Returns `status`. */
enum llmq_status expr_fail(struct expr_parser *p, enum llmq_status status, size_t at,
                           const char *what);

/* Nodes of the tree that the parser builds; functions that make one return 0 with an error, and are
 * given 0 for a child that failed. */
struct expr_node *expr_node_at(struct expr_parser *p, uint32_t node);
uint32_t expr_new(struct expr_parser *p, enum expr_kind kind);
uint32_t expr_wrap(struct expr_parser *p, enum expr_kind kind, uint32_t child);
uint32_t expr_new_set(struct expr_parser *p, struct code_set *set); /* *set is empty afterwards */

/* A branch with its marked letters (struct expr_node, fold) resolved into sets and alternatives;
 * the branch itself where there are none. */
uint32_t expr_resolve_case(struct expr_parser *p, uint32_t branch);

/* The same of one letter. */
uint32_t expr_resolve_letter(struct expr_parser *p, uint32_t node);

/* Node `node` of the set `set`, with the expansions of its members as further alternatives. */
uint32_t expr_add_expansions(struct expr_parser *p, struct code_set *set, uint32_t node);

/* The byte `ahead` bytes on, or -1 at the end. */
int expr_peek(const struct expr_parser *p, size_t ahead);

/* Take the next code point; there must be one. */
uint32_t expr_take(struct expr_parser *p);

/* Read the escape of one character: the parser is at the character after the backslash, which is
 * none of those that stand for a set or an anchor. */
LLMQ_NODISCARD enum llmq_status expr_read_escape(struct expr_parser *p, uint32_t *cp);

/* Read an escape that stands for a set (\w \d \s \h and their complements, \p{...}): *found is
 * false, and nothing is read, where there is another. `in_class`: between brackets, where \w is
 * another set. */
LLMQ_NODISCARD enum llmq_status expr_read_set_escape(struct expr_parser *p, bool in_class,
                                                     struct code_set *out, bool *found);

/* Add what \w stands for outside of brackets. */
void expr_word_characters(struct code_set *out);

/* Read a class; the parser is past its '['. *out is the set without case folding, to be inverted
 * when *negative. */
LLMQ_NODISCARD enum llmq_status expr_read_class(struct expr_parser *p, struct code_set *out,
                                                bool *negative);

#endif
