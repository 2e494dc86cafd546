/* SPDX-License-Identifier: Apache-2.0 */
/* Folds, found by walking against the data flow: see graph.h.
 *
 * From the linears' input back, as long as a scale per channel passes: attention is a weighted mean
 * of the values, the gated product is linear in its second factor, a scale above 0 passes relu, a
 * split only sorts columns, a convolution without a bias is linear in each. Softmax, other
 * activations, a rotation do not pass it. The walk ends at a norm with a weight or at a linear. All
 * that reads a value on the way must be accounted for, or scaling would change it. */
#include "models/graph.h"

#include <stddef.h>

static bool is_plain(const struct graph_node *n) {
    return n->row->op == OP_ROUTER || (n->row->op == OP_LINEAR && n->row->plain);
}

/* Why a reader's columns cannot take a scale, or NULL: a linear that is quantized takes any, one
 * that is stored in its own type a power of two. */
static const char *keeps_its_columns(const struct graph_node *n) {
    if (is_plain(n) && (n->row->storage != STORED_LINEAR || n->row->shared))
        return "a linear that is not quantized reads it too";
    if (n->row->op == OP_ADD)
        return "it is part of the residual stream";
    return is_plain(n) || n->row->op == OP_LINEAR || n->row->op == OP_EXPERTS
               ? NULL
               : "something that is no linear reads it too";
}

/* NULL, or why one of those that read the value is not to be scaled. */
static const char *find_consumers(const struct graph *g, enum value source, struct graph_fold *f) {
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < NODE_INPUTS; k++)
            if (g->node[i].in[k] == source) {
                const char *why = keeps_its_columns(&g->node[i]);
                if (!why && g->body && g->node[i].row->op == OP_EXPERTS)
                    why = find_consumers(g->body, g->body->input, &(struct graph_fold){0});
                if (why)
                    return why;
                f->consumers |= UINT64_C(1) << i;
                f->exact = f->exact || is_plain(&g->node[i]);
            }
    return NULL;
}

/* relu(s x) = s relu(x), as scales are above 0. */
static bool passes_scales(enum act act) {
    return act == ACT_RELU || act == ACT_NONE;
}

/* The input of `n` whose scale reaches its output, V_NONE when none does. */
static enum value passed_through(const struct graph *g, const struct graph_node *n) {
    switch (n->row->op) {
    case OP_GLU: /* the clamped one bounds its second factor and adds to it */
        return n->act == ACT_CLAMPED ? V_NONE : n->in[1];
    case OP_ATTENTION:
    case OP_LIGHTNING:
    case OP_DELTA: /* linear in the values, for each of their entries by itself */
        return n->in[2];
    case OP_SPLIT:
        return n->in[0];
    case OP_ACT:
        return passes_scales(n->act) ? n->in[0] : V_NONE;
    case OP_CONV:
        return passes_scales(n->act) && !graph_node_biased(g, n) ? n->in[0] : V_NONE;
    case OP_SELECTIVE:
    case OP_SCAN: /* a sum of x over tokens, for each of its entries by itself */
        return n->in[0];
    case OP_LRU: /* its gates read it */
    case OP_END:
    case OP_SAME:
    case OP_NORM:
    case OP_LINEAR:
    case OP_JOIN:
    case OP_ROPE:
    case OP_INDEX:
    case OP_CLIP:
    case OP_ADD:
    case OP_SCALE:
    case OP_SUM:
    case OP_DIFFER:
    case OP_EMBEDDING:
    case OP_TOKEN:
    case OP_ROUTER:
    case OP_EXPERTS:
    case OP_COUNT:
    default:
        return V_NONE;
    }
}

static const char *obstacle(const struct graph_node *n) {
    switch (n->row->op) {
    case OP_ACT:
        return "an activation lies between";
    case OP_CONV:
        return "a convolution lies between";
    case OP_ADD:
        return "a sum lies between";
    case OP_EXPERTS:
        return "experts lie between";
    case OP_CLIP:
    case OP_GLU:
        return "a bound lies between";
    case OP_NORM:
        return "the norm has no weight";
    case OP_SCAN:
    case OP_SELECTIVE:
    case OP_LRU:
    case OP_DELTA:
    case OP_LIGHTNING:
    case OP_END:
    case OP_SAME:
    case OP_LINEAR:
    case OP_SPLIT:
    case OP_JOIN:
    case OP_ROPE:
    case OP_ATTENTION:
    case OP_INDEX:
    case OP_DIFFER:
    case OP_EMBEDDING:
    case OP_SCALE:
    case OP_SUM:
    case OP_TOKEN:
    case OP_ROUTER:
    case OP_COUNT:
    default:
        return "no scale passes what lies between";
    }
}

