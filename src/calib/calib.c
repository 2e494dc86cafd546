/* SPDX-License-Identifier: Apache-2.0 */
/* The calibration runner: see calib.h. */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "calib/calib_private.h"
#include "graph/passes.h"
#include "linalg/linalg.h"

int64_t calib_total_tokens(const struct calib_tokens *t) {
    return t->offsets[t->count];
}

int64_t calib_fitted_tokens(const struct calib_tokens *t) {
    return t->offsets[t->count - t->held];
}

/* --- creation --------------------------------------------------------------------------------- */

static enum llmq_status embed(struct calib *c, struct stream *stream, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < c->share.count; i++) {
        const struct batch *b = &c->share.batch[i].own;
        if (b->sequences == 0)
            continue;
        float *x = stream_target(stream, b->offsets[0]);
        LLMQ_TRY(model_embed(c->m, c->share.own.ids, b, x, err));
        LLMQ_TRY(stream_put(stream, b->offsets[0], batch_rows(b), x, err));
    }
cleanup:
    return status;
}

static enum llmq_status create_stream(struct calib *c, const struct passes_needs *needs,
                                      const char *spill_dir, struct stream *stream,
                                      llmq_error *err) {
    const struct stream_size size = {needs->homes, calib_total_tokens(&c->share.own), c->max_rows,
                                     spill_dir};
    enum llmq_status status = stream_create(&size, c->scratch, stream, err);
    if (status != LLMQ_OK)
        return status;
    acts_set_width(&stream->acts[HOME_RESIDUAL], c->m->config.stream);
    return embed(c, stream, err);
}

static enum llmq_status alloc_floats(struct calib *c, int64_t rows, int64_t width, float **out,
                                     llmq_error *err) {
    *out = arena_alloc(c->scratch, (size_t)rows * (size_t)width, sizeof **out, err);
    return *out ? LLMQ_OK : LLMQ_E_MEMORY;
}

static enum llmq_status alloc_moment(struct calib *c, int64_t entries, struct moment *out,
                                     llmq_error *err) {
    out->scratch = c->tile;
    return moment_alloc((size_t)entries, c->scratch, out, err);
}

static int64_t held_most(const struct calib *c) {
    return c->holds ? calib_held_most(c->tokens) : 0;
}

static enum llmq_status create_held(struct calib *c, const struct moment_sizes *size,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct held_rows *held = &c->held;
    held->most = held_most(c);
    LLMQ_TRY(alloc_floats(c, held->most, size->source, &held->X, err));
    if (c->paired) {
        LLMQ_TRY(alloc_floats(c, held->most, size->source, &held->lack, err));
        LLMQ_TRY(alloc_floats(c, held->most, size->stream, &held->stream_lack, err));
    }
cleanup:
    return status;
}

static enum llmq_status create_moments(struct calib *c, llmq_error *err) {
    const struct moment_sizes size = moments_largest(c->m->blocks);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(alloc_floats(c, (int64_t)linalg_accumulate_floats(), 1, &c->tile, err));
    LLMQ_TRY(alloc_moment(c, size.H, &c->H, err));
    if (c->paired) {
        LLMQ_TRY(alloc_moment(c, size.D, &c->D, err));
        LLMQ_TRY(alloc_moment(c, size.R, &c->R, err));
        LLMQ_TRY(alloc_floats(c, c->max_rows, max_i64(size.source, size.stream), &c->diff, err));
        LLMQ_TRY(alloc_floats(c, c->max_rows, size.product, &c->product, err));
    }
    LLMQ_TRY(create_held(c, &size, err));
    LLMQ_TRY(calib_weights_create(c, size.source, err));
cleanup:
    return status;
}

enum llmq_status calib_create(const struct model *m, const struct calib_tokens *tokens,
                              const struct calib_options *options, const llmq_context *ctx,
                              struct calib **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct calib_room room;
    struct calib *c = calloc(1, sizeof *c);
    if (!c)
        return error_memory(err, "calibration");
    c->m = m;
    c->tokens = tokens;
    c->ctx = ctx;
    c->paired = options->paired;
    c->peaks = options->peaks;
    c->expert_tokens = options->expert_tokens;
    c->holds = options->hold_back;
    c->weighing = options->weighing;
    c->start.file.fd = -1;
    LLMQ_TRY(calib_measure(m, tokens, options->compute, &room, err));
    LLMQ_TRY(share_deal(tokens, held_most(c), &c->share, err));
    LLMQ_TRY(arena_create("calibration", &c->scratch, err));
    c->max_rows = room.size.max_rows;
    LLMQ_TRY(forward_create(&m->config, m->blocks, &room.size, &c->forward, err));
    c->forward.ids = c->share.own.ids;
    c->forward.tally = options->tally;
    LLMQ_TRY(create_moments(c, err));
    LLMQ_TRY(create_stream(c, &room.needs, options->spill_dir, &c->quantized, err));
    if (c->paired)
        LLMQ_TRY(create_stream(c, &room.needs, options->spill_dir, &c->original, err));
    LLMQ_TRY(expert_turn_create(c, &room.experts, options->spill_dir, err));
    *out = c;
cleanup:
    if (status != LLMQ_OK)
        calib_free(&c);
    return status;
}

