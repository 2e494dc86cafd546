/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention: see attention.h. */
#include "graph/attention.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/int64.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

void attention_slopes(int64_t heads, float *slopes) {
    int64_t power = 1;
    while (2 * power <= heads)
        power *= 2;
    for (int64_t h = 0; h < heads; h++) {
        const double step = h < power ? (double)(h + 1) : (double)(2 * (h - power) + 1) / 2;
        slopes[h] = (float)exp2(-8 * step / (double)power);
    }
}

/* Rows [begin, end) of one head. */
struct tile {
    int64_t head, begin, end;
};

/* The first key that the query at `position` sees. */
static int64_t first_key(const struct attention *a, int64_t position) {
    const int64_t window = a->window > 0 ? position - a->window + 1 : 0;
    const int64_t chunk = a->chunk > 0 ? position / a->chunk * a->chunk : 0;
    return max_i64(0, max_i64(window, chunk));
}

/* What the scores of the query at `position` are multiplied by. */
static float heat_of(const struct attention *a, int64_t position) {
    const double steps = a->temperature > 0 ? floor(((double)position + a->first) / a->floor) : 0;
    return (float)(1 + a->temperature * log1p(steps));
}

static void heat(const struct attention *a, int64_t position, int64_t count, float *row) {
    const float gain = heat_of(a, position);
    for (int64_t i = 0; i < count; i++)
        row[i] *= gain;
}

static void fall_with_distance(const struct attention *a, int64_t head, int64_t count, float *row) {
    const float slope = a->slopes[head] * (a->slopes_before_scale ? a->scale : 1);
    const int last = (int)count - 1;
    for (int i = 0; i < last; i++)
        row[i] += slope * (float)(i - last);
}

/* Scores that weigh nothing for the keys that are not chosen, of `count` up to the query's own. */
static void hide_others(const struct attention *a, int64_t position, int64_t count, float *row) {
    const float *chosen = a->choice + (position - a->past) * a->choices, *end = chosen + a->choices;
    for (int64_t i = 0; i < count; i++) {
        const float key = (float)(position + 1 - count + i);
        while (chosen < end && *chosen >= 0 && *chosen < key)
            chosen++;
        if (chosen == end || *chosen < 0 || *chosen > key)
            row[i] = -1e30F;
    }
}

/* What keys themselves add to the scores of a query, of `count` up to its own. */
static void lift_keys(const struct attention *a, int64_t head, int64_t position, int64_t count,
                      float *row) {
    const float *lift =
        a->lift + (position + 1 - count) * a->kv_heads + head / (a->heads / a->kv_heads);
    for (int64_t i = 0; i < count; i++)
        row[i] += lift[i * a->kv_heads];
}

/* Weights that are nothing beside the others' sum of 1. Where scores fall with the distance many
 * are denormal, and the product with the values would take three times as long. */
static void drop_dust(int64_t count, float *row) {
    for (int64_t i = 0; i < count; i++)
        row[i] = row[i] < 1e-30F ? 0 : row[i];
}

/* What becomes of the scaled scores of a query, count >= 1, the last of them its own key's. Behind
 * them there is room for a sink. */
static void weigh(const struct attention *a, int64_t head, int64_t position, int64_t count,
                  float *row) {
    const struct llmq_kernels *kernels = kernels_get();
    if (a->temperature > 0)
        heat(a, position, count, row);
    if (a->cap > 0)
        kernels->soft_cap(row, count, a->cap);
    if (a->slopes)
        fall_with_distance(a, head, count, row);
    if (a->lift)
        lift_keys(a, head, position, count, row);
    if (a->choice)
        hide_others(a, position, count, row);
    if (a->sinks)
        row[count] = a->sinks[head];
    kernels->softmax_row(row, a->sinks ? count + 1 : count);
    if (a->slopes || a->choice)
        drop_dust(count, row);
}

/* Keys [first, end) against the rows of a tile: products begin where those of the head do. */
struct view {
    int64_t kv_head, first, rows, keys;
    int64_t q, k, v, out;         /* offsets */
    int64_t ldq, ldk, ldv, ldout; /* entries between rows */
    int64_t stride;               /* of the scores */
};

static struct view view_of(const struct attention *a, struct tile t) {
    struct view w = {.kv_head = t.head / (a->heads / a->kv_heads),
                     .first = first_key(a, t.begin),
                     .rows = t.end - t.begin,
                     .ldq = a->heads * a->width,
                     .ldk = a->kv_heads * a->width,
                     .ldv = a->kv_heads * a->value_width,
                     .ldout = a->heads * a->value_width};
    w.keys = t.end - w.first;
    w.stride = a->sinks ? w.keys + 1 : w.keys;
    w.q = (t.begin - a->past) * w.ldq + t.head * a->width;
    w.k = w.first * w.ldk + w.kv_head * a->width;
    w.v = w.first * w.ldv + w.kv_head * a->value_width;
    w.out = (t.begin - a->past) * w.ldout + t.head * a->value_width;
    return w;
}

/* Softmax over what each row may see. What it may not see is zeroed, so that products need no mask.
 */
static void weigh_tile(const struct attention *a, struct tile t, const struct view *w,
                       float *scores) {
    for (int64_t r = 0; r < w->rows; r++) {
        float *row = scores + r * w->stride;
        const int64_t position = t.begin + r;
        const int64_t see = first_key(a, position) - w->first, seen = position + 1 - w->first;
        memset(row, 0, (size_t)see * sizeof *row);
        weigh(a, t.head, position, seen - see, row + see);
        memset(row + seen, 0, (size_t)(w->stride - seen) * sizeof *row);
    }
}

