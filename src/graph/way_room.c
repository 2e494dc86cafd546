/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch of the way back: see way_back.h. */
#include "base/error.h"
#include "base/int64.h"
#include "graph/way_back.h"

/* Entries, of all or (values, gradients, hidden) of a row. */
struct needs {
    int64_t values, gradients, body_values, body_gradients, hidden, scratch;
    int64_t experts, top_k;
    uint64_t expert_bytes;
};

static void add_scratch(const struct graph *g, const struct way_size *size, struct needs *out) {
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        if (op_codes[n->row->op].back_scratch)
            out->scratch =
                max_i64(out->scratch,
                        op_codes[n->row->op].back_scratch(g, n, size->max_rows, size->max_length));
    }
}

static void add_body(const struct graph *g, const struct way_size *size, struct needs *out) {
    const struct graph *body = g->body;
    struct way_plan plan;
    way_plan_make(body, &plan);
    out->body_values = max_i64(out->body_values, plan.forth.width);
    out->body_gradients = max_i64(out->body_gradients, plan.width);
    out->hidden = max_i64(out->hidden, body->width[body->input]);
    out->experts = max_i64(out->experts, g->facts.dims[DIM_EXPERTS]);
    out->top_k = max_i64(out->top_k, g->facts.dims[DIM_TOP_K]);
    out->expert_bytes = max_u64(out->expert_bytes, block_bytes(body));
    add_scratch(body, size, out);
}

static struct needs measure(const struct blocks *blocks, const struct way_size *size) {
    struct needs out = {0};
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        const struct graph *g = &blocks->kinds[kind];
        struct way_plan plan;
        struct schedule forth;
        way_plan_make(g, &plan);
        schedule_block(g, &forth);
        out.values = max_i64(out.values, max_i64(plan.forth.width, forth.width));
        out.gradients = max_i64(out.gradients, plan.width);
        add_scratch(g, size, &out);
        if (g->body)
            add_body(g, size, &out);
    }
    return out;
}

static int64_t expert_rows(const struct way_size *size) {
    return min_i64(size->max_rows, WAY_EXPERT_ROWS);
}

static struct forward_size forward_size_of(const struct way_size *size, const struct needs *n) {
    return (struct forward_size){
        .max_rows = size->max_rows, .max_length = size->max_length, .width = n->values};
}

/* Entries beside those of the forward pass. */
static int64_t entries(const struct way_size *size, const struct needs *n) {
    return size->max_rows * n->gradients + n->scratch +
           expert_rows(size) * (n->body_values + n->body_gradients + n->hidden);
}

uint64_t way_room_bytes(const struct model *m, const struct way_size *size) {
    const struct needs n = measure(m->blocks, size);
    const struct forward_size forward = forward_size_of(size, &n);
    return forward_bytes(&m->config, m->blocks, &forward) +
           (uint64_t)entries(size, &n) * sizeof(float) + n.expert_bytes +
           (n.experts ? routing_bytes(size->max_rows, n.experts, n.top_k) : 0);
}

static enum llmq_status alloc(struct way_room *r, int64_t count, float **out, llmq_error *err) {
    *out = arena_alloc(r->arena, (size_t)count, sizeof **out, err);
    return *out ? LLMQ_OK : LLMQ_E_MEMORY;
}

static enum llmq_status create_body(struct way_room *r, const struct way_size *size,
                                    const struct needs *n, llmq_error *err) {
    const int64_t rows = expert_rows(size);
    enum llmq_status status = LLMQ_OK;
    r->body = r->forward;
    r->body.max_rows = rows;
    LLMQ_TRY(alloc(r, rows * n->body_values, &r->body.values, err));
    LLMQ_TRY(alloc(r, rows * n->body_gradients, &r->body_gradients, err));
    LLMQ_TRY(alloc(r, rows * n->hidden, &r->expert_x, err));
    LLMQ_TRY(routing_create(size->max_rows, n->experts, n->top_k, &r->routing, err));
cleanup:
    return status;
}

enum llmq_status way_room_create(const struct model *m, const struct way_size *size,
                                 struct way_room *out, llmq_error *err) {
    const struct needs n = measure(m->blocks, size);
    const struct forward_size forward = forward_size_of(size, &n);
    enum llmq_status status = LLMQ_OK;
    *out = (struct way_room){.m = m};
    LLMQ_TRY(forward_create(&m->config, m->blocks, &forward, &out->forward, err));
    LLMQ_TRY(arena_create("the way back", &out->arena, err));
    LLMQ_TRY(arena_create("an expert", &out->expert, err));
    LLMQ_TRY(alloc(out, size->max_rows * n.gradients, &out->gradients, err));
    LLMQ_TRY(alloc(out, n.scratch, &out->scratch, err));
    if (n.experts)
        LLMQ_TRY(create_body(out, size, &n, err));
cleanup:
    if (status != LLMQ_OK)
        way_room_free(out);
    return status;
}

void way_room_free(struct way_room *r) {
    forward_free(&r->forward);
    routing_free(&r->routing);
    arena_free(&r->arena);
    arena_free(&r->expert);
    *r = (struct way_room){0};
}
