/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through scans: see scan.h. Within a chunk, with s the sums of decays from its
 * beginning, S the state before it, D the gradient towards the state behind it, and for i <= t
 *
 *     a[t, i] = e^(s[t] - s[i]) gain[i] C[t] B[i]        b[t, i] = e^(s[t] - s[i]) gain[i] dy[t]
 * x[i]
 *
 * the gradients are products again:
 *
 *     dx = a^T dy + e^(s[end] - s) gain D B       dB = b^T C + e^(s[end] - s) gain x D
 *     dC = b B + e^s dy S                         D <- e^s[end] D + sum of e^s dy C^T
 *
 * and that towards s[t] collects every term by the exponent that it has. */
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "base/int64.h"
#include "graph/scan.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

enum { SQUARE = SCAN_CHUNK * SCAN_CHUNK };
enum { SHARES = 8 }; /* that the heads of a group are cut into, at most; each adds up by itself */

/* --- scratch ---------------------------------------------------------------------------------- */

static int64_t shares_of(const struct scan *s) {
    return min_i64(SHARES, s->heads / s->groups);
}

/* Of a share: its sums of dB and dC. */
static int64_t share_scratch(const struct scan *s, int64_t length) {
    return 2 * length * s->state;
}

/* Of a thread: decays between tokens; a and b; rows of x, dy, B or C; the states before every
 * chunk; the gradient of the state. */
static int64_t thread_scratch(const struct scan *s, int64_t length) {
    const int64_t chunks = ceil_div(length, SCAN_CHUNK);
    return 3 * SQUARE + SCAN_CHUNK * max_i64(s->width, s->state) +
           (chunks + 1) * s->width * s->state;
}

int64_t scan_back_scratch(const struct scan *s, int64_t max_length) {
    return s->groups * shares_of(s) * share_scratch(s, max_length) +
           omp_get_max_threads() * thread_scratch(s, max_length);
}

/* --- a chunk ---------------------------------------------------------------------------------- */

/* A chunk of one head: its tokens begin at `begin`. Rows of x, dy, dx are `wide` apart, those of B
 * and C `narrow`. */
struct chunk {
    const struct scan *s;
    const struct scan_input *in;
    const struct scan_back *back;
    int64_t head, group, begin, rows, length, wide, narrow;
    const float *x, *dy, *b, *c, *gain;
    float *dx, *db, *dc; /* db and dc: of the share, [length, state] */
    float *fade, *first, *second, *scaled, *states, *dstate;
    double sum[SCAN_CHUNK];  /* of the decays from the chunk's first token to each */
    double dsum[SCAN_CHUNK]; /* the gradient towards it */
    double dgain[SCAN_CHUNK];
    float factor[SCAN_CHUNK];
};

static int64_t state_size(const struct chunk *c) {
    return c->s->width * c->s->state;
}

static float *state_before(const struct chunk *c) {
    return c->states + c->begin / SCAN_CHUNK * state_size(c);
}

static void begin_chunk(struct chunk *c, int64_t begin) {
    const int64_t at = (begin * c->s->heads + c->head) * c->s->width;
    const int64_t input = (begin * c->s->groups + c->group) * c->s->state;
    const float *decay = c->in->decay + c->head * c->length + begin;
    double sum = 0;
    c->begin = begin;
    c->rows = min_i64(SCAN_CHUNK, c->length - begin);
    c->x = c->in->x + at;
    c->dy = c->back->dy + at;
    c->dx = c->back->dx + at;
    c->b = c->in->b + input;
    c->c = c->in->c + input;
    c->gain = c->in->gain + c->head * c->length + begin;
    for (int64_t t = 0; t < c->rows; t++) {
        c->sum[t] = sum += (double)decay[t];
        c->dsum[t] = c->dgain[t] = 0;
    }
}

/* What is left behind the chunk of what each token holds, or at each token of what came before. */
static void decays(struct chunk *c, bool to_end) {
    for (int64_t t = 0; t < c->rows; t++)
        c->factor[t] = (float)(to_end ? c->sum[c->rows - 1] - c->sum[t] : c->sum[t]);
    kernels_get()->decay(c->factor, c->factor, c->rows);
}

/* scaled [rows, width] = rows of `from`, each times its factor and its gain. */
static void scale_rows(const struct chunk *c, const float *from, int64_t stride, int64_t width,
                       bool gains) {
    for (int64_t t = 0; t < c->rows; t++) {
        const float factor = gains ? c->factor[t] * c->gain[t] : c->factor[t];
        for (int64_t i = 0; i < width; i++)
            c->scaled[t * width + i] = factor * from[t * stride + i];
    }
}

static void pass_state_on(struct chunk *c) {
    const int64_t width = c->s->width, state = c->s->state;
    const float left = (float)exp(c->sum[c->rows - 1]);
    const float *from = state_before(c);
    float *to = state_before(c) + state_size(c);
    for (int64_t i = 0; i < width * state; i++)
        to[i] = left * from[i];
    decays(c, true);
    scale_rows(c, c->x, c->wide, width, true);
    linalg_gemm_tn(width, state, c->rows, 1, c->scaled, width, c->b, c->narrow, 1, to, state);
}

