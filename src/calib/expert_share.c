/* SPDX-License-Identifier: Apache-2.0 */
/* The experts of a block over several ranks: see experts.h.
 *
 * An expert is done by one rank, whole: its rows are of all ranks' tokens, in the same pieces as
 * with one rank, and so its moments, codes and outputs have the same bits. For that all ranks get
 * what experts read, of all tokens, once a block: with R ranks each token has most of them among
 * its experts' owners anyway. 4 w bytes a token of width w, for each stream.
 *
 * What an expert makes of a token goes back to the rank that has it. Experts have their turn R at a
 * time; a round's outputs are exchanged together and added in the order of the experts, as one rank
 * adds them. 4 h bytes for each token and expert, h of the stream, of R experts at a time. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "calib/calib_private.h"
#include "ranks/ranks.h"

/* --- room ------------------------------------------------------------------------------------- */

enum llmq_status expert_share_create(const struct expert_room *room, const char *spill_dir,
                                     struct expert_side *side, llmq_error *err) {
    struct stream *whole = &side->whole;
    enum llmq_status status = LLMQ_OK;
    if (llmq_ranks_count() == 1)
        return LLMQ_OK;
    for (int h = 1; h <= HOMES_KEPT && status == LLMQ_OK; h++) {
        status = acts_create(room->tokens, room->needs.home[h], spill_dir, &whole->acts[h], err);
        whole->homes = h;
    }
    side->experts.stream = whole;
    return status;
}

uint64_t expert_share_bytes(const struct expert_room *room) {
    int64_t width = 0;
    for (int h = 1; h <= HOMES_KEPT; h++)
        width += room->needs.home[h];
    return (uint64_t)room->tokens * (uint64_t)width * sizeof(float);
}

uint64_t expert_share_buffers(const struct expert_room *room) {
    return room->experts == 0
               ? 0
               : experts_exchange_bytes(&room->needs, room->tokens, room->experts, room->top_k);
}

/* --- what experts read ------------------------------------------------------------------------ */

/* The first token of the batch that rank r has in a step; behind the last: of all. */
static int64_t step_begin(const struct share *s, int64_t step, int r) {
    const int64_t at = step * llmq_ranks_count() + r;
    return at < s->count ? s->batch[at].whole.offsets[0] : calib_total_tokens(s->all);
}

/* Entries of a step's tokens, which lie at `entries` one behind the other, `bytes` each. */
static enum llmq_status gather_step(const struct share *s, int64_t step, void *entries,
                                    size_t bytes, const llmq_context *ctx, llmq_error *err) {
    const int ranks = llmq_ranks_count();
    size_t *begin = calloc((size_t)ranks + 1, sizeof *begin);
    if (!begin)
        return error_memory(err, "an exchange between ranks");
    for (int r = 0; r <= ranks; r++)
        begin[r] = (size_t)(step_begin(s, step, r) - step_begin(s, step, 0)) * bytes;
    const enum llmq_status status = ranks_gather(entries, begin, ctx, err);
    free(begin);
    return status;
}

static enum llmq_status gather_routes(const struct calib *c, struct routing *r, llmq_error *err) {
    const struct share *s = &c->share;
    enum llmq_status status = LLMQ_OK;
    for (int64_t step = 0; step < s->steps; step++) {
        const int64_t at = step_begin(s, step, 0) * r->top_k;
        const size_t count = (size_t)r->top_k;
        LLMQ_TRY(gather_step(s, step, r->expert + at, count * sizeof *r->expert, c->ctx, err));
        LLMQ_TRY(gather_step(s, step, r->unsorted + at, count * sizeof *r->unsorted, c->ctx, err));
    }
cleanup:
    return status;
}

/* One step of a home: `buf` is for its rows where they lie in a file. */
static enum llmq_status gather_rows(const struct calib *c, int64_t step, const struct acts *own,
                                    const struct acts *whole, float *buf, llmq_error *err) {
    const struct share *s = &c->share;
    const struct share_batch *b = share_step(s, step);
    const int64_t begin = step_begin(s, step, 0);
    const int64_t rows = step_begin(s, step, llmq_ranks_count()) - begin, width = own->width;
    float *x = acts_target(whole, begin, buf);
    enum llmq_status status = LLMQ_OK;
    if (b)
        LLMQ_TRY(acts_read(own, b->own.offsets[0], batch_rows(&b->own),
                           x + (b->whole.offsets[0] - begin) * width, err));
    LLMQ_TRY(gather_step(s, step, x, (size_t)width * sizeof *x, c->ctx, err));
    LLMQ_TRY(acts_store(whole, begin, rows, x, err));
cleanup:
    return status;
}

