/* SPDX-License-Identifier: Apache-2.0 */
/* See delta.h. */
#include "graph/delta.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/int64.h"
#include "graph/delta_chunk.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

enum { SQUARE = DELTA_SQUARE };

/* --- scratch ---------------------------------------------------------------------------------- */

/* Of a thread: decays between tokens; a triangle; scaled keys or queries; what tokens add; the
 * state. */
static int64_t thread_scratch(const struct delta *d) {
    return 2 * SQUARE + DELTA_CHUNK * (d->key + d->value) + d->key * d->value;
}

int64_t delta_products_scratch(const struct delta *d, int64_t max_length) {
    return 2 * d->key_heads * ceil_div(max_length, DELTA_CHUNK) * SQUARE;
}

int64_t delta_scratch(const struct delta *d, int64_t max_length) {
    return delta_products_scratch(d, max_length) + omp_get_max_threads() * thread_scratch(d);
}

/* --- a chunk ---------------------------------------------------------------------------------- */

const float *delta_keys_of(const struct delta_chunk *c, const float *all) {
    const struct delta *d = c->d;
    const int64_t head = c->head / (d->value_heads / d->key_heads);
    return all + (c->begin * d->key_heads + head) * d->key;
}

int64_t delta_keys_stride(const struct delta_chunk *c) {
    return c->d->key_heads * c->d->key;
}

int64_t delta_values_stride(const struct delta_chunk *c) {
    return c->d->value_heads * c->d->value;
}

const float *delta_betas(const struct delta_chunk *c) {
    return c->in->beta + c->head * c->length + c->begin;
}

void delta_find_decays(struct delta_chunk *c) {
    const float *decay = c->in->decay + c->head * c->length + c->begin;
    double sum = 0;
    for (int64_t t = 0; t < c->rows; t++) {
        float *row = c->fade + t * c->rows;
        c->sum[t] = sum += (double)decay[t];
        for (int64_t i = 0; i <= t; i++)
            row[i] = (float)(sum - c->sum[i]);
        kernels_get()->decay(row, row, t + 1);
    }
}

void delta_decays_from_begin(struct delta_chunk *c, float scale) {
    for (int64_t t = 0; t < c->rows; t++)
        c->factor[t] = (float)c->sum[t];
    kernels_get()->decay(c->factor, c->factor, c->rows);
    for (int64_t t = 0; t < c->rows; t++)
        c->factor[t] *= scale;
}

void delta_decays_to_end(struct delta_chunk *c) {
    memcpy(c->factor, c->fade + (c->rows - 1) * c->rows, (size_t)c->rows * sizeof *c->factor);
}

void delta_set_factors(struct delta_chunk *c, float factor) {
    for (int64_t t = 0; t < c->rows; t++)
        c->factor[t] = factor;
}

void delta_scale_rows(const struct delta_chunk *c, const float *from) {
    const int64_t width = c->d->key, stride = delta_keys_stride(c);
    for (int64_t t = 0; t < c->rows; t++)
        for (int64_t i = 0; i < width; i++)
            c->scaled[t * width + i] = c->factor[t] * from[t * stride + i];
}

/* added = beta (v - what the state before the chunk says of the keys). */
static void begin_added(struct delta_chunk *c) {
    const int64_t value = c->d->value, stride = delta_values_stride(c);
    const float *v = c->in->v + c->begin * stride + c->head * value, *beta = delta_betas(c);
    for (int64_t t = 0; t < c->rows; t++)
        memcpy(c->added + t * value, v + t * stride, (size_t)value * sizeof *v);
    if (c->begin > 0 || c->d->carried) {
        delta_decays_from_begin(c, 1);
        delta_scale_rows(c, delta_keys_of(c, c->in->k));
        linalg_gemm_nn(c->rows, value, c->d->key, -1, c->scaled, c->d->key, c->state, value, 1,
                       c->added, value);
    }
    for (int64_t t = 0; t < c->rows; t++)
        for (int64_t i = 0; i < value; i++)
            c->added[t * value + i] *= beta[t];
}

void delta_fill_triangle(struct delta_chunk *c, const float *products, const float *factor) {
    for (int64_t t = 0; t < c->rows; t++) {
        float *row = c->triangle + t * c->rows;
        const float *fade = c->fade + t * c->rows, *product = products + t * c->rows;
        for (int64_t i = 0; i <= t; i++)
            row[i] = factor[t] * fade[i] * product[i];
        memset(row + t + 1, 0, (size_t)(c->rows - t - 1) * sizeof *row);
    }
}

/* Rows [begin, end) of (1 + the triangle below its diagonal) added = what `added` holds. */
static void solve_rows(struct delta_chunk *c, int64_t begin, int64_t end) {
    const int64_t value = c->d->value;
    for (int64_t t = begin + 1; t < end; t++)
        for (int64_t i = begin; i < t; i++) {
            const float weight = c->triangle[t * c->rows + i];
            for (int64_t j = 0; j < value; j++)
                c->added[t * value + j] -= weight * c->added[i * value + j];
        }
}

