/* SPDX-License-Identifier: Apache-2.0 */
/* See schedule.h. */
#include "graph/schedule.h"

#include <string.h>

#include "base/error.h"
#include "base/int64.h"

static bool runs(const struct schedule *s, int node) {
    return s->nodes >> node & 1;
}

/* --- what runs -------------------------------------------------------------------------------- */

static struct value_set inputs(const struct graph_node *n) {
    struct value_set set = {{0}};
    for (int i = 0; i < NODE_INPUTS && n->in[i] != V_NONE; i++)
        set = value_set_with(set, n->in[i]);
    return set;
}

/* Those of the node's outputs that are in the set. */
static struct value_set outputs_in(struct value_set wanted, const struct graph_node *n) {
    struct value_set set = {{0}};
    for (int o = 0; o < NODE_OUTPUTS && n->out[o] != V_NONE; o++)
        if (value_set_has(wanted, (int)n->out[o]))
            set = value_set_with(set, n->out[o]);
    return set;
}

static void find_needed(const struct graph *g, struct schedule *s) {
    struct value_set needed = value_set_minus(s->wanted, s->given);
    for (int i = g->count - 1; i >= 0; i--) {
        const struct value_set made = outputs_in(needed, &g->node[i]);
        if (value_set_empty(made))
            continue;
        s->nodes |= UINT64_C(1) << i;
        s->made = value_set_union(s->made, made);
        needed = value_set_union(needed, value_set_minus(inputs(&g->node[i]), s->given));
    }
}

/* --- where values lie ------------------------------------------------------------------------- */

struct planner {
    const struct graph *g;
    const struct homes *homes;
    struct schedule *s;
    int last[V_COUNT]; /* node that reads a value last; g->count: it is wanted; -1: none does */
    bool made[V_COUNT];
};

static void find_lives(struct planner *p) {
    for (int v = 0; v < V_COUNT; v++)
        p->last[v] = value_set_has(p->s->wanted, v) ? p->g->count : -1;
    for (int i = 0; i < p->g->count; i++)
        for (int v = 0; v < V_COUNT; v++)
            if (runs(p->s, i) && value_set_has(inputs(&p->g->node[i]), v) && p->last[v] < i)
                p->last[v] = i;
}

/* Operations that take each entry by itself: the output may lie where an input of its width does.
 */
static bool is_elementwise(enum op op) {
    return op == OP_NORM || op == OP_ROPE || op == OP_CLIP || op == OP_ACT || op == OP_GLU ||
           op == OP_ADD || op == OP_SCALE;
}

/* Is the value still read after node `i`? */
static bool lives_after(const struct planner *p, int v, int i) {
    return p->made[v] && p->last[v] > i;
}

/* May node `i` write where the value lies that it reads for the last time? */
static bool works_in_place(const struct planner *p, int v, int i) {
    const struct graph_node *n = &p->g->node[i];
    return is_elementwise(n->row->op) && p->g->width[v] == n->width[0];
}

/* May node `i` write into the home: is nothing there that is read after it, or by it? */
static bool home_is_free(const struct planner *p, int home, int i) {
    for (int v = 0; v < V_COUNT; v++)
        if (p->s->home[v] == home &&
            (lives_after(p, v, i) || (p->last[v] == i && !works_in_place(p, v, i))))
            return false;
    return true;
}

/* Does a value move into its home between the two nodes? */
static bool home_is_taken(const struct planner *p, int home, int from, int to) {
    for (int v = 0; v < V_COUNT; v++)
        if (p->homes->of[v] == home && value_set_has(p->s->made, v) && p->g->producer[v] > from &&
            p->g->producer[v] < to)
            return true;
    return false;
}

/* The home of what is made of `v` in place, step by step: then `v`, which node `maker` makes, is
 * best made there at once. 0: there is none, or it is not free. */
static int home_of_heir(const struct planner *p, enum value v, int maker) {
    const struct graph *g = p->g;
    for (int reader = p->last[v]; reader > maker && reader < g->count; reader = p->last[v]) {
        const struct graph_node *n = &g->node[reader];
        if (g->readers[v] != 1 || !is_elementwise(n->row->op) || g->width[n->out[0]] != g->width[v])
            return 0;
        v = n->out[0];
        const int home = p->homes->of[v];
        if (home)
            return home_is_free(p, home, maker) && !home_is_taken(p, home, maker, reader) ? home
                                                                                          : 0;
    }
    return 0;
}

/* The input that the node's output can replace for all its life, V_NONE: none. */
static enum value replaced_input(const struct planner *p, int i) {
    const struct graph_node *n = &p->g->node[i];
    for (int k = 0; is_elementwise(n->row->op) && k < NODE_INPUTS; k++) {
        const enum value v = n->in[k];
        if (v != V_NONE && p->last[v] == i && p->g->width[v] == n->width[0] &&
            !(p->s->home[v] && home_is_taken(p, p->s->home[v], i, p->last[n->out[0]])))
            return v;
    }
    return V_NONE;
}

static bool overlaps(const struct planner *p, int64_t column, int64_t width, int i) {
    for (int v = 0; v < V_COUNT; v++)
        if (p->made[v] && p->s->home[v] == 0 && p->last[v] >= i &&
            column < p->s->column[v] + p->g->width[v] && p->s->column[v] < column + width)
            return true;
    return false;
}

/* The first columns that are free while node `i` runs: at the beginning or behind a live value. */
static int64_t free_column(const struct planner *p, int64_t width, int i) {
    int64_t best = overlaps(p, 0, width, i) ? INT64_MAX : 0;
    for (int v = 0; v < V_COUNT; v++) {
        const int64_t behind = p->s->column[v] + p->g->width[v];
        if (p->made[v] && p->s->home[v] == 0 && behind < best && !overlaps(p, behind, width, i))
            best = behind;
    }
    return best;
}

