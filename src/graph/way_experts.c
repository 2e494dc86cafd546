/* SPDX-License-Identifier: Apache-2.0 */
/* The experts of a batch, forth and back: see way_back.h. */
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/way_back.h"
#include "linalg/linalg.h"

static const struct graph_node *node_of(const struct way *w) {
    return &w->block->graph->node[w->block->graph->experts];
}

/* Do the weights scale what experts read, not what they make? */
static bool scales_input(const struct way *w) {
    return node_of(w)->row->scales_input;
}

/* out [count, width] = the listed rows of x, each times its weight where `weighed`. */
static void gather(const struct row_list *rows, bool weighed, int64_t width, const float *x,
                   float *out) {
#pragma omp parallel for schedule(static) default(none) shared(rows, weighed, width, x, out)
    for (int64_t i = 0; i < rows->count; i++) {
        const float weight = weighed ? rows->weight[i] : 1;
        for (int64_t c = 0; c < width; c++)
            out[i * width + c] = weight * x[rows->row[i] * width + c];
    }
}

/* The listed rows of sum += those of y [count, width], each times its weight where `weighed`. */
static void scatter(const struct row_list *rows, bool weighed, int64_t width, const float *y,
                    float *sum) {
#pragma omp parallel for schedule(static) default(none) shared(rows, weighed, width, y, sum)
    for (int64_t i = 0; i < rows->count; i++) {
        const float weight = weighed ? rows->weight[i] : 1;
        for (int64_t c = 0; c < width; c++)
            sum[rows->row[i] * width + c] += weight * y[i * width + c];
    }
}

/* Column `expert` of the listed rows of droutes += the products of rows of a, those listed, and of
 * b [count, width]. */
static void add_route_slopes(const struct way *w, int64_t expert, const struct row_list *rows,
                             int64_t width, const float *a, const float *b, float *droutes) {
    const int64_t experts = w->room->routing.experts;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(expert, rows, width, a, b, droutes, experts)
    for (int64_t i = 0; i < rows->count; i++) {
        const double sum = linalg_dot(width, a + rows->row[i] * width, b + i * width);
        droutes[rows->row[i] * experts + expert] += (float)sum;
    }
}

/* --- one expert, some rows -------------------------------------------------------------------- */

struct piece {
    const struct block *expert;
    const struct row_list *rows;
    const struct way_plan *plan;
    int64_t offsets[2];
    struct batch batch;
    struct pass pass;
};

/* What an expert makes of the rows of x: pass_value of its output. */
static enum llmq_status run_piece(const struct way *w, struct piece *p, const float *x,
                                  llmq_error *err) {
    const struct graph *body = p->expert->graph;
    p->offsets[1] = p->rows->count;
    p->batch = (struct batch){p->offsets, 1};
    p->pass = (struct pass){.forward = &w->room->body,
                            .schedule = &p->plan->forth,
                            .block = p->expert,
                            .batch = &p->batch};
    p->pass.home[1] = w->room->expert_x;
    gather(p->rows, scales_input(w), body->width[body->input], x, w->room->expert_x);
    return pass_run(&p->pass, err);
}

static enum llmq_status piece_back(const struct way *w, struct piece *p,
                                   const struct way_experts_back *b, llmq_error *err) {
    const struct graph *body = p->expert->graph;
    const int64_t in = body->width[body->input], out = body->width[body->output];
    const struct way_nodes nodes = {.pass = &p->pass,
                                    .plan = p->plan,
                                    .gradients = w->room->body_gradients,
                                    .row = p->rows->row,
                                    .begin = w->batch->offsets[0]};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(run_piece(w, p, b->x, err));
    if (!scales_input(w))
        add_route_slopes(w, p->expert->expert, p->rows, out, b->d,
                         pass_value(&p->pass, body->output), b->droutes);
    gather(p->rows, !scales_input(w), out, b->d, way_gradient(&nodes, body->output));
    LLMQ_TRY(way_run_back(w, &nodes, err));
    float *dx = way_gradient(&nodes, body->input);
    if (scales_input(w))
        add_route_slopes(w, p->expert->expert, p->rows, in, b->x, dx, b->droutes);
    scatter(p->rows, scales_input(w), in, dx, b->dx);
cleanup:
    return status;
}

/* --- all experts ------------------------------------------------------------------------------ */

/* Who goes where, of the batch's weights. */
static void sort_routes(const struct way *w, const float *routes) {
    struct routing *r = &w->room->routing;
    const struct graph *g = w->block->graph;
    r->tokens = batch_rows(w->batch);
    r->experts = g->width[node_of(w)->in[1]];
    r->top_k = g->facts.dims[DIM_TOP_K];
    routing_note(r, 0, r->tokens, routes);
    routing_sort(r);
}

/* One expert: forth, to `sum`, or with `b` back. */
static enum llmq_status run_expert(const struct way *w, const struct block *expert,
                                   const struct way_experts_back *b, const float *x, float *sum,
                                   llmq_error *err) {
    const struct graph *body = expert->graph;
    struct way_plan plan;
    struct row_list rows = {0};
    struct piece p = {.expert = expert, .rows = &rows, .plan = &plan};
    enum llmq_status status = LLMQ_OK;
    way_plan_make(body, &plan);
    while (status == LLMQ_OK &&
           routing_next(&w->room->routing, expert->expert, w->room->body.max_rows, &rows)) {
        status = b ? piece_back(w, &p, b, err) : run_piece(w, &p, x, err);
        if (status == LLMQ_OK && !b)
            scatter(&rows, !scales_input(w), body->width[body->output],
                    pass_value(&p.pass, body->output), sum);
    }
    return status;
}

static enum llmq_status run_all(const struct way *w, const struct way_experts_back *b,
                                const float *x, float *sum, llmq_error *err) {
    const struct way_room *room = w->room;
    enum llmq_status status = LLMQ_OK;
    for (int64_t e = 0; e < room->routing.experts && status == LLMQ_OK; e++) {
        struct block expert = {0};
        if (room->routing.offsets[e] == room->routing.offsets[e + 1])
            continue;
        status = expert_load(room->m, w->block->index, e, LOAD_PLAIN, room->expert, &expert, err);
        if (status == LLMQ_OK)
            status = run_expert(w, &expert, b, x, sum, err);
        block_release(&expert);
        arena_reset(room->expert);
    }
    return status;
}

enum llmq_status way_experts(const struct way *w, const float *x, const float *routes, float *sum,
                             llmq_error *err) {
    const int64_t width = node_of(w)->width[0];
    sort_routes(w, routes);
    memset(sum, 0, (size_t)(batch_rows(w->batch) * width) * sizeof *sum);
    return run_all(w, NULL, x, sum, err);
}

enum llmq_status way_experts_back(const struct way *w, const struct way_experts_back *b,
                                  llmq_error *err) {
    sort_routes(w, b->routes);
    return run_all(w, b, NULL, NULL, err);
}
