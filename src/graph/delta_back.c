/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through the gated delta rule: see delta.h. In a chunk the e solve A e = b, where
 *
 *     A[t, i] = beta[t] f[t, i] k[t] k[i], i < t, and 1 for i = t       f[t, i] = e^(s[t] - s[i])
 *     b[t] = beta[t] (v[t] - e^s[t] S^T k[t])
 *
 * with s the sums of decays from the chunk's beginning and S the state before it. So the gradient z
 * towards b solves A^T z = (that towards e), and the gradients towards A, -z e^T, and b make those
 * of everything else by products. D is the gradient towards the state behind the chunk. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/int64.h"
#include "graph/delta_chunk.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

/* --- scratch ---------------------------------------------------------------------------------- */

/* Of a thread: decays, a triangle, the gradients of both kinds of products; scaled keys, values of
 * three kinds and what is made of them; what tokens add; the states before every chunk and D. */
static int64_t thread_scratch(const struct delta *d, int64_t length) {
    const int64_t chunks = ceil_div(length, DELTA_CHUNK);
    return 4 * DELTA_SQUARE + DELTA_CHUNK * (2 * d->key + 3 * d->value) +
           chunks * DELTA_CHUNK * d->value + (chunks + 1) * d->key * d->value;
}

int64_t delta_back_scratch(const struct delta *d, int64_t max_length) {
    return delta_products_scratch(d, max_length) +
           omp_get_max_threads() * thread_scratch(d, max_length);
}

/* --- a chunk ---------------------------------------------------------------------------------- */

struct way {
    struct delta_chunk c;
    const struct delta_back *back;
    const float *all_products;         /* of the key head */
    float *all_added, *states;         /* of every chunk: e; the state before it */
    float *toward_kk, *toward_qk;      /* [rows, rows] */
    float *z, *missed, *scaled_values; /* [rows, value] */
    float *wide;                       /* [rows, key] */
    float *dstate;                     /* D */
    const float *q, *k, *v, *dy;       /* of the chunk */
    float *dq, *dk, *dv;
    double dsum[DELTA_CHUNK]; /* the gradient towards s */
};

static int64_t state_size(const struct way *w) {
    return w->c.d->key * w->c.d->value;
}

static void begin_chunk(struct way *w, int64_t index) {
    struct delta_chunk *c = &w->c;
    c->begin = index * DELTA_CHUNK;
    c->rows = min_i64(DELTA_CHUNK, c->length - c->begin);
    c->products = w->all_products + index * 2 * DELTA_SQUARE;
    c->added = w->all_added + c->begin * c->d->value;
    c->state = w->states + index * state_size(w);
    delta_find_decays(c);
    const int64_t keys = delta_keys_of(c, c->in->k) - c->in->k;
    const int64_t values = c->begin * delta_values_stride(c) + c->head * c->d->value;
    w->q = c->in->q + keys;
    w->k = c->in->k + keys;
    w->v = c->in->v + values;
    w->dq = w->back->dq + keys;
    w->dk = w->back->dk + keys;
    w->dv = w->back->dv + values;
    w->dy = w->back->dy + values;
    memset(w->dsum, 0, sizeof w->dsum);
}

/* out [rows, value] = rows of `from`, each times its factor. */
static void scale_values(const struct delta_chunk *c, const float *from, int64_t stride,
                         float *out) {
    for (int64_t t = 0; t < c->rows; t++)
        for (int64_t i = 0; i < c->d->value; i++)
            out[t * c->d->value + i] = c->factor[t] * from[t * stride + i];
}

/* missed = e / beta = v - what the state at each token says of its key. */
static void find_missed(struct way *w) {
    struct delta_chunk *c = &w->c;
    const int64_t value = c->d->value, key = c->d->key;
    delta_set_factors(c, 1);
    scale_values(c, w->v, delta_values_stride(c), w->missed);
    delta_fill_triangle(c, c->products, c->factor);
    for (int64_t t = 0; t < c->rows; t++)
        c->triangle[t * c->rows + t] = 0;
    linalg_gemm_nn(c->rows, value, c->rows, -1, c->triangle, c->rows, c->added, value, 1, w->missed,
                   value);
    delta_decays_from_begin(c, 1);
    delta_scale_rows(c, w->k);
    linalg_gemm_nn(c->rows, value, key, -1, c->scaled, key, c->state, value, 1, w->missed, value);
}

