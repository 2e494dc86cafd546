/* SPDX-License-Identifier: Apache-2.0 */
/* Calibrating the experts of a block: see calib_private.h.
 *
 * All tokens are routed once, each stream by its own model's router. Then the experts have their
 * turn, one after the other, each loaded once: its linears are handed out task by task, with the
 * moments of the tokens that the quantized model sends to it; what it makes of them, as it is then,
 * is added to the sum that the block goes on with.
 *
 * An expert that few tokens reach has too few for the columns of its linears. With n tokens of its
 * own, below the floor F, it sees F - n others of its layer beside them, evenly spread: its moments
 * are those of its own tokens shrunk towards the layer's,
 *
 *     H = (n H_own + (F - n) H_layer) / F,
 *
 * for its last linears, too, whose inputs only its own first ones make.
 *
 * D is formed over the tokens that both models send to the expert; the others have no counterpart
 * and count as no difference. What the sum of the experts lacks is repaired by what adds to the
 * stream after them. */
#include "calib/experts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "calib/calib_private.h"
#include "ranks/ranks.h"

/* --- room ------------------------------------------------------------------------------------- */

/* What is asked of a body: what its linears read, and what it makes. */
static struct value_set wanted_of(const struct blocks *blocks) {
    struct value_set wanted = {{0}};
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        const struct graph *body = blocks->kinds[kind].body;
        for (int t = 0; body && t < body->task_count; t++)
            wanted = value_set_with(value_set_with(wanted, body->task[t].source), body->output);
    }
    return wanted;
}

enum llmq_status expert_room_measure(const struct blocks *blocks, int64_t tokens,
                                     struct expert_room *out, llmq_error *err) {
    *out = (struct expert_room){.tokens = tokens};
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        const struct graph *g = &blocks->kinds[kind];
        if (!g->body)
            continue;
        out->experts = max_i64(out->experts, g->facts.dims[DIM_EXPERTS]);
        out->top_k = max_i64(out->top_k, g->facts.dims[DIM_TOP_K]);
        out->weights = max_u64(out->weights, block_bytes(g->body));
    }
    return experts_measure(blocks, wanted_of(blocks), &out->needs, err);
}

/* Rows of an expert: which, how much they count, and a mark for every token. */
enum { ROW_BYTES = sizeof(int32_t) + sizeof(float) + 1 };

uint64_t expert_room_bytes(const struct expert_room *room, int64_t rows, int streams) {
    if (room->experts == 0)
        return 0;
    return (uint64_t)streams * (routing_bytes(room->tokens, room->experts, room->top_k) +
                                experts_bytes(&room->needs, rows) + room->weights) +
           (uint64_t)room->tokens * ROW_BYTES;
}

static enum llmq_status create_side(struct calib *c, const struct expert_room *room,
                                    const char *spill_dir, struct stream *stream,
                                    struct expert_side *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(routing_create(room->tokens, room->experts, room->top_k, &out->routing, err));
    LLMQ_TRY(experts_create(&room->needs, stream, &c->forward, c->scratch, &out->experts, err));
    LLMQ_TRY(expert_share_create(room, spill_dir, out, err));
cleanup:
    return status;
}

enum llmq_status expert_turn_create(struct calib *c, const struct expert_room *room,
                                    const char *spill_dir, llmq_error *err) {
    struct expert_turn *t = &c->turn;
    const size_t tokens = (size_t)room->tokens;
    enum llmq_status status = LLMQ_OK;
    if (room->experts == 0)
        return LLMQ_OK;
    LLMQ_TRY(arena_create("an expert's weights", &t->weights, err));
    t->row = arena_alloc(c->scratch, tokens, sizeof *t->row, err);
    t->weight = arena_alloc(c->scratch, tokens, sizeof *t->weight, err);
    t->mark = arena_alloc(c->scratch, tokens, sizeof *t->mark, err);
    if (!t->row || !t->weight || !t->mark)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(create_side(c, room, spill_dir, &c->quantized, &t->quantized, err));
    if (c->paired)
        LLMQ_TRY(create_side(c, room, spill_dir, &c->original, &t->original, err));
cleanup:
    return status;
}

