/* SPDX-License-Identifier: Apache-2.0 */
/* A batch on its way through a block, forth and back: see way_back.h. */
#include "graph/way_back.h"

#include <string.h>

#include "base/error.h"
#include "base/int64.h"

/* --- nodes ------------------------------------------------------------------------------------ */

static enum llmq_status run_node(const struct way *w, const struct pass *p, int i,
                                 llmq_error *err) {
    const struct graph_node *n = &p->block->graph->node[i];
    if (n->row->op != OP_EXPERTS)
        return pass_run_node(p, i, err);
    return way_experts(w, pass_value(p, n->in[0]), pass_value(p, n->in[1]),
                       pass_value(p, n->out[0]), err);
}

static enum llmq_status run_forth(const struct way *w, const struct pass *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < p->block->graph->count; i++)
        if (p->schedule->nodes >> i & 1)
            status = run_node(w, p, i, err);
    return status;
}

float *way_gradient(const struct way_nodes *n, enum value v) {
    return n->gradients + n->plan->column[v] * n->pass->forward->max_rows;
}

/* The gradients of a node; those that begin with it are set to 0. */
static struct step_back step_back_of(const struct way *w, const struct way_nodes *n, int i,
                                     struct value_set *begun) {
    const struct pass *p = n->pass;
    struct step_back b = {.step = pass_step(p, i),
                          .taps = w->taps,
                          .node = i,
                          .row = n->row,
                          .begin = n->begin,
                          .scratch = w->room->scratch};
    const struct graph_node *node = b.step.node;
    for (int o = 0; o < NODE_OUTPUTS && node->out[o] != V_NONE; o++)
        if (value_set_has(*begun, (int)node->out[o]))
            b.out[o] = way_gradient(n, node->out[o]);
    for (int k = 0; k < NODE_INPUTS && node->in[k] != V_NONE; k++) {
        const enum value v = node->in[k];
        if (!value_set_has(n->plan->smooth, (int)v))
            continue;
        b.in[k] = way_gradient(n, v);
        if (!value_set_has(*begun, (int)v))
            memset(b.in[k], 0, (size_t)(b.step.rows * p->block->graph->width[v]) * sizeof *b.in[k]);
        *begun = value_set_with(*begun, v);
    }
    if (p->block->expert < 0 && w->params)
        b.sums = w->params[i];
    return b;
}

static enum llmq_status run_node_back(const struct way *w, const struct step_back *b,
                                      llmq_error *err) {
    const enum op op = b->step.node->row->op;
    if (op != OP_EXPERTS)
        return op_codes[op].back(b, err);
    const struct way_experts_back experts = {b->step.in[0], b->step.in[1], b->out[0], b->in[0],
                                             b->in[1]};
    return way_experts_back(w, &experts, err);
}

enum llmq_status way_run_back(const struct way *w, const struct way_nodes *n, llmq_error *err) {
    const struct graph *g = n->pass->block->graph;
    struct value_set begun = value_set_of(g->output);
    enum llmq_status status = LLMQ_OK;
    for (int i = g->count - 1; status == LLMQ_OK && i >= 0; i--) {
        if (!(n->plan->nodes >> i & 1))
            continue;
        const struct step_back b = step_back_of(w, n, i, &begun);
        status = run_node_back(w, &b, err);
        tally_read(n->pass->forward->tally, op_codes[g->node[i].row->op].kind, 0);
    }
    return status;
}

/* --- batches ---------------------------------------------------------------------------------- */

static struct pass pass_of(const struct way *w, const struct schedule *s, float *x) {
    struct pass p = {
        .forward = &w->room->forward, .schedule = s, .block = w->block, .batch = w->batch};
    p.home[1] = x;
    return p;
}

enum llmq_status way_forth(const struct way *w, float *x, llmq_error *err) {
    struct schedule schedule;
    schedule_block(w->block->graph, &schedule);
    const struct pass p = pass_of(w, &schedule, x);
    return run_forth(w, &p, err);
}

enum llmq_status way_back(const struct way *w, float *x, float *d, llmq_error *err) {
    const struct graph *g = w->block->graph;
    struct way_plan plan;
    way_plan_make(g, &plan);
    const struct pass p = pass_of(w, &plan.forth, x);
    const struct way_nodes nodes = {
        .pass = &p, .plan = &plan, .gradients = w->room->gradients, .begin = w->batch->offsets[0]};
    const size_t bytes = (size_t)(batch_rows(w->batch) * g->width[g->output]) * sizeof *d;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(run_forth(w, &p, err));
    memcpy(way_gradient(&nodes, g->output), d, bytes);
    LLMQ_TRY(way_run_back(w, &nodes, err));
    memcpy(d, way_gradient(&nodes, g->input), bytes);
cleanup:
    return status;
}

/* --- parameters ------------------------------------------------------------------------------- */

/* Where the sum of a parameter is, NULL: it has none. */
static double **place_of(const struct graph_node *n, const struct graph_param *p,
                         struct param_sums *sums) {
    const bool is_bias = strcmp(p->suffix, ".bias") == 0;
    switch ((int)n->row->op) {
    case OP_NORM:
    case OP_CONV:
    case OP_SCALE:
        return is_bias ? &sums->bias : &sums->weight;
    case OP_ATTENTION:
        return &sums->sinks;
    case OP_DIFFER:
    case OP_SCAN:
    case OP_SELECTIVE:
    case OP_DELTA:
        return &sums->vector[p->vector - 1];
    default:
        return NULL;
    }
}

enum llmq_status way_params_create(const struct graph *g, struct arena *arena,
                                   struct param_sums *out, llmq_error *err) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(g, params);
    memset(out, 0, GRAPH_NODES * sizeof *out);
    for (int i = 0; i < count; i++) {
        double **place = place_of(&g->node[params[i].node], &params[i], &out[params[i].node]);
        if (!place)
            continue;
        *place = arena_zalloc(arena, (size_t)graph_param_entries(&params[i]), sizeof **place, err);
        if (!*place)
            return LLMQ_E_MEMORY;
    }
    return LLMQ_OK;
}

enum llmq_status way_params_show(const struct block *b, const struct param_sums *params,
                                 const struct slope_taps *taps, llmq_error *err) {
    struct graph_param all[GRAPH_PARAMS];
    const int count = graph_params(b->graph, all);
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && taps->param && i < count; i++) {
        struct param_sums sums = params[all[i].node];
        double **place = place_of(&b->graph->node[all[i].node], &all[i], &sums);
        const struct param_slope slope = {b->index, &all[i], place ? *place : NULL};
        if (place)
            status = taps->param(taps->c, &slope, err);
    }
    return status;
}
