/* SPDX-License-Identifier: Apache-2.0 */
/* See expert_parts.h.
 *
 * All ranks get the choices of all tokens and what experts read, 4 w bytes a token of width w. Then
 * experts have their turn R at a time. An expert's list of rows ascends, and a rank's tokens lie
 * one behind the other: what it makes for each rank is a slice of its rows. A round's slices are
 * exchanged together, 4 h bytes for each of a token's experts, h of the stream, and added in the
 * order of the experts, as one rank adds them. */
#include "eval/expert_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "graph/block.h"
#include "ranks/ranks.h"

/* What runs through all rounds. */
struct turns {
    const struct parts *parts;
    struct experts *x;
    const struct experts_source *source;
    const struct routing *routing;
    struct ranks_piece *with; /* [ranks] */
    int64_t width;            /* of what an expert makes */
};

/* --- what experts read ------------------------------------------------------------------------ */

static enum llmq_status gather_choices(const struct parts *p, struct routing *r,
                                       const llmq_context *ctx, llmq_error *err) {
    const size_t k = (size_t)r->top_k;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(parts_gather(p, r->expert, k * sizeof *r->expert, ctx, err));
    LLMQ_TRY(parts_gather(p, r->unsorted, k * sizeof *r->unsorted, ctx, err));
    routing_sort(r);
cleanup:
    return status;
}

static enum llmq_status gather_inputs(const struct turns *t, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int h = 1; h <= HOMES && status == LLMQ_OK; h++)
        if (experts_read_home(t->x, h))
            status = parts_gather_rows(t->parts, &t->x->stream->acts[h], t->source->ctx, err);
    return status;
}

/* --- a round ---------------------------------------------------------------------------------- */

/* Rows of an expert's list, from its first on. */
struct slice {
    int64_t first, count;
};

/* How many of an expert's rows are of tokens before this one. */
static int64_t rows_before(const struct routing *r, int64_t expert, int64_t token) {
    int64_t low = r->offsets[expert], high = r->offsets[expert + 1];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (r->row[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low - r->offsets[expert];
}

/* The rows of an expert that are of a rank's tokens; of one beyond the last there are none. */
static struct slice slice_of(const struct turns *t, int64_t expert, int rank) {
    const int64_t *begin = t->parts->begin + rank;
    if (expert >= t->routing->experts)
        return (struct slice){0, 0};
    const int64_t first = rows_before(t->routing, expert, begin[0]);
    return (struct slice){first, rows_before(t->routing, expert, begin[1]) - first};
}

static int64_t row_count(const struct routing *r, int64_t expert) {
    return expert < r->experts ? r->offsets[expert + 1] - r->offsets[expert] : 0;
}

/* What a loaded expert makes of all its rows, into out [rows, width]. */
static enum llmq_status run_rows(const struct turns *t, const struct block *expert, int64_t number,
                                 float *out, llmq_error *err) {
    struct schedule schedule;
    struct pass pass;
    enum llmq_status status = LLMQ_OK;
    experts_schedule(expert->graph, expert->graph->output, &schedule);
    for (struct row_list rows = {0};
         routing_next(t->routing, number, experts_rows(t->x->forward), &rows);) {
        const size_t count = (size_t)(rows.count * t->width);
        LLMQ_TRY(experts_run(t->x, expert, &schedule, &rows, &pass, err));
        memcpy(out, pass_value(&pass, expert->graph->output), count * sizeof *out);
        out += count;
    }
cleanup:
    return status;
}

static enum llmq_status run_expert(const struct turns *t, int64_t number, float *out,
                                   llmq_error *err) {
    const struct experts_source *s = t->source;
    struct block expert = {0};
    enum llmq_status status = LLMQ_OK;
    if (row_count(t->routing, number) == 0)
        return LLMQ_OK;
    status = expert_load(s->m, t->x->stream->block->index, number, s->mode, s->arena, &expert, err);
    if (status == LLMQ_OK)
        status = run_rows(t, &expert, number, out, err);
    block_release(&expert);
    arena_reset(s->arena);
    return status;
}

/* Add y, of a slice of an expert's rows, to the sums. */
static enum llmq_status add_slice(const struct turns *t, int64_t expert, struct slice slice,
                                  const float *y, llmq_error *err) {
    const struct routing *r = t->routing;
    if (slice.count == 0)
        return LLMQ_OK;
    const int64_t place = r->offsets[expert] + slice.first;
    const struct row_list rows = {r->row + place, r->weight + place, slice.count};
    return experts_add(t->x, &rows, y, err);
}

/* Where each rank's slices lie in what goes out and comes in. */
static void place_slices(const struct turns *t, int64_t first, float *out, float *in) {
    const int own = llmq_ranks_own();
    const size_t row = (size_t)t->width * sizeof *out;
    for (int q = 0; q < llmq_ranks_count(); q++) {
        const struct slice theirs = slice_of(t, first + own, q), ours = slice_of(t, first + q, own);
        t->with[q] = (struct ranks_piece){.out = out + theirs.first * t->width,
                                          .out_bytes = (size_t)theirs.count * row,
                                          .in = in,
                                          .in_bytes = (size_t)ours.count * row};
        in += ours.count * t->width;
    }
}

/* The experts from `first` on, one for each rank. */
static enum llmq_status run_round(const struct turns *t, int64_t first, llmq_error *err) {
    const int own = llmq_ranks_own(), ranks = llmq_ranks_count();
    int64_t coming = 0;
    for (int q = 0; q < ranks; q++)
        coming += slice_of(t, first + q, own).count;
    const size_t sent = (size_t)(row_count(t->routing, first + own) * t->width);
    float *out = malloc((sent + 1) * sizeof *out);
    float *in = malloc((size_t)(coming * t->width + 1) * sizeof *in);
    enum llmq_status status = LLMQ_OK;
    if (!out || !in)
        LLMQ_TRY(error_memory(err, "what experts make of their tokens"));
    LLMQ_TRY(run_expert(t, first + own, out, err));
    place_slices(t, first, out, in);
    LLMQ_TRY(ranks_exchange(t->with, t->source->ctx, err));
    for (int q = 0; q < ranks; q++)
        LLMQ_TRY(add_slice(t, first + q, slice_of(t, first + q, own), t->with[q].in, err));
cleanup:
    free(out);
    free(in);
    return status;
}

/* --- all -------------------------------------------------------------------------------------- */

enum llmq_status expert_parts_run(const struct parts *p, struct experts *x,
                                  const struct experts_source *source, struct routing *routing,
                                  llmq_error *err) {
    const int ranks = llmq_ranks_count();
    struct turns t = {.parts = p, .x = x, .source = source, .routing = routing};
    enum llmq_status status = LLMQ_OK;
    if (!p->begin) {
        routing_sort(routing);
        return experts_run_all(x, source, routing, err);
    }
    t.with = calloc((size_t)ranks, sizeof *t.with);
    if (!t.with)
        return error_memory(err, "an exchange between ranks");
    LLMQ_TRY(gather_choices(p, routing, source->ctx, err));
    LLMQ_TRY(experts_begin(x, err));
    LLMQ_TRY(gather_inputs(&t, err));
    t.width = x->store->width;
    for (int64_t first = 0; first < routing->experts; first += ranks) {
        LLMQ_TRY(interrupt_check(source->ctx, err));
        LLMQ_TRY(run_round(&t, first, err));
    }
cleanup:
    free(t.with);
    return status;
}