static enum llmq_status gather_home(const struct calib *c, const struct acts *own,
                                    struct acts *whole, llmq_error *err) {
    const struct share *s = &c->share;
    enum llmq_status status = LLMQ_OK;
    int64_t most = 0;
    float *buf = NULL;
    acts_set_width(whole, own->width);
    for (int64_t step = 0; step < s->steps; step++)
        most = max_i64(most, step_begin(s, step, llmq_ranks_count()) - step_begin(s, step, 0));
    if (!whole->data)
        buf = malloc((size_t)(most * own->width) * sizeof *buf);
    if (!whole->data && !buf)
        return error_memory(err, "an exchange between ranks");
    for (int64_t step = 0; step < s->steps && status == LLMQ_OK; step++)
        status = gather_rows(c, step, own, whole, buf, err);
    free(buf);
    return status;
}

enum llmq_status expert_share_routes(const struct calib *c, struct expert_side *side,
                                     llmq_error *err) {
    return llmq_ranks_count() > 1 ? gather_routes(c, &side->routing, err) : LLMQ_OK;
}

enum llmq_status expert_share_inputs(const struct calib *c, const struct stream *own,
                                     struct expert_side *side, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int h = 1; h <= side->whole.homes && status == LLMQ_OK; h++)
        if (experts_read_home(&side->experts, h))
            status = gather_home(c, &own->acts[h], &side->whole.acts[h], err);
    return status;
}

/* --- what they make --------------------------------------------------------------------------- */

/* Rows of an expert's list by the rank that has the token. */
struct places {
    const struct share *share;
    int64_t batch; /* of the token at hand; lists ascend */
};

/* Whose the token is, and its row there. */
static int owner_of(struct places *p, int64_t token, int64_t *row) {
    const struct share_batch *b = &p->share->batch[p->batch];
    while (token >= b->whole.offsets[b->whole.sequences])
        b = &p->share->batch[++p->batch];
    const int owner = (int)(p->batch % llmq_ranks_count());
    if (owner == llmq_ranks_own())
        *row = b->own.offsets[0] + token - b->whole.offsets[0];
    return owner;
}

/* The rows of an expert that this rank has, as they count in its own stream. */
struct own_rows {
    int32_t *row;
    float *weight;
    int64_t count;
};

static void own_rows_free(struct own_rows *o) {
    free(o->row);
    free(o->weight);
}

static enum llmq_status list_own(const struct calib *c, const struct routing *r, int64_t expert,
                                 struct own_rows *out, llmq_error *err) {
    const int64_t first = r->offsets[expert], end = r->offsets[expert + 1];
    struct places p = {&c->share, 0};
    *out = (struct own_rows){.row = malloc((size_t)(end - first + 1) * sizeof *out->row),
                             .weight = malloc((size_t)(end - first + 1) * sizeof *out->weight)};
    if (!out->row || !out->weight)
        return error_memory(err, "the rows of an expert");
    for (int64_t i = first; i < end; i++) {
        int64_t row = 0;
        if (owner_of(&p, r->row[i], &row) != llmq_ranks_own())
            continue;
        out->row[out->count] = (int32_t)row;
        out->weight[out->count++] = r->weight[i];
    }
    return LLMQ_OK;
}

/* Add y, of the rank's rows of an expert, to their sums. */
static enum llmq_status add_own(struct experts *x, const struct own_rows *own, const float *y,
                                llmq_error *err) {
    const struct row_list rows = {own->row, own->weight, own->count};
    return experts_add(x, &rows, y, err);
}

/* Run an expert on all rows of its list; those of rank q go to out + next[q], one by one. */
static enum llmq_status run_expert(const struct calib *c, struct expert_side *side,
                                   const struct block *expert, int64_t number, float *out,
                                   int64_t *next, llmq_error *err) {
    const struct graph *body = expert->graph;
    const int64_t width = body->width[body->output];
    struct places p = {&c->share, 0};
    struct schedule schedule;
    struct pass pass;
    int64_t row = 0;
    enum llmq_status status = LLMQ_OK;
    experts_schedule(body, body->output, &schedule);
    for (struct row_list rows = {0};
         routing_next(&side->routing, number, experts_rows(&c->forward), &rows);) {
        LLMQ_TRY(experts_run(&side->experts, expert, &schedule, &rows, &pass, err));
        const float *y = pass_value(&pass, body->output);
        for (int64_t i = 0; i < rows.count; i++) {
            const int owner = owner_of(&p, rows.row[i], &row);
            memcpy(out + next[owner]++ * width, y + i * width, (size_t)width * sizeof *y);
        }
    }
cleanup:
    return status;
}

/* Where each rank's rows of an expert begin in what is sent: begin [ranks + 1]. */
static void begin_pieces(const struct calib *c, const struct routing *r, int64_t expert,
                         int64_t *begin) {
    struct places p = {&c->share, 0};
    int64_t row = 0;
    if (expert >= r->experts)
        return;
    for (int64_t i = r->offsets[expert]; i < r->offsets[expert + 1]; i++)
        begin[owner_of(&p, r->row[i], &row) + 1]++;
    for (int q = 0; q < llmq_ranks_count(); q++)
        begin[q + 1] += begin[q];
}