void calib_free(struct calib **c) {
    if (!*c)
        return;
    stream_free(&(*c)->quantized);
    stream_free(&(*c)->original);
    acts_free(&(*c)->start);
    expert_turn_free(&(*c)->turn);
    forward_free(&(*c)->forward);
    arena_free(&(*c)->scratch);
    share_free(&(*c)->share);
    free(*c);
    *c = NULL;
}

/* --- the runner ------------------------------------------------------------------------------- */

/* Nothing of the block was done yet: the streams are its input. */
void calib_start_over(struct calib *c) {
    expert_turn_start_over(c);
    c->next = 0;
    c->kept = value_set_of(c->quantized.block->graph->input);
}

void calib_begin_block(struct calib *c, struct block *block, struct block *original) {
    assert(c->paired == (original != NULL));
    c->quantized.block = c->block = block;
    c->original.block = c->other = original;
    memset(c->scales, 0, sizeof c->scales);
    c->turn.scales = NULL;
    calib_start_over(c);
}

bool calib_pairing(const struct calib *c) {
    return c->paired && !c->looking;
}

void calib_scale_original(struct calib *c, enum value source, const float *scales) {
    c->scales[source] = scales;
}

struct calib_peak calib_peak(const struct calib *c) {
    return c->peak;
}

enum llmq_status calib_begin_pass(struct calib *c, struct stream *s,
                                  const struct schedule *schedule, llmq_error *err) {
    struct block *block = s == &c->quantized ? c->block : c->other;
    enum llmq_status status = block_need(block, schedule->nodes, err);
    tally_read(c->forward.tally, TALLY_READ, 0);
    if (status == LLMQ_OK)
        stream_begin_pass(s, schedule);
    return status;
}

enum llmq_status calib_drop_weights(struct calib *c, llmq_error *err) {
    struct schedule rest;
    if (c->looking)
        return LLMQ_OK;
    enum llmq_status status = passes_to_end(c->block->graph, c->kept, &rest, err);
    if (status != LLMQ_OK)
        return status;
    block_keep(c->block, rest.nodes);
    if (c->paired)
        block_keep(c->other, rest.nodes);
    return LLMQ_OK;
}

/* A non-finite input shows on the diagonal of the sum at once; then find the window. */
static enum llmq_status check_finite(const struct calib *c, const struct graph_task *task,
                                     const struct share_batch *batch, const struct task_rows *rows,
                                     llmq_error *err) {
    const struct graph *g = c->quantized.block->graph;
    const int64_t k = g->width[task->source], begin = batch->whole.offsets[0];
    int64_t row = 0, window = 0;
    if (moments_finite(c, k, rows))
        return LLMQ_OK;
    for (int64_t i = 0; i < rows->rows * k; i++) {
        row = i / k;
        if (!isfinite(rows->X[i]) || fabsf(rows->X[i]) > 1e18f) /* its square overflows */
            break;
    }
    while (c->tokens->offsets[window + 1] <= begin + row)
        window++;
    return error_set(err, LLMQ_E_NUMERIC,
                     "block %" PRId64 ", input of %s: non-finite activation in calibration window "
                     "%" PRId64 ", token %" PRId64,
                     c->quantized.block->index, moments_first_module(g, task), window,
                     begin + row - c->tokens->offsets[window]);
}

/* Add what a batch gives to the moments of a task; all zero where this rank has none in the step.
 */
static enum llmq_status add_rows(struct calib *c, const struct graph *g,
                                 const struct graph_task *task, const struct share_batch *batch,
                                 const struct task_rows *rows, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(moments_add_square(c, g->width[task->source], rows, err));
    if (batch)
        LLMQ_TRY(check_finite(c, task, batch, rows, err));
    moments_note_peaks(c, g, task, rows);
    LLMQ_TRY(moments_add_cross(c, g, task, rows, err));
    LLMQ_TRY(moments_end_rows(c, g, task, rows, err));
cleanup:
    return status;
}

