/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over the batches of all ranks: see share.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "calib/share.h"
#include "ranks/ranks.h"

/* Numbers of a tile at most; bytes of the terms that a rank sends at a time, unless a tile for each
 * rank is more. */
enum { TILE_FLOATS = 512 * 512 };
#define WAVE_BYTES (INT64_C(32) << 20)

/* Tiles that every rank keeps of a wave, at most. */
static int64_t wave_tiles(int ranks) {
    const int64_t tile = TILE_FLOATS * (int64_t)sizeof(float);
    return max_i64(1, WAVE_BYTES / (tile * ranks));
}

uint64_t share_bytes(int ranks) {
    if (ranks == 1)
        return 0;
    return (uint64_t)(2 * wave_tiles(ranks) * ranks) * TILE_FLOATS * sizeof(float);
}

/* --- waves ------------------------------------------------------------------------------------ */

/* Of each rank some of the tiles that it keeps. */
struct wave {
    const struct linalg_sum *shape;
    int ranks;
    int64_t tiles, index;
};

static struct wave first_wave(const struct linalg_sum *shape, int ranks) {
    return (struct wave){shape, ranks, linalg_sum_tiles(shape), 0};
}

/* The tiles [*first, *last) of the wave that rank r keeps; how many numbers they have. */
static int64_t wave_of(const struct wave *w, int r, int64_t *first, int64_t *last) {
    const int64_t begin = ranks_share_of(w->tiles, r, w->ranks);
    const int64_t end = ranks_share_of(w->tiles, r + 1, w->ranks), most = wave_tiles(w->ranks);
    int64_t floats = 0;
    *first = min_i64(end, begin + w->index * most);
    *last = min_i64(end, *first + most);
    for (int64_t t = *first; t < *last; t++)
        floats += linalg_sum_floats(w->shape, t);
    return floats;
}

/* Ranks keep equally many tiles, but for one. */
static int64_t wave_count(const struct wave *w) {
    return ceil_div(ceil_div(w->tiles, w->ranks), wave_tiles(w->ranks));
}

/* --- terms ------------------------------------------------------------------------------------ */

/* Who adds a term now: the ranks that have one, all at once or, where a batch has more rows than
 * are summed in float32, one after the other. */
struct turn {
    int only;     /* -1: all of them */
    int64_t from; /* rows that were added before */
};

/* Rows of the batch of rank r in the step that are summed. */
static int64_t rows_of(const struct share *s, int64_t step, int r) {
    const int64_t at = step * llmq_ranks_count() + r;
    return at < s->count ? batch_rows(&s->batch[at].whole) - s->batch[at].held : 0;
}

static bool takes_part(const struct share *s, int64_t step, const struct turn *turn, int r) {
    return (turn->only < 0 || turn->only == r) && rows_of(s, step, r) > turn->from;
}

/* All of the wave's tiles of the rank's own term, by the ranks that keep them. */
static enum llmq_status form(const struct wave *w, const struct linalg_term *term, float *out,
                             llmq_error *err) {
    const int ranks = llmq_ranks_count();
    int64_t count = 0, first = 0, last = 0;
    struct linalg_tile *list = malloc((size_t)(ranks * wave_tiles(ranks)) * sizeof *list);
    if (!list)
        return error_memory(err, "the tiles of a moment");
    for (int r = 0; r < ranks; r++) {
        (void)wave_of(w, r, &first, &last);
        for (int64_t t = first; t < last; t++) {
            list[count++] = (struct linalg_tile){t, out};
            out += linalg_sum_floats(w->shape, t);
        }
    }
    linalg_sum_form(w->shape, term, list, count);
    free(list);
    return LLMQ_OK;
}

/* Add the terms of the tiles that this rank keeps: rank after rank, tile by tile on its own. */
static void add_terms(const struct wave *w, const float *in, const bool *part, double *sum) {
    const int ranks = llmq_ranks_count();
    int64_t first = 0, last = 0;
    const int64_t floats = wave_of(w, llmq_ranks_own(), &first, &last);
    const struct linalg_sum *shape = w->shape;
#pragma omp parallel for schedule(dynamic) default(none)                                           \
    shared(shape, first, last, floats, ranks, part, in, sum)
    for (int64_t t = first; t < last; t++) {
        int64_t before = 0;
        for (int64_t i = first; i < t; i++)
            before += linalg_sum_floats(shape, i);
        for (int r = 0; r < ranks; r++)
            if (part[r])
                linalg_sum_add(shape, t, in + r * floats + before, sum);
    }
}

/* One wave: form, exchange, add. */
static enum llmq_status run_wave(const struct share *s, const struct wave *w,
                                 const struct linalg_term *term, const bool *part, double *sum,
                                 const llmq_context *ctx, llmq_error *err) {
    const int ranks = llmq_ranks_count(), own = llmq_ranks_own();
    int64_t first = 0, last = 0;
    float *out = s->buffer, *in = out + wave_tiles(ranks) * ranks * TILE_FLOATS;
    const int64_t kept = wave_of(w, own, &first, &last);
    enum llmq_status status = LLMQ_OK;
    struct ranks_piece *with = calloc((size_t)ranks, sizeof *with);
    if (!with)
        return error_memory(err, "an exchange between ranks");
    if (part[own])
        LLMQ_TRY(form(w, term, out, err));
    const float *at = out;
    for (int r = 0; r < ranks; r++) {
        const int64_t floats = wave_of(w, r, &first, &last);
        with[r] = (struct ranks_piece){.out = at,
                                       .out_bytes = part[own] ? (size_t)floats * sizeof(float) : 0,
                                       .in = in + r * kept,
                                       .in_bytes = part[r] ? (size_t)kept * sizeof(float) : 0};
        at += floats;
    }
    LLMQ_TRY(ranks_exchange(with, ctx, err));
    add_terms(w, in, part, sum);
cleanup:
    free(with);
    return status;
}

