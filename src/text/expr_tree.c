/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of regular expressions: see expr_tree.h. */
#include "text/expr_tree.h"

#include <stdlib.h>

#include "base/error.h"

uint32_t expr_node_new(struct expr_tree *t, enum expr_kind kind, llmq_error *err) {
    if (t->count == 0)
        t->count = 1;
    if (t->count >= EXPR_NODES_MAX) {
        t->status = error_set(err, LLMQ_E_UNSUPPORTED, "the regular expression is too large");
        return 0;
    }
    if (t->count >= t->cap) {
        uint32_t cap = t->cap * 2 + 64;
        struct expr_node *nodes = realloc(t->nodes, cap * sizeof *nodes);
        if (!nodes) {
            t->status = error_memory(err, "a regular expression");
            return 0;
        }
        t->nodes = nodes;
        t->cap = cap;
    }
    t->nodes[t->count] = (struct expr_node){.kind = kind};
    return t->count++;
}

void expr_node_append(struct expr_tree *t, uint32_t parent, uint32_t child) {
    struct expr_node *p = &t->nodes[parent];
    if (p->last)
        t->nodes[p->last].next = child;
    else
        p->first = child;
    p->last = child;
}

uint32_t expr_node_set(struct expr_tree *t, struct code_set *s, llmq_error *err) {
    if (t->set_count == t->set_cap) {
        uint32_t cap = t->set_cap * 2 + 16;
        struct code_set *sets = realloc(t->sets, cap * sizeof *sets);
        if (!sets) {
            t->status = error_memory(err, "a regular expression");
            return 0;
        }
        t->sets = sets;
        t->set_cap = cap;
    }
    code_set_sort(s);
    if (s->failed) {
        t->status = error_memory(err, "a class of characters");
        return 0;
    }
    uint32_t node = expr_node_new(t, EXPR_SET, err);
    if (node) {
        t->nodes[node].code = t->set_count;
        t->sets[t->set_count++] = *s;
        *s = (struct code_set){0};
    }
    return node;
}

void expr_tree_widths(const struct expr_tree *t, uint32_t node, uint64_t *min, uint64_t *max) {
    const struct expr_node *n = &t->nodes[node];
    uint64_t lo = 0, hi = 0;
    *min = *max = n->kind == EXPR_CHAR || n->kind == EXPR_SET;
    for (uint32_t k = n->first; k && n->kind != EXPR_LOOK; k = t->nodes[k].next) {
        expr_tree_widths(t, k, &lo, &hi);
        bool first = k == n->first;
        if (n->kind == EXPR_ALT) {
            *min = first || lo < *min ? lo : *min;
            *max = hi > *max ? hi : *max;
        } else if (n->kind == EXPR_REPEAT) {
            *min = lo * n->min;
            *max = n->max == EXPR_INFINITE && hi > 0 ? EXPR_INFINITE : hi * n->max;
        } else {
            *min += lo;
            *max += hi;
        }
    }
    *min = *min > EXPR_INFINITE ? EXPR_INFINITE : *min;
    *max = *max > EXPR_INFINITE ? EXPR_INFINITE : *max;
}

bool expr_tree_has_condition(const struct expr_tree *t, uint32_t node) {
    const struct expr_node *n = &t->nodes[node];
    bool found = n->kind == EXPR_ATOMIC || n->kind == EXPR_LOOK || n->kind == EXPR_ANCHOR;
    for (uint32_t k = n->first; k && !found; k = t->nodes[k].next)
        found = expr_tree_has_condition(t, k);
    return found;
}

const struct expr_node *expr_tree_lone_set(const struct expr_tree *t, uint32_t node) {
    const struct expr_node *n = &t->nodes[node];
    while ((n->kind == EXPR_CAT || n->kind == EXPR_ALT) && n->first && n->first == n->last)
        n = &t->nodes[n->first];
    return n->kind == EXPR_SET ? n : NULL;
}

void expr_tree_free(struct expr_tree *t) {
    for (uint32_t i = 0; i < t->set_count; i++)
        code_set_free(&t->sets[i]);
    free(t->sets);
    free(t->nodes);
    *t = (struct expr_tree){0};
}
