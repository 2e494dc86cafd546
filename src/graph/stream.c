/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of activations: see stream.h. */
#include "graph/stream.h"

#include "base/error.h"

static enum llmq_status create_home(const struct stream_size *size, int h, struct arena *arena,
                                    struct stream *s, llmq_error *err) {
    const int64_t width = size->homes.width[h];
    const bool kept = h <= size->homes.count;
    if (kept) {
        enum llmq_status status =
            acts_create(size->total, width, size->spill_dir, &s->acts[h], err);
        if (status != LLMQ_OK || !size->spill_dir)
            return status;
    }
    if (width == 0)
        return LLMQ_OK;
    s->buffer[h] = arena_alloc(arena, (size_t)size->max_rows * (size_t)width, sizeof(float), err);
    return s->buffer[h] ? LLMQ_OK : LLMQ_E_MEMORY;
}

enum llmq_status stream_create(const struct stream_size *size, struct arena *arena,
                               struct stream *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct stream){.homes = size->homes.count};
    for (int h = 1; h <= HOMES; h++)
        LLMQ_TRY(create_home(size, h, arena, out, err));
cleanup:
    if (status != LLMQ_OK)
        stream_free(out);
    return status;
}

void stream_free(struct stream *s) {
    for (int h = 1; h <= s->homes; h++)
        acts_free(&s->acts[h]);
    *s = (struct stream){0};
}

void stream_set_rows(struct stream *s, int64_t rows) {
    for (int h = 1; h <= s->homes; h++)
        s->acts[h].rows = rows;
}

float *stream_target(const struct stream *s, int64_t begin) {
    return acts_target(&s->acts[HOME_RESIDUAL], begin, s->buffer[HOME_RESIDUAL]);
}

enum llmq_status stream_put(const struct stream *s, int64_t begin, int64_t rows, const float *x,
                            llmq_error *err) {
    return acts_store(&s->acts[HOME_RESIDUAL], begin, rows, x, err);
}

/* Values that the pass makes and that are kept of all tokens. */
static bool is_kept(const struct stream *s, const struct schedule *schedule, int v) {
    return schedule->home[v] && schedule->home[v] <= s->homes &&
           value_set_has(schedule->wanted, v) && !value_set_has(schedule->given, v);
}

void stream_begin_pass(struct stream *s, const struct schedule *schedule) {
    for (int v = 0; v < V_COUNT; v++)
        if (is_kept(s, schedule, v))
            acts_set_width(&s->acts[schedule->home[v]], s->block->graph->width[v]);
}

/* Values that are given come from their homes. */
static enum llmq_status load(const struct stream *s, const struct pass *p, int64_t begin,
                             int64_t rows, llmq_error *err) {
    for (int v = 0; v < V_COUNT; v++) {
        const int h = p->schedule->home[v];
        float *unused = NULL;
        if (!value_set_has(p->schedule->given, v) || s->acts[h].data)
            continue;
        enum llmq_status status = acts_load(&s->acts[h], begin, rows, s->buffer[h], &unused, err);
        if (status != LLMQ_OK)
            return status;
    }
    tally_read(p->forward->tally, TALLY_SPILL, 0);
    return LLMQ_OK;
}

static enum llmq_status store(const struct stream *s, const struct pass *p, int64_t begin,
                              int64_t rows, llmq_error *err) {
    for (int v = 0; v < V_COUNT; v++) {
        if (!is_kept(s, p->schedule, v))
            continue;
        const int h = p->schedule->home[v];
        enum llmq_status status = acts_store(&s->acts[h], begin, rows, p->home[h], err);
        if (status != LLMQ_OK)
            return status;
    }
    tally_read(p->forward->tally, TALLY_SPILL, 0);
    return LLMQ_OK;
}

enum llmq_status stream_pass(struct stream *s, struct forward *forward,
                             const struct schedule *schedule, const struct batch *batch,
                             struct pass *out, llmq_error *err) {
    const int64_t begin = batch->offsets[0], rows = batch_rows(batch);
    enum llmq_status status = LLMQ_OK;
    *out =
        (struct pass){.forward = forward, .schedule = schedule, .block = s->block, .batch = batch};
    for (int h = 1; h <= HOMES; h++)
        out->home[h] = h <= s->homes ? acts_target(&s->acts[h], begin, s->buffer[h]) : s->buffer[h];
    LLMQ_TRY(load(s, out, begin, rows, err));
    LLMQ_TRY(pass_run(out, err));
    LLMQ_TRY(store(s, out, begin, rows, err));
cleanup:
    return status;
}
