/* SPDX-License-Identifier: Apache-2.0 */
/* Doing a block twice, and looking at it in between: see calib.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "calib/calib_private.h"
#include "graph/passes.h"

enum llmq_status calib_keep_start(struct calib *c, const char *spill_dir, llmq_error *err) {
    c->folds = true;
    return acts_create(calib_total_tokens(&c->share.own), c->m->config.stream, spill_dir, &c->start,
                       err);
}

/* Through the batch buffer when the stores are files. */
static enum llmq_status copy_acts(struct calib *c, const struct acts *from, const struct acts *to,
                                  llmq_error *err) {
    const int64_t rows = batch_max_rows(c->tokens->offsets, c->tokens->count, BATCH_ROWS);
    return acts_copy(from, to, rows, c->quantized.buffer[HOME_RESIDUAL], err);
}

enum llmq_status calib_mark_start(struct calib *c, llmq_error *err) {
    c->looking = true;
    return copy_acts(c, &c->quantized.acts[HOME_RESIDUAL], &c->start, err);
}

enum llmq_status calib_rewind(struct calib *c, llmq_error *err) {
    c->looking = false;
    calib_start_over(c);
    struct acts *x = &c->quantized.acts[HOME_RESIDUAL];
    acts_set_width(x, c->start.width);
    return copy_acts(c, &c->start, x, err);
}

/* All rows of a store divided by scales, batch by batch. */
static enum llmq_status divide_rows(struct calib *c, int home, const float *columns,
                                    llmq_error *err) {
    const struct acts *acts = &c->quantized.acts[home];
    enum llmq_status status = LLMQ_OK;
    for (int64_t b = 0; b < c->share.count; b++) {
        const struct batch *own = &c->share.batch[b].own;
        float *x = NULL;
        if (own->sequences == 0)
            continue;
        const int64_t begin = own->offsets[0], rows = batch_rows(own);
        LLMQ_TRY(acts_load(acts, begin, rows, c->quantized.buffer[home], &x, err));
        for (int64_t i = 0; i < rows * acts->width; i++)
            x[i] /= columns[i % acts->width];
        LLMQ_TRY(acts_store(acts, begin, rows, x, err));
    }
cleanup:
    return status;
}

enum llmq_status calib_fold_kept(struct calib *c, const struct graph_fold *fold,
                                 const float *scales, llmq_error *err) {
    const struct graph *g = c->block->graph;
    struct homes homes;
    enum llmq_status status = homes_of_rounds(g, &homes, err);
    for (int step = 0; status == LLMQ_OK && step < fold->path_count; step++) {
        const enum value v = fold->path[step];
        if (!value_set_has(c->kept, (int)v))
            continue;
        float *columns = malloc((size_t)g->width[v] * sizeof *columns);
        if (!columns)
            return error_memory(err, "the scales of what is kept");
        graph_fold_spread(g, fold, step, scales, columns);
        status = divide_rows(c, homes.of[v], columns, err);
        free(columns);
    }
    return status;
}

int64_t calib_probe_rows(const struct calib *c) {
    const struct share_batch *b = share_step(&c->share, 0);
    return b ? batch_rows(&b->own) : 0;
}

/* The block on the first batch, which lies in `out`, in place: no store is changed but those that
 * are not in use between blocks. */
static enum llmq_status probe_plain(struct calib *c, const struct batch *b, float *out,
                                    llmq_error *err) {
    struct stream *s = &c->quantized;
    struct schedule schedule;
    const struct graph *g = s->block->graph;
    enum llmq_status status = passes_to_end(g, value_set_of(g->input), &schedule, err);
    if (status != LLMQ_OK)
        return status;
    struct pass p = {.forward = &c->forward, .schedule = &schedule, .block = s->block, .batch = b};
    p.home[HOME_RESIDUAL] = out;
    for (int h = HOME_RESIDUAL + 1; h <= s->homes; h++)
        p.home[h] = acts_target(&s->acts[h], 0, s->buffer[h]);
    return pass_run(&p, err);
}

enum llmq_status calib_probe(struct calib *c, float *in, float *out, llmq_error *err) {
    struct stream *s = &c->quantized;
    const struct share_batch *first = share_step(&c->share, 0);
    enum llmq_status status = LLMQ_OK;
    float *x = NULL;
    if (!first)
        return LLMQ_OK;
    const struct batch b = first->own;
    const size_t bytes = (size_t)(batch_rows(&b) * c->start.width) * sizeof *x;
    LLMQ_TRY(acts_load(&c->start, 0, batch_rows(&b), s->buffer[HOME_RESIDUAL], &x, err));
    memmove(in, x, bytes);
    memmove(out, x, bytes);
    const enum llmq_compute compute = c->forward.compute;
    /* What is compared differs by less than bfloat16 rounds. */
    c->forward.compute = LLMQ_COMPUTE_F32;
    status =
        c->block->graph->body ? expert_turn_probe(c, &b, out, err) : probe_plain(c, &b, out, err);
    c->forward.compute = compute;
cleanup:
    return status;
}

uint64_t calib_start_bytes(const struct model *m, const struct calib_tokens *tokens, int ranks) {
    return (uint64_t)share_most_tokens(tokens, ranks) * (uint64_t)m->config.stream * sizeof(float);
}

enum llmq_status calib_residual(const struct calib *c, float *out, llmq_error *err) {
    const struct acts *x = &c->quantized.acts[HOME_RESIDUAL];
    return acts_read(x, 0, x->rows, out, err);
}