static struct graph_fold no_fold(const char *why) {
    return (struct graph_fold){.producer = -1, .why = why};
}

/* Why the scale cannot be divided out of the node, or NULL. */
static const char *keeps_its_rows(const struct graph_node *n, bool exact) {
    if (n->row->shared)
        return "several blocks have what makes it";
    if (n->row->op == OP_LINEAR)
        return n->row->plain ? "a linear that is not quantized makes it" : NULL;
    /* What is stored less one is a power of two's share of 1 + w only after rounding. */
    return exact && norm_adds_one(n->norm) ? "a linear that is not quantized reads it too" : NULL;
}

static bool ends_walk(const struct graph_node *n) {
    return n->row->op == OP_LINEAR || (n->row->op == OP_NORM && norm_has_weight(n->norm));
}

struct graph_fold graph_fold_find(const struct graph *g, enum value source) {
    struct graph_fold f = {.producer = -1};
    const char *why = find_consumers(g, source, &f);
    if (why)
        return no_fold(why);
    for (enum value v = source; f.path_count < GRAPH_ROUNDS;) {
        const int index = g->producer[v];
        f.path[f.path_count++] = v;
        if (index < 0)
            return no_fold("it is what the block is given");
        if (v != source && g->readers[v] != 1)
            return no_fold("a value on the way is read elsewhere too");
        const struct graph_node *n = &g->node[index];
        if (ends_walk(n)) {
            why = keeps_its_rows(n, f.exact);
            if (why)
                return no_fold(why);
            f.producer = index;
            f.channels = g->width[v] / (n->row->op == OP_NORM && !n->row->each ? n->groups : 1);
            return f;
        }
        v = passed_through(g, n);
        if (v == V_NONE)
            return no_fold(obstacle(n));
    }
    return no_fold("what makes it is too far away");
}

uint64_t graph_fold_consumers(const struct graph *g, enum value source) {
    struct graph_fold f = {0};
    return find_consumers(g, source, &f) ? 0 : f.consumers;
}

struct graph_fold graph_fold_of(const struct graph *g, bool expert, enum value source) {
    if (!expert)
        return graph_fold_find(g, source);
    if (source == g->body->input)
        return graph_fold_find(g, g->node[g->experts].in[0]);
    const struct graph_fold f = graph_fold_find(g->body, source);
    if (f.producer >= 0 && graph_node_biased(g->body, &g->body->node[f.producer]))
        return no_fold("what makes it has a bias, which lies with those of all experts");
    return f;
}

/* Column `c` of a split's output number `part` as a column of its input: the parts lie in runs. */
static int64_t split_column(const struct graph_node *n, int part, int64_t c) {
    int64_t before = 0, run = 0;
    for (int o = 0; o < NODE_OUTPUTS; o++) {
        const int64_t share = n->width[o] / n->groups;
        before += o < part ? share : 0;
        run += share;
    }
    const int64_t share = n->width[part] / n->groups;
    return c / share * run + before + c % share;
}

static int output_number(const struct graph_node *n, enum value v) {
    int o = 0;
    while (n->out[o] != v)
        o++;
    return o;
}

/* One step back: a column of `v` as a column of what its maker passes through. */
static int64_t step_back(const struct graph *g, enum value v, int64_t c) {
    const struct graph_node *n = &g->node[g->producer[v]];
    if (n->row->op == OP_SPLIT)
        return split_column(n, output_number(n, v), c);
    if (n->row->op != OP_ATTENTION)
        return c;
    /* The query heads that share a key-value head read the same values. */
    const int64_t width = g->width[v] / g->facts.dims[DIM_HEADS];
    const int64_t share = g->facts.dims[DIM_HEADS] / g->facts.dims[DIM_KV_HEADS];
    return c / width / share * width + c % width;
}

/* The channel of a column of path[step]. */
static int64_t channel_from(const struct graph *g, const struct graph_fold *f, int step,
                            int64_t column) {
    for (int i = step; i + 1 < f->path_count; i++)
        column = step_back(g, f->path[i], column);
    return column % f->channels; /* a norm's weight may serve several groups */
}

int64_t graph_fold_channel(const struct graph *g, const struct graph_fold *f, int64_t column) {
    return channel_from(g, f, 0, column);
}

void graph_fold_spread(const struct graph *g, const struct graph_fold *f, int step,
                       const float *scales, float *columns) {
    for (int64_t i = 0; i < g->width[f->path[step]]; i++)
        columns[i] = scales[channel_from(g, f, step, i)];
}

bool graph_fold_enters_experts(const struct graph *g, const struct graph_fold *f) {
    return g->body && f->consumers >> g->experts & 1;
}
