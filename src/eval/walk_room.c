/* See walk_room.h. */
#include "eval/walk_room.h"

#include "base/error.h"
#include "base/int64.h"

/* A block without experts needs the residual stream alone. */
static enum llmq_status add_homes(const struct graph *g, struct homes *out, llmq_error *err) {
    struct homes homes = {.count = HOME_RESIDUAL};
    enum llmq_status status = LLMQ_OK;
    homes.width[HOME_RESIDUAL] = g->width[g->input];
    if (g->body)
        status = homes_of_rounds(g, &homes, err);
    out->count = homes.count > out->count ? homes.count : out->count;
    for (int h = 1; h <= homes.count; h++)
        out->width[h] = max_i64(out->width[h], homes.width[h]);
    return status;
}

static enum llmq_status plan_ways(const struct blocks *blocks, struct walk_room *out,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int kind = 0; kind < blocks->kind_count && status == LLMQ_OK; kind++) {
        const struct graph *g = &blocks->kinds[kind];
        struct way *way = &out->ways[kind];
        if (g->body)
            status = experts_passes(g, &way->before, &way->after, err);
        else
            schedule_block(g, &way->before);
        if (status == LLMQ_OK)
            status = add_homes(g, &out->homes, err);
        out->size.width = max_i64(out->size.width, max_i64(way->before.width, way->after.width));
    }
    return status;
}

enum llmq_status walk_room_measure(const struct eval_job *job, struct walk_room *out,
                                   llmq_error *err) {
    const struct corpus *corpus = job->corpus;
    const struct blocks *blocks = job->m->blocks;
    enum llmq_status status = LLMQ_OK;
    *out = (struct walk_room){
        .size = {.max_rows = batch_max_rows(corpus->offsets, corpus->count, BATCH_ROWS),
                 .max_length = corpus->max_len,
                 .compute = job->numbers.compute}};
    LLMQ_TRY(plan_ways(blocks, out, err));
    LLMQ_TRY(experts_measure(blocks, value_set_of(V_E_OUT), &out->needs, err));
    out->size.width = max_i64(out->size.width, out->needs.scratch);
cleanup:
    return status;
}
