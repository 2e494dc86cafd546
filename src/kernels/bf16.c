/* SPDX-License-Identifier: Apache-2.0 */
/* Products in bfloat16: how the work is divided. The arithmetic is in the kernel table, its meaning
 * in bf16.h.
 *
 * The activations are packed once, tile by tile, so that a tile reads one contiguous stream. A
 * thread takes a strip of weight rows and some of the tiles, packs one block of columns of the
 * strip into a buffer that fits its second-level cache, multiplies it with every tile, and moves on
 * to the next block.
 *
 * Every output is summed by one thread in the order of the columns, so the number of threads and
 * the division into tiles do not show in the result. */
#include "kernels/bf16.h"

#include <assert.h>
#include <omp.h>

#include "base/int64.h"

enum {
    STRIP_PANELS = 8,     /* at most: 512 KiB for one block of columns */
    UNITS_PER_THREAD = 4, /* pieces of work, where there are enough rows */
    CHUNK_ROWS = 256,     /* rows of a piece at least: packing a strip costs as much as 20 */
    ROWS_MAX = 16,        /* bf16_rows of any table */
};

/* Words of a thread's buffer for packed weights. */
#define STRIP_WORDS ((int64_t)STRIP_PANELS * BF16_LANES * BF16_BLOCK / 2)

/* One product's division: tile t has the rows from t * kernels->bf16_rows, strip s the panels
 * [panel_begin(s), panel_begin(s + 1)), chunk c the tiles [tile_begin(c), tile_begin(c + 1)). */
struct bf16_product {
    const struct llmq_kernels *kernels;
    int64_t m, n, k;
    const float *x, *w;
    float *y;
    uint32_t *packed; /* block after block, in each tile after tile: [pairs][bf16_rows] */
    uint32_t *strips; /* STRIP_WORDS for each thread */
    int64_t panels, tiles;
    int64_t strip_count, chunk_count;
};

static int64_t panel_begin(const struct bf16_product *p, int64_t strip) {
    return strip * p->panels / p->strip_count;
}

static int64_t tile_begin(const struct bf16_product *p, int64_t chunk) {
    return chunk * p->tiles / p->chunk_count;
}

bool bf16_supported(const struct llmq_kernels *kernels) {
    return kernels->bf16_tile != NULL;
}

/* Words of the packed activations. */
static int64_t packed_words(int64_t m, int64_t k, int64_t rows) {
    return ceil_div(m, rows) * rows * ceil_div(k, 2);
}

size_t bf16_scratch_bytes(int64_t m, int64_t k) {
    int64_t strips = (int64_t)omp_get_max_threads() * STRIP_WORDS;
    return (size_t)(strips + packed_words(m + ROWS_MAX, k, 1)) * sizeof(uint32_t);
}

/* Pairs of the block that begins with this column, 0 behind the last. */
static int64_t block_pairs(const struct bf16_product *p, int64_t column) {
    return ceil_div(min_i64(BF16_BLOCK, p->k - column), 2);
}

/* Where one block of a tile of activations is packed. */
static uint32_t *packed_at(const struct bf16_product *p, int64_t tile, int64_t column) {
    const int64_t rows = p->kernels->bf16_rows;
    return p->packed + rows * (column / 2 * p->tiles + tile * block_pairs(p, column));
}

static void pack_tile(const struct bf16_product *p, int64_t tile) {
    const int rows = p->kernels->bf16_rows;
    const int64_t row = tile * rows;
    for (int64_t column = 0; column < p->k; column += BF16_BLOCK)
        p->kernels->bf16_pack(p->x + row * p->k + column, p->k, (int)min_i64(rows, p->m - row),
                              min_i64(BF16_BLOCK, p->k - column), rows, packed_at(p, tile, column));
}

/* Columns from `column` of the strip's panels, one panel after the other. */
static void pack_strip(const struct bf16_product *p, int64_t strip, int64_t column, int64_t columns,
                       uint32_t *out) {
    for (int64_t i = panel_begin(p, strip); i < panel_begin(p, strip + 1); i++) {
        const int64_t row = i * BF16_LANES;
        p->kernels->bf16_pack(p->w + row * p->k + column, p->k,
                              (int)min_i64(BF16_LANES, p->n - row), columns, BF16_LANES, out);
        out += ceil_div(columns, 2) * BF16_LANES;
    }
}

/* One tile of activations times the packed block of a strip. */
static void multiply_tile(const struct bf16_product *p, int64_t tile, int64_t strip, int64_t column,
                          int64_t pairs, const uint32_t *weights) {
    const int rows = p->kernels->bf16_rows;
    const int64_t row = tile * rows;
    for (int64_t i = panel_begin(p, strip); i < panel_begin(p, strip + 1); i++) {
        const int64_t output = i * BF16_LANES;
        p->kernels->bf16_tile(&(struct bf16_tile){
            .pairs = pairs,
            .x = packed_at(p, tile, column),
            .w = weights,
            .rows = (int)min_i64(rows, p->m - row),
            .outputs = (int)min_i64(BF16_LANES, p->n - output),
            .first = column == 0,
            .y = p->y + row * p->n + output,
            .ldy = p->n,
        });
        weights += pairs * BF16_LANES;
    }
}

static void run_unit(const struct bf16_product *p, int64_t strip, int64_t chunk,
                     uint32_t *weights) {
    for (int64_t column = 0; column < p->k; column += BF16_BLOCK) {
        const int64_t columns = min_i64(BF16_BLOCK, p->k - column);
        pack_strip(p, strip, column, columns, weights);
        for (int64_t t = tile_begin(p, chunk); t < tile_begin(p, chunk + 1); t++)
            multiply_tile(p, t, strip, column, ceil_div(columns, 2), weights);
    }
}

void bf16_matmul(const struct llmq_kernels *kernels, int64_t m, int64_t n, int64_t k,
                 const float *x, const float *w, float *y, void *scratch) {
    const int rows = kernels->bf16_rows, threads = omp_get_max_threads();
    struct bf16_product p = {
        .kernels = kernels, .m = m, .n = n, .k = k, .x = x, .w = w, .y = y, .strips = scratch};
    assert(bf16_supported(kernels) && rows <= ROWS_MAX && k >= 1);
    if (m == 0 || n == 0)
        return;
    p.packed = p.strips + threads * STRIP_WORDS;
    p.panels = ceil_div(n, BF16_LANES);
    p.tiles = ceil_div(m, rows);
    p.strip_count = ceil_div(p.panels, STRIP_PANELS);
    p.chunk_count = min_i64(ceil_div((int64_t)UNITS_PER_THREAD * threads, p.strip_count),
                            ceil_div(m, CHUNK_ROWS));
#pragma omp parallel default(none) shared(p) num_threads(threads)
    {
        uint32_t *weights = p.strips + omp_get_thread_num() * STRIP_WORDS;
#pragma omp for schedule(static)
        for (int64_t t = 0; t < p.tiles; t++)
            pack_tile(&p, t);
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t strip = 0; strip < p.strip_count; strip++)
            for (int64_t chunk = 0; chunk < p.chunk_count; chunk++)
                run_unit(&p, strip, chunk, weights);
    }
}
