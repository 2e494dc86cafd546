/* SPDX-License-Identifier: Apache-2.0 */
/* Dealing batches to ranks: see share.h. */
#include "calib/share.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "calib/calib_private.h"
#include "ranks/ranks.h"

/* Of a corpus whose batches are dealt to `ranks`. */
static int64_t count_batches(const struct calib_tokens *t) {
    int64_t count = 0;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);)
        count++;
    return count;
}

int64_t share_held_of(const struct calib_tokens *all, const struct batch *whole, int64_t every) {
    const int64_t before = whole->offsets - all->offsets, after = before + whole->sequences;
    const int64_t end = whole->offsets[whole->sequences];
    if (all->held > 0)
        return end - min_i64(end, max_i64(whole->offsets[0], calib_fitted_tokens(all)));
    const int64_t windows = after / every - before / every;
    return end - whole->offsets[whole->sequences - windows];
}

static void list_batches(struct share *s, int64_t most) {
    const struct calib_tokens *t = s->all;
    const int64_t part = ceil_div(t->offsets[t->count], HELD_ROWS);
    const int64_t every = min_i64(t->count, max_i64(HOLD_EVERY, part));
    int64_t i = 0, held = 0;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b); i++) {
        const int64_t wanted = share_held_of(t, &b, every);
        s->batch[i] = (struct share_batch){
            .whole = b, .held_begin = held, .held = min_i64(wanted, most - held)};
        held += s->batch[i].held;
    }
}

/* The rank's own windows, copied one behind the other. */
static void copy_own(struct share *s) {
    int64_t windows = 0, rows = 0;
    s->offsets[0] = 0;
    for (int64_t i = llmq_ranks_own(); i < s->count; i += llmq_ranks_count()) {
        struct share_batch *b = &s->batch[i];
        const int64_t begin = b->whole.offsets[0], count = batch_rows(&b->whole);
        memcpy(s->ids + rows, s->all->ids + begin, (size_t)count * sizeof *s->ids);
        b->own = (struct batch){s->offsets + windows, b->whole.sequences};
        for (int64_t w = 1; w <= b->whole.sequences; w++)
            s->offsets[windows + w] = rows + b->whole.offsets[w] - begin;
        windows += b->whole.sequences;
        rows += count;
    }
    s->own = (struct calib_tokens){s->ids, s->offsets, windows, 0};
}

static enum llmq_status deal_to_ranks(struct share *s, llmq_error *err) {
    s->ids = malloc((size_t)(calib_total_tokens(s->all) + 1) * sizeof *s->ids);
    s->offsets = malloc((size_t)(s->all->count + 1) * sizeof *s->offsets);
    s->buffer = malloc((size_t)share_bytes(llmq_ranks_count()));
    if (!s->ids || !s->offsets || !s->buffer)
        return error_memory(err, "a rank's share of the calibration");
    copy_own(s);
    return LLMQ_OK;
}

enum llmq_status share_deal(const struct calib_tokens *all, int64_t most, struct share *out,
                            llmq_error *err) {
    const int ranks = llmq_ranks_count();
    *out = (struct share){.all = all, .own = *all, .count = count_batches(all)};
    out->steps = ceil_div(out->count, ranks);
    out->batch = calloc((size_t)out->count, sizeof *out->batch);
    if (!out->batch)
        return error_memory(err, "the batches of the calibration");
    list_batches(out, most);
    if (ranks > 1)
        return deal_to_ranks(out, err);
    for (int64_t i = 0; i < out->count; i++)
        out->batch[i].own = out->batch[i].whole;
    return LLMQ_OK;
}

void share_free(struct share *s) {
    free(s->batch);
    free(s->ids);
    free(s->offsets);
    free(s->buffer);
    *s = (struct share){0};
}

const struct share_batch *share_step(const struct share *s, int64_t step) {
    const int64_t at = step * llmq_ranks_count() + llmq_ranks_own();
    return at < s->count ? &s->batch[at] : NULL;
}

int64_t share_most_tokens(const struct calib_tokens *all, int ranks) {
    int64_t most = 0;
    for (int r = 0; r < ranks; r++) {
        int64_t tokens = 0, i = 0;
        for (struct batch b = {0}; batch_next(all->offsets, all->count, BATCH_ROWS, &b); i++)
            tokens += i % ranks == r ? batch_rows(&b) : 0;
        most = max_i64(most, tokens);
    }
    return most;
}

/* --- of a plan -------------------------------------------------------------------------------- */

/* What the batch adds to the part. */
static void add_batch(const struct share_batch *b, struct calib_part *part) {
    const int64_t rows = batch_rows(&b->whole);
    part->batches++;
    part->tokens += rows;
    part->terms += ceil_div(rows - b->held, LINALG_SUM_ROWS);
}

enum llmq_status calib_part_of(const struct calib_tokens *all, int64_t most, int rank, int ranks,
                               struct calib_part *out, llmq_error *err) {
    struct share s = {.all = all, .count = count_batches(all)};
    *out = (struct calib_part){.rank = rank, .ranks = ranks};
    s.batch = calloc((size_t)s.count, sizeof *s.batch);
    if (!s.batch)
        return error_memory(err, "the batches of the calibration");
    list_batches(&s, most);
    for (int64_t i = rank; i < s.count; i += ranks)
        add_batch(&s.batch[i], out);
    share_note_held(&s, out);
    free(s.batch);
    return LLMQ_OK;
}
