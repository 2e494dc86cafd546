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

static void heat(const struct attention *a, int64_t position, int64_t count, float *row) {
    const double steps = floor(((double)position + a->first) / a->floor);
    const float gain = (float)(1 + a->temperature * log1p(steps));
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
    const float *chosen = a->choice + position * a->choices, *end = chosen + a->choices;
    for (int64_t i = 0; i < count; i++) {
        const float key = (float)(position + 1 - count + i);
        while (chosen < end && *chosen >= 0 && *chosen < key)
            chosen++;
        if (chosen == end || *chosen < 0 || *chosen > key)
            row[i] = -1e30F;
    }
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
    if (a->choice)
        hide_others(a, position, count, row);
    if (a->sinks)
        row[count] = a->sinks[head];
    kernels->softmax_row(row, a->sinks ? count + 1 : count);
    if (a->slopes || a->choice)
        drop_dust(count, row);
}

/* Scores of the tile against keys [first, end), softmax over what each row may see, product with
 * the values. What a row may not see is zeroed, so that the product needs no mask. */
static void attend_tile(const struct attention *a, struct tile t, const float *q, const float *k,
                        const float *v, float *scores, float *out) {
    const int64_t ldq = a->heads * a->width, ldk = a->kv_heads * a->width;
    const int64_t ldv = a->kv_heads * a->value_width, ldout = a->heads * a->value_width;
    const int64_t kv_head = t.head / (a->heads / a->kv_heads);
    const int64_t first = first_key(a, t.begin);
    const int64_t rows = t.end - t.begin, keys = t.end - first;
    const int64_t stride = a->sinks ? keys + 1 : keys;
    linalg_gemm_nt(rows, keys, a->width, a->scale, q + t.begin * ldq + t.head * a->width, ldq,
                   k + first * ldk + kv_head * a->width, ldk, 0.0f, scores, stride);
    for (int64_t r = 0; r < rows; r++) {
        float *row = scores + r * stride;
        const int64_t position = t.begin + r;
        const int64_t see = first_key(a, position) - first, seen = position + 1 - first;
        memset(row, 0, (size_t)see * sizeof *row);
        weigh(a, t.head, position, seen - see, row + see);
        memset(row + seen, 0, (size_t)(stride - seen) * sizeof *row);
    }
    linalg_gemm_nn(rows, a->value_width, keys, a->gain, scores, stride,
                   v + first * ldv + kv_head * a->value_width, ldv, 0.0f,
                   out + t.begin * ldout + t.head * a->value_width, ldout);
}

void attention_sequence(const struct attention *a, int64_t length, const float *q, const float *k,
                        const float *v, float *scores, int64_t stride, float *out) {
    const int64_t tiles = ceil_div(length, ATTENTION_TILE), work = tiles * a->heads;
#pragma omp parallel for schedule(dynamic) default(none)                                           \
    shared(a, length, q, k, v, scores, stride, out, tiles, work)
    for (int64_t i = 0; i < work; i++) {
        const int64_t begin = (i % tiles) * ATTENTION_TILE;
        const int64_t end = min_i64(begin + ATTENTION_TILE, length);
        float *mine = scores + omp_get_thread_num() * ATTENTION_TILE * stride;
        attend_tile(a, (struct tile){i / tiles, begin, end}, q, k, v, mine, out);
    }
}
