/* SPDX-License-Identifier: Apache-2.0 */
/* See selective.h. Channels lie beside each other, so that a step is a few rows of numbers. */
#include "graph/selective.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/int64.h"
#include "graph/selective_parts.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

/* --- Mamba-1 ---------------------------------------------------------------------------------- */

enum { CHANNELS = SELECTIVE_CHANNELS };

int64_t selective_states(int64_t channels) {
    return ceil_div(channels, CHANNELS) * CHANNELS;
}

int64_t selective_scratch(const struct selective *s) {
    return omp_get_max_threads() * 3 * s->state * CHANNELS;
}

/* Some channels, at most CHANNELS; the arrays are [state, CHANNELS], zero beyond `count`. */
struct block {
    const struct selective *s;
    int64_t first, count;
    float *rate, *fade, *state;
};

void selective_rates(const struct selective *s, int64_t first, int64_t count, float *rate) {
    memset(rate, 0, (size_t)(s->state * CHANNELS) * sizeof *rate);
    for (int64_t c = 0; c < count; c++)
        for (int64_t j = 0; j < s->state; j++)
            rate[j * CHANNELS + c] = (float)-exp((double)s->A_log[(first + c) * s->state + j]);
}

/* One token. y, gain: of CHANNELS; y has D x. */
static void advance(const struct block *b, const float *step, const float *gain, const float *in,
                    const float *out, float *y) {
    for (int64_t j = 0; j < b->s->state; j++)
        for (int64_t c = 0; c < CHANNELS; c++)
            b->fade[j * CHANNELS + c] = b->rate[j * CHANNELS + c] * step[c];
    kernels_get()->decay(b->fade, b->fade, b->s->state * CHANNELS);
    for (int64_t j = 0; j < b->s->state; j++) {
        float *state = b->state + j * CHANNELS, *fade = b->fade + j * CHANNELS;
        for (int64_t c = 0; c < CHANNELS; c++) {
            state[c] = fade[c] * state[c] + gain[c] * in[j];
            y[c] += state[c] * out[j];
        }
    }
}

static void scan_block(struct block *b, int64_t length, const struct selective_input *in,
                       float *out) {
    float step[CHANNELS] = {0}, gain[CHANNELS] = {0}, y[CHANNELS] = {0};
    selective_rates(b->s, b->first, b->count, b->rate);
    if (b->s->carried)
        b->state = b->s->carried + b->first * b->s->state;
    else
        memset(b->state, 0, (size_t)(b->s->state * CHANNELS) * sizeof *b->state);
    for (int64_t t = 0; t < length; t++) {
        const int64_t at = t * b->s->channels + b->first;
        for (int64_t c = 0; c < b->count; c++) {
            step[c] = in->step[at + c];
            gain[c] = step[c] * in->x[at + c];
            y[c] = b->s->D[b->first + c] * in->x[at + c];
        }
        advance(b, step, gain, in->b + t * b->s->state, in->c + t * b->s->state, y);
        memcpy(out + at, y, (size_t)b->count * sizeof *y);
    }
}

void selective_sequence(const struct selective *s, int64_t length, const struct selective_input *in,
                        float *scratch, float *out) {
    const int64_t size = s->state * CHANNELS;
#pragma omp parallel for schedule(static) default(none) shared(s, length, in, scratch, out, size)
    for (int64_t first = 0; first < s->channels; first += CHANNELS) {
        float *mine = scratch + omp_get_thread_num() * 3 * size;
        struct block b = {s,    first,       min_i64(CHANNELS, s->channels - first),
                          mine, mine + size, mine + 2 * size};
        scan_block(&b, length, in, out);
    }
}

/* --- RG-LRU ----------------------------------------------------------------------------------- */

enum { ROWS = LRU_ROWS };

int64_t lru_scratch(const struct lru *l) {
    return omp_get_max_threads() * (2 * ROWS + 4) * l->width;
}

/* One head: its rate -8 softplus(parameter), ones, the state, and the gates of some rows. */
struct unit {
    const struct lru *l;
    int64_t head;
    float *rate, *ones, *state, *fade, *input, *recurrent;
};

