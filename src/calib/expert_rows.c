/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens that an expert is calibrated on: see experts.c for the formula. */
#include <string.h>

#include "base/int64.h"
#include "calib/calib_private.h"

/* Tokens of windows that are held back have that mark, the others none. */
static void mark_held(struct calib *c) {
    const struct calib_tokens *t = c->tokens;
    const int64_t every = min_i64(HOLD_EVERY, t->count);
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        const int64_t rows = batch_rows(&b), held = c->holds ? share_held_of(t, &b, every) : 0;
        uint8_t *mark = c->turn.mark + b.offsets[0];
        memset(mark, 0, (size_t)(rows - held));
        memset(mark + rows - held, EXPERT_HELD, (size_t)held);
    }
}

static void mark_list(const struct routing *r, int64_t expert, int mark, uint8_t *marks) {
    for (int64_t i = r->offsets[expert]; i < r->offsets[expert + 1]; i++)
        marks[r->row[i]] |= (uint8_t)mark;
}

/* Of tokens with these marks, so many of the layer beside the expert's own, evenly spread. */
static void borrow(uint8_t *mark, int64_t tokens, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        int64_t at = i * tokens / count;
        while (mark[at] & (EXPERT_OWN | EXPERT_BORROWED))
            at = (at + 1) % tokens;
        mark[at] |= EXPERT_BORROWED;
    }
}

static int64_t count_own(const uint8_t *mark, int64_t tokens) {
    int64_t own = 0;
    for (int64_t i = 0; i < tokens; i++)
        own += mark[i] & EXPERT_OWN;
    return own;
}

/* Borrow up to so many tokens, own ones included; returns how many are borrowed. */
static int64_t borrow_up_to(uint8_t *mark, int64_t tokens, int64_t wanted) {
    const int64_t count = max_i64(0, min_i64(wanted, tokens) - count_own(mark, tokens));
    borrow(mark, tokens, count);
    return count;
}

/* How much a token counts that no router sent here, where weights scale what experts read. */
static float mean_weight(const struct routing *r) {
    const int64_t count = r->offsets[r->experts];
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)r->weight[i];
    return count > 0 ? (float)(sum / (double)count) : 1;
}

/* The marked tokens, those held back behind the others. */
static void list_rows(struct expert_turn *t, int64_t tokens) {
    const struct routing *r = &t->quantized.routing;
    const float stand_in = mean_weight(r);
    t->count = t->held = 0;
    for (int held = 0; held < 2; held++) {
        int64_t own = r->offsets[t->expert];
        for (int64_t at = 0; at < tokens; at++) {
            const bool mine = t->mark[at] & EXPERT_OWN;
            const float weight = mine ? r->weight[own++] : stand_in;
            if (!(t->mark[at] & (EXPERT_OWN | EXPERT_BORROWED)) ||
                ((t->mark[at] & EXPERT_HELD) != 0) != held)
                continue;
            t->row[t->count] = (int32_t)at;
            t->weight[t->count++] = weight;
            t->held += held;
        }
    }
}

void expert_rows_choose(struct calib *c) {
    struct expert_turn *t = &c->turn;
    const int64_t tokens = calib_total_tokens(c->tokens);
    const int64_t fitted = calib_fitted_tokens(c->tokens);
    mark_held(c);
    mark_list(&t->quantized.routing, t->expert, EXPERT_OWN, t->mark);
    if (calib_pairing(c))
        mark_list(&t->original.routing, t->expert, EXPERT_PAIRED, t->mark);
    t->borrowed = borrow_up_to(t->mark, fitted, c->expert_tokens);
    (void)borrow_up_to(t->mark + fitted, tokens - fitted, c->expert_tokens / HOLD_EVERY);
    list_rows(t, tokens);
    if (fitted == tokens) /* what is held back is of the expert's tokens: a sixteenth at most */
        t->held = min_i64(t->held, min_i64(c->held.most, t->count / HOLD_EVERY));
}
