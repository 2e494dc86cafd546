/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through Mamba-1's scan: see selective.h. Channels lie beside each other. The states
 * of a piece of tokens are made again from the one before it, then the piece runs backwards. */
#include <omp.h>
#include <string.h>

#include "base/int64.h"
#include "graph/selective_parts.h"
#include "kernels/kernels.h"

enum { CHANNELS = SELECTIVE_CHANNELS };
enum { PIECE = 64 };  /* tokens */
enum { SHARES = 16 }; /* of the blocks; each adds up dB and dC by itself */

static int64_t blocks_of(const struct selective *s) {
    return ceil_div(s->channels, CHANNELS);
}

static int64_t share_scratch(const struct selective *s, int64_t length) {
    return 2 * length * s->state;
}

/* Of a thread: rates and their gradients, the gradient of the state, the states before every piece;
 * of a piece, what is left from token to token, and the states before them and behind it. */
static int64_t thread_scratch(const struct selective *s, int64_t length) {
    return (3 + ceil_div(length, PIECE) + 2 * PIECE + 1) * s->state * CHANNELS;
}

int64_t selective_back_scratch(const struct selective *s, int64_t max_length) {
    return min_i64(SHARES, blocks_of(s)) * share_scratch(s, max_length) +
           omp_get_max_threads() * thread_scratch(s, max_length);
}

/* Some channels, at most CHANNELS; arrays of states are [state, CHANNELS], zero beyond `count`. */
struct block {
    const struct selective *s;
    const struct selective_input *in;
    const struct selective_back *back;
    int64_t first, count, size; /* entries of a state */
    float *db, *dc;             /* of the share */
    float *rate, *drate, *dstate, *before, *fade, *state;
};

static void begin_block(struct block *b) {
    const size_t bytes = (size_t)b->size * sizeof *b->rate;
    selective_rates(b->s, b->first, b->count, b->rate);
    memset(b->drate, 0, bytes);
    memset(b->dstate, 0, bytes);
    memset(b->before, 0, bytes);
}

/* Entries of row t of a matrix [length, channels], zero beyond the block's. */
static void take(const struct block *b, int64_t t, const float *from, float out[CHANNELS]) {
    memset(out, 0, CHANNELS * sizeof *out);
    memcpy(out, from + t * b->s->channels + b->first, (size_t)b->count * sizeof *out);
}

/* One token: what is left of the state before it, and the state behind it. */
static void advance(const struct block *b, int64_t t, const float *from, float *fade, float *to) {
    const float *in = b->in->b + t * b->s->state;
    float step[CHANNELS], x[CHANNELS];
    take(b, t, b->in->step, step);
    take(b, t, b->in->x, x);
    for (int64_t j = 0; j < b->s->state; j++)
        for (int64_t c = 0; c < CHANNELS; c++)
            fade[j * CHANNELS + c] = b->rate[j * CHANNELS + c] * step[c];
    kernels_get()->decay(fade, fade, b->size);
    for (int64_t j = 0; j < b->s->state; j++)
        for (int64_t c = 0; c < CHANNELS; c++) {
            const int64_t at = j * CHANNELS + c;
            to[at] = fade[at] * from[at] + step[c] * x[c] * in[j];
        }
}

/* The states of a piece, from the one before it. */
static void run_piece(const struct block *b, int64_t begin, int64_t end) {
    memcpy(b->state, b->before + begin / PIECE * b->size, (size_t)b->size * sizeof *b->state);
    for (int64_t t = begin; t < end; t++) {
        float *state = b->state + (t - begin) * b->size;
        advance(b, t, state, b->fade + (t - begin) * b->size, state + b->size);
    }
}

/* One entry of the states of all channels. gain = step x; dgain and dstep are added to. */
struct entry {
    const float *dy, *step, *gain;
    float *dgain, *dstep;
};
static void entry_back(const struct block *b, int64_t t, int64_t j, const float *fade,
                       const float *state, const struct entry *e) {
    const float in = b->in->b[t * b->s->state + j], out = b->in->c[t * b->s->state + j];
    const float *rate = b->rate + j * CHANNELS, *behind = state + b->size;
    float *dstate = b->dstate + j * CHANNELS, *drate = b->drate + j * CHANNELS;
    float db = 0, dc = 0;
    for (int64_t c = 0; c < CHANNELS; c++) {
        dstate[c] += e->dy[c] * out;
        dc += e->dy[c] * behind[c];
        db += dstate[c] * e->gain[c];
        e->dgain[c] += dstate[c] * in;
        dstate[c] *= fade[c];
        const float moved = dstate[c] * state[c];
        e->dstep[c] += moved * rate[c];
        drate[c] += moved * e->step[c];
    }
    b->db[t * b->s->state + j] += db;
    b->dc[t * b->s->state + j] += dc;
}