/* Scores of the tile, their softmax, product with the values. */
static void attend_tile(const struct attention *a, struct tile t, const float *q, const float *k,
                        const float *v, float *scores, float *out) {
    const struct view w = view_of(a, t);
    linalg_gemm_nt(w.rows, w.keys, a->width, a->scale, q + w.q, w.ldq, k + w.k, w.ldk, 0.0f, scores,
                   w.stride);
    weigh_tile(a, t, &w, scores);
    linalg_gemm_nn(w.rows, a->value_width, w.keys, a->gain, scores, w.stride, v + w.v, w.ldv, 0.0f,
                   out + w.out, w.ldout);
}

void attention_sequence(const struct attention *a, int64_t length, const float *q, const float *k,
                        const float *v, float *scores, int64_t stride, float *out) {
    const int64_t tiles = ceil_div(length, ATTENTION_TILE), work = tiles * a->heads;
#pragma omp parallel for schedule(dynamic) default(none)                                           \
    shared(a, length, q, k, v, scores, stride, out, tiles, work)
    for (int64_t i = 0; i < work; i++) {
        const int64_t begin = a->past + (i % tiles) * ATTENTION_TILE;
        const int64_t end = min_i64(begin + ATTENTION_TILE, a->past + length);
        float *mine = scores + omp_get_thread_num() * ATTENTION_TILE * stride;
        attend_tile(a, (struct tile){i / tiles, begin, end}, q, k, v, mine, out);
    }
}

/* --- the way back ----------------------------------------------------------------------------- */

/* scores[i] = the derivative of a capped score by the one before, of scores as they came. */
static void cap_slopes(const struct attention *a, int64_t count, float *scores) {
    kernels_get()->soft_cap(scores, count, a->cap);
    for (int64_t i = 0; i < count; i++)
        scores[i] = 1 - scores[i] / a->cap * (scores[i] / a->cap);
}

/* d = the gradient towards the scaled scores of a row, in place of that towards its weights; `raw`
 * are those scores. Returns that towards a sink. */
static double score_gradients(const struct attention *a, int64_t position, int64_t count,
                              const float *weights, float *raw, float *d) {
    const float gain = heat_of(a, position);
    double along = 0, rest = 1;
    for (int64_t i = 0; i < count; i++) {
        along += (double)weights[i] * (double)d[i];
        rest -= (double)weights[i];
    }
    for (int64_t i = 0; i < count; i++)
        d[i] = gain * weights[i] * (d[i] - (float)along);
    if (a->cap > 0) {
        heat(a, position, count, raw);
        cap_slopes(a, count, raw);
        for (int64_t i = 0; i < count; i++)
            d[i] *= raw[i];
    }
    return -rest * along;
}

/* dlift += the gradients towards what was added to the scores of a row, where d is that towards its
 * weights. */
static void add_lift_slopes(const struct attention *a, int64_t count, const float *weights,
                            const float *d, float *dlift) {
    double along = 0;
    for (int64_t i = 0; i < count; i++)
        along += (double)weights[i] * (double)d[i];
    for (int64_t i = 0; i < count; i++)
        dlift[i * a->kv_heads] += weights[i] * (d[i] - (float)along);
}

/* One tile of queries; returns the gradient towards the head's sink. */
static double attend_tile_back(const struct attention *a, struct tile t,
                               const struct attention_back *b, float *scratch) {
    const struct view w = view_of(a, t);
    float *weights = scratch, *d = weights + w.rows * w.stride, *raw = d + w.rows * w.stride;
    double sink = 0;
    linalg_gemm_nt(w.rows, w.keys, a->width, a->scale, b->q + w.q, w.ldq, b->k + w.k, w.ldk, 0,
                   weights, w.stride);
    if (a->cap > 0)
        memcpy(raw, weights, (size_t)(w.rows * w.stride) * sizeof *raw);
    weigh_tile(a, t, &w, weights);
    linalg_gemm_tn(w.keys, a->value_width, w.rows, a->gain, weights, w.stride, b->dy + w.out,
                   w.ldout, 1, b->dv + w.v, w.ldv);
    linalg_gemm_nt(w.rows, w.keys, a->value_width, a->gain, b->dy + w.out, w.ldout, b->v + w.v,
                   w.ldv, 0, d, w.stride);
    for (int64_t r = 0; a->lift && r < w.rows; r++)
        add_lift_slopes(a, w.keys, weights + r * w.stride, d + r * w.stride,
                        b->dlift + w.first * a->kv_heads + w.kv_head);
    for (int64_t r = 0; r < w.rows; r++)
        sink += score_gradients(a, t.begin + r, w.keys, weights + r * w.stride, raw + r * w.stride,
                                d + r * w.stride);
    linalg_gemm_nn(w.rows, a->width, w.keys, a->scale, d, w.stride, b->k + w.k, w.ldk, 1,
                   b->dq + w.q, w.ldq);
    linalg_gemm_tn(w.keys, a->width, w.rows, a->scale, d, w.stride, b->q + w.q, w.ldq, 1,
                   b->dk + w.k, w.ldk);
    return sink;
}

void attention_back(const struct attention *a, int64_t length, int64_t kv_head,
                    const struct attention_back *b, float *scratch) {
    const int64_t share = a->heads / a->kv_heads;
    for (int64_t h = kv_head * share; h < (kv_head + 1) * share; h++) {
        double sink = 0;
        for (int64_t begin = 0; begin < length; begin += ATTENTION_TILE)
            sink += attend_tile_back(
                a, (struct tile){h, begin, min_i64(begin + ATTENTION_TILE, length)}, b, scratch);
        if (a->sinks)
            b->sinks[h] = (float)sink;
    }
}
