/* SPDX-License-Identifier: Apache-2.0 */
/* See backward.h. */
#include "graph/backward.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "graph/acts.h"
#include "graph/columns.h"
#include "graph/way_back.h"

struct run {
    const struct backward_job *job;
    struct backward_result *out;
    struct way_room room;
    struct loss_head head;
    struct acts between; /* rows of border b, before block b, begin at b tokens */
    struct acts slopes;  /* the gradient towards the border that the way back has come to */
    struct arena *arena, *weights;
    float *x, *d, *normed, *stats; /* of a batch */
    int32_t *label;
    int64_t tokens;
};

static struct way_size size_of(const int64_t *offsets, int64_t count) {
    struct way_size size = {.max_rows = batch_max_rows(offsets, count, BACKWARD_ROWS)};
    for (int64_t i = 0; i < count; i++)
        size.max_length = max_i64(size.max_length, offsets[i + 1] - offsets[i]);
    return size;
}

/* --- room ------------------------------------------------------------------------------------- */

/* Entries of a row of a batch that `run` has buffers of. */
static int64_t row_entries(const struct model *m) {
    return 3 * m->config.stream + 2;
}

struct backward_bytes backward_bytes(const struct model *m, const int64_t *offsets, int64_t count,
                                     bool spilled) {
    const struct way_size size = size_of(offsets, count);
    const uint64_t row = (uint64_t)m->config.stream * sizeof(float);
    const uint64_t kept =
        (uint64_t)(offsets[count] - offsets[0]) * row * (uint64_t)(m->config.blocks + 2);
    uint64_t block = 0;
    for (int kind = 0; kind < m->blocks->kind_count; kind++)
        block = max_u64(block, block_bytes(&m->blocks->kinds[kind]));
    return (struct backward_bytes){
        .memory = way_room_bytes(m, &size) + loss_bytes(m, size.max_rows) + block +
                  (uint64_t)(size.max_rows * row_entries(m)) * sizeof(float) +
                  (uint64_t)size.max_rows * sizeof(int32_t) + (spilled ? 0 : kept),
        .file = spilled ? kept : 0};
}

static enum llmq_status create_buffers(struct run *r, int64_t rows, llmq_error *err) {
    const size_t stream = (size_t)r->job->m->config.stream, count = (size_t)rows;
    r->x = arena_alloc(r->arena, count * stream, sizeof *r->x, err);
    r->d = arena_alloc(r->arena, count * stream, sizeof *r->d, err);
    r->normed = arena_alloc(r->arena, count * stream, sizeof *r->normed, err);
    r->stats = arena_alloc(r->arena, 2 * count, sizeof *r->stats, err);
    r->label = arena_alloc(r->arena, count, sizeof *r->label, err);
    return r->x && r->d && r->normed && r->stats && r->label ? LLMQ_OK : LLMQ_E_MEMORY;
}

static enum llmq_status create(struct run *r, llmq_error *err) {
    const struct backward_job *job = r->job;
    const struct way_size size = size_of(job->offsets, job->count);
    const int64_t stream = job->m->config.stream, blocks = job->m->config.blocks;
    enum llmq_status status = LLMQ_OK;
    r->tokens = job->offsets[job->count] - job->offsets[0];
    LLMQ_TRY(arena_create("the way back", &r->arena, err));
    LLMQ_TRY(arena_create("a block", &r->weights, err));
    LLMQ_TRY(create_buffers(r, size.max_rows, err));
    LLMQ_TRY(way_room_create(job->m, &size, &r->room, err));
    LLMQ_TRY(loss_create(job->m, job->loss, size.max_rows, &r->head, err));
    LLMQ_TRY(acts_create(r->tokens * (blocks + 1), stream, job->spill_dir, &r->between, err));
    LLMQ_TRY(acts_create(r->tokens, stream, job->spill_dir, &r->slopes, err));
    r->room.forward.tally = r->room.body.tally = job->tally;
    r->room.forward.ids = job->ids;
cleanup:
    return status;
}

static void destroy(struct run *r) {
    acts_free(&r->between);
    acts_free(&r->slopes);
    loss_free(&r->head);
    way_room_free(&r->room);
    arena_free(&r->weights);
    arena_free(&r->arena);
}

/* --- rows of a batch -------------------------------------------------------------------------- */

/* The batch's first row in the stores, which begin with the first window. */
static int64_t place_of(const struct run *r, const struct batch *b) {
    return b->offsets[0] - r->job->offsets[0];
}

/* --- forth ------------------------------------------------------------------------------------ */

static bool next_batch(const struct run *r, struct batch *b) {
    return batch_next(r->job->offsets, r->job->count, BACKWARD_ROWS, b);
}

static enum llmq_status embed(struct run *r, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; status == LLMQ_OK && next_batch(r, &b);) {
        status = model_embed(r->job->m, r->job->ids, &b, r->x, err);
        if (status == LLMQ_OK)
            status = acts_write(&r->between, place_of(r, &b), batch_rows(&b), r->x, err);
    }
    return status;
}

static enum llmq_status batch_forth(struct run *r, const struct way *w, llmq_error *err) {
    const int64_t rows = batch_rows(w->batch);
    const int64_t at = w->block->index * r->tokens + place_of(r, w->batch);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(acts_read(&r->between, at, rows, r->x, err));
    LLMQ_TRY(way_forth(w, r->x, err));
    LLMQ_TRY(acts_write(&r->between, at + r->tokens, rows, r->x, err));
cleanup:
    return status;
}

static enum llmq_status block_forth(struct run *r, int64_t index, llmq_error *err) {
    struct block block = {0};
    struct batch batch = {0};
    const struct way w = {.room = &r->room, .block = &block, .batch = &batch};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(block_load(r->job->m, index, LOAD_PLAIN, r->weights, &block, err));
    while (next_batch(r, &batch))
        LLMQ_TRY(batch_forth(r, &w, err));
cleanup:
    block_release(&block);
    arena_reset(r->weights);
    return status;
}

