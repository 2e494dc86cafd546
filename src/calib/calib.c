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

static int64_t widest_source(const struct graph *g) {
    int64_t widest = 0;
    for (int t = 0; t < g->task_count; t++)
        widest = max_i64(widest, g->width[g->task[t].source]);
    return widest;
}

int64_t calib_widest(const struct blocks *blocks) {
    int64_t widest = 0;
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        widest = max_i64(widest, widest_source(&blocks->kinds[kind]));
        if (blocks->bodies[kind])
            widest = max_i64(widest, widest_source(blocks->bodies[kind]));
    }
    return widest;
}

int64_t calib_total_tokens(const struct calib_tokens *t) {
    return t->offsets[t->count];
}

static int64_t longest_window(const struct calib_tokens *t) {
    int64_t longest = 0;
    for (int64_t i = 0; i < t->count; i++)
        longest = max_i64(longest, t->offsets[i + 1] - t->offsets[i]);
    return longest;
}

/* How much room the passes over a model's blocks take. */
struct measure {
    struct passes_needs needs;
    struct expert_room experts;
    struct forward_size size;
};

static enum llmq_status measure(const struct model *m, const struct calib_tokens *tokens,
                                enum llmq_compute compute, struct measure *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(passes_measure(m->blocks, &out->needs, err));
    LLMQ_TRY(expert_room_measure(m->blocks, calib_total_tokens(tokens), &out->experts, err));
    out->size = (struct forward_size){
        .max_rows = batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS),
        .max_length = longest_window(tokens),
        .width = max_i64(out->needs.width, out->experts.needs.scratch),
        .compute = compute,
    };
cleanup:
    return status;
}

enum llmq_status calib_memory(const struct model *m, const struct calib_tokens *tokens, bool paired,
                              enum llmq_compute compute, struct calib_memory *out,
                              llmq_error *err) {
    struct measure room;
    enum llmq_status status = measure(m, tokens, compute, &room, err);
    if (status != LLMQ_OK)
        return status;
    const int64_t *width = room.needs.homes.width;
    int64_t kept = 0;
    for (int h = 1; h <= room.needs.homes.count; h++)
        kept += width[h];
    uint64_t rows = (uint64_t)room.size.max_rows, k = (uint64_t)calib_widest(m->blocks);
    uint64_t hidden = (uint64_t)m->config.hidden, streams = paired ? 2 : 1;
    const bool held =
        paired && tokens->count > 1 && calib_total_tokens(tokens) > room.size.max_rows;
    uint64_t moment = sizeof(double) + (held ? sizeof(float) : 0);
    uint64_t pair = (k + hidden) * k * moment + rows * (k > hidden ? k : hidden) * sizeof(float);
    uint64_t batch = rows * (uint64_t)(width[HOME_SOURCE] + width[HOME_STREAM]) * sizeof(float);
    *out = (struct calib_memory){
        .fixed = k * k * moment + linalg_accumulate_floats() * sizeof(float) + streams * batch +
                 (paired ? pair : 0) +
                 expert_room_bytes(&room.experts, (int64_t)rows, (int)streams) +
                 forward_bytes(&m->config, m->blocks, &room.size),
        .activations =
            streams * (uint64_t)calib_total_tokens(tokens) * (uint64_t)kept * sizeof(float),
    };
    return LLMQ_OK;
}

/* --- creation --------------------------------------------------------------------------------- */

static enum llmq_status embed(struct calib *c, struct stream *stream, llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        int64_t begin = b.offsets[0], rows = batch_rows(&b);
        float *x = stream_target(stream, begin);
        LLMQ_TRY(model_embed(c->m, t->ids, &b, x, err));
        LLMQ_TRY(stream_put(stream, begin, rows, x, err));
    }
cleanup:
    return status;
}

static enum llmq_status create_stream(struct calib *c, const struct passes_needs *needs,
                                      const char *spill_dir, struct stream *stream,
                                      llmq_error *err) {
    const struct stream_size size = {needs->homes, calib_total_tokens(c->tokens), c->max_rows,
                                     spill_dir};
    enum llmq_status status = stream_create(&size, c->scratch, stream, err);
    if (status != LLMQ_OK)
        return status;
    acts_set_width(&stream->acts[HOME_RESIDUAL], c->m->config.stream);
    return embed(c, stream, err);
}

/* Is batch `index` held back? */
bool calib_is_held(const struct calib *c, int64_t index) {
    int64_t every = min_i64(c->batches, HOLD_EVERY);
    return c->paired && c->batches > 1 && index % every == every - 1;
}

static void count_batches(struct calib *c) {
    const struct calib_tokens *t = c->tokens;
    int64_t index = 0;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);)
        c->batches++;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b); index++)
        if (calib_is_held(c, index))
            c->held_tokens += batch_rows(&b);
}

static enum llmq_status alloc_moment(struct calib *c, int64_t rows, struct moment *out,
                                     llmq_error *err) {
    out->scratch = c->tile;
    return moment_alloc((size_t)rows * (size_t)c->max_width, c->held_tokens > 0, c->scratch, out,
                        err);
}

static enum llmq_status create_pair(struct calib *c, const struct passes_needs *needs,
                                    const char *spill_dir, llmq_error *err) {
    int64_t hidden = c->m->config.hidden, width = max_i64(c->max_width, hidden);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(alloc_moment(c, c->max_width, &c->D, err));
    LLMQ_TRY(alloc_moment(c, hidden, &c->R, err));
    c->diff = arena_alloc(c->scratch, (size_t)c->max_rows * (size_t)width, sizeof(float), err);
    if (!c->diff)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(create_stream(c, needs, spill_dir, &c->original, err));
cleanup:
    return status;
}

