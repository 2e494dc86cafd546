/* SPDX-License-Identifier: Apache-2.0 */
/* Finding, folding and proving: see block_fold.h. */
#include "pipeline/block_fold.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "graph/forward.h"
#include "pipeline/block_fold_private.h"
#include "pipeline/run.h"
#include "quant/awq.h"
#include "quant/grid.h"

/* --- folding ---------------------------------------------------------------------------------- */

static void multiply_columns(const float *columns, const struct linear *l) {
    for (int64_t row = 0; row < l->n; row++)
        for (int64_t i = 0; i < l->k; i++)
            l->w[row * l->k + i] *= columns[i];
}

static void divide_rows(const float *scales, const struct linear *l) {
    for (int64_t row = 0; row < l->n; row++)
        for (int64_t i = 0; i < l->k; i++)
            l->w[row * l->k + i] /= scales[row];
}

/* The matrices on both sides, those of experts excepted: each is scaled when it is loaded. */
static void scale_matrices(const struct graph *g, const struct graph_fold *fold,
                           const struct fold_scales *scales, const struct params *node) {
    const enum value source = fold->path[0];
    if (g->node[fold->producer].row->op == OP_LINEAR)
        divide_rows(scales->channels[source], &node[fold->producer].linear);
    for (int i = 0; i < g->count; i++)
        if (fold->consumers >> i & 1 && g->node[i].row->op != OP_EXPERTS)
            multiply_columns(scales->columns[source], &node[i].linear);
}

enum llmq_status block_fold_apply(const struct model *m, enum value source,
                                  const struct fold_scales *scales, struct block *block,
                                  llmq_error *err) {
    const struct graph_fold fold = graph_fold_find(block->graph, source);
    struct anchor anchors[ANCHORS];
    const int vectors = block_fold_anchors(m, block->index, &fold, block, anchors);
    for (int a = 0; a < vectors; a++) {
        enum llmq_status status = anchor_divide(&anchors[a], scales->channels[source], err);
        if (status != LLMQ_OK)
            return status;
    }
    scale_matrices(block->graph, &fold, scales, block->node);
    return LLMQ_OK;
}

/* --- what stays as it is ---------------------------------------------------------------------- */

/* Is a linear of these nodes of a graph left as it is? */
static bool any_kept(const struct run *run, const struct graph *g, struct linear_place at,
                     uint64_t nodes) {
    for (at.node = 0; at.node < g->count; at.node++)
        if ((nodes >> at.node & 1) && g->node[at.node].row->op == OP_LINEAR &&
            graph_node_quantized(&g->node[at.node]) &&
            plan_module_of(&run->model, &run->plan, at)->fate != MODULE_QUANTIZED)
            return true;
    return false;
}

bool block_fold_barred(const struct run *run, struct linear_place at, enum value source) {
    const struct graph *block = model_graph(&run->model, at.block);
    const bool expert = at.expert >= 0 && source != block->body->input;
    if (at.expert >= 0 && !expert)
        source = block->node[block->experts].in[0];
    const struct graph *g = expert ? block->body : block;
    const struct graph_fold fold = graph_fold_of(block, expert, source);
    if (fold.producer < 0)
        return false;
    at.expert = expert ? at.expert : -1;
    bool barred = any_kept(run, g, at, fold.consumers | UINT64_C(1) << fold.producer);
    if (expert || !graph_fold_enters_experts(g, &fold))
        return barred;
    const uint64_t readers = graph_fold_consumers(g->body, g->body->input);
    for (at.expert = 0; !barred && at.expert < g->facts.dims[DIM_EXPERTS]; at.expert++)
        barred = any_kept(run, g->body, at, readers);
    return barred;
}

/* --- finding the scales ----------------------------------------------------------------------- */

/* What is folded: a block's value, or one within the expert `at` of it. */
struct site {
    struct linear_place at; /* node: none */
    const struct graph *graph;
    struct params *node;
    enum value source;
    struct graph_fold fold;
    const struct anchor *anchors; /* vectors of what makes it */
    int vectors;
};

struct asked {
    struct arena *arena;
    struct block expert[BLOCK_FOLD_ASKED];
    int count;
};

struct consumers {
    struct awq_consumer list[GRAPH_NODES];
    int count;
};

