/* SPDX-License-Identifier: Apache-2.0 */
/* See index.h. */
#include "graph/index.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "base/int64.h"
#include "graph/attention.h"
#include "linalg/linalg.h"

/* Queries that share a product with the keys: of a thread's scratch one part is for the products
 * of a head, one for the scores. */
enum { TILE = ATTENTION_TILE / 2 };

/* Numbers in the order of floats. */
static uint32_t order_of(float x) {
    uint32_t bits = 0;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}

/* What the largest `*top` of x begin at; *top becomes how many of those equal to it are among them.
 * Byte by byte from the highest. */
static uint32_t threshold(const float *x, int64_t count, int64_t *top) {
    uint32_t found = 0, known = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        int64_t having[256] = {0};
        for (int64_t i = 0; i < count; i++)
            if ((order_of(x[i]) & known) == found)
                having[order_of(x[i]) >> shift & 0xff]++;
        uint32_t byte = 255;
        for (; byte > 0 && having[byte] < *top; byte--)
            *top -= having[byte];
        found |= byte << shift;
        known |= 0xffU << shift;
    }
    return found;
}

/* The choice of a query that may see `count` keys. */
static void choose(const struct index *x, const float *scores, int64_t count, float *out) {
    int64_t equals = x->top, chosen = 0;
    const bool all = count <= x->top;
    const uint32_t least = all ? 0 : threshold(scores, count, &equals);
    for (int64_t s = 0; s < count; s++) {
        const uint32_t order = all ? 1 : order_of(scores[s]);
        if (order > least || (order == least && equals-- > 0))
            out[chosen++] = (float)s;
    }
    while (chosen < x->top)
        out[chosen++] = -1;
}

/* Queries [begin, keys), and the keys [0, keys) that any of them may see. */
struct tile {
    int64_t begin, keys;
    float *products, *scores; /* [keys - begin, keys] */
};

/* Add what one head says of the keys to the scores. */
static void add_head(const struct index *x, int64_t head, const struct index_input *in,
                     const struct tile *t) {
    const int64_t ldq = x->heads * x->width, rows = t->keys - t->begin, keys = t->keys;
    const int64_t first = t->begin - x->past;
    const float *q = in->q + first * ldq + head * x->width;
    linalg_gemm_nt(rows, keys, x->width, 1.0f / sqrtf((float)x->width), q, ldq, in->k, x->width,
                   0.0f, t->products, keys);
    for (int64_t r = 0; r < rows; r++) {
        const float gain = in->gain[(first + r) * x->heads + head] / sqrtf((float)x->heads);
        for (int64_t s = 0; s < keys; s++)
            t->scores[r * keys + s] += gain * fmaxf(t->products[r * keys + s], 0);
    }
}

void index_sequence(const struct index *x, int64_t length, const struct index_input *in,
                    float *scratch, int64_t stride, float *out) {
    const int64_t tiles = ceil_div(length, TILE);
#pragma omp parallel for schedule(dynamic) default(none)                                           \
    shared(x, length, in, scratch, stride, out, tiles)
    for (int64_t i = 0; i < tiles; i++) {
        const int64_t begin = x->past + i * TILE;
        const int64_t end = min_i64(begin + TILE, x->past + length);
        float *mine = scratch + omp_get_thread_num() * ATTENTION_TILE * stride;
        const struct tile tile = {begin, end, mine, mine + TILE * stride};
        memset(tile.scores, 0, (size_t)((end - begin) * end) * sizeof *mine);
        for (int64_t h = 0; end > x->top && h < x->heads; h++) /* else all are chosen */
            add_head(x, h, in, &tile);
        for (int64_t t = begin; t < end; t++)
            choose(x, tile.scores + (t - begin) * end, t + 1, out + (t - x->past) * x->top);
    }
}
