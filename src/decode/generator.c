/* SPDX-License-Identifier: Apache-2.0 */
/* See generator.h. A piece of the sequence goes through all blocks, as one batch of one sequence.
 */
#include "decode/generator.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "graph/carry.h"
#include "graph/head_panel.h"
#include "graph/loading.h"
#include "graph/rope.h"
#include "graph/ways.h"

/* Tokens that go through the blocks at once: enough for BLAS, and little memory. */
enum { PIECE = 512 };

struct generator {
    struct generator_options o;
    struct ways ways;
    struct forward forward;
    struct stream stream;
    struct experts experts;
    struct routing routing;
    struct head_panel head;
    struct arena *arena, *weights;
    struct block *blocks;  /* [blocks] */
    struct block **expert; /* [blocks] of [experts], NULL: the block has none */
    struct carry *carries; /* [blocks] */
    float *last, *logits;  /* [hidden], [vocab] */
    int32_t *ids;          /* [capacity] */
    int64_t count, done;   /* tokens, and those that the blocks have read */
    int64_t regime;        /* of the rotary frequencies that they were read with */
    int64_t repeated;
};

/* --- size ------------------------------------------------------------------------------------- */

static struct forward_size size_of(const struct generator_options *o, int64_t width) {
    return (struct forward_size){.max_rows = min_i64(PIECE, o->capacity),
                                 .max_length = o->capacity,
                                 .width = width,
                                 .compute = LLMQ_COMPUTE_F32};
}

/* Weights of all blocks, and what reading the largest of them takes. */
static uint64_t weights_bytes(const struct generator_options *o) {
    const struct model *m = o->m;
    const int64_t experts = m->config.facts.dims[DIM_EXPERTS];
    uint64_t kept = 0, reading = 0;
    for (int64_t i = 0; i < m->config.blocks; i++) {
        const struct loading block = loading_of(m, i, -1, o->mode);
        kept += block.kept + carry_bytes(model_graph(m, i), o->capacity);
        reading = max_u64(reading, block.reading);
        for (int64_t e = 0; model_graph(m, i)->body && e < experts; e++) {
            const struct loading expert = loading_of(m, i, e, o->mode);
            kept += expert.kept + sizeof(struct block);
            reading = max_u64(reading, expert.reading);
        }
    }
    return kept + reading;
}

static uint64_t rows_bytes(int64_t rows, int64_t width) {
    return (uint64_t)rows * (uint64_t)width * sizeof(float);
}

enum llmq_status generator_bytes(const struct generator_options *o, uint64_t *out,
                                 llmq_error *err) {
    const struct model *m = o->m;
    struct ways ways;
    enum llmq_status status = ways_make(m->blocks, &ways, err);
    if (status != LLMQ_OK)
        return status;
    const struct forward_size size = size_of(o, ways.width);
    const int64_t *dims = m->config.facts.dims;
    *out = weights_bytes(o) + forward_bytes(&m->config, m->blocks, &size) +
           head_panel_bytes(m, m->config.vocab) + loading_head_bytes(m) +
           rows_bytes(1, m->config.vocab + m->config.hidden) +
           (uint64_t)m->config.blocks * (sizeof(struct block) + sizeof(struct carry)) +
           (uint64_t)o->capacity * sizeof(int32_t);
    for (int h = 1; h <= HOMES; h++)
        *out += rows_bytes(size.max_rows, ways.homes.width[h]);
    if (ways.needs.sum)
        *out += routing_bytes(size.max_rows, dims[DIM_EXPERTS], dims[DIM_TOP_K]) +
                experts_bytes(&ways.needs, size.max_rows);
    return LLMQ_OK;
}

/* --- loading ---------------------------------------------------------------------------------- */

static enum llmq_status load_experts(struct generator *d, int64_t index, llmq_error *err) {
    const int64_t experts = d->o.m->config.facts.dims[DIM_EXPERTS];
    enum llmq_status status = LLMQ_OK;
    d->expert[index] = calloc((size_t)experts, sizeof **d->expert);
    if (!d->expert[index])
        return error_memory(err, "experts");
    for (int64_t e = 0; e < experts && status == LLMQ_OK; e++) {
        LLMQ_TRY(interrupt_check(d->o.ctx, err));
        status = expert_load(d->o.m, index, e, d->o.mode, d->weights, &d->expert[index][e], err);
    }
cleanup:
    return status;
}