static enum llmq_status run_turn(const struct share *s, int64_t step, const struct turn *turn,
                                 const struct share_sum *to, const struct linalg_term *term,
                                 const llmq_context *ctx, llmq_error *err) {
    const int ranks = llmq_ranks_count();
    struct linalg_term rows = *term;
    struct wave w = first_wave(&to->shape, ranks);
    enum llmq_status status = LLMQ_OK;
    bool *part = calloc((size_t)ranks, sizeof *part);
    if (!part)
        return error_memory(err, "an exchange between ranks");
    for (int r = 0; r < ranks; r++)
        part[r] = takes_part(s, step, turn, r);
    if (part[llmq_ranks_own()]) {
        rows.A += turn->from * rows.lda;
        rows.B += turn->from * rows.ldb;
        rows.rows = min_i64(LINALG_SUM_ROWS, rows.rows - turn->from);
    }
    for (; w.index < wave_count(&w); w.index++)
        LLMQ_TRY(run_wave(s, &w, &rows, part, to->sum, ctx, err));
cleanup:
    free(part);
    return status;
}

static void add_alone(const struct share_sum *to, const struct linalg_term *term) {
    const struct linalg_sum *shape = &to->shape;
    if (shape->triangle)
        linalg_syrk_accumulate(term->rows, shape->n, term->A, term->lda, to->sum, to->scratch);
    else
        linalg_gemm_tn_accumulate(term->rows, shape->m, shape->n, term->A, term->lda, term->B,
                                  term->ldb, to->sum, to->scratch);
}

enum llmq_status share_add(const struct share *s, int64_t step, const struct share_sum *to,
                           const struct linalg_term *term, const llmq_context *ctx,
                           llmq_error *err) {
    const int ranks = llmq_ranks_count();
    enum llmq_status status = LLMQ_OK;
    int64_t most = 0;
    if (!s || ranks == 1) {
        add_alone(to, term);
        return LLMQ_OK;
    }
    for (int r = 0; r < ranks; r++)
        most = max_i64(most, rows_of(s, step, r));
    if (most <= LINALG_SUM_ROWS)
        return run_turn(s, step, &(struct turn){.only = -1}, to, term, ctx, err);
    for (int r = 0; r < ranks && status == LLMQ_OK; r++)
        for (int64_t from = 0; from < rows_of(s, step, r) && status == LLMQ_OK;
             from += LINALG_SUM_ROWS)
            status = run_turn(s, step, &(struct turn){r, from}, to, term, ctx, err);
    return status;
}

/* --- means ------------------------------------------------------------------------------------ */

/* The wave's tiles of all ranks in `numbers`: `own` of this rank's are taken from the sums. */
static void move_tiles(const struct wave *w, bool own, double factor, double *sum, float *numbers) {
    const int ranks = llmq_ranks_count();
    for (int r = 0; r < ranks; r++) {
        int64_t first = 0, last = 0;
        (void)wave_of(w, r, &first, &last);
        for (int64_t t = first; t < last; t++) {
            if (!own)
                linalg_sum_put(w->shape, t, numbers, sum);
            else if (r == llmq_ranks_own())
                linalg_sum_take(w->shape, t, sum, factor, numbers);
            numbers += linalg_sum_floats(w->shape, t);
        }
    }
}

enum llmq_status share_finish(const struct share *s, const struct share_sum *of, double factor,
                              double *left, const llmq_context *ctx, llmq_error *err) {
    const int ranks = llmq_ranks_count();
    struct wave w = first_wave(&of->shape, ranks);
    enum llmq_status status = LLMQ_OK;
    *left = s && ranks > 1 ? 1 : factor;
    if (!s || ranks == 1)
        return LLMQ_OK;
    size_t *begin = calloc((size_t)ranks + 1, sizeof *begin);
    if (!begin)
        return error_memory(err, "an exchange between ranks");
    for (; w.index < wave_count(&w); w.index++) {
        int64_t first = 0, last = 0;
        for (int r = 0; r < ranks; r++)
            begin[r + 1] = begin[r] + (size_t)wave_of(&w, r, &first, &last) * sizeof(float);
        move_tiles(&w, true, factor, of->sum, s->buffer);
        LLMQ_TRY(ranks_gather(s->buffer, begin, ctx, err));
        move_tiles(&w, false, factor, of->sum, s->buffer);
    }
cleanup:
    free(begin);
    return status;
}

/* --- what it comes to ------------------------------------------------------------------------- */

void share_count(const struct calib_part *part, const struct linalg_sum *shape,
                 struct ranks_traffic *sent) {
    struct wave w = first_wave(shape, part->ranks);
    struct ranks_traffic term = {0};
    for (; w.index < wave_count(&w); w.index++) {
        int64_t first = 0, last = 0;
        for (int r = 0; r < part->ranks; r++) {
            const size_t bytes = (size_t)wave_of(&w, r, &first, &last) * sizeof(float);
            if (r == part->rank)
                ranks_count_pieces(sent, bytes, part->ranks - 1);
            else
                ranks_count_piece(&term, bytes);
        }
    }
    sent->bytes += term.bytes * (uint64_t)part->terms;
    sent->messages += term.messages * (uint64_t)part->terms;
}
