/* SPDX-License-Identifier: Apache-2.0 */
/* See scan.h. */
#include "graph/scan.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/int64.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

/* --- scratch ---------------------------------------------------------------------------------- */

/* Of a thread: the triangle of a chunk; its B, C or x, scaled; the state. */
static int64_t thread_scratch(const struct scan *s) {
    return SCAN_CHUNK * SCAN_CHUNK + SCAN_CHUNK * max_i64(s->width, s->state) + s->width * s->state;
}

/* Of all: the products of every B with every C of its chunk. */
static int64_t chunk_scratch(const struct scan *s, int64_t max_length) {
    return s->groups * ceil_div(max_length, SCAN_CHUNK) * SCAN_CHUNK * SCAN_CHUNK;
}

int64_t scan_scratch(const struct scan *s, int64_t max_length) {
    return chunk_scratch(s, max_length) + omp_get_max_threads() * thread_scratch(s);
}

/* --- chunks ----------------------------------------------------------------------------------- */

/* A chunk of one head: its tokens begin at `begin`. */
struct chunk {
    const struct scan *s;
    const struct scan_input *in;
    int64_t head, group, begin, rows, length;
    const float *products; /* [rows, rows]: C of the row times B of the column */
    float *triangle, *scaled, *state;
    float *out;
    double sum[SCAN_CHUNK]; /* of the decays from the chunk's first token to each */
    float factor[SCAN_CHUNK];
};

static const float *gains(const struct chunk *c) {
    return c->in->gain + c->head * c->length + c->begin;
}

static void add_up_decays(struct chunk *c) {
    const float *decay = c->in->decay + c->head * c->length + c->begin;
    double sum = 0;
    for (int64_t t = 0; t < c->rows; t++)
        c->sum[t] = sum += (double)decay[t];
}

/* What is left at each token of what was there before the chunk. */
static void decays_from_begin(struct chunk *c) {
    for (int64_t t = 0; t < c->rows; t++)
        c->factor[t] = (float)c->sum[t];
    kernels_get()->decay(c->factor, c->factor, c->rows);
}

/* What is left behind the chunk of what each token adds. */
static void decays_to_end(struct chunk *c) {
    const float *gain = gains(c);
    for (int64_t t = 0; t < c->rows; t++)
        c->factor[t] = (float)(c->sum[c->rows - 1] - c->sum[t]);
    kernels_get()->decay(c->factor, c->factor, c->rows);
    for (int64_t t = 0; t < c->rows; t++)
        c->factor[t] *= gain[t];
}

/* scaled [rows, width] = rows of `from`, each times its factor. */
static void scale_rows(const struct chunk *c, const float *from, int64_t stride, int64_t width) {
    for (int64_t t = 0; t < c->rows; t++)
        for (int64_t i = 0; i < width; i++)
            c->scaled[t * width + i] = c->factor[t] * from[t * stride + i];
}

/* How much of each token's x the later ones see. */
static void fill_triangle(struct chunk *c) {
    const struct llmq_kernels *kernels = kernels_get();
    const float *gain = gains(c);
    for (int64_t t = 0; t < c->rows; t++) {
        const float *product = c->products + t * c->rows;
        float *row = c->triangle + t * c->rows;
        for (int64_t i = 0; i <= t; i++)
            row[i] = (float)(c->sum[t] - c->sum[i]);
        kernels->decay(row, row, t + 1);
        for (int64_t i = 0; i <= t; i++)
            row[i] *= product[i] * gain[i];
        memset(row + t + 1, 0, (size_t)(c->rows - t - 1) * sizeof *row);
    }
}

static const float *x_of(const struct chunk *c) {
    return c->in->x + (c->begin * c->s->heads + c->head) * c->s->width;
}

static const float *state_input(const struct chunk *c, const float *all) {
    return all + (c->begin * c->s->groups + c->group) * c->s->state;
}

