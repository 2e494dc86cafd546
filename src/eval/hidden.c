/* Blocks over a corpus, one after the other: see hidden.h. */
#include "eval/hidden.h"

#include <inttypes.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "graph/pass.h"

/* What running the blocks needs beside the residual stream. */
struct workspace {
    struct forward forward;
    struct arena *weights;
    struct schedule kinds[BLOCKS_MAX_KINDS];
};

static enum llmq_status workspace_create(const struct eval_job *job, struct workspace *ws,
                                         llmq_error *err) {
    const struct blocks *blocks = job->m->blocks;
    const struct corpus *corpus = job->corpus;
    struct forward_size size = {
        .max_rows = batch_max_rows(corpus->offsets, corpus->count, BATCH_ROWS),
        .max_length = corpus->max_len,
        .compute = job->numbers.compute,
    };
    enum llmq_status status = LLMQ_OK;
    *ws = (struct workspace){0};
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        schedule_block(&blocks->kinds[kind], &ws->kinds[kind]);
        size.width = max_i64(size.width, ws->kinds[kind].width);
    }
    LLMQ_TRY(forward_create(&job->m->config, blocks, &size, &ws->forward, err));
    LLMQ_TRY(arena_create("a block's weights", &ws->weights, err));
cleanup:
    return status;
}

static void workspace_free(struct workspace *ws) {
    forward_free(&ws->forward);
    arena_free(&ws->weights);
}

static enum llmq_status run_block(const struct eval_job *job, int64_t index, struct workspace *ws,
                                  struct acts *x, llmq_error *err) {
    const struct corpus *corpus = job->corpus;
    enum llmq_status status = LLMQ_OK;
    struct block block = {0};
    struct pass pass = {.forward = &ws->forward,
                        .schedule = &ws->kinds[job->m->blocks->kind_of[index]],
                        .block = &block};
    LLMQ_TRY(block_load(job->m, index, job->numbers.mode, ws->weights, &block, err));
    for (struct batch b = {0}; batch_next(corpus->offsets, corpus->count, BATCH_ROWS, &b);) {
        LLMQ_TRY(interrupt_check(job->ctx, err));
        pass.batch = &b;
        LLMQ_TRY(acts_load(x, b.offsets[0], batch_rows(&b), NULL, &pass.home[1], err));
        LLMQ_TRY(pass_run(&pass, err));
    }
cleanup:
    block_release(&block);
    arena_reset(ws->weights);
    return status;
}

enum llmq_status eval_hidden(const struct eval_job *job, struct acts *out, llmq_error *err) {
    const struct corpus *corpus = job->corpus;
    const struct batch all = {corpus->offsets, corpus->count};
    int64_t blocks = job->m->config.blocks;
    struct workspace ws = {0};
    enum llmq_status status = LLMQ_OK;
    status = acts_create(corpus->tokens_used, job->m->config.hidden, NULL, out, err);
    if (status != LLMQ_OK) {
        error_hint(err, "read fewer tokens: --max-tokens %" PRId64, corpus->tokens_used / 2);
        goto cleanup;
    }
    LLMQ_TRY(workspace_create(job, &ws, err));
    LLMQ_TRY(model_embed(job->m, corpus->ids, &all, out->data, err));
    for (int64_t i = 0; i < blocks; i++) {
        log_progress(job->ctx, job->done + i, job->total, "%sblock %" PRId64 "/%" PRId64, job->name,
                     i + 1, blocks);
        LLMQ_TRY(run_block(job, i, &ws, out, err));
    }
    LLMQ_TRY(model_final_norm(job->m, out->rows, out->data, err));
cleanup:
    workspace_free(&ws);
    return status;
}