enum llmq_status calib_create(const struct model *m, const struct calib_tokens *tokens,
                              const struct calib_options *options, const llmq_context *ctx,
                              struct calib **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct measure room;
    struct calib *c = calloc(1, sizeof *c);
    if (!c)
        return error_memory(err, "calibration");
    c->m = m;
    c->tokens = tokens;
    c->ctx = ctx;
    c->paired = options->paired;
    c->peaks = options->peaks;
    c->expert_tokens = options->expert_tokens;
    c->max_width = calib_widest(m->blocks);
    c->start.file.fd = -1;
    count_batches(c);
    LLMQ_TRY(measure(m, tokens, options->compute, &room, err));
    LLMQ_TRY(arena_create("calibration", &c->scratch, err));
    c->max_rows = room.size.max_rows;
    LLMQ_TRY(forward_create(&m->config, m->blocks, &room.size, &c->forward, err));
    c->forward.ids = tokens->ids;
    c->forward.tally = options->tally;
    c->tile = arena_alloc(c->scratch, linalg_accumulate_floats(), sizeof *c->tile, err);
    if (!c->tile)
        LLMQ_TRY(LLMQ_E_MEMORY);
    LLMQ_TRY(alloc_moment(c, c->max_width, &c->H, err));
    LLMQ_TRY(create_stream(c, &room.needs, options->spill_dir, &c->quantized, err));
    if (c->paired)
        LLMQ_TRY(create_pair(c, &room.needs, options->spill_dir, err));
    LLMQ_TRY(expert_turn_create(c, &room.experts, err));
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
                                     const struct batch *batch, const struct task_rows *rows,
                                     llmq_error *err) {
    const struct graph *g = c->quantized.block->graph;
    const int64_t k = g->width[task->source], begin = batch->offsets[0];
    int64_t row = 0, window = 0;
    if (moments_finite(c, k, rows->held))
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

/* One batch, both streams, and the moments of `task`, which may be NULL. */
static enum llmq_status run_batch(struct calib *c, const struct schedule *schedule,
                                  const struct graph_task *task, const struct batch *batch,
                                  bool held, llmq_error *err) {
    struct pass q = {0}, o = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(stream_pass(&c->quantized, &c->forward, schedule, batch, &q, err));
    if (calib_pairing(c))
        LLMQ_TRY(stream_pass(&c->original, &c->forward, schedule, batch, &o, err));
    if (!task)
        return LLMQ_OK;
    const struct graph *g = q.block->graph;
    const bool streams = task->stream != V_NONE, pair = calib_pairing(c);
    const struct task_rows rows = {
        .X = pass_value(&q, task->source),
        .X_o = pair ? pass_value(&o, task->source) : NULL,
        .S = streams ? pass_value(&q, task->stream) : NULL,
        .S_o = streams && pair ? pass_value(&o, task->stream) : NULL,
        .scale = c->scales[task->source],
        .rows = batch_rows(batch),
        .held = held,
    };
    moments_add_square(c, g->width[task->source], &rows);
    LLMQ_TRY(check_finite(c, task, batch, &rows, err));
    moments_note_peaks(c, g, task, &rows);
    moments_add_cross(c, g, task, &rows);
cleanup:
    return status;
}

/* A pass over all batches. */
static enum llmq_status run_pass(struct calib *c, const struct schedule *schedule,
                                 const struct graph_task *task, llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    int64_t index = 0;
    LLMQ_TRY(calib_begin_pass(c, &c->quantized, schedule, err));
    if (calib_pairing(c))
        LLMQ_TRY(calib_begin_pass(c, &c->original, schedule, err));
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b); index++) {
        LLMQ_TRY(interrupt_check(c->ctx, err));
        LLMQ_TRY(
            run_batch(c, schedule, task, &b, calib_pairing(c) && calib_is_held(c, index), err));
    }
cleanup:
    return status;
}

/* The moments of the block's next task, over all tokens. */
static enum llmq_status run_task(struct calib *c, struct calib_task *out, llmq_error *err) {
    const struct graph *g = c->block->graph;
    const struct graph_task *t = &g->task[c->next];
    const struct moment_tokens tokens = {calib_total_tokens(c->tokens), c->held_tokens};
    struct schedule schedule;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(passes_to_task(g, t, c->kept, &schedule, err));
    moments_begin(c, g, t);
    LLMQ_TRY(run_pass(c, &schedule, t, err));
    *out = (struct calib_task){.linears = t,
                               .graph = g,
                               .params = c->block->node,
                               .expert = -1,
                               .tokens = tokens.all,
                               .moments = moments_finish(c, g, t, &tokens)};
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
        if (status != LLMQ_OK || out->linears)
            return status;
        c->next++;
    }
    return status;
}

enum llmq_status calib_end_block(struct calib *c, llmq_error *err) {
    const struct graph *g = c->quantized.block->graph;
    struct schedule schedule;
    enum llmq_status status = LLMQ_OK;
    if (expert_turn_is_due(c))
        status = expert_turn_pass_over(c, err);
    if (status == LLMQ_OK)
        status = passes_to_end(g, c->kept, &schedule, err);
    if (status != LLMQ_OK)
        return status;
    c->next = g->task_count;
    c->kept = value_set_of(g->output);
    return run_pass(c, &schedule, NULL, err);
}