static enum llmq_status load_blocks(struct generator *d, llmq_error *err) {
    const struct model *m = d->o.m;
    const int64_t blocks = m->config.blocks;
    enum llmq_status status = LLMQ_OK;
    d->blocks = calloc((size_t)blocks, sizeof *d->blocks);
    d->expert = calloc((size_t)blocks, sizeof(struct block *));
    d->carries = calloc((size_t)blocks, sizeof *d->carries);
    if (!d->blocks || !d->expert || !d->carries)
        return error_memory(err, "blocks");
    for (int64_t i = 0; i < blocks; i++) {
        log_progress(d->o.ctx, i, blocks, "loading block %" PRId64 "/%" PRId64, i + 1, blocks);
        LLMQ_TRY(interrupt_check(d->o.ctx, err));
        LLMQ_TRY(block_load(m, i, d->o.mode, d->weights, &d->blocks[i], err));
        if (model_graph(m, i)->body)
            LLMQ_TRY(load_experts(d, i, err));
        LLMQ_TRY(carry_create(model_graph(m, i), d->o.capacity, d->arena, &d->carries[i], err));
    }
    log_progress(d->o.ctx, blocks, blocks, "loaded");
cleanup:
    return status;
}

static enum llmq_status alloc(struct generator *d, int64_t count, size_t each, void *out,
                              llmq_error *err) {
    void *room = arena_alloc(d->arena, (size_t)count, each, err);
    memcpy(out, &room, sizeof room);
    return room ? LLMQ_OK : LLMQ_E_MEMORY;
}

static enum llmq_status create_room(struct generator *d, llmq_error *err) {
    const struct model *m = d->o.m;
    const int64_t *dims = m->config.facts.dims;
    const struct forward_size size = size_of(&d->o, d->ways.width);
    const struct stream_size homes = {d->ways.homes, size.max_rows, size.max_rows, NULL};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(stream_create(&homes, d->arena, &d->stream, err));
    LLMQ_TRY(forward_create(&m->config, m->blocks, &size, &d->forward, err));
    if (d->ways.needs.sum) {
        LLMQ_TRY(
            routing_create(size.max_rows, dims[DIM_EXPERTS], dims[DIM_TOP_K], &d->routing, err));
        LLMQ_TRY(
            experts_create(&d->ways.needs, &d->stream, &d->forward, d->arena, &d->experts, err));
    }
    LLMQ_TRY(alloc(d, m->config.stream, sizeof(float), &d->last, err));
    LLMQ_TRY(alloc(d, m->config.vocab, sizeof(float), &d->logits, err));
    LLMQ_TRY(alloc(d, d->o.capacity, sizeof(int32_t), &d->ids, err));
    LLMQ_TRY(head_panel_create(m, m->config.vocab, d->weights, &d->head, err));
    LLMQ_TRY(head_panel_load(&d->head, 0, m->config.vocab, err));
cleanup:
    return status;
}

enum llmq_status generator_create(const struct generator_options *o, struct generator **out,
                                  llmq_error *err) {
    struct generator *d = *out = calloc(1, sizeof *d);
    enum llmq_status status = LLMQ_OK;
    if (!d)
        return error_memory(err, "a generator");
    d->o = *o;
    LLMQ_TRY(ways_make(o->m->blocks, &d->ways, err));
    LLMQ_TRY(arena_create("decoding", &d->arena, err));
    LLMQ_TRY(arena_create("weights", &d->weights, err));
    LLMQ_TRY(load_blocks(d, err));
    LLMQ_TRY(create_room(d, err));
cleanup:
    return status;
}

void generator_free(struct generator **out) {
    struct generator *d = *out;
    if (!d)
        return;
    for (int64_t i = 0; i < d->o.m->config.blocks; i++) {
        for (int64_t e = 0; d->expert && d->expert[i] && e < d->o.m->config.facts.dims[DIM_EXPERTS];
             e++)
            block_release(&d->expert[i][e]);
        if (d->expert)
            free(d->expert[i]);
        if (d->blocks)
            block_release(&d->blocks[i]);
    }
    free(d->expert);
    free(d->blocks);
    free(d->carries);
    head_panel_free(&d->head);
    stream_free(&d->stream);
    routing_free(&d->routing);
    forward_free(&d->forward);
    arena_free(&d->weights);
    arena_free(&d->arena);
    free(d);
    *out = NULL;
}

/* --- a piece through the blocks --------------------------------------------------------------- */