static void place(struct planner *p, enum value v, int i) {
    struct schedule *s = p->s;
    const enum value replaced = replaced_input(p, i);
    const int heir = home_of_heir(p, v, i);
    if (p->homes->of[v]) {
        s->home[v] = p->homes->of[v];
    } else if (heir) {
        s->home[v] = (uint8_t)heir;
    } else if (replaced != V_NONE) {
        s->home[v] = s->home[replaced];
        s->column[v] = s->column[replaced];
    } else {
        s->column[v] = free_column(p, p->g->width[v], i);
        s->width = max_i64(s->width, s->column[v] + p->g->width[v]);
    }
    p->made[v] = true;
}

void schedule_make(const struct graph *g, struct value_set given, struct value_set wanted,
                   const struct homes *homes, struct schedule *out) {
    struct planner p = {.g = g, .homes = homes, .s = out};
    *out = (struct schedule){.given = given, .wanted = wanted};
    find_needed(g, out);
    find_lives(&p);
    for (int v = 0; v < V_COUNT; v++)
        if (value_set_has(given, v)) {
            out->home[v] = homes->of[v];
            p.made[v] = true;
        }
    for (int i = 0; i < g->count; i++)
        for (int o = 0; runs(out, i) && o < NODE_OUTPUTS; o++)
            if (value_set_has(out->made, (int)g->node[i].out[o]))
                place(&p, g->node[i].out[o], i);
}

void schedule_block(const struct graph *g, struct schedule *out) {
    struct homes homes = {.count = 1};
    homes.of[g->input] = homes.of[g->output] = 1;
    homes.width[1] = g->width[g->input];
    schedule_make(g, value_set_of(g->input), value_set_of(g->output), &homes, out);
}

/* --- homes between rounds --------------------------------------------------------------------- */

struct value_set schedule_kept(const struct graph *g, int round) {
    struct value_set kept = {{0}};
    if (round == g->rounds)
        return value_set_of(g->output);
    for (int s = 0; g->stored[round][s] != V_NONE; s++)
        kept = value_set_with(kept, g->stored[round][s]);
    return kept;
}

/* May `v` lie where `old` does? Every node that reads `old` has then run, or makes `v` of it entry
 * by entry. */
static bool may_succeed(const struct graph *g, enum value v, enum value old) {
    const int maker = g->producer[v];
    for (int i = 0; i < g->count; i++)
        if (value_set_has(inputs(&g->node[i]), (int)old) &&
            (i > maker ||
             (i == maker && (!is_elementwise(g->node[i].row->op) || g->width[old] != g->width[v]))))
            return false;
    return true;
}

/* Experts are added up over all tokens while what was kept before is still read. */
static bool made_slowly(const struct graph *g, enum value v) {
    return g->experts >= 0 && g->node[g->experts].out[0] == v;
}

/* The home is free for `v`, made on the way to `round`, when it can succeed every value that was
 * kept there. What lies there until then must be as wide: batches pass one after the other. */
static bool home_suits(const struct graph *g, const struct homes *h, int home, enum value v,
                       int round) {
    const struct value_set kept = schedule_kept(g, round);
    const struct value_set before =
        round > 0 ? schedule_kept(g, round - 1) : value_set_of(g->input);
    for (int old = 0; old < V_COUNT; old++) {
        if (h->of[old] != home)
            continue;
        if (value_set_has(kept, old) || !may_succeed(g, v, (enum value)old))
            return false;
        if (value_set_has(before, old) && (g->width[old] != g->width[v] || made_slowly(g, v)))
            return false;
    }
    return true;
}

static enum llmq_status find_home(const struct graph *g, enum value v, int round, struct homes *h,
                                  llmq_error *err) {
    /* the first is left to what the block is given and gives, which are as wide */
    int home = g->width[v] == g->width[g->input] ? 1 : 2;
    while (home <= h->count && !home_suits(g, h, home, v, round))
        home++;
    if (home > HOMES_KEPT)
        return error_set(err, LLMQ_E_UNSUPPORTED, "more than %d values of a block are kept",
                         HOMES_KEPT);
    h->count = home > h->count ? home : h->count;
    h->of[v] = (uint8_t)home;
    h->width[home] = max_i64(h->width[home], g->width[v]);
    return LLMQ_OK;
}

/* What experts make is added up over all tokens on the way to the round that follows theirs. */
static struct value_set made_by_experts(const struct graph *g, int round) {
    if (g->experts < 0 || g->node[g->experts].round + 1 != round)
        return (struct value_set){{0}};
    return value_set_of(g->node[g->experts].out[0]);
}

enum llmq_status homes_of_rounds(const struct graph *g, struct homes *out, llmq_error *err) {
    *out = (struct homes){.count = 1};
    out->of[g->input] = 1;
    out->width[1] = g->width[g->input];
    for (int round = 0; round <= g->rounds; round++) {
        const struct value_set kept =
            value_set_union(schedule_kept(g, round), made_by_experts(g, round));
        for (int v = 0; v < V_COUNT; v++)
            if (value_set_has(kept, v) && out->of[v] == 0) {
                enum llmq_status status = find_home(g, (enum value)v, round, out, err);
                if (status != LLMQ_OK)
                    return status;
            }
    }
    if (out->of[g->output] != 1)
        return error_set(err, LLMQ_E_UNSUPPORTED, "a block's output cannot take its input's place");
    return LLMQ_OK;
}