/* first = a, second = b of C B^T and dy x^T; what depends on the exponents between two tokens. */
static void fill_triangles(struct chunk *c) {
    for (int64_t t = 0; t < c->rows; t++) {
        float *fade = c->fade + t * c->rows, *a = c->first + t * c->rows,
              *b = c->second + t * c->rows;
        for (int64_t i = 0; i <= t; i++)
            fade[i] = (float)(c->sum[t] - c->sum[i]);
        kernels_get()->decay(fade, fade, t + 1);
        for (int64_t i = 0; i <= t; i++) {
            const double both = (double)fade[i] * (double)a[i] * (double)b[i];
            c->dgain[i] += both;
            c->dsum[t] += both * (double)c->gain[i];
            c->dsum[i] -= both * (double)c->gain[i];
            a[i] *= fade[i] * c->gain[i];
            b[i] *= fade[i] * c->gain[i];
        }
        memset(a + t + 1, 0, (size_t)(c->rows - t - 1) * sizeof *a);
        memset(b + t + 1, 0, (size_t)(c->rows - t - 1) * sizeof *b);
    }
}

/* What tokens of the chunk do to each other. */
static void add_within(struct chunk *c) {
    const int64_t rows = c->rows, width = c->s->width, state = c->s->state;
    float *db = c->db + c->begin * state, *dc = c->dc + c->begin * state;
    linalg_gemm_nt(rows, rows, state, 1, c->c, c->narrow, c->b, c->narrow, 0, c->first, rows);
    linalg_gemm_nt(rows, rows, width, 1, c->dy, c->wide, c->x, c->wide, 0, c->second, rows);
    fill_triangles(c);
    linalg_gemm_tn(rows, width, rows, 1, c->first, rows, c->dy, c->wide, 1, c->dx, c->wide);
    linalg_gemm_tn(rows, state, rows, 1, c->second, rows, c->c, c->narrow, 1, db, state);
    linalg_gemm_nn(rows, state, rows, 1, c->second, rows, c->b, c->narrow, 1, dc, state);
}

/* What the state before the chunk does to its tokens. */
static void add_from_state(struct chunk *c) {
    const int64_t rows = c->rows, state = c->s->state;
    float *dc = c->dc + c->begin * state;
    decays(c, false);
    linalg_gemm_nn(rows, state, c->s->width, 1, c->dy, c->wide, state_before(c), state, 0,
                   c->scaled, state);
    for (int64_t t = 0; t < rows; t++) {
        const float *seen = c->scaled + t * state;
        c->dsum[t] += (double)c->factor[t] * linalg_dot(state, seen, c->c + t * c->narrow);
        for (int64_t j = 0; j < state; j++)
            dc[t * state + j] += c->factor[t] * seen[j];
    }
}

/* What the tokens do to the state behind the chunk. */
static void add_to_state(struct chunk *c) {
    const int64_t rows = c->rows, width = c->s->width, state = c->s->state, last = rows - 1;
    decays(c, true);
    linalg_gemm_nt(rows, width, state, 1, c->b, c->narrow, c->dstate, state, 0, c->scaled, width);
    for (int64_t t = 0; t < rows; t++) {
        const float *asked = c->scaled + t * width;
        const double both = (double)c->factor[t] * linalg_dot(width, asked, c->x + t * c->wide);
        c->dgain[t] += both;
        c->dsum[t] -= both * (double)c->gain[t];
        c->dsum[last] += both * (double)c->gain[t];
        for (int64_t i = 0; i < width; i++)
            c->dx[t * c->wide + i] += c->factor[t] * c->gain[t] * asked[i];
    }
    scale_rows(c, c->x, c->wide, width, true);
    linalg_gemm_nn(rows, state, width, 1, c->scaled, width, c->dstate, state, 1,
                   c->db + c->begin * state, state);
    c->dsum[last] += exp(c->sum[last]) * linalg_dot(width * state, state_before(c), c->dstate);
}

/* The gradient towards the state, from behind the chunk to before it. */
static void pass_gradient_on(struct chunk *c) {
    const int64_t width = c->s->width, state = c->s->state;
    const float left = (float)exp(c->sum[c->rows - 1]);
    for (int64_t i = 0; i < width * state; i++)
        c->dstate[i] *= left;
    decays(c, false);
    scale_rows(c, c->dy, c->wide, width, false);
    linalg_gemm_tn(width, state, c->rows, 1, c->scaled, width, c->c, c->narrow, 1, c->dstate,
                   state);
}

static void add_skip(const struct chunk *c) {
    const float skip = c->s->skip ? c->s->skip[c->head] : 0;
    for (int64_t t = 0; c->s->skip && t < c->rows; t++) {
        for (int64_t i = 0; i < c->s->width; i++)
            c->dx[t * c->wide + i] += skip * c->dy[t * c->wide + i];
        if (c->back->skip)
            c->back->skip[c->head] +=
                linalg_dot(c->s->width, c->x + t * c->wide, c->dy + t * c->wide);
    }
}