/* What a round works with. */
struct round {
    int64_t first; /* its experts are this one and those that follow, one for each rank */
    int64_t *begin, *next;
    struct own_rows *own; /* of each rank's expert, this rank's rows, ... */
    int64_t *got;         /* ... and where they begin in what comes */
    struct ranks_piece *with;
    float *out, *in;
};

static void round_free(struct round *r) {
    for (int q = 0; r->own && q < llmq_ranks_count(); q++)
        own_rows_free(&r->own[q]);
    free(r->begin);
    free(r->next);
    free(r->own);
    free(r->got);
    free(r->with);
    free(r->out);
    free(r->in);
}

static enum llmq_status round_open(const struct calib *c, const struct routing *routing,
                                   int64_t width, struct round *r, llmq_error *err) {
    const size_t ranks = (size_t)llmq_ranks_count();
    enum llmq_status status = LLMQ_OK;
    r->begin = calloc(ranks + 1, sizeof *r->begin);
    r->next = calloc(ranks + 1, sizeof *r->next);
    r->got = calloc(ranks + 1, sizeof *r->got);
    r->own = calloc(ranks, sizeof *r->own);
    r->with = calloc(ranks, sizeof *r->with);
    if (!r->begin || !r->next || !r->got || !r->own || !r->with)
        return error_memory(err, "an exchange between ranks");
    begin_pieces(c, routing, r->first + llmq_ranks_own(), r->begin);
    memcpy(r->next, r->begin, (ranks + 1) * sizeof *r->next);
    for (size_t q = 0; q < ranks; q++) {
        if (r->first + (int64_t)q < routing->experts)
            LLMQ_TRY(list_own(c, routing, r->first + (int64_t)q, &r->own[q], err));
        r->got[q + 1] = r->got[q] + r->own[q].count;
    }
    r->out = malloc((size_t)(r->begin[ranks] * width + 1) * sizeof *r->out);
    r->in = malloc((size_t)(r->got[ranks] * width + 1) * sizeof *r->in);
    if (!r->out || !r->in)
        status = error_memory(err, "what experts make");
cleanup:
    return status;
}

/* One expert for each rank: `expert` is this rank's, or NULL where none is left or asked. */
static enum llmq_status run_round(const struct calib *c, struct expert_side *side,
                                  const struct block *expert, int64_t first, llmq_error *err) {
    const int64_t width = side->experts.store->width;
    const size_t row = (size_t)width * sizeof(float);
    const int ranks = llmq_ranks_count();
    struct round r = {.first = first};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(round_open(c, &side->routing, width, &r, err));
    if (expert)
        LLMQ_TRY(run_expert(c, side, expert, first + llmq_ranks_own(), r.out, r.next, err));
    for (int q = 0; q < ranks; q++)
        r.with[q] = (struct ranks_piece){.out = r.out + r.begin[q] * width,
                                         .out_bytes = (size_t)(r.begin[q + 1] - r.begin[q]) * row,
                                         .in = r.in + r.got[q] * width,
                                         .in_bytes = (size_t)r.own[q].count * row};
    LLMQ_TRY(ranks_exchange(r.with, c->ctx, err));
    for (int q = 0; q < ranks; q++)
        LLMQ_TRY(add_own(&side->experts, &r.own[q], r.in + r.got[q] * width, err));
cleanup:
    round_free(&r);
    return status;
}

/* An expert that every rank has: each adds what is made of its own tokens. */
static enum llmq_status run_alone(const struct calib *c, struct expert_side *side,
                                  const struct block *expert, int64_t number, llmq_error *err) {
    const int64_t width = side->experts.store->width;
    const int ranks = llmq_ranks_count(), mine = llmq_ranks_own();
    struct own_rows own = {0};
    int64_t *begin = calloc((size_t)ranks + 1, sizeof *begin);
    int64_t *next = calloc((size_t)ranks + 1, sizeof *next);
    float *out = NULL;
    enum llmq_status status = LLMQ_OK;
    if (!begin || !next)
        LLMQ_TRY(error_memory(err, "what an expert makes"));
    begin_pieces(c, &side->routing, number, begin);
    memcpy(next, begin, ((size_t)ranks + 1) * sizeof *next);
    out = malloc((size_t)(begin[ranks] * width + 1) * sizeof *out);
    if (!out)
        LLMQ_TRY(error_memory(err, "what an expert makes"));
    LLMQ_TRY(list_own(c, &side->routing, number, &own, err));
    LLMQ_TRY(run_expert(c, side, expert, number, out, next, err));
    status = add_own(&side->experts, &own, out + begin[mine] * width, err);
cleanup:
    own_rows_free(&own);
    free(begin);
    free(next);
    free(out);
    return status;
}

enum llmq_status expert_share_add(const struct calib *c, struct expert_side *side,
                                  const struct block *expert, int64_t first, bool divided,
                                  llmq_error *err) {
    return divided ? run_round(c, side, expert, first, err)
                   : run_alone(c, side, expert, first, err);
}
