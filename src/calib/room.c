/* SPDX-License-Identifier: Apache-2.0 */
/* The memory that a calibration takes: see calib.h. */
#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "calib/calib_private.h"
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

int64_t calib_longest_window(const struct calib_tokens *t) {
    int64_t longest = 0;
    for (int64_t i = 0; i < t->count; i++)
        longest = max_i64(longest, t->offsets[i + 1] - t->offsets[i]);
    return longest;
}

enum llmq_status calib_measure(const struct model *m, const struct calib_tokens *tokens,
                               enum llmq_compute compute, struct calib_room *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(passes_measure(m->blocks, &out->needs, err));
    LLMQ_TRY(expert_room_measure(m->blocks, calib_total_tokens(tokens), &out->experts, err));
    out->size = (struct forward_size){
        .max_rows = batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS),
        .max_length = calib_longest_window(tokens),
        .width = max_i64(out->needs.width, out->experts.needs.scratch),
        .compute = compute,
    };
cleanup:
    return status;
}

int64_t calib_held_most(const struct calib_tokens *t) {
    const int64_t tokens = calib_total_tokens(t);
    return t->held > 0 ? tokens - calib_fitted_tokens(t) : min_i64(HELD_ROWS, tokens / HOLD_EVERY);
}

/* Of the moments and of what they are made from. */
static uint64_t moment_bytes(const struct blocks *blocks, const struct calib_options *o,
                             int64_t rows, const struct calib_tokens *t) {
    const struct moment_sizes s = moments_largest(blocks);
    const int64_t held = o->hold_back ? calib_held_most(t) : 0;
    int64_t doubles = s.H, floats = (int64_t)linalg_accumulate_floats() + held * s.source;
    if (o->paired) {
        doubles += s.D + s.R;
        floats += held * (s.source + s.stream) + rows * (max_i64(s.source, s.stream) + s.product);
    }
    if (o->weighing.power > 0)
        floats += calib_total_tokens(t) + 2 * calib_weighing_tokens(&o->weighing, t) +
                  calib_longest_window(t) + rows * (s.source + 1);
    return (uint64_t)doubles * sizeof(double) + (uint64_t)floats * sizeof(float);
}

enum llmq_status calib_memory(const struct model *m, const struct calib_tokens *tokens,
                              const struct calib_options *options, struct calib_memory *out,
                              llmq_error *err) {
    struct calib_room room;
    enum llmq_status status = calib_measure(m, tokens, options->compute, &room, err);
    if (status != LLMQ_OK)
        return status;
    const int64_t *width = room.needs.homes.width, rows = room.size.max_rows;
    const int64_t total = share_most_tokens(tokens, options->ranks);
    int64_t kept = 0;
    for (int h = 1; h <= room.needs.homes.count; h++)
        kept += width[h];
    const uint64_t streams = options->paired ? 2 : 1, entry = streams * sizeof(float);
    const uint64_t whole = options->ranks > 1 ? expert_share_bytes(&room.experts) : 0;
    *out = (struct calib_memory){
        .fixed = moment_bytes(m->blocks, options, rows, tokens) + share_bytes(options->ranks) +
                 (uint64_t)(rows * (width[HOME_SOURCE] + width[HOME_STREAM])) * entry +
                 expert_room_bytes(&room.experts, rows, (int)streams) +
                 (options->ranks > 1 ? expert_share_buffers(&room.experts) : 0) +
                 forward_bytes(&m->config, m->blocks, &room.size),
        .activations = (uint64_t)(total * kept) * entry + streams * whole,
        .buffers = (uint64_t)(rows * kept) * entry,
    };
    return LLMQ_OK;
}

/* --- weights ---------------------------------------------------------------------------------- */

/* Nodes whose weights are loaded, as bits. */
struct loaded {
    uint64_t quantized, original;
};

static uint64_t loaded_bytes(const struct graph *g, const struct loaded *l) {
    return block_bytes_of(g, l->quantized) + block_bytes_of(g, l->original);
}

/* The pass to a task, whose weights stay; then those that are needed on. */
static enum llmq_status walk_task(const struct graph *g, const struct graph_task *t,
                                  struct value_set *kept, bool paired, struct loaded *l,
                                  struct calib_weights *out, llmq_error *err) {
    struct schedule pass, rest;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(passes_to_task(g, t, *kept, &pass, err));
    *kept = schedule_kept(g, t->round);
    LLMQ_TRY(passes_to_end(g, *kept, &rest, err));
    l->quantized |= pass.nodes | (paired && calib_multiplies(g, t) ? t->nodes : 0);
    l->original |= paired ? pass.nodes : 0;
    out->task[out->count].passing = loaded_bytes(g, l);
    l->quantized = (l->quantized & rest.nodes) | t->nodes;
    l->original &= rest.nodes;
    out->task[out->count++].solving = loaded_bytes(g, l);
cleanup:
    return status;
}

enum llmq_status calib_weights(const struct graph *g, bool paired, bool whole,
                               struct calib_weights *out, llmq_error *err) {
    struct value_set kept = value_set_of(g->input);
    struct loaded l = {whole ? UINT64_MAX : 0, 0};
    struct schedule rest;
    enum llmq_status status = LLMQ_OK;
    *out = (struct calib_weights){0};
    for (int t = 0; t < g->task_count; t++)
        LLMQ_TRY(walk_task(g, &g->task[t], &kept, paired, &l, out, err));
    LLMQ_TRY(passes_to_end(g, kept, &rest, err));
    l = (struct loaded){rest.nodes, paired ? rest.nodes : 0};
    out->task[out->count++].passing = loaded_bytes(g, &l);
cleanup:
    return status;
}