/* A decay is part of the sums of its token and of all behind it. */
static void put_exponents(const struct chunk *c) {
    const int64_t at = c->head * c->length + c->begin;
    double sum = 0;
    for (int64_t t = c->rows - 1; t >= 0; t--) {
        c->back->ddecay[at + t] = (float)(sum += c->dsum[t]);
        c->back->dgain[at + t] = (float)c->dgain[t];
    }
}

/* --- a sequence ------------------------------------------------------------------------------- */

static void scan_head_back(struct chunk *c) {
    const int64_t chunks = ceil_div(c->length, SCAN_CHUNK);
    memset(c->states, 0, (size_t)state_size(c) * sizeof *c->states);
    memset(c->dstate, 0, (size_t)state_size(c) * sizeof *c->dstate);
    for (int64_t i = 0; i + 1 < chunks; i++) {
        begin_chunk(c, i * SCAN_CHUNK);
        pass_state_on(c);
    }
    for (int64_t i = chunks - 1; i >= 0; i--) {
        begin_chunk(c, i * SCAN_CHUNK);
        add_within(c);
        if (i > 0)
            add_from_state(c);
        if (i + 1 < chunks)
            add_to_state(c);
        pass_gradient_on(c);
        add_skip(c);
        put_exponents(c);
    }
}

/* db and dc += the sums of all shares, in order. */
static void add_shares(const struct scan *s, int64_t length, const float *sums,
                       const struct scan_back *b) {
    const int64_t shares = shares_of(s), state = s->state, wide = s->groups * state;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(s, length, sums, b, shares, state, wide)
    for (int64_t t = 0; t < length; t++)
        for (int64_t i = 0; i < s->groups * shares; i++) {
            const float *db = sums + i * share_scratch(s, length), *dc = db + length * state;
            const int64_t to = t * wide + i / shares * state;
            for (int64_t j = 0; j < state; j++) {
                b->db[to + j] += db[t * state + j];
                b->dc[to + j] += dc[t * state + j];
            }
        }
}

void scan_back(const struct scan *s, int64_t length, const struct scan_input *in,
               const struct scan_back *b, float *scratch) {
    const int64_t shares = shares_of(s), each = share_scratch(s, length),
                  heads = s->heads / s->groups;
    float *rest = scratch + s->groups * shares * each;
    memset(scratch, 0, (size_t)(s->groups * shares * each) * sizeof *scratch);
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(s, length, in, b, scratch, shares, each, heads, rest)
    for (int64_t i = 0; i < s->groups * shares; i++) {
        float *mine = rest + omp_get_thread_num() * thread_scratch(s, length);
        const int64_t group = i / shares, share = i % shares;
        struct chunk c = {.s = s, .in = in, .back = b, .group = group, .length = length};
        c.wide = s->heads * s->width;
        c.narrow = s->groups * s->state;
        c.db = scratch + i * each;
        c.dc = c.db + length * s->state;
        c.fade = mine;
        c.first = c.fade + SQUARE;
        c.second = c.first + SQUARE;
        c.scaled = c.second + SQUARE;
        c.dstate = c.scaled + SCAN_CHUNK * max_i64(s->width, s->state);
        c.states = c.dstate + s->width * s->state;
        for (int64_t h = share * heads / shares; h < (share + 1) * heads / shares; h++) {
            c.head = group * heads + h;
            scan_head_back(&c);
        }
    }
    add_shares(s, length, scratch, b);
}

/* --- time steps ------------------------------------------------------------------------------- */

static void steps_back(const struct scan_steps *s, int64_t length, int64_t h,
                       const struct scan_steps_back *b) {
    const double A = -exp((double)s->A_log[h]), bias = s->bias ? (double)s->bias[h] : 0;
    double sum = 0, rate = 0;
    for (int64_t t = 0; t < length; t++) {
        const double x = (double)b->dt[t * s->heads + h] + bias;
        const double step = fmax(x, 0) + log1p(exp(-fabs(x)));
        const double kept = fmin(fmax(step, s->min), s->max);
        const double fade = (double)b->ddecay[h * length + t];
        const double towards = A * fade + (b->dgain ? (double)b->dgain[h * length + t] : 0);
        const double slope = step < s->min || step > s->max ? 0 : 1 / (1 + exp(-x));
        b->ddt[t * s->heads + h] += (float)(towards * slope);
        sum += towards * slope;
        rate += fade * A * kept;
    }
    if (b->bias)
        b->bias[h] += sum;
    if (b->A_log)
        b->A_log[h] += rate;
}

void scan_steps_back(const struct scan_steps *s, int64_t length, const struct scan_steps_back *b) {
#pragma omp parallel for schedule(static) default(none) shared(s, length, b)
    for (int64_t h = 0; h < s->heads; h++)
        steps_back(s, length, h, b);
}
