/* SPDX-License-Identifier: Apache-2.0 */
/* The tree between the parser of regular expressions (expr_parse.c) and their compiler. */
#ifndef LLMQ_TEXT_EXPR_TREE_H
#define LLMQ_TEXT_EXPR_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"
#include "text/code_set.h"

#define EXPR_NODES_MAX (1u << 16)
#define EXPR_INFINITE  UINT32_MAX

enum expr_kind {
    EXPR_EMPTY,
    EXPR_CHAR,   /* code */
    EXPR_SET,    /* code: index of a set */
    EXPR_CAT,    /* children one after another */
    EXPR_ALT,    /* children in order of preference */
    EXPR_REPEAT, /* child, min to max times */
    EXPR_ATOMIC, /* child, without ways back into it */
    EXPR_LOOK,   /* child ahead or behind */
    EXPR_ANCHOR,
};

enum expr_anchor {
    ANCHOR_LINE_BEGIN,
    ANCHOR_LINE_END,
    ANCHOR_TEXT_BEGIN,
    ANCHOR_TEXT_END,
    ANCHOR_LAST_LINE_END, /* \Z: before a final newline, too */
    ANCHOR_SEARCH_BEGIN,
    ANCHOR_WORD_EDGE,
    ANCHOR_NO_WORD_EDGE,
};

struct expr_node {
    enum expr_kind kind;
    uint32_t first, last, next; /* children as a list; 0 is none */
    uint32_t code;
    uint32_t min, max;
    enum expr_anchor anchor;
    bool lazy;
    bool negative, behind; /* EXPR_LOOK */
    bool fold;             /* EXPR_CHAR whose case does not count and is not resolved yet */
};

/* Node 0 is no node. Zero-initialise; release with expr_tree_free. */
struct expr_tree {
    struct expr_node *nodes;
    uint32_t count, cap;
    struct code_set *sets;
    uint32_t set_count, set_cap;
    enum llmq_status status; /* of the first failure: functions that return nodes return 0 then */
};

/* A new node, or 0 with an error. */
uint32_t expr_node_new(struct expr_tree *t, enum expr_kind kind, llmq_error *err);
void expr_node_append(struct expr_tree *t, uint32_t parent, uint32_t child);

/* A EXPR_SET of *s, which is moved into the tree and empty afterwards; or 0 with an error. */
uint32_t expr_node_set(struct expr_tree *t, struct code_set *s, llmq_error *err);

/* Least and most characters that a node matches, at most EXPR_INFINITE. */
void expr_tree_widths(const struct expr_tree *t, uint32_t node, uint64_t *min, uint64_t *max);

/* Is there an anchor, a lookaround or an atomic group in a node? */
bool expr_tree_has_condition(const struct expr_tree *t, uint32_t node);

/* The only set that a node consists of, through groups of one; else NULL. */
const struct expr_node *expr_tree_lone_set(const struct expr_tree *t, uint32_t node);

void expr_tree_free(struct expr_tree *t);

/* Parse an expression: *root is the node of the whole. */
LLMQ_NODISCARD enum llmq_status expr_parse(const char *text, size_t len, struct expr_tree *tree,
                                           uint32_t *root, llmq_error *err);

#endif