static void release_experts(struct expert_turn *t) {
    block_release(&t->quantized.block);
    block_release(&t->original.block);
    if (t->weights)
        arena_reset(t->weights);
    t->loaded = false;
}

void expert_turn_free(struct expert_turn *t) {
    release_experts(t);
    routing_free(&t->quantized.routing);
    routing_free(&t->original.routing);
    stream_free(&t->quantized.whole);
    stream_free(&t->original.whole);
    arena_free(&t->weights);
}

/* --- who goes where --------------------------------------------------------------------------- */

static const struct graph_node *experts_of(const struct graph *g) {
    return &g->node[g->experts];
}

/* One stream on its way to what is kept before the experts' round, and its routes. */
static enum llmq_status route_stream(struct calib *c, struct stream *s,
                                     const struct schedule *schedule, struct expert_side *side,
                                     llmq_error *err) {
    const enum value route = experts_of(s->block->graph)->in[1];
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(calib_begin_pass(c, s, schedule, err));
    for (int64_t step = 0; step < c->share.steps; step++) {
        const struct share_batch *b = share_step(&c->share, step);
        struct pass pass;
        LLMQ_TRY(interrupt_check(c->ctx, err));
        if (!b)
            continue;
        LLMQ_TRY(stream_pass(s, &c->forward, schedule, &b->own, &pass, err));
        routing_note(&side->routing, b->whole.offsets[0], batch_rows(&b->own),
                     pass_value(&pass, route));
    }
    LLMQ_TRY(expert_share_routes(c, side, err));
    routing_sort(&side->routing);
    side->experts.stream->block = s->block;
    LLMQ_TRY(experts_begin(&side->experts, err));
    LLMQ_TRY(expert_share_inputs(c, s, side, err));
cleanup:
    return status;
}

static enum llmq_status route(struct calib *c, llmq_error *err) {
    const struct graph *g = c->block->graph;
    struct schedule schedule;
    struct homes homes;
    enum llmq_status status = LLMQ_OK;
    const struct value_set kept = schedule_kept(g, experts_of(g)->round);
    LLMQ_TRY(homes_of_rounds(g, &homes, err));
    schedule_make(g, c->kept, value_set_with(kept, experts_of(g)->in[1]), &homes, &schedule);
    LLMQ_TRY(route_stream(c, &c->quantized, &schedule, &c->turn.quantized, err));
    if (calib_pairing(c))
        LLMQ_TRY(route_stream(c, &c->original, &schedule, &c->turn.original, err));
    c->kept = kept;
    status = calib_drop_weights(c, err);
cleanup:
    return status;
}

/* The sum of the experts is there for the passes that follow. */
static void finish_turn(struct calib *c) {
    c->kept = value_set_with(c->kept, experts_of(c->block->graph)->out[0]);
}

bool expert_turn_is_due(const struct calib *c, const struct schedule *rest) {
    const struct graph *g = c->block->graph;
    return g->body && rest->nodes >> g->experts & 1;
}

/* All experts, one for each rank at a time. */
static enum llmq_status run_shared(const struct calib *c, const struct experts_source *source,
                                   struct expert_side *side, llmq_error *err) {
    const struct routing *r = &side->routing;
    const int64_t block = side->whole.block->index;
    enum llmq_status status = LLMQ_OK;
    for (int64_t e = llmq_ranks_own(), base = 0; base < r->experts && status == LLMQ_OK;
         e += llmq_ranks_count(), base += llmq_ranks_count()) {
        const bool asked = e < r->experts && r->offsets[e] < r->offsets[e + 1];
        struct block expert = {0};
        LLMQ_TRY(interrupt_check(c->ctx, err));
        if (asked)
            LLMQ_TRY(expert_load(source->m, block, e, source->mode, source->arena, &expert, err));
        if (asked)
            expert_scale(&expert, source->scales);
        status = expert_share_add(c, side, asked ? &expert : NULL, base, true, err);
        block_release(&expert);
        arena_reset(source->arena);
    }
cleanup:
    return status;
}