static void token_back(const struct block *b, int64_t t, const float *fade, const float *state) {
    float dy[CHANNELS], step[CHANNELS], x[CHANNELS], gain[CHANNELS];
    float dgain[CHANNELS] = {0}, dstep[CHANNELS] = {0};
    const struct entry e = {dy, step, gain, dgain, dstep};
    take(b, t, b->back->dy, dy);
    take(b, t, b->in->step, step);
    take(b, t, b->in->x, x);
    for (int64_t c = 0; c < CHANNELS; c++)
        gain[c] = step[c] * x[c];
    for (int64_t j = 0; j < b->s->state; j++)
        entry_back(b, t, j, fade + j * CHANNELS, state + j * CHANNELS, &e);
    const int64_t at = t * b->s->channels + b->first;
    for (int64_t c = 0; c < b->count; c++) {
        b->back->dx[at + c] += dgain[c] * step[c] + dy[c] * b->s->D[b->first + c];
        b->back->dstep[at + c] = dstep[c] + dgain[c] * x[c];
        if (b->back->D)
            b->back->D[b->first + c] += (double)(dy[c] * x[c]);
    }
}

/* Rates are -exp(A_log). Folded into double precision after every piece. */
static void put_rates(const struct block *b) {
    for (int64_t c = 0; b->back->A_log && c < b->count; c++)
        for (int64_t j = 0; j < b->s->state; j++)
            b->back->A_log[(b->first + c) * b->s->state + j] +=
                (double)b->drate[j * CHANNELS + c] * (double)b->rate[j * CHANNELS + c];
    memset(b->drate, 0, (size_t)b->size * sizeof *b->drate);
}

static void block_back(struct block *b, int64_t length) {
    const int64_t pieces = ceil_div(length, PIECE);
    begin_block(b);
    for (int64_t p = 0; p + 1 < pieces; p++) {
        run_piece(b, p * PIECE, (p + 1) * PIECE);
        memcpy(b->before + (p + 1) * b->size, b->state + PIECE * b->size,
               (size_t)b->size * sizeof *b->state);
    }
    for (int64_t p = pieces - 1; p >= 0; p--) {
        const int64_t begin = p * PIECE, end = min_i64(begin + PIECE, length);
        run_piece(b, begin, end);
        for (int64_t t = end - 1; t >= begin; t--)
            token_back(b, t, b->fade + (t - begin) * b->size, b->state + (t - begin) * b->size);
        put_rates(b);
    }
}

/* db and dc += the sums of all shares, in order. */
static void add_shares(const struct selective *s, int64_t length, int64_t shares, const float *sums,
                       const struct selective_back *b) {
    const int64_t count = length * s->state, each = share_scratch(s, length);
#pragma omp parallel for schedule(static) default(none) shared(shares, sums, b, count, each)
    for (int64_t i = 0; i < count; i++)
        for (int64_t share = 0; share < shares; share++) {
            b->db[i] += sums[share * each + i];
            b->dc[i] += sums[share * each + count + i];
        }
}

void selective_back(const struct selective *s, int64_t length, const struct selective_input *in,
                    const struct selective_back *b, float *scratch) {
    const int64_t blocks = blocks_of(s), shares = min_i64(SHARES, blocks);
    const int64_t each = share_scratch(s, length), size = s->state * CHANNELS;
    float *rest = scratch + shares * each;
    memset(scratch, 0, (size_t)(shares * each) * sizeof *scratch);
#pragma omp parallel for schedule(dynamic) default(none)                                           \
    shared(s, length, in, b, scratch, blocks, shares, each, size, rest)
    for (int64_t share = 0; share < shares; share++) {
        float *mine = rest + omp_get_thread_num() * thread_scratch(s, length);
        struct block block = {.s = s, .in = in, .back = b, .size = size};
        block.db = scratch + share * each;
        block.dc = block.db + length * s->state;
        block.rate = mine;
        block.drate = mine + size;
        block.dstate = mine + 2 * size;
        block.fade = mine + 3 * size;
        block.state = block.fade + PIECE * size;
        block.before = block.state + (PIECE + 1) * size;
        for (int64_t i = share; i < blocks; i += shares) {
            block.first = i * CHANNELS;
            block.count = min_i64(CHANNELS, s->channels - block.first);
            block_back(&block, length);
        }
    }
    add_shares(s, length, shares, scratch, b);
}