/* The linears of a graph that are rounded and read what is folded. */
static void add_consumers(const struct run *run, const struct graph *g, const struct params *node,
                          struct linear_place at, uint64_t readers, struct consumers *out) {
    for (at.node = 0; at.node < g->count; at.node++) {
        const struct graph_node *n = &g->node[at.node];
        const struct linear *l = &node[at.node].linear;
        if (!(readers >> at.node & 1) || n->row->op != OP_LINEAR || !graph_node_quantized(n))
            continue;
        const struct plan_module *module = plan_module_of(&run->model, &run->plan, at);
        out->list[out->count++] = (struct awq_consumer){l->w, l->n, run_grid(run, module)};
    }
}

/* Some of the experts, evenly spread, where the fold is of what they read. */
static enum llmq_status ask_experts(const struct run *run, const struct site *s,
                                    struct asked *asked, struct consumers *out, llmq_error *err) {
    const struct graph *g = s->graph;
    enum llmq_status status = LLMQ_OK;
    if (!graph_fold_enters_experts(g, &s->fold))
        return LLMQ_OK;
    const int64_t experts = g->facts.dims[DIM_EXPERTS], most = min_i64(experts, BLOCK_FOLD_ASKED);
    const uint64_t readers = graph_fold_consumers(g->body, g->body->input);
    LLMQ_TRY(arena_create("some experts", &asked->arena, err));
    for (; asked->count < most; asked->count++) {
        const struct linear_place at = {s->at.block, 0, asked->count * experts / most};
        struct block *expert = &asked->expert[asked->count];
        LLMQ_TRY(
            expert_load(&run->model, at.block, at.expert, LOAD_PLAIN, asked->arena, expert, err));
        add_consumers(run, g->body, expert->node, at, readers, out);
    }
cleanup:
    return status;
}

static void asked_free(struct asked *asked) {
    for (int i = 0; i < asked->count; i++)
        block_release(&asked->expert[i]);
    arena_free(&asked->arena);
}

static void find_largest(const struct linear *l, float *largest) {
    for (int64_t row = 0; row < l->n; row++) {
        float lo = 0, hi = 0;
        grid_range(l->w + row * l->k, l->k, &lo, &hi);
        largest[row] = fmaxf(-lo, hi);
    }
}

/* Of the linear that produces a source: how far its rows may be divided, and their largest weights.
 * NULL both: no linear does. */
static enum llmq_status look_at_rows(const struct run *run, const struct site *s,
                                     struct awq_problem *p, llmq_error *err) {
    const struct linear *l = &s->node[s->fold.producer].linear;
    const struct linear_place at = {s->at.block, s->fold.producer, s->at.expert};
    if (s->graph->node[s->fold.producer].row->op != OP_LINEAR)
        return LLMQ_OK;
    const struct plan_module *module = plan_module_of(&run->model, &run->plan, at);
    struct quant_grid grid = run_grid(run, module);
    float *limits = arena_alloc(run->weights, (size_t)l->n, sizeof *limits, err);
    float *largest = arena_alloc(run->weights, (size_t)l->n, sizeof *largest, err);
    if (!limits || !largest)
        return LLMQ_E_MEMORY;
    awq_row_limits(&grid, l->w, l->n, l->k, limits);
    find_largest(l, largest);
    p->limit = limits;
    p->produced = largest;
    return LLMQ_OK;
}

static void set_anchors(struct awq_problem *p, const struct anchor anchors[ANCHORS], int count) {
    if (count > 0) {
        p->anchor = anchors[0].values;
        p->anchor_dtype = anchors[0].dtype;
        p->anchor_added = anchors[0].added;
    }
    if (count > 1) {
        p->follower = anchors[1].values;
        p->follower_dtype = anchors[1].dtype;
    }
}