static enum llmq_status run_side(struct calib *c, const struct stream *s, struct expert_side *side,
                                 llmq_error *err) {
    const struct experts_source source = {.m = s->block->model,
                                          .mode = LOAD_PLAIN,
                                          .arena = c->turn.weights,
                                          .scales = s == &c->quantized ? c->turn.scales : NULL,
                                          .ctx = c->ctx};
    return llmq_ranks_count() > 1 ? run_shared(c, &source, side, err)
                                  : experts_run_all(&side->experts, &source, &side->routing, err);
}

enum llmq_status expert_turn_pass_over(struct calib *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(route(c, err));
    LLMQ_TRY(run_side(c, &c->quantized, &c->turn.quantized, err));
    if (calib_pairing(c))
        LLMQ_TRY(run_side(c, &c->original, &c->turn.original, err));
    finish_turn(c);
cleanup:
    return status;
}

/* --- one batch ------------------------------------------------------------------------------- */

/* To the experts of one batch and through them; their sum lies in its home. */
static enum llmq_status probe_experts(struct calib *c, const struct batch *b,
                                      const struct schedule *before, llmq_error *err) {
    struct stream *s = &c->quantized;
    const struct graph *g = s->block->graph;
    const struct experts_source source = {.m = s->block->model,
                                          .mode = LOAD_PLAIN,
                                          .arena = c->turn.weights,
                                          .scales = c->turn.scales,
                                          .ctx = c->ctx};
    struct routing routing = {0};
    struct pass pass;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(routing_create(batch_rows(b), g->facts.dims[DIM_EXPERTS], g->facts.dims[DIM_TOP_K],
                            &routing, err));
    stream_begin_pass(s, before);
    LLMQ_TRY(stream_pass(s, &c->forward, before, b, &pass, err));
    routing_note(&routing, 0, batch_rows(b), pass_value(&pass, experts_of(g)->in[1]));
    routing_sort(&routing);
    LLMQ_TRY(experts_run_all(&c->turn.quantized.experts, &source, &routing, err));
cleanup:
    routing_free(&routing);
    return status;
}

enum llmq_status expert_turn_probe(struct calib *c, const struct batch *b, float *x,
                                   llmq_error *err) {
    struct stream *s = &c->quantized;
    const size_t bytes = (size_t)(batch_rows(b) * c->start.width) * sizeof *x;
    struct schedule before, after;
    struct pass pass;
    float *start = malloc(bytes);
    enum llmq_status status = start ? LLMQ_OK : error_memory(err, "the first batch");
    if (status != LLMQ_OK)
        return status;
    memcpy(start, x, bytes);
    LLMQ_TRY(experts_passes(s->block->graph, &before, &after, err));
    LLMQ_TRY(probe_experts(c, b, &before, err));
    stream_begin_pass(s, &after);
    LLMQ_TRY(stream_pass(s, &c->forward, &after, b, &pass, err));
    memcpy(x, pass_value(&pass, s->block->graph->output), bytes);
    memcpy(stream_target(s, 0), start, bytes);
    LLMQ_TRY(stream_put(s, 0, batch_rows(b), stream_target(s, 0), err));
cleanup:
    free(start);
    return status;
}

/* --- moments ---------------------------------------------------------------------------------- */

/* Rows without a counterpart count as no difference: the original's become the quantized's, times
 * the scale that they are divided by. */
static void drop_unpaired(const struct expert_turn *t, const struct row_list *rows, int64_t k,
                          const float *X, const float *scale, float *X_o) {
    for (int64_t r = 0; r < rows->count; r++)
        if ((t->mark[rows->row[r]] & (EXPERT_OWN | EXPERT_PAIRED)) != (EXPERT_OWN | EXPERT_PAIRED))
            for (int64_t i = r * k; i < (r + 1) * k; i++)
                X_o[i] = scale ? X[i] * scale[i - r * k] : X[i];
}

static enum llmq_status refuse_infinite(const struct calib *c, const struct graph_task *task,
                                        llmq_error *err) {
    return error_set(err, LLMQ_E_NUMERIC,
                     "block %" PRId64 ", expert %" PRId64
                     ", input of %s: non-finite activation in the calibration",
                     c->block->index, c->turn.expert,
                     moments_first_module(c->block->graph->body, task));
}

