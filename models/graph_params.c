/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of a block and the names of its modules: see graph.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/graph.h"

/* --- tensors ---------------------------------------------------------------------------------- */

static void add_param(struct graph_param out[GRAPH_PARAMS], int *count, struct graph_param p) {
    out[(*count)++] = p;
}

static void norm_params(const struct graph_node *n, int i, struct graph_param out[GRAPH_PARAMS],
                        int *count) {
    struct graph_param p = {.node = i,
                            .suffix = n->row->weight ? n->row->weight : ".weight",
                            .name = n->row->name,
                            .rows = n->row->each && !n->row->flat ? n->groups : 0,
                            .columns = n->width[0] / (n->row->flat ? 1 : n->groups)};
    if (norm_has_weight(n->norm))
        add_param(out, count, p);
    p.suffix = ".bias";
    if (norm_has_bias(n->norm))
        add_param(out, count, p);
}

/* A linear of every expert in one tensor, with others where it takes a part of the rows. */
static void stack_params(const struct graph *g, int i, struct graph_param out[GRAPH_PARAMS],
                         int *count) {
    const struct graph_node *n = &g->node[i];
    const int64_t experts = g->facts.dims[DIM_EXPERTS], k = g->width[n->in[0]];
    const int64_t rows = n->width[0] * (n->row->part == PART_WHOLE ? 1 : 2);
    const bool turned = n->row->storage == STORED_STACK_T;
    if (graph_node_biased(g, n))
        add_param(out, count,
                  (struct graph_param){.node = i,
                                       .suffix = "",
                                       .name = n->row->stack_bias,
                                       .experts = experts,
                                       .columns = rows});
    add_param(out, count,
              (struct graph_param){.node = i,
                                   .suffix = "",
                                   .name = n->row->stack,
                                   .experts = experts,
                                   .flat = n->row->flat,
                                   .rows = turned ? k : rows,
                                   .columns = turned ? rows : k,
                                   .quantized = true});
}

static void linear_params(const struct graph *g, int i, struct graph_param out[GRAPH_PARAMS],
                          int *count) {
    const struct graph_node *n = &g->node[i];
    const int64_t width = n->width[0], k = g->width[n->in[0]];
    const bool turned = n->row->storage == STORED_CONV1D;
    struct graph_param p = {.node = i, .suffix = ".bias", .name = n->row->name, .columns = width};
    if (graph_node_biased(g, n))
        add_param(out, count, p);
    if (n->row->choice_bias)
        add_param(out, count,
                  (struct graph_param){.node = i,
                                       .suffix = "",
                                       .name = n->row->choice_bias,
                                       .rows = n->row->choice_row ? 1 : 0,
                                       .columns = width});
    if (n->row->gains)
        add_param(
            out, count,
            (struct graph_param){
                .node = i, .suffix = "", .name = n->row->gains, .columns = width, .vector = 1});
    p.suffix = ".weight";
    p.rows = turned ? k : width;
    p.columns = turned ? width : k;
    p.quantized = graph_node_quantized(n);
    add_param(out, count, p);
}

static void filter_params(const struct graph *g, int i, struct graph_param out[GRAPH_PARAMS],
                          int *count) {
    const struct graph_node *n = &g->node[i];
    struct graph_param p = {
        .node = i, .suffix = ".bias", .name = n->row->name, .columns = n->width[0]};
    if (graph_node_biased(g, n))
        add_param(out, count, p);
    p.suffix = ".weight";
    p.rows = n->width[0];
    p.columns = g->facts.dims[DIM_CONV];
    p.middle = 1;
    add_param(out, count, p);
}

/* Small tensors that operations have beside weights, behind the name of the row. In the order in
 * which the operations know them. */
static const struct {
    enum op op;
    const char *suffix;
    enum dim rows, columns; /* neither: the tensor has no sides */
    enum act act;           /* ACT: of rows with this one */
    enum dim middle;        /* between the two, DIM_NONE: no such side */
} vectors[] = {
    {OP_SCAN, ".A_log", DIM_NONE, DIM_SSM_HEADS, ACT_OF_CONFIG, DIM_NONE},
    {OP_SCAN, ".D", DIM_NONE, DIM_SSM_HEADS, ACT_OF_CONFIG, DIM_NONE},
    {OP_SCAN, ".dt_bias", DIM_NONE, DIM_SSM_HEADS, ACT_OF_CONFIG, DIM_NONE},
    {OP_DELTA, ".A_log", DIM_NONE, DIM_DELTA_VALUE_HEADS, ACT_OF_CONFIG, DIM_NONE},
    {OP_DELTA, ".dt_bias", DIM_NONE, DIM_DELTA_VALUE_HEADS, ACT_OF_CONFIG, DIM_NONE},
    {OP_DIFFER, ".lambda_q1", DIM_NONE, DIM_HEAD, ACT_OF_CONFIG, DIM_NONE},
    {OP_DIFFER, ".lambda_k1", DIM_NONE, DIM_HEAD, ACT_OF_CONFIG, DIM_NONE},
    {OP_DIFFER, ".lambda_q2", DIM_NONE, DIM_HEAD, ACT_OF_CONFIG, DIM_NONE},
    {OP_DIFFER, ".lambda_k2", DIM_NONE, DIM_HEAD, ACT_OF_CONFIG, DIM_NONE},
    {OP_ACT, ".alpha_p", DIM_NONE, DIM_ONE, ACT_XIELU, DIM_NONE},
    {OP_ACT, ".alpha_n", DIM_NONE, DIM_ONE, ACT_XIELU, DIM_NONE},
    {OP_ACT, ".beta", DIM_NONE, DIM_NONE, ACT_XIELU, DIM_NONE},
    {OP_ACT, ".eps", DIM_NONE, DIM_NONE, ACT_XIELU, DIM_NONE},
    {OP_SELECTIVE, ".A_log", DIM_SSM_X, DIM_SSM_STATE, ACT_OF_CONFIG, DIM_NONE},
    {OP_SELECTIVE, ".D", DIM_NONE, DIM_SSM_X, ACT_OF_CONFIG, DIM_NONE},
    {OP_LRU, ".recurrent_param", DIM_NONE, DIM_SSM_X, ACT_OF_CONFIG, DIM_NONE},
    {OP_LRU, ".input_gate_weight", DIM_HEADS, DIM_LRU, ACT_OF_CONFIG, DIM_LRU},
    {OP_LRU, ".input_gate_bias", DIM_HEADS, DIM_LRU, ACT_OF_CONFIG, DIM_NONE},
    {OP_LRU, ".recurrent_gate_weight", DIM_HEADS, DIM_LRU, ACT_OF_CONFIG, DIM_LRU},
    {OP_LRU, ".recurrent_gate_bias", DIM_HEADS, DIM_LRU, ACT_OF_CONFIG, DIM_NONE},
};

