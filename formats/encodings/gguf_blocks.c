/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings and output heads of GGUF files, which are blocks of codes as a rule: read row by row
 * where they are wanted, never whole. See formats/layouts/gguf.c for the blocks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/encodings/encoding.h"
#include "tensor/dtype.h"

/* Elements of a block; blocks that are read at a time. */
enum { BLOCK = 32, MOST = 1 << 13 };

static bool is_blocks(enum dtype t) {
    return t == DTYPE_Q4_0 || t == DTYPE_Q4_1 || t == DTYPE_Q8_0;
}

/* Element j of a block. */
static float value_at(const unsigned char *block, enum dtype t, int j) {
    const unsigned char *codes = block + (t == DTYPE_Q4_1 ? 4 : 2);
    uint16_t half[2];
    memcpy(half, block, t == DTYPE_Q4_1 ? 4 : 2);
    if (t == DTYPE_Q8_0)
        return (float)((codes[j] ^ 128) - 128) * f16_to_f32(half[0]);
    const int code = codes[j % (BLOCK / 2)] >> (j < BLOCK / 2 ? 0 : 4) & 15;
    return t == DTYPE_Q4_0 ? (float)(code - 8) * f16_to_f32(half[0])
                           : (float)code * f16_to_f32(half[0]) + f16_to_f32(half[1]);
}

/* The first element that is not finite is told. */
static enum llmq_status check(const struct st_set *set, const struct st_coded *c, uint64_t at,
                              const float *values, size_t count, llmq_error *err) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return st_coded_refuse(set, &c->codes, (at + i) / c->columns, (at + i) % c->columns,
                                   "its scale is not finite", err);
    return LLMQ_OK;
}

static enum llmq_status decode(const struct st_set *set, const struct st_coded *c, uint64_t begin,
                               size_t count, float *out, llmq_error *err) {
    const enum dtype t = c->codes.dtype;
    const size_t bytes = dtype_bits(t) / 8;
    unsigned char *blocks = malloc(MOST * bytes);
    enum llmq_status status = blocks ? LLMQ_OK : error_memory(err, "decoding a tensor");
    while (status == LLMQ_OK && count > 0) {
        const uint64_t first = begin / BLOCK, last = (begin + count - 1) / BLOCK + 1;
        const uint64_t some = last - first < MOST ? last - first : MOST;
        const uint64_t end = (first + some) * BLOCK;
        const size_t part = end - begin < count ? (size_t)(end - begin) : count;
        status = st_read(set, &c->codes, first * bytes, (size_t)some * bytes, blocks, err);
        for (size_t i = 0; status == LLMQ_OK && i < part; i++) {
            const uint64_t at = begin + i;
            out[i] = value_at(blocks + (at / BLOCK - first) * bytes, t, (int)(at % BLOCK));
        }
        if (status == LLMQ_OK)
            status = check(set, c, begin, out, part, err);
        begin += part;
        out += part;
        count -= part;
    }
    free(blocks);
    return status;
}

enum llmq_status encoding_show_blocks(struct st_set *set, const char *const *weights, int count,
                                      llmq_error *err) {
    struct st_coded_view *views = calloc((size_t)count, sizeof *views);
    bool *hidden = calloc(st_count(set) + 1, sizeof *hidden);
    size_t found = 0;
    enum llmq_status status = LLMQ_OK;
    if (!views || !hidden)
        LLMQ_TRY(error_memory(err, "the parts of tensors"));
    for (size_t i = 0; i < st_count(set); i++) {
        const struct st_tensor *t = st_at(set, i);
        for (int w = 0; w < count && is_blocks(t->dtype) && t->rank == 2; w++) {
            const char *dot = weights[w] ? strrchr(weights[w], '.') : NULL;
            const size_t len = dot ? (size_t)(dot - weights[w]) : 0;
            if (len == 0 || strncmp(t->name, weights[w], len) != 0 ||
                strcmp(t->name + len, ".blocks") != 0)
                continue;
            struct st_coded_view *v = &views[found++];
            *v = (struct st_coded_view){.name = weights[w], .tensor = i, .rank = 2};
            memcpy(v->shape, t->shape, 2 * sizeof *t->shape);
            v->coded = (struct st_coded){.decode = decode,
                                         .codes = *t,
                                         .matrices = 1,
                                         .rows = t->shape[0],
                                         .columns = t->shape[1],
                                         .block_rows = 1,
                                         .block_columns = BLOCK,
                                         .wide = true,
                                         .workspace = MOST * (dtype_bits(t->dtype) / 8)};
        }
    }
    if (found > 0)
        LLMQ_TRY(st_show_decoded(set, views, found, hidden, err));
cleanup:
    free(views);
    free(hidden);
    return status;
}