static void make_outputs(struct chunk *c) {
    const int64_t width = c->s->width, state = c->s->state, stride = c->s->heads * width;
    float *out = c->out + (c->begin * c->s->heads + c->head) * width;
    fill_triangle(c);
    linalg_gemm_nn(c->rows, width, c->rows, 1, c->triangle, c->rows, x_of(c), stride, 0, out,
                   stride);
    if (c->begin > 0 || c->s->carried) {
        decays_from_begin(c);
        scale_rows(c, state_input(c, c->in->c), c->s->groups * state, state);
        linalg_gemm_nt(c->rows, width, state, 1, c->scaled, state, c->state, state, 1, out, stride);
    }
    const float skip = c->s->skip ? c->s->skip[c->head] : 0;
    for (int64_t t = 0; c->s->skip && t < c->rows; t++)
        for (int64_t i = 0; i < width; i++)
            out[t * stride + i] += skip * x_of(c)[t * stride + i];
}

static void pass_state_on(struct chunk *c) {
    const int64_t width = c->s->width, state = c->s->state;
    const float left = (float)exp(c->sum[c->rows - 1]);
    for (int64_t i = 0; i < width * state; i++)
        c->state[i] *= left;
    decays_to_end(c);
    scale_rows(c, x_of(c), c->s->heads * width, width);
    linalg_gemm_tn(width, state, c->rows, 1, c->scaled, width, state_input(c, c->in->b),
                   c->s->groups * state, 1, c->state, state);
}

static void scan_head(struct chunk *c, const float *products) {
    const int64_t per_chunk = SCAN_CHUNK * SCAN_CHUNK, chunks = ceil_div(c->length, SCAN_CHUNK);
    const int64_t size = c->s->width * c->s->state;
    if (c->s->carried)
        c->state = c->s->carried + c->head * size;
    else
        memset(c->state, 0, (size_t)size * sizeof *c->state);
    for (int64_t i = 0; i < chunks; i++) {
        c->begin = i * SCAN_CHUNK;
        c->rows = min_i64(SCAN_CHUNK, c->length - c->begin);
        c->products = products + (c->group * chunks + i) * per_chunk;
        add_up_decays(c);
        make_outputs(c);
        if (i + 1 < chunks || c->s->carried)
            pass_state_on(c);
    }
}

/* The products [rows, rows] of every chunk of every group. */
static void multiply_inputs(const struct scan *s, int64_t length, const struct scan_input *in,
                            float *products) {
    const int64_t chunks = ceil_div(length, SCAN_CHUNK), stride = s->groups * s->state;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(s, length, in, products, chunks, stride)
    for (int64_t i = 0; i < s->groups * chunks; i++) {
        const int64_t begin = i % chunks * SCAN_CHUNK, group = i / chunks;
        const int64_t rows = min_i64(SCAN_CHUNK, length - begin);
        const int64_t at = begin * stride + group * s->state;
        linalg_gemm_nt(rows, rows, s->state, 1, in->c + at, stride, in->b + at, stride, 0,
                       products + i * SCAN_CHUNK * SCAN_CHUNK, rows);
    }
}

void scan_sequence(const struct scan *s, int64_t length, const struct scan_input *in,
                   float *scratch, float *out) {
    float *products = scratch, *rest = scratch + chunk_scratch(s, length);
    multiply_inputs(s, length, in, products);
#pragma omp parallel for schedule(static) default(none) shared(s, length, in, products, rest, out)
    for (int64_t h = 0; h < s->heads; h++) {
        float *mine = rest + omp_get_thread_num() * thread_scratch(s);
        struct chunk c = {.s = s,
                          .in = in,
                          .head = h,
                          .group = h / (s->heads / s->groups),
                          .length = length,
                          .triangle = mine,
                          .scaled = mine + SCAN_CHUNK * SCAN_CHUNK,
                          .out = out};
        c.state = c.scaled + SCAN_CHUNK * max_i64(s->width, s->state);
        scan_head(&c, products);
    }
}

/* --- time steps ------------------------------------------------------------------------------- */

static double softplus(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

void scan_steps(const struct scan_steps *s, int64_t length, const float *dt, float *decay,
                float *gain) {
#pragma omp parallel for schedule(static) default(none) shared(s, length, dt, decay, gain)
    for (int64_t h = 0; h < s->heads; h++) {
        const double A = -exp((double)s->A_log[h]), bias = s->bias ? (double)s->bias[h] : 0;
        for (int64_t t = 0; t < length; t++) {
            const double step = softplus((double)dt[t * s->heads + h] + bias);
            const double kept = step < s->min ? s->min : step > s->max ? s->max : step;
            gain[h * length + t] = (float)kept;
            decay[h * length + t] = (float)(A * kept);
        }
    }
}