/* z = A^-T of itself, from the last rows to the first. */
static void solve_transposed(struct way *w) {
    struct delta_chunk *c = &w->c;
    const int64_t value = c->d->value, rows = c->rows;
    delta_fill_triangle(c, c->products, delta_betas(c));
    for (int64_t end = rows; end > 0;) {
        const int64_t begin = (end - 1) / DELTA_SOLVED * DELTA_SOLVED;
        for (int64_t t = end - 1; t > begin; t--)
            for (int64_t i = begin; i < t; i++)
                for (int64_t j = 0; j < value; j++)
                    w->z[i * value + j] -= c->triangle[t * rows + i] * w->z[t * value + j];
        if (begin > 0)
            linalg_gemm_tn(begin, value, end - begin, -1, c->triangle + begin * rows, rows,
                           w->z + begin * value, value, 1, w->z, value);
        end = begin;
    }
}

/* z: of the gradient towards e, which the outputs and the state behind the chunk have. */
static void find_z(struct way *w) {
    struct delta_chunk *c = &w->c;
    const int64_t value = c->d->value, key = c->d->key;
    delta_set_factors(c, c->d->scale);
    delta_fill_triangle(c, c->products + DELTA_SQUARE, c->factor);
    linalg_gemm_tn(c->rows, value, c->rows, 1, c->triangle, c->rows, w->dy, delta_values_stride(c),
                   0, w->z, value);
    delta_decays_to_end(c);
    delta_scale_rows(c, w->k);
    linalg_gemm_nn(c->rows, value, key, 1, c->scaled, key, w->dstate, value, 1, w->z, value);
    solve_transposed(w);
}

static void add_to_values(struct way *w) {
    const struct delta_chunk *c = &w->c;
    const int64_t value = c->d->value, stride = delta_values_stride(c);
    const float *beta = delta_betas(c);
    for (int64_t t = 0; t < c->rows; t++) {
        w->back->dbeta[c->head * c->length + c->begin + t] =
            (float)linalg_dot(value, w->z + t * value, w->missed + t * value);
        for (int64_t i = 0; i < value; i++)
            w->dv[t * stride + i] += beta[t] * w->z[t * value + i];
    }
}

/* Products of keys and queries, whose gradients are those of A and of the outputs' triangle. */
static void find_product_gradients(struct way *w) {
    struct delta_chunk *c = &w->c;
    const int64_t value = c->d->value, rows = c->rows;
    const float *beta = delta_betas(c), scale = c->d->scale;
    linalg_gemm_nt(rows, rows, value, -1, w->z, value, c->added, value, 0, w->toward_kk, rows);
    linalg_gemm_nt(rows, rows, value, scale, w->dy, delta_values_stride(c), c->added, value, 0,
                   w->toward_qk, rows);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < rows; i++) {
            const int64_t at = t * rows + i;
            w->toward_kk[at] *= i < t ? beta[t] * c->fade[at] : 0;
            w->toward_qk[at] *= i <= t ? c->fade[at] : 0;
            if (i >= t)
                continue;
            const double both = (double)w->toward_kk[at] * (double)c->products[at] +
                                (double)w->toward_qk[at] * (double)c->products[DELTA_SQUARE + at];
            w->dsum[t] += both;
            w->dsum[i] -= both;
        }
}

static void add_within(struct way *w) {
    const struct delta_chunk *c = &w->c;
    const int64_t rows = c->rows, key = c->d->key, stride = delta_keys_stride(c);
    linalg_gemm_nn(rows, key, rows, 1, w->toward_kk, rows, w->k, stride, 1, w->dk, stride);
    linalg_gemm_tn(rows, key, rows, 1, w->toward_kk, rows, w->k, stride, 1, w->dk, stride);
    linalg_gemm_nn(rows, key, rows, 1, w->toward_qk, rows, w->k, stride, 1, w->dq, stride);
    linalg_gemm_tn(rows, key, rows, 1, w->toward_qk, rows, w->q, stride, 1, w->dk, stride);
}

/* d += wide, and dsum += sign times the products of both, by rows; returns what they add up to. */
static double add_wide(struct way *w, double sign, const float *x, float *d) {
    const struct delta_chunk *c = &w->c;
    const int64_t key = c->d->key, stride = delta_keys_stride(c);
    double all = 0;
    for (int64_t t = 0; t < c->rows; t++) {
        const double both = linalg_dot(key, w->wide + t * key, x + t * stride);
        w->dsum[t] += sign * both;
        all += both;
        for (int64_t i = 0; i < key; i++)
            d[t * stride + i] += w->wide[t * key + i];
    }
    return all;
}

