/* SPDX-License-Identifier: Apache-2.0 */
/* See passes.h. */
#include "graph/passes.h"

#include "base/int64.h"

static void schedule_task(const struct graph *g, const struct graph_task *t, struct value_set kept,
                          struct homes *homes, struct schedule *out) {
    struct value_set wanted = value_set_with(schedule_kept(g, t->round), t->source);
    if (homes->of[t->source] == 0)
        homes->of[t->source] = HOME_SOURCE;
    if (t->stream != V_NONE) {
        wanted = value_set_with(wanted, t->stream);
        if (homes->of[t->stream] == 0)
            homes->of[t->stream] = HOME_STREAM;
    }
    schedule_make(g, kept, wanted, homes, out);
}

enum llmq_status passes_to_task(const struct graph *g, const struct graph_task *t,
                                struct value_set kept, struct schedule *out, llmq_error *err) {
    struct homes homes;
    enum llmq_status status = homes_of_rounds(g, &homes, err);
    if (status == LLMQ_OK)
        schedule_task(g, t, kept, &homes, out);
    return status;
}

enum llmq_status passes_to_end(const struct graph *g, struct value_set kept, struct schedule *out,
                               llmq_error *err) {
    struct homes homes;
    enum llmq_status status = homes_of_rounds(g, &homes, err);
    if (status == LLMQ_OK)
        schedule_make(g, kept, value_set_of(g->output), &homes, out);
    return status;
}

/* --- room ------------------------------------------------------------------------------------- */

static void widen(struct passes_needs *n, int home, int64_t width) {
    n->homes.width[home] = max_i64(n->homes.width[home], width);
}

/* The pass to the task, and that from its round to the end. */
static void measure_task(const struct graph *g, const struct graph_task *t, struct value_set kept,
                         const struct homes *homes, struct passes_needs *out) {
    struct homes mine = *homes;
    struct schedule s;
    schedule_task(g, t, kept, &mine, &s);
    out->width = max_i64(out->width, s.width);
    if (mine.of[t->source] == HOME_SOURCE)
        widen(out, HOME_SOURCE, g->width[t->source]);
    if (mine.of[t->stream] == HOME_STREAM)
        widen(out, HOME_STREAM, g->width[t->stream]);
    schedule_make(g, schedule_kept(g, t->round), value_set_of(g->output), homes, &s);
    out->width = max_i64(out->width, s.width);
}

static enum llmq_status measure_kind(const struct graph *g, struct passes_needs *out,
                                     llmq_error *err) {
    struct value_set kept = value_set_of(g->input);
    struct schedule s;
    struct homes homes;
    enum llmq_status status = homes_of_rounds(g, &homes, err);
    if (status != LLMQ_OK)
        return status;
    out->homes.count = homes.count > out->homes.count ? homes.count : out->homes.count;
    for (int h = 1; h <= homes.count; h++)
        widen(out, h, homes.width[h]);
    schedule_make(g, kept, value_set_of(g->output), &homes, &s);
    out->width = max_i64(out->width, s.width);
    for (int t = 0; t < g->task_count; t++) {
        measure_task(g, &g->task[t], kept, &homes, out);
        kept = schedule_kept(g, g->task[t].round);
    }
    return LLMQ_OK;
}

enum llmq_status passes_measure(const struct blocks *blocks, struct passes_needs *out,
                                llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct passes_needs){0};
    for (int kind = 0; status == LLMQ_OK && kind < blocks->kind_count; kind++)
        status = measure_kind(&blocks->kinds[kind], out, err);
    return status;
}