/* --- the loss --------------------------------------------------------------------------------- */

/* The token that follows each, within its window. */
static void find_labels(const struct run *r, const struct batch *b) {
    for (int64_t i = 0; i < b->sequences; i++)
        for (int64_t t = b->offsets[i]; t < b->offsets[i + 1]; t++)
            r->label[t - b->offsets[0]] = t + 1 < b->offsets[i + 1] ? r->job->ids[t + 1] : -1;
}

static enum llmq_status check_loss(const double *loss, int64_t rows, llmq_error *err) {
    for (int64_t i = 0; i < rows; i++)
        if (!isfinite(loss[i])) {
            (void)error_set(err, LLMQ_E_NUMERIC,
                            "the loss is not finite: weights are not, or the model's activations "
                            "overflow");
            error_hint(err, "llmq verify names the weights that are not finite");
            return LLMQ_E_NUMERIC;
        }
    return LLMQ_OK;
}

static enum llmq_status batch_loss(struct run *r, const struct batch *b, llmq_error *err) {
    const struct model *m = r->job->m;
    const int64_t rows = batch_rows(b), at = place_of(r, b);
    double *loss = r->out->loss + at;
    enum llmq_status status = LLMQ_OK;
    const struct loss_rows tokens = {b->offsets[0], rows, r->label, r->normed, r->d, loss};
    const struct norm_back norm = {
        r->x, r->d, r->normed, r->stats, r->out->final_norm, r->out->final_bias};
    find_labels(r, b);
    LLMQ_TRY(acts_read(&r->between, m->config.blocks * r->tokens + at, rows, r->x, err));
    memcpy(r->normed, r->x, (size_t)(rows * m->config.stream) * sizeof *r->x);
    LLMQ_TRY(model_final_norm(m, rows, r->normed, err));
    columns_resize(rows, m->config.stream, m->config.hidden, r->x);
    LLMQ_TRY(loss_back(&r->head, &tokens, err));
    LLMQ_TRY(check_loss(loss, rows, err));
    LLMQ_TRY(model_final_norm_back(m, rows, &norm, err));
    columns_resize(rows, m->config.hidden, m->config.stream, r->normed);
    LLMQ_TRY(acts_write(&r->slopes, at, rows, r->normed, err));
    tally_read(r->job->tally, TALLY_LINEAR, 0);
cleanup:
    return status;
}

static enum llmq_status all_losses(struct run *r, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const size_t bytes = (size_t)r->job->m->config.hidden * sizeof(double);
    if (r->out->final_norm)
        memset(r->out->final_norm, 0, bytes);
    if (r->out->final_bias)
        memset(r->out->final_bias, 0, bytes);
    for (struct batch b = {0}; status == LLMQ_OK && next_batch(r, &b);)
        status = batch_loss(r, &b, err);
    return status;
}

/* --- back ------------------------------------------------------------------------------------- */

static enum llmq_status batch_back(struct run *r, const struct way *w, llmq_error *err) {
    const int64_t rows = batch_rows(w->batch), at = place_of(r, w->batch);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(acts_read(&r->between, w->block->index * r->tokens + at, rows, r->x, err));
    LLMQ_TRY(acts_read(&r->slopes, at, rows, r->d, err));
    LLMQ_TRY(way_back(w, r->x, r->d, err));
    LLMQ_TRY(acts_write(&r->slopes, at, rows, r->d, err));
cleanup:
    return status;
}

static enum llmq_status block_back(struct run *r, int64_t index, llmq_error *err) {
    const struct slope_taps *taps = &r->job->taps;
    struct param_sums params[GRAPH_NODES];
    struct block block = {0};
    struct batch batch = {0};
    const struct way w = {.room = &r->room,
                          .block = &block,
                          .batch = &batch,
                          .taps = taps,
                          .params = taps->param ? params : NULL};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(block_load(r->job->m, index, LOAD_PLAIN, r->weights, &block, err));
    LLMQ_TRY(way_params_create(block.graph, r->weights, params, err));
    while (next_batch(r, &batch))
        LLMQ_TRY(batch_back(r, &w, err));
    LLMQ_TRY(way_params_show(&block, params, taps, err));
cleanup:
    block_release(&block);
    arena_reset(r->weights);
    return status;
}

static enum llmq_status all_blocks(struct run *r, bool back, llmq_error *err) {
    const int64_t blocks = r->job->m->config.blocks;
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; status == LLMQ_OK && i < blocks; i++) {
        const int64_t index = back ? blocks - 1 - i : i;
        log_progress(r->job->ctx, (back ? blocks : 0) + i, 2 * blocks, "%s, block %lld/%lld",
                     back ? "back" : "forth", (long long)index + 1, (long long)blocks);
        status = interrupt_check(r->job->ctx, err);
        if (status == LLMQ_OK)
            status = back ? block_back(r, index, err) : block_forth(r, index, err);
    }
    return status;
}

enum llmq_status backward_run(const struct backward_job *job, struct backward_result *out,
                              llmq_error *err) {
    struct run r = {.job = job, .out = out};
    r.between.file.fd = r.slopes.file.fd = -1;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(create(&r, err));
    LLMQ_TRY(embed(&r, err));
    LLMQ_TRY(all_blocks(&r, false, err));
    LLMQ_TRY(all_losses(&r, err));
    LLMQ_TRY(all_blocks(&r, true, err));
    if (out->embedding)
        LLMQ_TRY(acts_read(&r.slopes, 0, r.tokens, out->embedding, err));
cleanup:
    destroy(&r);
    return status;
}