/* What the state before the chunk says of keys and queries, and D before the chunk. */
static void add_from_state(struct way *w) {
    struct delta_chunk *c = &w->c;
    const int64_t rows = c->rows, key = c->d->key, value = c->d->value;
    const int64_t stride = delta_keys_stride(c);
    const float *beta = delta_betas(c), left = (float)exp(c->sum[rows - 1]);
    for (int64_t i = 0; i < key * value; i++)
        w->dstate[i] *= left;
    delta_decays_from_begin(c, 1);
    for (int64_t t = 0; t < rows; t++)
        c->factor[t] *= -beta[t];
    scale_values(c, w->z, value, w->scaled_values);
    linalg_gemm_nt(rows, key, value, 1, w->scaled_values, value, c->state, value, 0, w->wide, key);
    (void)add_wide(w, 1, w->k, w->dk);
    linalg_gemm_tn(key, value, rows, 1, w->k, stride, w->scaled_values, value, 1, w->dstate, value);
    delta_decays_from_begin(c, c->d->scale);
    scale_values(c, w->dy, delta_values_stride(c), w->scaled_values);
    linalg_gemm_nt(rows, key, value, 1, w->scaled_values, value, c->state, value, 0, w->wide, key);
    (void)add_wide(w, 1, w->q, w->dq);
    linalg_gemm_tn(key, value, rows, 1, w->q, stride, w->scaled_values, value, 1, w->dstate, value);
}

/* What tokens do to the state behind the chunk. */
static void add_to_state(struct way *w) {
    struct delta_chunk *c = &w->c;
    const int64_t rows = c->rows, key = c->d->key, value = c->d->value, last = rows - 1;
    delta_decays_to_end(c);
    scale_values(c, c->added, value, w->scaled_values);
    linalg_gemm_nt(rows, key, value, 1, w->scaled_values, value, w->dstate, value, 0, w->wide, key);
    const double all = add_wide(w, -1, w->k, w->dk);
    w->dsum[last] += all + exp(c->sum[last]) * linalg_dot(key * value, c->state, w->dstate);
}

/* A decay is part of the sums of its token and of all behind it. */
static void put_decays(const struct way *w) {
    float *out = w->back->ddecay + w->c.head * w->c.length + w->c.begin;
    double sum = 0;
    for (int64_t t = w->c.rows - 1; t >= 0; t--)
        out[t] = (float)(sum += w->dsum[t]);
}

/* --- a sequence ------------------------------------------------------------------------------- */

static void run_forth(struct way *w, int64_t chunks) {
    const size_t size = (size_t)state_size(w) * sizeof *w->states;
    memset(w->states, 0, size);
    for (int64_t i = 0; i < chunks; i++) {
        begin_chunk(w, i);
        delta_solve_added(&w->c);
        if (i + 1 == chunks)
            break;
        float *next = w->states + (i + 1) * state_size(w);
        memcpy(next, w->c.state, size);
        w->c.state = next;
        delta_pass_state_on(&w->c);
    }
}

static void run_back(struct way *w, int64_t chunks) {
    memset(w->dstate, 0, (size_t)state_size(w) * sizeof *w->dstate);
    for (int64_t i = chunks - 1; i >= 0; i--) {
        begin_chunk(w, i);
        find_missed(w);
        find_z(w);
        add_to_values(w);
        find_product_gradients(w);
        add_within(w);
        add_to_state(w);
        add_from_state(w);
        put_decays(w);
    }
}

static void lay_out(struct way *w, float *scratch) {
    const int64_t key = w->c.d->key, value = w->c.d->value;
    w->c.fade = scratch;
    w->c.triangle = w->c.fade + DELTA_SQUARE;
    w->toward_kk = w->c.triangle + DELTA_SQUARE;
    w->toward_qk = w->toward_kk + DELTA_SQUARE;
    w->c.scaled = w->toward_qk + DELTA_SQUARE;
    w->z = w->c.scaled + DELTA_CHUNK * key;
    w->missed = w->z + DELTA_CHUNK * value;
    w->scaled_values = w->missed + DELTA_CHUNK * value;
    w->wide = w->scaled_values + DELTA_CHUNK * value;
    w->dstate = w->wide + DELTA_CHUNK * key;
    w->states = w->dstate + key * value;
    w->all_added = w->states + ceil_div(w->c.length, DELTA_CHUNK) * key * value;
}

void delta_back(const struct delta *d, int64_t length, const struct delta_input *in,
                const struct delta_back *b, float *scratch) {
    const int64_t chunks = ceil_div(length, DELTA_CHUNK), share = d->value_heads / d->key_heads;
    float *rest = scratch + delta_products_scratch(d, length);
    delta_multiply_inputs(d, length, in, scratch);
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(d, length, in, b, scratch, chunks, share, rest)
    for (int64_t key_head = 0; key_head < d->key_heads; key_head++) {
        struct way w = {.c = {.d = d, .in = in, .length = length}, .back = b};
        w.all_products = scratch + key_head * chunks * 2 * DELTA_SQUARE;
        lay_out(&w, rest + omp_get_thread_num() * thread_scratch(d, length));
        for (int64_t h = key_head * share; h < (key_head + 1) * share; h++) {
            w.c.head = h;
            run_forth(&w, chunks);
            run_back(&w, chunks);
        }
    }
}
