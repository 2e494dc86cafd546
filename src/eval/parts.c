/* SPDX-License-Identifier: Apache-2.0 */
/* See parts.h. */
#include "eval/parts.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/batch.h"
#include "ranks/ranks.h"

/* Rows of each rank that are put together at a time. */
enum { PIECE_ROWS = 1024 };

/* --- who has what ----------------------------------------------------------------------------- */

static enum llmq_status create(int64_t total, bool divided, struct parts *out, llmq_error *err) {
    const int ranks = llmq_ranks_count();
    *out = (struct parts){.total = total};
    if (!divided || ranks == 1)
        return LLMQ_OK;
    out->begin = calloc((size_t)ranks + 1, sizeof *out->begin);
    return out->begin ? LLMQ_OK : error_memory(err, "the shares of ranks");
}

enum llmq_status parts_of_batches(const struct corpus *c, bool divided, struct parts *out,
                                  llmq_error *err) {
    const int ranks = llmq_ranks_count();
    int64_t count = 0, index = 0;
    const enum llmq_status status = create(c->tokens_used, divided, out, err);
    if (!out->begin)
        return status;
    for (struct batch b = {0}; batch_next(c->offsets, c->count, BATCH_ROWS, &b);)
        count++;
    for (struct batch b = {0}; batch_next(c->offsets, c->count, BATCH_ROWS, &b); index++)
        for (int r = 0; r <= ranks; r++) {
            if (ranks_share(count, r) == index)
                out->begin[r] = b.offsets[0];
            if (ranks_share(count, r) == count)
                out->begin[r] = c->tokens_used;
        }
    return LLMQ_OK;
}

enum llmq_status parts_of_tiles(int64_t total, int64_t rows, bool divided, struct parts *out,
                                llmq_error *err) {
    const enum llmq_status status = create(total, divided, out, err);
    for (int r = 0; out->begin && r <= llmq_ranks_count(); r++)
        out->begin[r] = min_i64(total, ranks_share(ceil_div(total, rows), r) * rows);
    return status;
}

void parts_free(struct parts *p) {
    free(p->begin);
    *p = (struct parts){0};
}

int64_t parts_first(const struct parts *p) {
    return p->begin ? p->begin[llmq_ranks_own()] : 0;
}

int64_t parts_end(const struct parts *p) {
    return p->begin ? p->begin[llmq_ranks_own() + 1] : p->total;
}

/* --- together --------------------------------------------------------------------------------- */

/* Entries before those of a token, of all or of the listed ones. */
static int64_t entries_before(int64_t token, const int64_t *tokens, int64_t count) {
    int64_t before = 0;
    if (!tokens)
        return token;
    while (before < count && tokens[before] < token)
        before++;
    return before;
}

enum llmq_status parts_gather_some(const struct parts *p, const int64_t *tokens, int64_t count,
                                   void *entries, size_t bytes, const llmq_context *ctx,
                                   llmq_error *err) {
    const int ranks = llmq_ranks_count();
    if (!p->begin)
        return LLMQ_OK;
    size_t *begin = calloc((size_t)ranks + 1, sizeof *begin);
    if (!begin)
        return error_memory(err, "an exchange between ranks");
    for (int r = 0; r <= ranks; r++)
        begin[r] = (size_t)entries_before(p->begin[r], tokens, count) * bytes;
    const enum llmq_status status = ranks_gather(entries, begin, ctx, err);
    free(begin);
    return status;
}

enum llmq_status parts_gather(const struct parts *p, void *entries, size_t bytes,
                              const llmq_context *ctx, llmq_error *err) {
    return parts_gather_some(p, NULL, p->total, entries, bytes, ctx, err);
}

/* Rows [*from, *to) of a piece of rank r; how many they are. */
static int64_t piece_of(const struct parts *p, int r, int64_t piece, int64_t *from) {
    *from = min_i64(p->begin[r + 1], p->begin[r] + piece * PIECE_ROWS);
    return min_i64(p->begin[r + 1], *from + PIECE_ROWS) - *from;
}

/* One piece of each rank, in a buffer of so many of them. */
static enum llmq_status gather_piece(const struct parts *p, const struct acts *a, int64_t piece,
                                     float *buffer, size_t *begin, const llmq_context *ctx,
                                     llmq_error *err) {
    const int ranks = llmq_ranks_count(), own = llmq_ranks_own();
    const size_t row = (size_t)a->width * sizeof *buffer;
    enum llmq_status status = LLMQ_OK;
    int64_t from = 0;
    for (int r = 0; r < ranks; r++)
        begin[r + 1] = begin[r] + (size_t)piece_of(p, r, piece, &from) * row;
    const int64_t count = piece_of(p, own, piece, &from);
    LLMQ_TRY(acts_read(a, from, count, buffer + begin[own] / sizeof *buffer, err));
    LLMQ_TRY(ranks_gather(buffer, begin, ctx, err));
    for (int r = 0; r < ranks; r++) {
        const int64_t got = piece_of(p, r, piece, &from);
        if (r != own)
            LLMQ_TRY(acts_write(a, from, got, buffer + begin[r] / sizeof *buffer, err));
    }
cleanup:
    return status;
}

/* In pieces also where they lie in memory: on another rank they may not. */
enum llmq_status parts_gather_rows(const struct parts *p, const struct acts *rows,
                                   const llmq_context *ctx, llmq_error *err) {
    const size_t ranks = (size_t)llmq_ranks_count();
    enum llmq_status status = LLMQ_OK;
    int64_t most = 0;
    if (!p->begin)
        return LLMQ_OK;
    float *buffer = malloc(ranks * PIECE_ROWS * (size_t)rows->width * sizeof *buffer);
    size_t *begin = calloc(ranks + 1, sizeof *begin);
    if (!buffer || !begin)
        status = error_memory(err, "an exchange between ranks");
    for (size_t r = 0; r < ranks; r++)
        most = max_i64(most, p->begin[r + 1] - p->begin[r]);
    for (int64_t i = 0; status == LLMQ_OK && i * PIECE_ROWS < most; i++)
        status = gather_piece(p, rows, i, buffer, begin, ctx, err);
    free(buffer);
    free(begin);
    return status;
}