void lru_rates(const struct lru *l, int64_t head, float *rate) {
    for (int64_t i = 0; i < l->width; i++) {
        const double p = (double)l->parameter[head * l->width + i];
        rate[i] = (float)(-8 * (p > 0 ? p + log1p(exp(-p)) : log1p(exp(p))));
    }
}

static void begin_unit(struct unit *u) {
    lru_rates(u->l, u->head, u->rate);
    if (u->l->carried)
        u->state = u->l->carried + u->head * u->l->width;
    for (int64_t i = 0; i < u->l->width; i++) {
        u->ones[i] = 1;
        u->state[i] = u->l->carried ? u->state[i] : 0;
    }
}

/* weight [width, width] and bias [width] of the head. */
static void open_gate(const struct lru *l, int64_t rows, const float *u, const float *ones,
                      const float *weight, const float *bias, float *gate) {
    const int64_t width = l->width, stride = l->heads * width;
    linalg_gemm_nn(rows, width, width, 1, u, stride, weight, width, 0, gate, width);
    for (int64_t r = 0; r < rows; r++) {
        float *row = gate + r * width;
        for (int64_t i = 0; i < width; i++)
            row[i] += bias[i];
        kernels_get()->logistic_mul(row, ones, row, width);
    }
}

void lru_open_gates(const struct lru *l, int64_t head, int64_t rows, const float *u,
                    const float *ones, float *input, float *recurrent) {
    const int64_t weight = head * l->width * l->width, bias = head * l->width;
    open_gate(l, rows, u, ones, l->input + weight, l->input_bias + bias, input);
    open_gate(l, rows, u, ones, l->recurrent + weight, l->recurrent_bias + bias, recurrent);
}

/* m = sqrt(1 - a^2), a = exp(exponent): where a is close to 1 its square would cancel, and the
 * series of 1 - exp(2 exponent) stands in, whose remainder is below 2e-8 of it there. */
static float mix(float exponent, float a) {
    const float x = 2 * exponent;
    float series = x * (1.0F / 720) + 1.0F / 120;
    series = series * x + 1.0F / 24;
    series = series * x + 1.0F / 6;
    series = series * x + 0.5F;
    series = -x * (series * x + 1);
    return sqrtf(x > -0.25F ? series : (1 - a) * (1 + a));
}

/* One token. */
static void advance_unit(const struct unit *unit, bool first, int64_t row, const float *u,
                         float *out) {
    const int64_t width = unit->l->width;
    const float *input = unit->input + row * width;
    float *exponent = unit->recurrent + row * width;
    for (int64_t i = 0; i < width; i++)
        exponent[i] *= unit->rate[i];
    kernels_get()->decay(exponent, unit->fade, width);
    for (int64_t i = 0; i < width; i++) {
        const float m = first ? 1 : mix(exponent[i], unit->fade[i]);
        unit->state[i] = unit->fade[i] * unit->state[i] + m * input[i] * u[i];
        out[i] = unit->state[i];
    }
}

static void run_unit(struct unit *unit, int64_t length, const float *u, float *out) {
    const struct lru *l = unit->l;
    const int64_t stride = l->heads * l->width;
    begin_unit(unit);
    for (int64_t begin = 0; begin < length; begin += ROWS) {
        const int64_t rows = min_i64(ROWS, length - begin);
        const float *from = u + begin * stride + unit->head * l->width;
        float *to = out + begin * stride + unit->head * l->width;
        lru_open_gates(l, unit->head, rows, from, unit->ones, unit->input, unit->recurrent);
        for (int64_t r = 0; r < rows; r++)
            advance_unit(unit, l->past + begin + r == 0, r, from + r * stride, to + r * stride);
    }
}

void lru_sequence(const struct lru *l, int64_t length, const float *u, float *scratch, float *out) {
    const int64_t width = l->width, size = (2 * ROWS + 4) * width;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(l, length, u, scratch, out, width, size)
    for (int64_t h = 0; h < l->heads; h++) {
        float *mine = scratch + omp_get_thread_num() * size;
        struct unit unit = {l,
                            h,
                            mine,
                            mine + width,
                            mine + 2 * width,
                            mine + 3 * width,
                            mine + 4 * width,
                            mine + (4 + ROWS) * width};
        run_unit(&unit, length, u, out);
    }
}
