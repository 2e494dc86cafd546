/* SPDX-License-Identifier: Apache-2.0 */
/* What several ranks will send each other: see calib.h. In the order of accumulate.c, which sends
 * it. */
#include "base/int64.h"
#include "calib/calib_private.h"
#include "graph/experts.h"
#include "ranks/ranks.h"

int64_t calib_most_tokens(const struct calib_tokens *all, int ranks) {
    return share_most_tokens(all, ranks);
}

static void count_sum(const struct calib_part *part, int64_t m, int64_t n, bool triangle,
                      struct ranks_traffic *sent) {
    const struct linalg_sum shape = {m, n, triangle};
    share_count(part, &shape, sent);
}

/* W D of each linear by itself. */
static void count_multiplied(const struct calib_part *part, const struct graph *g,
                             const struct graph_task *t, struct ranks_traffic *sent) {
    for (int i = 0; i < g->count; i++)
        if (t->nodes >> i & 1)
            count_sum(part, g->node[i].width[0], g->width[t->source], false, sent);
}

void calib_count_task(const struct calib_part *part, const struct graph *g,
                      const struct graph_task *t, bool pair, struct ranks_traffic *sent) {
    const int64_t k = g->width[t->source], n = g->width[t->stream];
    count_sum(part, k, k, true, sent);
    share_count_held(part, k, sent);
    if (!pair)
        return;
    if (calib_multiplies(g, t))
        count_multiplied(part, g, t, sent);
    else
        count_sum(part, k, k, false, sent);
    share_count_held(part, k, sent);
    if (t->stream == V_NONE)
        return;
    count_sum(part, n, k, false, sent);
    share_count_held(part, n, sent);
}

int64_t calib_own_experts(const struct calib_part *part, int64_t experts, int64_t asked) {
    const int64_t left = max_i64(0, experts - asked);
    return (left + part->ranks - 1 - part->rank) / part->ranks;
}

/* Routes and what experts read to all; what they make to the ranks that have the tokens. */
enum llmq_status calib_count_experts(const struct calib_part *part, const struct graph *g,
                                     const struct calib_tokens *all, int64_t asked, bool pair,
                                     struct ranks_traffic *sent, llmq_error *err) {
    const int64_t experts = g->facts.dims[DIM_EXPERTS], top_k = g->facts.dims[DIM_TOP_K];
    const int64_t own = calib_own_experts(part, experts, asked), others = part->ranks - 1;
    const double rows = (double)calib_total_tokens(all) * (double)top_k / (double)experts;
    const int64_t width = g->body->width[g->body->output], streams = pair ? 2 : 1;
    struct experts_reading read;
    const enum llmq_status status = experts_measure_reading(g, &read, err);
    if (status != LLMQ_OK)
        return status;
    const int64_t floats = part->tokens * (2 * top_k + read.width);
    const double made = (double)(own * width) * rows / part->ranks;
    sent->messages += (uint64_t)(streams * others * (part->batches * (2 + read.homes) + own));
    sent->bytes += (uint64_t)(streams * others) *
                   ((uint64_t)floats * sizeof(float) + (uint64_t)(made * sizeof(float)));
    return LLMQ_OK;
}

void calib_count_head(const struct calib_part *part, int64_t hidden, struct ranks_traffic *sent) {
    count_sum(part, hidden, hidden, true, sent);
    share_count_held(part, hidden, sent);
}