/* The scales [channels] with H [k, k]; *out stays NULL where none are better. */
static enum llmq_status search_scales(const struct run *run, const struct site *s, const float *H,
                                      float **out, llmq_error *err) {
    const int64_t k = s->graph->width[s->source];
    struct asked asked = {0};
    struct consumers consumers = {.count = 0};
    struct awq_outcome outcome;
    enum llmq_status status = LLMQ_OK;
    float *magnitude = arena_alloc(run->weights, (size_t)k, sizeof *magnitude, err);
    int64_t *channel = arena_alloc(run->weights, (size_t)k, sizeof *channel, err);
    float *scales = arena_alloc(run->weights, (size_t)s->fold.channels, sizeof *scales, err);
    if (!magnitude || !channel || !scales)
        return LLMQ_E_MEMORY;
    for (int64_t i = 0; i < k; i++)
        channel[i] = graph_fold_channel(s->graph, &s->fold, i);
    awq_magnitude(H, k, magnitude);
    struct awq_problem problem = {.k = k,
                                  .H = H,
                                  .magnitude = magnitude,
                                  .consumers = consumers.list,
                                  .channels = s->fold.channels,
                                  .channel = channel,
                                  .exact = s->fold.exact,
                                  .equalize = run->options->equalize};
    add_consumers(run, s->graph, s->node, s->at, s->fold.consumers, &consumers);
    LLMQ_TRY(ask_experts(run, s, &asked, &consumers, err));
    problem.count = consumers.count;
    LLMQ_TRY(look_at_rows(run, s, &problem, err));
    set_anchors(&problem, s->anchors, s->vectors);
    LLMQ_TRY(awq_search(&problem, scales, &outcome, err));
    *out = outcome.scaled ? scales : NULL;
cleanup:
    asked_free(&asked);
    return status;
}

/* Keep the scales [channels], and by column, in the weights' arena. */
static enum llmq_status keep_scales(const struct run *run, const struct site *s,
                                    const float *scales, struct fold_scales *out, llmq_error *err) {
    float *columns =
        arena_alloc(run->weights, (size_t)s->graph->width[s->source], sizeof *columns, err);
    if (!columns)
        return LLMQ_E_MEMORY;
    graph_fold_spread(s->graph, &s->fold, 0, scales, columns);
    out->channels[s->source] = scales;
    out->columns[s->source] = columns;
    return LLMQ_OK;
}

/* Scales of one source of the block with its Hessian, folded in. */
static enum llmq_status fold_source(const struct run *run, struct block *block, enum value source,
                                    const float *H, struct fold_scales *out, llmq_error *err) {
    const struct graph *g = block->graph;
    struct anchor tensors[FOLD_TENSORS];
    struct site s = {.at = {block->index, 0, -1},
                     .graph = g,
                     .node = block->node,
                     .source = source,
                     .fold = graph_fold_find(g, source),
                     .anchors = tensors};
    float *scales = NULL;
    enum llmq_status status = LLMQ_OK;
    if (s.fold.producer < 0 || out->channels[source] || block_fold_barred(run, s.at, source))
        return LLMQ_OK;
    s.vectors = block_fold_anchors(&run->model, block->index, &s.fold, block, tensors);
    LLMQ_TRY(search_scales(run, &s, H, &scales, err));
    if (!scales)
        return LLMQ_OK;
    const int changed = block_fold_tensors(&run->model, block->index, &s.fold, block, tensors);
    for (int i = s.vectors; i < changed; i++)
        LLMQ_TRY(anchor_keep_exact(&tensors[i], s.fold.channels, scales, err));
    LLMQ_TRY(keep_scales(run, &s, scales, out, err));
    LLMQ_TRY(block_fold_apply(&run->model, source, out, block, err));
    LLMQ_TRY(calib_fold_kept(run->calib, &s.fold, scales, err));
    if (graph_fold_enters_experts(g, &s.fold))
        calib_scale_experts(run->calib, out->columns[source]);
cleanup:
    return status;
}

enum llmq_status block_fold_expert(struct run *run, int64_t block, const struct calib_task *task,
                                   llmq_error *err) {
    const enum value source = task->linears->source;
    struct block_fold *fold = &run->fold;
    const struct site s = {.at = {block, 0, task->expert},
                           .graph = task->graph,
                           .node = task->params,
                           .source = source,
                           .fold = graph_fold_of(model_graph(&run->model, block), true, source)};
    float *scales = NULL;
    enum llmq_status status = LLMQ_OK;
    if (fold->expert != task->expert)
        fold->of_expert = (struct fold_scales){0};
    fold->expert = task->expert;
    if (s.fold.producer < 0 || block_fold_barred(run, s.at, source))
        return LLMQ_OK;
    LLMQ_TRY(search_scales(run, &s, task->moments.H, &scales, err));
    if (!scales)
        return LLMQ_OK;
    LLMQ_TRY(keep_scales(run, &s, scales, &fold->of_expert, err));
    scale_matrices(s.graph, &s.fold, &fold->of_expert, s.node);
    calib_scale_expert(run->calib, source, fold->of_expert.columns[source]);
    tally_read(&run->tally, TALLY_FOLD, 0);
cleanup:
    return status;
}

