/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks over a corpus, one after the other: see hidden.h. */
#include "eval/hidden.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "eval/expert_parts.h"
#include "eval/outputs.h"
#include "eval/parts.h"
#include "graph/ways.h"

struct walk {
    const struct eval_job *job;
    struct ways ways;
    struct forward_size size;
    struct forward forward;
    struct stream stream;
    struct experts experts;
    struct routing routing;
    struct arena *weights, *expert, *scratch;
    struct parts parts;
    const int64_t *offsets; /* of this rank's windows, ... */
    int64_t count;          /* ... and their number */
};

/* --- room ------------------------------------------------------------------------------------- */

static enum llmq_status create_stream(struct walk *w, llmq_error *err) {
    const int64_t tokens = w->job->corpus->tokens_used;
    const struct stream_size size = {w->ways.homes, tokens, w->size.max_rows, w->job->spill_dir};
    enum llmq_status status = stream_create(&size, w->scratch, &w->stream, err);
    if (status != LLMQ_OK)
        error_hint(err, "read fewer tokens: --max-tokens %" PRId64, tokens / 2);
    else
        acts_set_width(&w->stream.acts[HOME_RESIDUAL], w->job->m->config.stream);
    return status;
}

static enum llmq_status create_experts(struct walk *w, llmq_error *err) {
    const int64_t *dims = w->job->m->config.facts.dims;
    enum llmq_status status = routing_create(w->job->corpus->tokens_used, dims[DIM_EXPERTS],
                                             dims[DIM_TOP_K], &w->routing, err);
    if (status != LLMQ_OK)
        return status;
    return experts_create(&w->ways.needs, &w->stream, &w->forward, w->scratch, &w->experts, err);
}

/* This rank's windows. */
static enum llmq_status deal(struct walk *w, llmq_error *err) {
    const struct corpus *c = w->job->corpus;
    const enum llmq_status status = parts_of_batches(c, w->job->divided, &w->parts, err);
    const int64_t *end = c->offsets + c->count;
    w->offsets = c->offsets;
    while (w->offsets < end && *w->offsets < parts_first(&w->parts))
        w->offsets++;
    for (; w->offsets + w->count < end && w->offsets[w->count] < parts_end(&w->parts); w->count++)
        ;
    return status;
}

static enum llmq_status create_room(struct walk *w, llmq_error *err) {
    const struct model *m = w->job->m;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(deal(w, err));
    LLMQ_TRY(arena_create("evaluation", &w->scratch, err));
    LLMQ_TRY(arena_create("a block's weights", &w->weights, err));
    LLMQ_TRY(arena_create("an expert's weights", &w->expert, err));
    LLMQ_TRY(ways_make(m->blocks, &w->ways, err));
    w->size = walk_size(w->job, w->ways.width);
    LLMQ_TRY(create_stream(w, err));
    LLMQ_TRY(forward_create(&m->config, m->blocks, &w->size, &w->forward, err));
    w->forward.ids = w->job->corpus->ids;
    if (w->ways.needs.sum)
        LLMQ_TRY(create_experts(w, err));
cleanup:
    return status;
}

static enum llmq_status embed(struct walk *w, llmq_error *err) {
    const struct corpus *c = w->job->corpus;
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; batch_next(w->offsets, w->count, BATCH_ROWS, &b);) {
        float *x = stream_target(&w->stream, b.offsets[0]);
        LLMQ_TRY(model_embed(w->job->m, c->ids, &b, x, err));
        LLMQ_TRY(stream_put(&w->stream, b.offsets[0], batch_rows(&b), x, err));
    }
cleanup:
    return status;
}

struct forward_size walk_size(const struct eval_job *job, int64_t width) {
    const struct corpus *corpus = job->corpus;
    return (struct forward_size){.max_rows =
                                     batch_max_rows(corpus->offsets, corpus->count, BATCH_ROWS),
                                 .max_length = corpus->max_len,
                                 .width = width,
                                 .compute = job->numbers.compute};
}

enum llmq_status walk_create(const struct eval_job *job, struct walk **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct walk *w = *out = calloc(1, sizeof *w);
    if (!w)
        return error_memory(err, "evaluation");
    w->job = job;
    LLMQ_TRY(create_room(w, err));
    LLMQ_TRY(embed(w, err));
cleanup:
    if (status != LLMQ_OK)
        walk_free(out);
    return status;
}

void walk_free(struct walk **w) {
    if (!*w)
        return;
    parts_free(&(*w)->parts);
    stream_free(&(*w)->stream);
    routing_free(&(*w)->routing);
    forward_free(&(*w)->forward);
    arena_free(&(*w)->weights);
    arena_free(&(*w)->expert);
    arena_free(&(*w)->scratch);
    free(*w);
    *w = NULL;
}

const float *walk_residual(const struct walk *w) {
    return w->stream.acts[HOME_RESIDUAL].data;
}

enum llmq_status walk_save(const struct walk *w, const struct acts *to, llmq_error *err) {
    const struct stream *s = &w->stream;
    return acts_copy(&s->acts[HOME_RESIDUAL], to, w->size.max_rows, s->buffer[HOME_RESIDUAL], err);
}