static void vector_params(const struct graph *g, int i, struct graph_param out[GRAPH_PARAMS],
                          int *count) {
    int number = 0;
    for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++)
        if (vectors[v].op == g->node[i].row->op &&
            (vectors[v].op != OP_ACT || vectors[v].act == g->node[i].act))
            add_param(out, count,
                      (struct graph_param){.node = i,
                                           .suffix = vectors[v].suffix,
                                           .name = g->node[i].row->name,
                                           .rows = g->facts.dims[vectors[v].rows],
                                           .middle = g->facts.dims[vectors[v].middle],
                                           .columns = g->facts.dims[vectors[v].columns],
                                           .vector = ++number});
}

int graph_params(const struct graph *g, struct graph_param out[GRAPH_PARAMS]) {
    int count = 0;
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        if (n->row->op == OP_NORM)
            norm_params(n, i, out, &count);
        if (n->row->op == OP_SCALE)
            add_param(out, &count,
                      (struct graph_param){.node = i,
                                           .suffix = "",
                                           .name = n->row->name,
                                           .columns = n->row->each ? n->width[0] : 1});
        if (n->row->op == OP_CONV)
            filter_params(g, i, out, &count);
        vector_params(g, i, out, &count);
        if (n->row->stack)
            stack_params(g, i, out, &count);
        else if (n->row->op == OP_LINEAR || n->row->op == OP_ROUTER)
            linear_params(g, i, out, &count);
        if (n->row->op == OP_ATTENTION && n->row->name)
            add_param(out, &count,
                      (struct graph_param){.node = i,
                                           .suffix = "",
                                           .name = n->row->name,
                                           .columns = g->facts.dims[DIM_HEADS]});
    }
    for (int i = 0; i < count; i++)
        out[i].shared = g->node[out[i].node].row->shared;
    return count;
}

int graph_param_shape(const struct graph_param *p, uint64_t out[GRAPH_PARAM_RANK]) {
    int rank = 0;
    if (p->flat) {
        out[rank++] = (uint64_t)(p->experts * p->rows);
        out[rank++] = (uint64_t)p->columns;
        return rank;
    }
    if (p->experts)
        out[rank++] = (uint64_t)p->experts;
    if (p->rows)
        out[rank++] = (uint64_t)p->rows;
    if (p->middle)
        out[rank++] = (uint64_t)p->middle;
    if (p->columns)
        out[rank++] = (uint64_t)p->columns;
    return rank;
}

int64_t graph_param_entries(const struct graph_param *p) {
    return (p->rows ? p->rows : 1) * (p->middle ? p->middle : 1) * (p->columns ? p->columns : 1);
}

/* --- names ------------------------------------------------------------------------------------ */

int graph_find_module(const struct graph *g, const char *name, size_t len) {
    for (int i = 0; i < g->count; i++) {
        const char *module = g->node[i].row->name;
        if (module && strlen(module) == len && strncmp(module, name, len) == 0)
            return i;
    }
    return -1;
}

int64_t graph_module_count(const struct graph *g) {
    return g->linear_count + (g->body ? g->facts.dims[DIM_EXPERTS] * g->body->linear_count : 0);
}

#define EXPERT_NUMBER "%d"

const char *graph_expert_name(const struct graph *g, int64_t expert, char buf[GRAPH_NAME_MAX]) {
    const char *name = g->node[g->experts].row->name, *number = strstr(name, EXPERT_NUMBER);
    (void)snprintf(buf, GRAPH_NAME_MAX, "%.*s%" PRId64 "%s", (int)(number - name), name, expert,
                   number + strlen(EXPERT_NUMBER));
    return buf;
}

bool graph_expert_of(const struct graph *g, const char *name, int64_t *expert, const char **rest) {
    if (!g->body)
        return false;
    const char *before = g->node[g->experts].row->name, *number = strstr(before, EXPERT_NUMBER);
    const char *after = number + strlen(EXPERT_NUMBER);
    const size_t len = (size_t)(number - before);
    if (strncmp(name, before, len) != 0)
        return false;
    const size_t digits = strspn(name + len, "0123456789");
    if (digits == 0 || digits > 9 || strncmp(name + len + digits, after, strlen(after)) != 0)
        return false;
    *expert = strtol(name + len, NULL, 10);
    *rest = name + len + digits + strlen(after);
    return *expert < g->facts.dims[DIM_EXPERTS];
}
