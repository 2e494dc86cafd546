/* SPDX-License-Identifier: Apache-2.0 */
/* See ways.h. */
#include "graph/ways.h"

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

static enum llmq_status plan_ways(const struct blocks *blocks, struct ways *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int kind = 0; kind < blocks->kind_count && status == LLMQ_OK; kind++) {
        const struct graph *g = &blocks->kinds[kind];
        struct way *way = &out->of[kind];
        if (g->body)
            status = experts_passes(g, &way->before, &way->after, err);
        else
            schedule_block(g, &way->before);
        if (status == LLMQ_OK)
            status = add_homes(g, &out->homes, err);
        out->width = max_i64(out->width, max_i64(way->before.width, way->after.width));
    }
    return status;
}

enum llmq_status ways_make(const struct blocks *blocks, struct ways *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct ways){.width = 0};
    LLMQ_TRY(plan_ways(blocks, out, err));
    LLMQ_TRY(experts_measure(blocks, value_set_of(V_E_OUT), &out->needs, err));
    out->width = max_i64(out->width, out->needs.scratch);
cleanup:
    return status;
}