/* --- the proof -------------------------------------------------------------------------------- */

enum llmq_status block_fold_compare(const float *in, const float *before, const float *after,
                                    int64_t count, double *difference, llmq_error *err) {
    double changed = 0, added = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)after[i] - (double)before[i], a = (double)before[i] - (double)in[i];
        changed += d * d;
        added += a * a;
    }
    *difference = changed == 0 ? 0 : sqrt(changed / added);
    if (*difference <= BLOCK_FOLD_LIMIT) /* false for NaN */
        return LLMQ_OK;
    return error_set(err, LLMQ_E_NUMERIC,
                     "the scales of activations changed the output by %.3g of what the block adds; "
                     "at most %g is rounding",
                     *difference, BLOCK_FOLD_LIMIT);
}

/* Bytes of the block's input and of its output before and after, on one batch. */
static size_t probe_floats(const struct run *run) {
    return (size_t)calib_probe_rows(run->calib) * (size_t)run->model.config.stream;
}

/* The original's stream is not folded: tell the calibration how its inputs differ. */
static void scale_original(const struct run *run, const struct fold_scales *scales) {
    for (int source = 0; source < V_COUNT; source++)
        if (scales->columns[source])
            calib_scale_original(run->calib, (enum value)source, scales->columns[source]);
}

enum llmq_status block_fold_make(struct run *run, struct block *block, struct block_fold *out,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t count = probe_floats(run);
    float *probes = malloc(3 * count * sizeof *probes);
    float *in = probes, *before = probes + count, *after = probes + 2 * count;
    *out = (struct block_fold){.expert = -1};
    if (!probes)
        return error_memory(err, "the proof of a fold");
    LLMQ_TRY(calib_mark_start(run->calib, err));
    LLMQ_TRY(calib_probe(run->calib, in, before, err));
    for (;;) {
        struct calib_task task;
        LLMQ_TRY(interrupt_check(run->ctx, err));
        LLMQ_TRY(calib_next(run->calib, &task, err));
        if (!task.linears)
            break;
        LLMQ_TRY(
            fold_source(run, block, task.linears->source, task.moments.H, &out->of_block, err));
        tally_read(&run->tally, TALLY_FOLD, 0);
    }
    LLMQ_TRY(calib_rewind(run->calib, err));
    LLMQ_TRY(calib_probe(run->calib, in, after, err));
    LLMQ_TRY(block_fold_compare(in, before, after, (int64_t)count, &out->difference, err));
    if (run->plan.paired)
        scale_original(run, &out->of_block);
cleanup:
    free(probes);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "block %" PRId64, block->index);
}

/* Experts that are asked, and the vectors of every expert's own folds. */
static uint64_t expert_bytes(const struct graph *g) {
    const uint64_t experts = (uint64_t)g->facts.dims[DIM_EXPERTS];
    uint64_t columns = 0;
    for (int t = 0; t < g->body->task_count; t++)
        columns += (uint64_t)g->body->width[g->body->task[t].source];
    return BLOCK_FOLD_ASKED * block_bytes(g->body) +
           experts * columns * (4 * sizeof(float) + sizeof(int64_t));
}

uint64_t block_fold_bytes(const struct model *m, const struct calib_tokens *tokens) {
    const uint64_t rows = (uint64_t)batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    uint64_t experts = 0;
    for (int kind = 0; kind < m->blocks->kind_count; kind++) {
        const struct graph *g = &m->blocks->kinds[kind];
        const uint64_t bytes = g->body ? expert_bytes(g) : 0;
        experts = bytes > experts ? bytes : experts;
    }
    return 3 * rows * (uint64_t)m->config.stream * sizeof(float) + experts +
           awq_search_bytes(calib_widest(m->blocks));
}