/* A piece of the expert's rows. */
static enum llmq_status add_piece(struct calib *c, const struct graph_task *task,
                                  const struct row_list *list, bool held, llmq_error *err) {
    struct expert_turn *t = &c->turn;
    const struct graph *body = c->block->graph->body;
    const int64_t k = body->width[task->source];
    struct schedule schedule;
    struct pass q, o;
    enum llmq_status status = LLMQ_OK;
    struct task_rows rows = {.rows = list->count,
                             .held = held ? list->count : 0,
                             .held_begin = c->held.count,
                             .pair = calib_pairing(c) && !t->looking,
                             .scale = t->inner[task->source],
                             .params = t->quantized.block.node,
                             .root = c->weight ? c->root : NULL};
    for (int64_t i = 0; c->weight && i < list->count; i++)
        c->root[i] = c->weight[list->row[i]];
    experts_schedule(body, task->source, &schedule);
    LLMQ_TRY(experts_run(&t->quantized.experts, &t->quantized.block, &schedule, list, &q, err));
    rows.X = pass_value(&q, task->source);
    LLMQ_TRY(moments_add_square(c, k, &rows, err));
    if (!moments_finite(c, k, &rows))
        LLMQ_TRY(refuse_infinite(c, task, err));
    moments_note_peaks(c, body, task, &rows);
    if (rows.pair) {
        LLMQ_TRY(experts_run(&t->original.experts, &t->original.block, &schedule, list, &o, err));
        drop_unpaired(t, list, k, rows.X, rows.scale, pass_value(&o, task->source));
        rows.X_o = pass_value(&o, task->source);
        LLMQ_TRY(moments_add_cross(c, body, task, &rows, err));
    }
    LLMQ_TRY(moments_end_rows(c, body, task, &rows, err));
cleanup:
    return status;
}

/* The moments of a task over the expert's rows. */
static enum llmq_status run_task(struct calib *c, struct calib_task *out, llmq_error *err) {
    struct expert_turn *t = &c->turn;
    const struct graph *body = c->block->graph->body;
    const struct graph_task *task = &body->task[t->task];
    const int64_t most = experts_rows(&c->forward), seen = t->count - t->held;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(interrupt_check(c->ctx, err));
    moments_begin(c, body, task);
    LLMQ_TRY(calib_weigh(c, body, task, t->expert, err));
    for (int64_t at = 0; at < t->count;) {
        const bool held = at >= seen;
        const int64_t rows = min_i64(most, (held ? t->count : seen) - at);
        const struct row_list list = {t->row + at, t->weight + at, rows};
        LLMQ_TRY(add_piece(c, task, &list, held, err));
        at += rows;
    }
    *out = (struct calib_task){.linears = task,
                               .graph = body,
                               .params = t->quantized.block.node,
                               .expert = t->expert,
                               .look = t->looking,
                               .divided = t->divided,
                               .tokens = c->tokens->held > 0 ? seen : t->count,
                               .borrowed = t->borrowed};
    LLMQ_TRY(moments_finish(c, body, task, NULL, t->count, &out->moments, err));
    tally_read(c->forward.tally, TALLY_MOMENTS, 0);
    t->task++;
cleanup:
    return status;
}

/* --- turns ------------------------------------------------------------------------------------ */

/* The expert's weights, and those of the block that make what it is given. */
static enum llmq_status load_expert(struct calib *c, llmq_error *err) {
    struct expert_turn *t = &c->turn;
    const int64_t block = c->block->index;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(expert_load(c->block->model, block, t->expert, LOAD_PLAIN, t->weights,
                         &t->quantized.block, err));
    LLMQ_TRY(block_need(c->block, t->quantized.experts.input.nodes, err));
    if (calib_pairing(c)) {
        LLMQ_TRY(expert_load(c->original.block->model, block, t->expert, LOAD_PLAIN, t->weights,
                             &t->original.block, err));
        LLMQ_TRY(block_need(c->other, t->original.experts.input.nodes, err));
    }
    tally_read(c->forward.tally, TALLY_READ, 0);
    expert_scale(&t->quantized.block, t->scales);
    memset(t->inner, 0, sizeof t->inner);
    t->inner[c->block->graph->body->input] = t->scales;
    expert_rows_choose(c);
    t->loaded = true;
    t->looking = c->folds;
    t->task = 0;
cleanup:
    return status;
}