enum llmq_status walk_restore(struct walk *w, const struct acts *from, llmq_error *err) {
    struct stream *s = &w->stream;
    acts_set_width(&s->acts[HOME_RESIDUAL], w->job->m->config.stream);
    return acts_copy(from, &s->acts[HOME_RESIDUAL], w->size.max_rows, s->buffer[HOME_RESIDUAL],
                     err);
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* All tokens; those of a block with experts are routed on the way there. */
static enum llmq_status run_pass(struct walk *w, const struct schedule *schedule, bool routes,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    stream_begin_pass(&w->stream, schedule);
    for (struct batch b = {0}; batch_next(w->offsets, w->count, BATCH_ROWS, &b);) {
        struct pass pass;
        LLMQ_TRY(interrupt_check(w->job->ctx, err));
        LLMQ_TRY(stream_pass(&w->stream, &w->forward, schedule, &b, &pass, err));
        if (routes)
            routing_note(&w->routing, b.offsets[0], batch_rows(&b), pass_value(&pass, V_ROUTE));
    }
cleanup:
    return status;
}

static enum llmq_status run_experts(struct walk *w, const struct way *way, llmq_error *err) {
    const struct experts_source source = {
        .m = w->job->m, .mode = w->job->numbers.mode, .arena = w->expert, .ctx = w->job->ctx};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(expert_parts_run(&w->parts, &w->experts, &source, &w->routing, err));
    LLMQ_TRY(run_pass(w, &way->after, false, err));
cleanup:
    return status;
}

/* What the block put out, batch by batch. */
static enum llmq_status note_outputs(struct walk *w, int64_t index, llmq_error *err) {
    const struct acts *x = &w->stream.acts[HOME_RESIDUAL];
    const int64_t most = w->size.max_rows, end = parts_end(&w->parts);
    enum llmq_status status = LLMQ_OK;
    for (int64_t at = parts_first(&w->parts); at < end; at += most) {
        const int64_t rows = min_i64(most, end - at);
        float *values = NULL;
        LLMQ_TRY(acts_load(x, at, rows, w->stream.buffer[HOME_RESIDUAL], &values, err));
        outputs_note(w->job->outputs, index, at, rows, values);
    }
    status = outputs_finish(w->job->outputs, index, &w->parts, w->job->ctx, err);
cleanup:
    return status;
}

enum llmq_status walk_block(struct walk *w, int64_t index, llmq_error *err) {
    const struct eval_job *job = w->job;
    const struct way *way = &w->ways.of[job->m->blocks->kind_of[index]];
    struct block block = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(block_load(job->m, index, job->numbers.mode, w->weights, &block, err));
    w->stream.block = &block;
    LLMQ_TRY(run_pass(w, &way->before, block.graph->body != NULL, err));
    if (block.graph->body)
        LLMQ_TRY(run_experts(w, way, err));
    if (job->outputs)
        LLMQ_TRY(note_outputs(w, index, err));
cleanup:
    w->stream.block = NULL;
    block_release(&block);
    arena_reset(w->weights);
    return status;
}

/* Rows become narrower where something is kept behind the hidden state: none is written over before
 * it was read. */
static enum llmq_status final_norm(struct walk *w, llmq_error *err) {
    struct acts *x = &w->stream.acts[HOME_RESIDUAL], normed = *x;
    const int64_t hidden = w->job->m->config.hidden;
    float *buffer = w->stream.buffer[HOME_RESIDUAL];
    const int64_t most = w->size.max_rows, end = parts_end(&w->parts);
    enum llmq_status status = LLMQ_OK;
    acts_set_width(&normed, hidden);
    for (int64_t at = parts_first(&w->parts); at < end; at += most) {
        const int64_t rows = min_i64(most, end - at);
        float *values = NULL;
        LLMQ_TRY(acts_load(x, at, rows, buffer, &values, err));
        LLMQ_TRY(model_final_norm(w->job->m, rows, values, err));
        float *target = acts_target(&normed, at, buffer);
        if (target != values)
            memmove(target, values, (size_t)(rows * hidden) * sizeof *target);
        LLMQ_TRY(acts_store(&normed, at, rows, target, err));
    }
    acts_set_width(x, hidden);
cleanup:
    return status;
}

enum llmq_status walk_finish(struct walk *w, const struct acts **out, llmq_error *err) {
    *out = &w->stream.acts[HOME_RESIDUAL];
    return final_norm(w, err);
}

enum llmq_status eval_hidden(const struct eval_job *job, struct acts *out, llmq_error *err) {
    const int64_t blocks = job->m->config.blocks;
    struct walk *w = NULL;
    enum llmq_status status = LLMQ_OK;
    *out = (struct acts){.file = {.fd = -1}};
    LLMQ_TRY(walk_create(job, &w, err));
    for (int64_t i = 0; i < blocks; i++) {
        log_progress(job->ctx, job->done + i, job->total, "%sblock %" PRId64 "/%" PRId64, job->name,
                     i + 1, blocks);
        LLMQ_TRY(walk_block(w, i, err));
    }
    LLMQ_TRY(final_norm(w, err));
    struct acts *x = &w->stream.acts[HOME_RESIDUAL];
    LLMQ_TRY(parts_gather_rows(&w->parts, x, job->ctx, err));
    *out = *x;
    *x = (struct acts){.file = {.fd = -1}};
cleanup:
    walk_free(&w);
    return status;
}
