/* Causal attention: see attention.h. */
#include "graph/attention.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/int64.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

void attention_rotate(const struct rope_table *rope, int64_t length, int64_t heads,
                      int64_t head_dim, const float *x, float *out) {
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(rope, length, heads, head_dim, x, out)
    for (int64_t row = 0; row < length; row++)
        for (int64_t h = row * heads; h < (row + 1) * heads; h++)
            rope_rotate(rope, row, head_dim, x + h * head_dim, out + h * head_dim);
}

/* Rows [begin, end) of one head. */
struct tile {
    int64_t head, begin, end;
};

/* Scores of the tile against keys [first, end), softmax over what each row may see, product with
 * the values. What a row may not see is zeroed, so that the product needs no mask. */
static void attend_tile(const struct model_config *c, int64_t window, struct tile t, const float *q,
                        const float *k, const float *v, float *scores, float *out) {
    const struct llmq_kernels *kernels = kernels_get();
    const int64_t heads = c->facts.dims[DIM_HEADS], kv_heads = c->facts.dims[DIM_KV_HEADS];
    int64_t d = c->facts.dims[DIM_HEAD], ldq = heads * d, ldkv = kv_heads * d;
    int64_t kv_head = t.head / (heads / kv_heads);
    int64_t first = window > 0 && t.begin >= window ? t.begin - window + 1 : 0;
    int64_t rows = t.end - t.begin, keys = t.end - first;
    float scale = 1.0f / sqrtf((float)d);
    linalg_gemm_nt(rows, keys, d, scale, q + t.begin * ldq + t.head * d, ldq,
                   k + first * ldkv + kv_head * d, ldkv, 0.0f, scores, keys);
    for (int64_t r = 0; r < rows; r++) {
        float *row = scores + r * keys;
        int64_t position = t.begin + r;
        int64_t see = window > 0 && position >= window ? position - window + 1 - first : 0;
        int64_t seen = position + 1 - first;
        memset(row, 0, (size_t)see * sizeof *row);
        kernels->softmax_row(row + see, seen - see);
        memset(row + seen, 0, (size_t)(keys - seen) * sizeof *row);
    }
    linalg_gemm_nn(rows, d, keys, 1.0f, scores, keys, v + first * ldkv + kv_head * d, ldkv, 0.0f,
                   out + t.begin * ldq + t.head * d, ldq);
}

void attention_sequence(const struct model_config *c, int64_t window, int64_t length,
                        const float *q, const float *k, const float *v, float *scores,
                        int64_t stride, float *out) {
    int64_t tiles = ceil_div(length, ATTENTION_TILE);
    int64_t work = tiles * c->facts.dims[DIM_HEADS];
#pragma omp parallel for schedule(dynamic) default(none)                                           \
    shared(c, window, length, q, k, v, scores, stride, out, tiles, work)
    for (int64_t i = 0; i < work; i++) {
        int64_t begin = (i % tiles) * ATTENTION_TILE;
        int64_t end = min_i64(begin + ATTENTION_TILE, length);
        float *mine = scores + omp_get_thread_num() * ATTENTION_TILE * stride;
        attend_tile(c, window, (struct tile){i / tiles, begin, end}, q, k, v, mine, out);
    }
}
