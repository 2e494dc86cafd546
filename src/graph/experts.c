/* SPDX-License-Identifier: Apache-2.0 */
/* Experts one after the other: see experts.h. */
#include "graph/experts.h"

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "graph/passes.h"

/* In schedules of a body: what the expert reads, and what is wanted of it. */
enum { BODY_IN = 1, BODY_OUT = 2 };

int64_t experts_rows(const struct forward *f) {
    return min_i64(f->max_rows, BATCH_ROWS);
}

static const struct graph_node *node_of(const struct graph *g) {
    return &g->node[g->experts];
}

static enum value sum_of(const struct graph *g) {
    return node_of(g)->out[0];
}

/* --- schedules -------------------------------------------------------------------------------- */

enum llmq_status experts_passes(const struct graph *g, struct schedule *before,
                                struct schedule *after, llmq_error *err) {
    const struct value_set kept = schedule_kept(g, node_of(g)->round);
    struct homes homes;
    enum llmq_status status = homes_of_rounds(g, &homes, err);
    if (status != LLMQ_OK)
        return status;
    schedule_make(g, value_set_of(g->input), value_set_with(kept, node_of(g)->in[1]), &homes,
                  before);
    schedule_make(g, value_set_with(kept, sum_of(g)), value_set_of(g->output), &homes, after);
    return LLMQ_OK;
}

void experts_schedule(const struct graph *body, enum value wanted, struct schedule *out) {
    struct homes homes = {.count = BODY_OUT};
    homes.of[body->input] = BODY_IN;
    if (wanted != body->input)
        homes.of[wanted] = BODY_OUT;
    schedule_make(body, value_set_of(body->input), value_set_of(wanted), &homes, out);
}

/* To what the experts read, of the values kept that it is made of. */
static enum llmq_status schedule_input(const struct graph *g, struct homes *homes,
                                       struct schedule *out, llmq_error *err) {
    const enum value in = node_of(g)->in[0];
    const struct value_set kept = schedule_kept(g, node_of(g)->round);
    enum llmq_status status = homes_of_rounds(g, homes, err);
    if (status != LLMQ_OK)
        return status;
    if (homes->of[in] == 0)
        homes->of[in] = HOME_SOURCE;
    schedule_make(g, kept, value_set_of(in), homes, out);
    return LLMQ_OK;
}

/* Is the value one that the schedule reads from its home, or leaves there? */
static bool is_read(const struct graph *g, const struct schedule *s, int v) {
    bool read = value_set_has(s->wanted, v);
    for (int i = 0; i < g->count; i++)
        for (int k = 0; (s->nodes >> i & 1) && k < NODE_INPUTS; k++)
            read |= (int)g->node[i].in[k] == v;
    return read && value_set_has(s->given, v);
}

/* --- room ------------------------------------------------------------------------------------- */

static void measure_body(const struct graph *body, struct value_set wanted,
                         struct experts_needs *out) {
    struct schedule s;
    for (int v = 0; v < V_COUNT; v++) {
        if (!value_set_has(wanted, v) || body->producer[v] < 0)
            continue;
        experts_schedule(body, (enum value)v, &s);
        out->out = max_i64(out->out, body->width[v]);
        out->scratch = max_i64(out->scratch, s.width);
    }
}

static enum llmq_status measure_kind(const struct graph *g, struct value_set wanted,
                                     struct experts_needs *out, llmq_error *err) {
    struct schedule input, before, after;
    struct homes homes;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(schedule_input(g, &homes, &input, err));
    LLMQ_TRY(experts_passes(g, &before, &after, err));
    out->scratch = max_i64(out->scratch, input.width);
    out->scratch = max_i64(out->scratch, max_i64(before.width, after.width));
    out->sum = max_i64(out->sum, g->width[sum_of(g)]);
    for (int v = 0; v < V_COUNT; v++)
        if (is_read(g, &input, v) || value_set_has(input.wanted, v))
            out->home[input.home[v]] = max_i64(out->home[input.home[v]], g->width[v]);
    measure_body(g->body, wanted, out);
cleanup:
    return status;
}

