/* SPDX-License-Identifier: Apache-2.0 */
/* What runs on the way back, and where gradients lie: see way_back.h. */
#include "base/int64.h"
#include "graph/way_back.h"

static bool has_slope(const struct graph_node *n) {
    return n->row->op == OP_EXPERTS || op_codes[n->row->op].back;
}

/* Attention's choice of keys is none of them. */
static bool input_has_slope(const struct graph_node *n, int k) {
    const bool chooses = n->row->op == OP_ATTENTION && k == 3 && !n->row->lifts;
    return n->in[k] != V_NONE && !chooses;
}

static bool makes_any(const struct graph_node *n, struct value_set of) {
    for (int o = 0; o < NODE_OUTPUTS && n->out[o] != V_NONE; o++)
        if (value_set_has(of, (int)n->out[o]))
            return true;
    return false;
}

/* Values that the node's way back reads. */
static struct value_set values_read(const struct graph_node *n) {
    const enum reads reads = op_codes[n->row->op].reads;
    struct value_set set = {{0}};
    for (int k = 0; reads != READS_NOTHING && k < NODE_INPUTS && n->in[k] != V_NONE; k++)
        set = value_set_with(set, n->in[k]);
    for (int o = 0; reads == READS_ALL && o < NODE_OUTPUTS && n->out[o] != V_NONE; o++)
        set = value_set_with(set, n->out[o]);
    return set;
}

static void find_nodes(const struct graph *g, struct way_plan *p, struct value_set *read) {
    p->smooth = value_set_of(g->output);
    for (int i = g->count - 1; i >= 0; i--) {
        const struct graph_node *n = &g->node[i];
        if (!has_slope(n) || !makes_any(n, p->smooth))
            continue;
        p->nodes |= UINT64_C(1) << i;
        *read = value_set_union(*read, values_read(n));
        for (int k = 0; k < NODE_INPUTS; k++)
            if (input_has_slope(n, k))
                p->smooth = value_set_with(p->smooth, n->in[k]);
    }
}

/* --- where gradients lie ---------------------------------------------------------------------- */

static bool overlaps(const struct graph *g, const struct way_plan *p, struct value_set alive,
                     int64_t column, int64_t width) {
    for (int v = 0; v < V_COUNT; v++)
        if (value_set_has(alive, v) && column < p->column[v] + g->width[v] &&
            p->column[v] < column + width)
            return true;
    return false;
}

/* The first columns that are free: at the beginning or behind another's. */
static void place(const struct graph *g, struct way_plan *p, struct value_set *alive,
                  enum value at) {
    const int64_t width = g->width[at];
    int64_t best = overlaps(g, p, *alive, 0, width) ? INT64_MAX : 0;
    for (int v = 0; v < V_COUNT; v++) {
        const int64_t behind = p->column[v] + g->width[v];
        if (value_set_has(*alive, v) && behind < best && !overlaps(g, p, *alive, behind, width))
            best = behind;
    }
    p->column[at] = best;
    p->width = max_i64(p->width, best + width);
    *alive = value_set_with(*alive, at);
}

static void place_all(const struct graph *g, struct way_plan *p) {
    struct value_set alive = {{0}};
    place(g, p, &alive, g->output);
    for (int i = g->count - 1; i >= 0; i--) {
        const struct graph_node *n = &g->node[i];
        if (!(p->nodes >> i & 1))
            continue;
        for (int k = 0; k < NODE_INPUTS; k++)
            if (input_has_slope(n, k) && !value_set_has(alive, (int)n->in[k]))
                place(g, p, &alive, n->in[k]);
        for (int o = 0; o < NODE_OUTPUTS && n->out[o] != V_NONE; o++)
            alive = value_set_minus(alive, value_set_of(n->out[o]));
    }
}

void way_plan_make(const struct graph *g, struct way_plan *out) {
    struct value_set read = {{0}};
    struct homes homes = {.count = 1};
    *out = (struct way_plan){.nodes = 0};
    find_nodes(g, out, &read);
    homes.of[g->input] = 1;
    homes.width[1] = g->width[g->input];
    if (g->input == V_E) /* an expert: what it makes is the gradient towards its weight */
        read = value_set_with(read, g->output);
    schedule_make(g, value_set_of(g->input), value_set_with(read, g->input), &homes, &out->forth);
    place_all(g, out);
}
