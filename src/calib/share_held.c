/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that are held back, on all ranks: see share.h.
 *
 * They are few, of the last windows often, and all of one rank: if that sent them to each other
 * one, it would send more than all of its sums, R - 1 times 4 w n bytes of n rows of w numbers. So
 * the rows of a step, which lie one behind the other, are cut into as many slices as there are
 * ranks. First each rank gets what it lacks of its slice, then all hand their slices to all: at
 * most
 *
 *     4 w (n + N (R - 1) / R) bytes             n rows of the rank, N of all ranks in the step
 *
 * are sent by one, and next to nothing more than before where each has as many. */
#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "calib/calib_private.h"
#include "ranks/ranks.h"

/* A step of so many ranks. */
struct held_step {
    const struct share *share;
    int64_t index;
    int ranks;
};

/* Rows [begin, end). */
struct range {
    int64_t begin, end;
};

/* Where the rows that rank r has begin; those of the one behind the last: the step's end. */
static int64_t held_begin(const struct held_step *s, int r) {
    const int64_t at = s->index * s->ranks + r, last = s->share->count - 1;
    const struct share_batch *batch = s->share->batch;
    return at <= last ? batch[at].held_begin : batch[last].held_begin + batch[last].held;
}

static int64_t slice_begin(const struct held_step *s, int r) {
    const int64_t first = held_begin(s, 0);
    return first + ranks_share_of(held_begin(s, s->ranks) - first, r, s->ranks);
}

/* What rank `from` has of the slice of rank `to`; nothing of its own, which it need not send. */
static struct range lacking(const struct held_step *s, int from, int to) {
    const int64_t begin = max_i64(held_begin(s, from), slice_begin(s, to));
    const int64_t end = min_i64(held_begin(s, from + 1), slice_begin(s, to + 1));
    return (struct range){begin, from == to ? begin : max_i64(begin, end)};
}

/* To each rank what it lacks of its slice. */
static enum llmq_status fill_slices(const struct held_step *s, size_t row, char *x,
                                    const llmq_context *ctx, llmq_error *err) {
    const int own = llmq_ranks_own();
    struct ranks_piece *with = calloc((size_t)s->ranks, sizeof *with);
    if (!with)
        return error_memory(err, "an exchange between ranks");
    for (int r = 0; r < s->ranks; r++) {
        const struct range out = lacking(s, own, r), in = lacking(s, r, own);
        with[r] = (struct ranks_piece){.out = x + (size_t)out.begin * row,
                                       .out_bytes = (size_t)(out.end - out.begin) * row,
                                       .in = x + (size_t)in.begin * row,
                                       .in_bytes = (size_t)(in.end - in.begin) * row};
    }
    const enum llmq_status status = ranks_exchange(with, ctx, err);
    free(with);
    return status;
}

static enum llmq_status gather_slices(const struct held_step *s, size_t row, char *x,
                                      const llmq_context *ctx, llmq_error *err) {
    size_t *begin = calloc((size_t)s->ranks + 1, sizeof *begin);
    if (!begin)
        return error_memory(err, "an exchange between ranks");
    for (int r = 0; r <= s->ranks; r++)
        begin[r] = (size_t)slice_begin(s, r) * row;
    const enum llmq_status status = ranks_gather(x, begin, ctx, err);
    free(begin);
    return status;
}

enum llmq_status share_held(const struct share *share, int64_t step, int64_t width, float *x,
                            const llmq_context *ctx, llmq_error *err) {
    const struct held_step s = {share, step, llmq_ranks_count()};
    const size_t row = (size_t)width * sizeof *x;
    enum llmq_status status = LLMQ_OK;
    if (s.ranks == 1)
        return LLMQ_OK;
    LLMQ_TRY(fill_slices(&s, row, (char *)x, ctx, err));
    LLMQ_TRY(gather_slices(&s, row, (char *)x, ctx, err));
cleanup:
    return status;
}

/* --- what it comes to ------------------------------------------------------------------------- */

static void count_rows(int64_t rows, int others, struct calib_part *part) {
    part->held_rows += rows * others;
    part->held_messages += rows > 0 ? others : 0;
}

void share_note_held(const struct share *share, struct calib_part *part) {
    struct held_step s = {share, 0, part->ranks};
    for (; s.index * s.ranks < share->count; s.index++) {
        for (int r = 0; r < s.ranks; r++) {
            const struct range out = lacking(&s, part->rank, r);
            count_rows(out.end - out.begin, 1, part);
        }
        count_rows(slice_begin(&s, part->rank + 1) - slice_begin(&s, part->rank), s.ranks - 1,
                   part);
    }
}

void share_count_held(const struct calib_part *part, int64_t width, struct ranks_traffic *sent) {
    sent->bytes += (uint64_t)(part->held_rows * width) * sizeof(float);
    sent->messages += (uint64_t)part->held_messages;
}