void delta_solve_added(struct delta_chunk *c) {
    const int64_t value = c->d->value;
    begin_added(c);
    delta_fill_triangle(c, c->products, delta_betas(c));
    for (int64_t t = 0; t < c->rows; t += DELTA_SOLVED) {
        const int64_t end = min_i64(t + DELTA_SOLVED, c->rows);
        if (t > 0)
            linalg_gemm_nn(end - t, value, t, -1, c->triangle + t * c->rows, c->rows, c->added,
                           value, 1, c->added + t * value, value);
        solve_rows(c, t, end);
    }
}

static void make_outputs(struct delta_chunk *c) {
    const int64_t value = c->d->value, stride = delta_values_stride(c);
    float *out = c->out + c->begin * stride + c->head * value;
    delta_set_factors(c, c->d->scale);
    delta_fill_triangle(c, c->products + SQUARE, c->factor);
    linalg_gemm_nn(c->rows, value, c->rows, 1, c->triangle, c->rows, c->added, value, 0, out,
                   stride);
    if (c->begin == 0 && !c->d->carried)
        return;
    delta_decays_from_begin(c, c->d->scale);
    delta_scale_rows(c, delta_keys_of(c, c->in->q));
    linalg_gemm_nn(c->rows, value, c->d->key, 1, c->scaled, c->d->key, c->state, value, 1, out,
                   stride);
}

void delta_pass_state_on(struct delta_chunk *c) {
    const int64_t key = c->d->key, value = c->d->value;
    const float left = (float)exp(c->sum[c->rows - 1]);
    for (int64_t i = 0; i < key * value; i++)
        c->state[i] *= left;
    delta_decays_to_end(c);
    delta_scale_rows(c, delta_keys_of(c, c->in->k));
    linalg_gemm_tn(key, value, c->rows, 1, c->scaled, key, c->added, value, 1, c->state, value);
}

/* --- a sequence ------------------------------------------------------------------------------- */

static void run_head(struct delta_chunk *c, const float *products) {
    const struct delta *d = c->d;
    const int64_t chunks = ceil_div(c->length, DELTA_CHUNK);
    const int64_t key_head = c->head / (d->value_heads / d->key_heads);
    if (d->carried)
        c->state = d->carried + c->head * d->key * d->value;
    else
        memset(c->state, 0, (size_t)(d->key * d->value) * sizeof *c->state);
    for (int64_t i = 0; i < chunks; i++) {
        c->begin = i * DELTA_CHUNK;
        c->rows = min_i64(DELTA_CHUNK, c->length - c->begin);
        c->products = products + (key_head * chunks + i) * 2 * SQUARE;
        delta_find_decays(c);
        delta_solve_added(c);
        make_outputs(c);
        if (i + 1 < chunks || d->carried)
            delta_pass_state_on(c);
    }
}

void delta_multiply_inputs(const struct delta *d, int64_t length, const struct delta_input *in,
                           float *products) {
    const int64_t chunks = ceil_div(length, DELTA_CHUNK), stride = d->key_heads * d->key;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(d, length, in, products, chunks, stride)
    for (int64_t i = 0; i < d->key_heads * chunks; i++) {
        const int64_t begin = i % chunks * DELTA_CHUNK, head = i / chunks;
        const int64_t rows = min_i64(DELTA_CHUNK, length - begin);
        const int64_t at = begin * stride + head * d->key;
        float *out = products + i * 2 * SQUARE;
        linalg_gemm_nt(rows, rows, d->key, 1, in->k + at, stride, in->k + at, stride, 0, out, rows);
        linalg_gemm_nt(rows, rows, d->key, 1, in->q + at, stride, in->k + at, stride, 0,
                       out + SQUARE, rows);
    }
}

void delta_sequence(const struct delta *d, int64_t length, const struct delta_input *in,
                    float *scratch, float *out) {
    float *products = scratch, *rest = scratch + delta_products_scratch(d, length);
    delta_multiply_inputs(d, length, in, products);
#pragma omp parallel for schedule(static) default(none) shared(d, length, in, products, rest, out)
    for (int64_t h = 0; h < d->value_heads; h++) {
        float *mine = rest + omp_get_thread_num() * thread_scratch(d);
        struct delta_chunk c = {.d = d, .in = in, .head = h, .length = length, .out = out};
        c.fade = mine;
        c.triangle = c.fade + SQUARE;
        c.scaled = c.triangle + SQUARE;
        c.added = c.scaled + DELTA_CHUNK * d->key;
        c.state = c.added + DELTA_CHUNK * d->value;
        run_head(&c, products);
    }
}