enum llmq_status experts_measure(const struct blocks *blocks, struct value_set wanted,
                                 struct experts_needs *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct experts_needs){0};
    for (int kind = 0; status == LLMQ_OK && kind < blocks->kind_count; kind++)
        if (blocks->kinds[kind].body)
            status = measure_kind(&blocks->kinds[kind], wanted, out, err);
    return status;
}

uint64_t experts_bytes(const struct experts_needs *needs, int64_t rows) {
    int64_t width = needs->out + needs->sum;
    for (int h = 1; h <= HOMES; h++)
        width += needs->home[h];
    return (uint64_t)width * (uint64_t)rows * sizeof(float);
}

uint64_t experts_exchange_bytes(const struct experts_needs *needs, int64_t tokens, int64_t experts,
                                int64_t top_k) {
    const int64_t rows = min_i64(tokens, 2 * ceil_div(tokens * top_k, experts));
    return 2 * (uint64_t)rows * (uint64_t)needs->sum * sizeof(float);
}

static enum llmq_status alloc(int64_t rows, int64_t width, struct arena *arena, float **out,
                              llmq_error *err) {
    *out = arena_alloc(arena, (size_t)rows * (size_t)width, sizeof(float), err);
    return *out ? LLMQ_OK : LLMQ_E_MEMORY;
}

enum llmq_status experts_create(const struct experts_needs *needs, struct stream *stream,
                                struct forward *forward, struct arena *arena, struct experts *out,
                                llmq_error *err) {
    const int64_t rows = experts_rows(forward);
    enum llmq_status status = LLMQ_OK;
    *out = (struct experts){.forward = forward, .stream = stream, .sums = stream};
    for (int h = 1; h <= HOMES; h++)
        if (needs->home[h])
            LLMQ_TRY(alloc(rows, needs->home[h], arena, &out->home[h], err));
    LLMQ_TRY(alloc(rows, needs->out, arena, &out->out, err));
    LLMQ_TRY(alloc(rows, needs->sum, arena, &out->sum, err));
cleanup:
    return status;
}

/* --- running ---------------------------------------------------------------------------------- */

enum llmq_status experts_begin(struct experts *x, llmq_error *err) {
    const struct graph *g = x->stream->block->graph;
    struct homes homes;
    enum llmq_status status = schedule_input(g, &homes, &x->input, err);
    if (status != LLMQ_OK)
        return status;
    x->store = &x->sums->acts[homes.of[sum_of(g)]];
    acts_set_width(x->store, g->width[sum_of(g)]);
    return acts_clear(x->store, err);
}

bool experts_read_home(const struct experts *x, int home) {
    for (int v = 0; v < V_COUNT; v++)
        if (is_read(x->stream->block->graph, &x->input, v) && x->input.home[v] == home)
            return true;
    return false;
}

enum llmq_status experts_measure_reading(const struct graph *g, struct experts_reading *out,
                                         llmq_error *err) {
    struct schedule input;
    struct homes homes;
    int64_t width[HOMES + 1] = {0};
    const enum llmq_status status = schedule_input(g, &homes, &input, err);
    *out = (struct experts_reading){0};
    for (int v = 0; v < V_COUNT && status == LLMQ_OK; v++)
        if (is_read(g, &input, v))
            width[input.home[v]] = g->width[v];
    for (int h = 1; h <= HOMES; h++) {
        out->homes += width[h] > 0;
        out->width += width[h];
    }
    return status;
}

static void scale_rows(const float *weight, int64_t rows, int64_t width, float *x) {
#pragma omp parallel for schedule(static) default(none) shared(weight, rows, width, x)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++)
            x[r * width + i] *= weight[r];
}

