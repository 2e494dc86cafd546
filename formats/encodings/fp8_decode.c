/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding E4M3 with scales: w[r][c] = code[r][c] * scale[r / block_rows][c / block_columns], the
 * exact product rounded to float32 once. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "formats/encodings/fp8.h"
#include "tensor/minifloat.h"

/* Codes in memory at a time. */
#define SLICE ((size_t)1 << 20)

/* Buffers for a slice of one matrix. */
struct slice {
    const struct st_set *set;
    const struct st_coded *c;
    float values[256]; /* of the codes */
    uint8_t *codes;
    uint8_t *raw; /* scales as stored */
    float *scales;
    uint64_t first_row, rows; /* of the scales in memory */
};

/* The scales of rows [begin, end) of matrix m. */
static enum llmq_status read_scales(struct slice *s, uint64_t m, uint64_t begin, uint64_t end,
                                    llmq_error *err) {
    const struct st_coded *c = s->c;
    const uint64_t columns = st_coded_scale_columns(c), rows = st_coded_scale_rows(c);
    const size_t width = dtype_bits(c->scales.dtype) / 8;
    s->first_row = begin / c->block_rows;
    s->rows = (end - 1) / c->block_rows + 1 - s->first_row;
    const uint64_t from = m * rows * columns + s->first_row * columns, count = s->rows * columns;
    enum llmq_status status =
        st_read(s->set, &c->scales, from * width, (size_t)count * width, s->raw, err);
    if (status != LLMQ_OK)
        return status;
    scales_to_f32(c->scales.dtype, s->raw, (size_t)count, s->scales);
    for (uint64_t i = 0; i < count; i++)
        if (!(s->scales[i] >= 0) || !isfinite(s->scales[i]))
            return st_coded_refuse(s->set, &c->scales, m * rows + s->first_row + i / columns,
                                   i % columns, "a scale that is negative or not finite", err);
    return LLMQ_OK;
}

/* Elements [from, to) of row `row`, whose codes are at `codes`: false: one is not finite. */
static bool decode_row(const struct slice *s, uint64_t row, uint64_t from, uint64_t to,
                       const uint8_t *codes, float *out) {
    const struct st_coded *c = s->c;
    const float *scales =
        s->scales + (row / c->block_rows - s->first_row) * st_coded_scale_columns(c);
    bool finite = true;
    for (uint64_t at = from; at < to;) {
        const uint64_t block = at / c->block_columns;
        const uint64_t last = (block + 1) * c->block_columns;
        const uint64_t end = last < to ? last : to;
        const float scale = scales[block];
        float peak = 0;
        for (; at < end; at++) {
            const float v = s->values[codes[at - from]] * scale;
            out[at - from] = v;
            peak += v - v; /* NaN once any is NaN or infinite, else 0 */
        }
        finite = finite && isfinite(peak);
    }
    return finite;
}

static enum llmq_status refuse_row(const struct slice *s, uint64_t row, uint64_t from, uint64_t to,
                                   const uint8_t *codes, const float *values, llmq_error *err) {
    for (uint64_t at = from; at < to; at++)
        if (!isfinite(values[at - from]))
            return st_coded_refuse(s->set, &s->c->codes, row, at,
                                   isfinite(s->values[codes[at - from]])
                                       ? "times its scale it is beyond float32"
                                       : "its code stands for NaN",
                                   err);
    return LLMQ_OK;
}

/* Elements [begin, begin + count), all of one matrix. */
static enum llmq_status decode_slice(struct slice *s, uint64_t begin, size_t count, float *out,
                                     llmq_error *err) {
    const struct st_coded *c = s->c;
    const uint64_t size = c->rows * c->columns, m = begin / size, first = begin - m * size;
    enum llmq_status status = st_read(s->set, &c->codes, begin, count, s->codes, err);
    if (status == LLMQ_OK)
        status = read_scales(s, m, first / c->columns, (first + count - 1) / c->columns + 1, err);
    for (uint64_t at = first; status == LLMQ_OK && at < first + count;) {
        const uint64_t row = at / c->columns, from = at % c->columns;
        const uint64_t left = first + count - at;
        const uint64_t to = c->columns - from < left ? c->columns : from + left;
        const size_t i = (size_t)(at - first);
        if (!decode_row(s, row, from, to, s->codes + i, out + i))
            status = refuse_row(s, m * c->rows + row, from, to, s->codes + i, out + i, err);
        at += to - from;
    }
    return status;
}

/* Rows that a slice may touch, hence scales. */
static size_t scales_most(const struct st_coded *c, size_t count) {
    const uint64_t rows = count / c->columns + 2, all = st_coded_scale_rows(c);
    const uint64_t most = rows / c->block_rows + 2;
    return (size_t)((most < all ? most : all) * st_coded_scale_columns(c));
}

uint64_t fp8_workspace(const struct st_coded *c) {
    return SLICE + scales_most(c, SLICE) * 2 * sizeof(float);
}

enum llmq_status fp8_decode(const struct st_set *set, const struct st_coded *c, uint64_t begin,
                            size_t count, float *out, llmq_error *err) {
    const uint64_t size = c->rows * c->columns;
    const size_t most = count < SLICE ? count : SLICE, scales = scales_most(c, most);
    struct slice s = {.set = set, .c = c};
    enum llmq_status status = LLMQ_OK;
    for (int code = 0; code < 256; code++)
        s.values[code] = e4m3_to_f32((uint8_t)code);
    s.codes = malloc(most ? most : 1);
    s.raw = malloc(scales * sizeof(float));
    s.scales = malloc(scales * sizeof *s.scales);
    if (!s.codes || !s.raw || !s.scales)
        status = error_memory(err, "decoding a tensor");
    while (status == LLMQ_OK && count > 0) {
        const uint64_t left = size - begin % size;
        size_t part = count < most ? count : most;
        part = part < left ? part : (size_t)left;
        status = decode_slice(&s, begin, part, out, err);
        begin += part;
        out += part;
        count -= part;
    }
    free(s.codes);
    free(s.raw);
    free(s.scales);
    return status;
}