static enum llmq_status run_pass(struct generator *d, const struct schedule *schedule,
                                 const struct batch *b, bool routes, llmq_error *err) {
    struct pass pass;
    stream_begin_pass(&d->stream, schedule);
    enum llmq_status status = stream_pass(&d->stream, &d->forward, schedule, b, &pass, err);
    if (status == LLMQ_OK && routes)
        routing_note(&d->routing, 0, batch_rows(b), pass_value(&pass, V_ROUTE));
    return status;
}

static enum llmq_status run_experts(struct generator *d, int64_t index, llmq_error *err) {
    const struct experts_source source = {
        .m = d->o.m, .mode = d->o.mode, .held = d->expert[index], .ctx = d->o.ctx};
    routing_sort(&d->routing);
    return experts_run_all(&d->experts, &source, &d->routing, err);
}

static enum llmq_status run_block(struct generator *d, int64_t index, const struct batch *b,
                                  llmq_error *err) {
    const struct way *way = &d->ways.of[d->o.m->blocks->kind_of[index]];
    const bool routes = d->expert[index] != NULL;
    enum llmq_status status = LLMQ_OK;
    d->stream.block = &d->blocks[index];
    d->carries[index].past = d->done;
    d->carries[index].length = d->count;
    d->forward.carry = &d->carries[index];
    LLMQ_TRY(run_pass(d, &way->before, b, routes, err));
    if (routes) {
        LLMQ_TRY(run_experts(d, index, err));
        LLMQ_TRY(run_pass(d, &way->after, b, false, err));
    }
cleanup:
    return status;
}

static enum llmq_status run_piece(struct generator *d, int64_t rows, llmq_error *err) {
    const struct model *m = d->o.m;
    const int64_t offsets[2] = {0, rows};
    const struct batch b = {offsets, 1};
    enum llmq_status status = LLMQ_OK;
    d->forward.ids = d->ids + d->done;
    d->routing.tokens = rows;
    stream_set_rows(&d->stream, rows);
    acts_set_width(&d->stream.acts[HOME_RESIDUAL], m->config.stream);
    LLMQ_TRY(model_embed_from(m, d->forward.ids, &b, d->done, stream_target(&d->stream, 0), err));
    for (int64_t i = 0; i < m->config.blocks; i++) {
        LLMQ_TRY(interrupt_check(d->o.ctx, err));
        LLMQ_TRY(run_block(d, i, &b, err));
    }
    memcpy(d->last, stream_target(&d->stream, rows - 1),
           (size_t)m->config.stream * sizeof *d->last);
    d->done += rows;
cleanup:
    return status;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static int64_t regime_of(const struct generator *d) {
    const struct model_config *c = &d->o.m->config;
    int64_t regime = 0;
    for (int local = 0; local < 2; local++) {
        const struct rope rope = rope_of(c, local);
        if (local == 0 || c->facts.traits & T_LOCAL_ROPE)
            regime += rope_regime(&rope, d->count);
    }
    return regime;
}

/* Where the frequencies are others, keys that were turned before are not those of this sequence. */
static void begin_again(struct generator *d) {
    const int64_t regime = regime_of(d);
    if (d->done > 0 && regime != d->regime) {
        d->repeated += d->done;
        d->done = 0;
        for (int64_t i = 0; i < d->o.m->config.blocks; i++)
            carry_begin(&d->carries[i]);
    }
    d->regime = regime;
}

enum llmq_status generator_read(struct generator *d, const int32_t *ids, int64_t count,
                                const float **logits, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (count < 1 || d->count + count > d->o.capacity)
        return error_set(err, LLMQ_E_USAGE,
                         "%" PRId64 " tokens behind %" PRId64 ": there is room for %" PRId64, count,
                         d->count, d->o.capacity);
    memcpy(d->ids + d->count, ids, (size_t)count * sizeof *ids);
    d->count += count;
    begin_again(d);
    while (d->done < d->count)
        LLMQ_TRY(run_piece(d, min_i64(d->forward.max_rows, d->count - d->done), err));
    LLMQ_TRY(model_final_norm(d->o.m, 1, d->last, err));
    head_panel_logits(&d->head, 1, d->last, d->logits);
    *logits = d->logits;
cleanup:
    return status;
}

int64_t generator_left(const struct generator *d) {
    return d->o.capacity - d->count;
}

int64_t generator_repeated(const struct generator *d) {
    return d->repeated;
}