/* What an expert reads of the rows. */
static enum llmq_status make_input(struct experts *x, const struct row_list *rows, float **out,
                                   llmq_error *err) {
    const struct graph *g = x->stream->block->graph;
    const enum value in = node_of(g)->in[0];
    struct pass pass = {.forward = x->forward,
                        .schedule = &x->input,
                        .block = x->stream->block,
                        .batch = &x->batch};
    enum llmq_status status = LLMQ_OK;
    for (int v = 0; v < V_COUNT && status == LLMQ_OK; v++) {
        const int h = x->input.home[v];
        if (is_read(g, &x->input, v))
            status = acts_gather(&x->stream->acts[h], rows, x->home[h], err);
    }
    for (int h = 1; h <= HOMES; h++)
        pass.home[h] = x->home[h];
    LLMQ_TRY(status);
    tally_read(x->forward->tally, TALLY_SPILL, 0);
    LLMQ_TRY(pass_run(&pass, err));
    *out = pass_value(&pass, in);
    if (node_of(g)->row->scales_input)
        scale_rows(rows->weight, rows->count, g->width[in], *out);
cleanup:
    return status;
}

enum llmq_status experts_run(struct experts *x, const struct block *expert,
                             const struct schedule *schedule, const struct row_list *rows,
                             struct pass *out, llmq_error *err) {
    x->offsets[1] = rows->count;
    x->batch = (struct batch){x->offsets, 1};
    *out = (struct pass){
        .forward = x->forward, .schedule = schedule, .block = expert, .batch = &x->batch};
    out->home[BODY_OUT] = x->out;
    enum llmq_status status = make_input(x, rows, &out->home[BODY_IN], err);
    return status == LLMQ_OK ? pass_run(out, err) : status;
}

enum llmq_status experts_add(struct experts *x, const struct row_list *rows, const float *y,
                             llmq_error *err) {
    const bool weighs = !node_of(x->stream->block->graph)->row->scales_input;
    const int64_t most = experts_rows(x->forward);
    enum llmq_status status = LLMQ_OK;
    for (int64_t at = 0; at < rows->count && status == LLMQ_OK; at += most) {
        const struct row_list piece = {rows->row + at, weighs ? rows->weight + at : NULL,
                                       min_i64(most, rows->count - at)};
        status = acts_add(x->store, &piece, y + at * x->store->width, x->sum, err);
    }
    tally_read(x->forward->tally, TALLY_SPILL, 0);
    return status;
}

/* --- all -------------------------------------------------------------------------------------- */

static enum llmq_status run_one(struct experts *x, const struct block *expert, int64_t number,
                                const struct routing *routing, llmq_error *err) {
    struct schedule schedule;
    struct pass pass;
    enum llmq_status status = LLMQ_OK;
    experts_schedule(expert->graph, expert->graph->output, &schedule);
    for (struct row_list rows = {0};
         routing_next(routing, number, experts_rows(x->forward), &rows);) {
        LLMQ_TRY(experts_run(x, expert, &schedule, &rows, &pass, err));
        LLMQ_TRY(experts_add(x, &rows, pass_value(&pass, expert->graph->output), err));
    }
cleanup:
    return status;
}

enum llmq_status experts_run_all(struct experts *x, const struct experts_source *source,
                                 const struct routing *routing, llmq_error *err) {
    const int64_t block = x->stream->block->index;
    struct block expert = {0};
    enum llmq_status status = experts_begin(x, err);
    for (int64_t e = 0; e < routing->experts && status == LLMQ_OK; e++) {
        if (routing->offsets[e] == routing->offsets[e + 1])
            continue;
        LLMQ_TRY(interrupt_check(source->ctx, err));
        if (source->held) {
            LLMQ_TRY(run_one(x, &source->held[e], e, routing, err));
            continue;
        }
        LLMQ_TRY(expert_load(source->m, block, e, source->mode, source->arena, &expert, err));
        expert_scale(&expert, source->scales);
        status = run_one(x, &expert, e, routing, err);
        block_release(&expert);
        arena_reset(source->arena);
    }
cleanup:
    return status;
}