/* One step: the rank's batch, both streams, and the moments of `task`, which may be NULL. */
static enum llmq_status run_step(struct calib *c, const struct schedule *schedule,
                                 const struct graph_task *task, int64_t step, llmq_error *err) {
    const struct share_batch *batch = share_step(&c->share, step);
    struct pass q = {0}, o = {0};
    enum llmq_status status = LLMQ_OK;
    if (batch)
        LLMQ_TRY(stream_pass(&c->quantized, &c->forward, schedule, &batch->own, &q, err));
    if (batch && calib_pairing(c))
        LLMQ_TRY(stream_pass(&c->original, &c->forward, schedule, &batch->own, &o, err));
    if (!task)
        return LLMQ_OK;
    struct task_rows rows = {.params = c->block->node,
                             .scale = c->scales[task->source],
                             .pair = calib_pairing(c),
                             .streams = task->stream != V_NONE,
                             .share = &c->share,
                             .step = step};
    if (batch) {
        rows.X = pass_value(&q, task->source);
        rows.X_o = rows.pair ? pass_value(&o, task->source) : NULL;
        rows.S = rows.streams ? pass_value(&q, task->stream) : NULL;
        rows.S_o = rows.streams && rows.pair ? pass_value(&o, task->stream) : NULL;
        rows.rows = batch_rows(&batch->own);
        rows.held = batch->held;
        rows.held_begin = batch->held_begin;
        rows.root = c->weight ? c->weight + batch->whole.offsets[0] : NULL;
    }
    status = add_rows(c, c->block->graph, task, batch, &rows, err);
cleanup:
    return status;
}

/* A pass over all batches. */
static enum llmq_status run_pass(struct calib *c, const struct schedule *schedule,
                                 const struct graph_task *task, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(calib_begin_pass(c, &c->quantized, schedule, err));
    if (calib_pairing(c))
        LLMQ_TRY(calib_begin_pass(c, &c->original, schedule, err));
    for (int64_t step = 0; step < c->share.steps; step++) {
        LLMQ_TRY(interrupt_check(c->ctx, err));
        LLMQ_TRY(run_step(c, schedule, task, step, err));
    }
cleanup:
    return status;
}

/* The moments of the block's next task, over all tokens. */
static enum llmq_status run_task(struct calib *c, struct calib_task *out, llmq_error *err) {
    const struct graph *g = c->block->graph;
    const struct graph_task *t = &g->task[c->next];
    const int64_t tokens = calib_total_tokens(c->tokens);
    struct schedule schedule;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(passes_to_task(g, t, c->kept, &schedule, err));
    if (calib_pairing(c) && calib_multiplies(g, t))
        LLMQ_TRY(block_need(c->block, t->nodes, err));
    moments_begin(c, g, t);
    LLMQ_TRY(calib_weigh(c, g, t, -1, err));
    LLMQ_TRY(run_pass(c, &schedule, t, err));
    *out = (struct calib_task){.linears = t,
                               .graph = g,
                               .params = c->block->node,
                               .expert = -1,
                               .tokens = calib_fitted_tokens(c->tokens)};
    LLMQ_TRY(moments_finish(c, g, t, &c->share, tokens, &out->moments, err));
    tally_read(c->forward.tally, TALLY_MOMENTS, 0);
    c->kept = schedule_kept(g, t->round);
    LLMQ_TRY(calib_drop_weights(c, err));
    LLMQ_TRY(block_need(c->block, t->nodes, err));
    tally_read(c->forward.tally, TALLY_READ, 0);
    c->next++;
cleanup:
    return status;
}

/* Who only looks sees what all experts read, of all tokens. */
static enum llmq_status look_at_experts(struct calib *c, struct calib_task *out, llmq_error *err) {
    enum llmq_status status = run_task(c, out, err);
    return status == LLMQ_OK ? expert_turn_pass_over(c, err) : status;
}

enum llmq_status calib_next(struct calib *c, struct calib_task *out, llmq_error *err) {
    *out = (struct calib_task){0};
    const struct graph *g = c->block->graph;
    enum llmq_status status = LLMQ_OK;
    while (c->next < g->task_count) {
        const bool experts = g->body && (g->task[c->next].nodes >> g->experts & 1);
        if (!experts)
            return run_task(c, out, err);
        if (c->looking)
            return look_at_experts(c, out, err);
        status = expert_turn_next(c, out, err);
        if (status != LLMQ_OK || out->linears || out->paused)
            return status;
        c->next++;
    }
    return status;
}

enum llmq_status calib_end_block(struct calib *c, llmq_error *err) {
    const struct graph *g = c->quantized.block->graph;
    struct schedule schedule;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(passes_to_end(g, c->kept, &schedule, err));
    if (expert_turn_is_due(c, &schedule)) {
        LLMQ_TRY(expert_turn_pass_over(c, err));
        LLMQ_TRY(passes_to_end(g, c->kept, &schedule, err));
    }
    c->next = g->task_count;
    c->kept = value_set_of(g->output);
    status = run_pass(c, &schedule, NULL, err);
cleanup:
    return status;
}