/* What the expert makes of its own tokens, added to the sum. */
static enum llmq_status add_outputs(struct calib *c, struct expert_side *side, llmq_error *err) {
    struct schedule schedule;
    struct pass pass;
    const struct graph *body = c->block->graph->body;
    enum llmq_status status = LLMQ_OK;
    if (llmq_ranks_count() > 1)
        return expert_share_add(c, side, c->turn.loaded ? &side->block : NULL, c->turn.base,
                                c->turn.divided, err);
    experts_schedule(body, body->output, &schedule);
    for (struct row_list rows = {0};
         routing_next(&side->routing, c->turn.expert, experts_rows(&c->forward), &rows);) {
        LLMQ_TRY(experts_run(&side->experts, &side->block, &schedule, &rows, &pass, err));
        LLMQ_TRY(experts_add(&side->experts, &rows, pass_value(&pass, body->output), err));
    }
cleanup:
    return status;
}

/* The next experts are those from `base` on. */
static void begin_turn(struct calib *c, int64_t base) {
    c->turn.base = base;
    c->turn.expert = base + (c->turn.divided ? llmq_ranks_own() : 0);
}

static enum llmq_status finish_expert(struct calib *c, llmq_error *err) {
    enum llmq_status status = add_outputs(c, &c->turn.quantized, err);
    if (status == LLMQ_OK && calib_pairing(c))
        status = add_outputs(c, &c->turn.original, err);
    release_experts(&c->turn);
    begin_turn(c, c->turn.base + (c->turn.divided ? llmq_ranks_count() : 1));
    return status;
}

void expert_turn_start_over(struct calib *c) {
    release_experts(&c->turn);
    c->turn.base = -1;
    c->turn.divided = false;
}

void calib_divide_experts(struct calib *c) {
    c->turn.divided = llmq_ranks_count() > 1;
    begin_turn(c, c->turn.base);
}

/* The expert's next task; of what all experts read a look was taken before. */
static bool next_task(struct expert_turn *t, const struct graph *body) {
    while (t->looking && t->task < body->task_count && body->task[t->task].source == body->input)
        t->task++;
    if (t->looking && t->task == body->task_count) {
        t->looking = false;
        t->task = 0;
    }
    return t->task < body->task_count;
}

enum llmq_status expert_turn_next(struct calib *c, struct calib_task *out, llmq_error *err) {
    struct expert_turn *t = &c->turn;
    const struct graph *g = c->block->graph;
    const int64_t experts = g->facts.dims[DIM_EXPERTS];
    enum llmq_status status = LLMQ_OK;
    if (t->base < 0) {
        LLMQ_TRY(route(c, err));
        begin_turn(c, 0);
    }
    while (t->base < experts) {
        if (t->expert < experts && !t->loaded)
            LLMQ_TRY(load_expert(c, err));
        if (t->expert < experts && next_task(t, g->body))
            return run_task(c, out, err);
        if (llmq_ranks_count() > 1)
            *out = (struct calib_task){.paused = true, .divided = t->divided, .expert = t->base};
        LLMQ_TRY(finish_expert(c, err));
        if (out->paused)
            return LLMQ_OK;
    }
    finish_turn(c);
cleanup:
    return status;
}

void calib_scale_experts(struct calib *c, const float *scales) {
    c->turn.scales = scales;
}

void calib_scale_expert(struct calib *c, enum value source, const float *scales) {
    c->turn.inner[source] = scales;
}

int64_t calib_expert_tokens(const struct calib *c, int64_t expert) {
    const struct routing *r = &c->turn.quantized.routing;
    return r->offsets[expert + 1] - r->offsets[expert];
}
