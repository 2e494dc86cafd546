/* Folds, found by walking against the data flow: see graph.h.
 *
 * From the linears' input back, as long as a scale per channel passes: attention is a weighted mean
 * of the values, the gated product is linear in its second factor, a scale above 0 passes relu, a
 * split only sorts columns, a convolution without a bias is linear in each. Softmax, other
 * activations, a rotation do not pass it. The walk ends at a norm with a weight or at a linear. All
 * that reads a value on the way must be accounted for, or scaling would change it. */
#include "models/graph.h"

#include <stddef.h>

/* Why a reader's columns cannot take a scale, or NULL: a linear that is quantized takes any; one
 * that is stored in its own type would be rounded. */
static const char *keeps_its_columns(const struct graph_node *n) {
    if (n->row->op == OP_EXPERTS)
        return "experts read it too";
    if (n->row->op == OP_ROUTER || (n->row->op == OP_LINEAR && n->row->plain))
        return "a linear that is not quantized reads it too";
    if (n->row->op == OP_ADD)
        return "it is part of the residual stream";
    return n->row->op == OP_LINEAR ? NULL : "something that is no linear reads it too";
}

/* NULL, or why one of them is not to be scaled. */
static const char *find_consumers(const struct graph *g, enum value source, uint64_t *consumers) {
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < NODE_INPUTS; k++)
            if (g->node[i].in[k] == source) {
                const char *why = keeps_its_columns(&g->node[i]);
                if (why)
                    return why;
                *consumers |= UINT64_C(1) << i;
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
        return n->in[2];
    case OP_SPLIT:
        return n->in[0];
    case OP_ACT:
        return passes_scales(n->act) ? n->in[0] : V_NONE;
    case OP_CONV:
        return passes_scales(n->act) && !graph_node_biased(g, n) ? n->in[0] : V_NONE;
    case OP_SCAN: /* a sum of x over tokens, for each of its entries by itself */
        return n->in[0];
    case OP_END:
    case OP_SAME:
    case OP_NORM:
    case OP_LINEAR:
    case OP_JOIN:
    case OP_ROPE:
    case OP_CLIP:
    case OP_ADD:
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
    case OP_END:
    case OP_SAME:
    case OP_LINEAR:
    case OP_SPLIT:
    case OP_JOIN:
    case OP_ROPE:
    case OP_ATTENTION:
    case OP_ROUTER:
    case OP_COUNT:
    default:
        return "no scale passes what lies between";
    }
}

static struct graph_fold no_fold(const char *why) {
    return (struct graph_fold){.producer = -1, .why = why};
}

struct graph_fold graph_fold_find(const struct graph *g, enum value source) {
    struct graph_fold f = {.producer = -1};
    const char *why = find_consumers(g, source, &f.consumers);
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
        if (n->row->op == OP_LINEAR && n->row->plain)
            return no_fold("a linear that is not quantized makes it");
        if (n->row->op == OP_LINEAR || (n->row->op == OP_NORM && norm_has_weight(n->norm))) {
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

const char *graph_unscaled(const struct graph *g, enum value source, bool expert) {
    return expert ? "experts are not scaled" : graph_fold_find(g, source).why;
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

int64_t graph_fold_channel(const struct graph *g, const struct graph_fold *f, int64_t column) {
    for (int i = 0; i + 1 < f->path_count; i++)
        column = step_back(g, f->path[i], column);
    return column % f->channels; /* a norm's weight may serve several groups */
}
