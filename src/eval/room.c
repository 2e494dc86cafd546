/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of an evaluation: see room.h. It counts what hidden.c and head.c allocate. */
#include "eval/room.h"

#include "base/int64.h"
#include "eval/head.h"
#include "graph/loading.h"
#include "graph/ways.h"

/* The largest block, and the largest expert beside it. */
static uint64_t weights_bytes(const struct eval_job *job) {
    const struct model *m = job->m;
    uint64_t block = 0, expert = 0;
    for (int64_t i = 0; i < m->config.blocks; i++) {
        block = max_u64(block, loading_bytes(m, i, -1, job->numbers.mode));
        if (model_graph(m, i)->body)
            expert = max_u64(expert, loading_bytes(m, i, 0, job->numbers.mode));
    }
    return block + expert;
}

static uint64_t rows_bytes(int64_t rows, int64_t width) {
    return (uint64_t)rows * (uint64_t)width * sizeof(float);
}

enum llmq_status eval_room(const struct eval_job *job, struct eval_room *out, llmq_error *err) {
    const struct model *m = job->m;
    const int64_t tokens = job->corpus->tokens_used, *dims = m->config.facts.dims;
    struct ways ways;
    enum llmq_status status = ways_make(m->blocks, &ways, err);
    if (status != LLMQ_OK)
        return status;
    const struct forward_size size = walk_size(job, ways.width);
    *out = (struct eval_room){
        .blocks = weights_bytes(job) + forward_bytes(&m->config, m->blocks, &size),
        .hidden = rows_bytes(tokens, ways.homes.width[HOME_RESIDUAL]),
        .head = head_bytes(m, job->corpus) + loading_head_bytes(m),
    };
    for (int h = 1; h <= ways.homes.count; h++) {
        out->stream += rows_bytes(tokens, ways.homes.width[h]);
        out->batch += rows_bytes(size.max_rows, ways.homes.width[h]);
    }
    for (int h = ways.homes.count + 1; h <= HOMES; h++)
        out->blocks += rows_bytes(size.max_rows, ways.homes.width[h]);
    if (ways.needs.sum)
        out->blocks += routing_bytes(tokens, dims[DIM_EXPERTS], dims[DIM_TOP_K]) +
                       experts_bytes(&ways.needs, max_i64(size.max_rows, 1));
    if (ways.needs.sum && job->divided)
        out->blocks +=
            experts_exchange_bytes(&ways.needs, tokens, dims[DIM_EXPERTS], dims[DIM_TOP_K]);
    return LLMQ_OK;
}

uint64_t eval_room_peak(const struct eval_room *rooms, int count, bool spill) {
    uint64_t peak = 0, held = 0, heads = 0;
    for (int i = 0; i < count; i++) {
        const struct eval_room *r = &rooms[i];
        peak = max_u64(peak, held + r->blocks + (spill ? r->batch : r->stream));
        held += spill ? 0 : r->hidden;
        heads += r->head;
    }
    return max_u64(peak, held + heads);
}
