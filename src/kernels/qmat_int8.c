/* SPDX-License-Identifier: Apache-2.0 */
/* Products with quantized weights and activations of 8 bits: how the work is divided. The
 * arithmetic is in the kernel table, its meaning in qmat.h.
 *
 * The rows of activations are cut into tiles and quantized once. A batch meets its weights in
 * strips of panels that fit a thread's second-level cache: every tile reads them from there, while
 * the next strip is on its way. A single row has nothing to read twice; what counts is that memory
 * is read in a few long streams.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "kernels/qmat.h"

enum {
    BATCH_ROWS = 512,        /* activation rows quantized at a time */
    STRIP_BYTES = 128 << 10, /* of weights that a batch meets at a time */
    AHEAD_TILES = 16,        /* of activations, during which the weights of the next strip come */
};

/* The panels [begin, end). */
struct strip {
    int64_t begin, end;
};

/* One call's division into tiles of activations; tile t has rows [begin(t), begin(t + 1)). */
struct int8_batch {
    const struct llmq_kernels *kernels;
    const struct llmq_qmat *q;
    const float *x; /* [m, k] of this batch */
    int64_t m;
    int64_t tiles;
    int8_t *codes;   /* tile t at begin(t) * columns */
    float *scales;   /* tile t at begin(t) * segments */
    int32_t *starts; /* the same */
    float *y;        /* [m, n] */
    int threads;
    _Atomic int64_t next; /* panel that no thread has taken yet */
};

static int64_t tile_begin(const struct int8_batch *b, int64_t tile) {
    return tile * b->m / b->tiles;
}

/* Segment s, from padded column `column`, of the rows of a tile. One segment after another: what
 * the rows interleave stays in the first-level cache. */
static void quantize_segment(const struct int8_batch *b, int64_t tile, int64_t s, int64_t column) {
    const struct llmq_qmat *q = b->q;
    const int64_t begin = tile_begin(b, tile), rows = tile_begin(b, tile + 1) - begin;
    const int64_t end = column + q->shape.segments[s].columns;
    int8_t *codes = b->codes + begin * q->shape.columns + column * rows;
    const int64_t params = begin * q->shape.segment_count + s * rows;
    float gathered[QMAT_SEGMENT];
    for (int64_t r = 0; r < rows; r++) {
        const float *x = b->x + (begin + r) * q->k;
        x = q->source ? qmat_gather(q, x, column, end, gathered) : x + column;
        b->kernels->qmat_quantize(&q->shape, s, x, rows, codes + 4 * r, b->scales + params + r,
                                  b->starts + params + r);
    }
}

static void quantize_tile(const struct int8_batch *b, int64_t tile) {
    const struct qmat_shape *shape = &b->q->shape;
    int64_t column = 0;
    for (int64_t s = 0; s < shape->segment_count; s++) {
        quantize_segment(b, tile, s, column);
        column += shape->segments[s].columns;
    }
}

/* Tile t of activations times `count` panels that begin with `panel` and are `apart` from each
 * other. */
static void run_tile(const struct int8_batch *b, int64_t t, int64_t panel, int count, int64_t apart,
                     struct qmat_ahead ahead) {
    const struct llmq_qmat *q = b->q;
    const struct qmat_panel first = qmat_panel_at(q, panel);
    int64_t begin = tile_begin(b, t), rows = tile_begin(b, t + 1) - begin;
    struct qmat_int8_tile tile = {
        .panel = &first,
        .panels = count,
        .apart = apart,
        .codes = b->codes + begin * q->shape.columns,
        .scales = b->scales + begin * q->shape.segment_count,
        .starts = b->starts + begin * q->shape.segment_count,
        .rows = (int)rows,
        .outputs = (int)min_i64(q->n - panel * QMAT_LANES, (int64_t)count * QMAT_LANES),
        .y = b->y + begin * q->n + panel * QMAT_LANES,
        .ldy = q->n,
        .ahead = ahead,
    };
    b->kernels->qmat_int8_tile(&q->shape, &tile);
}

/* The first `parts`-th of a strip's weights, with `each` of its lines to a segment. */
static struct qmat_ahead first_part(const struct int8_batch *b, struct strip s, int64_t parts) {
    const struct qmat_shape *shape = &b->q->shape;
    const int64_t bytes = qmat_panel_bytes(shape), lines = (s.end - s.begin) * bytes / QMAT_LINE;
    const int64_t count = ceil_div(lines, parts);
    return (struct qmat_ahead){.lines = b->q->records + s.begin * bytes,
                               .count = count,
                               .each = ceil_div(count, shape->segment_count)};
}

/* Every tile of activations times the panels of a strip. The weights of the next one are asked for
 * at the last tiles: earlier, the activations of the others would push them out again. */
static void run_strip(const struct int8_batch *b, struct strip now, struct strip next) {
    const struct qmat_ahead none = {0};
    const int step = b->kernels->tile_panels;
    const int64_t last = min_i64(b->tiles, AHEAD_TILES);
    struct qmat_ahead ahead = first_part(b, next, last * ceil_div(now.end - now.begin, step));
    for (int64_t t = 0; t < b->tiles; t++)
        for (int64_t p = now.begin; p < now.end && p * QMAT_LANES < b->q->n; p += step) {
            const bool asks = t >= b->tiles - last;
            run_tile(b, t, p, step, 1, asks ? ahead : none);
            ahead.lines += asks ? ahead.count * QMAT_LINE : 0;
        }
}

/* A single row times the panels of a strip: streams side by side, each as long as can be, since
 * every new one makes memory wait. */
static void run_streams(const struct int8_batch *b, struct strip s) {
    const struct qmat_ahead none = {0};
    const int streams = b->kernels->int8_streams;
    const int64_t whole = min_i64(s.end, b->q->n / QMAT_LANES); /* beyond it outputs are missing */
    const int64_t length = whole > s.begin ? (whole - s.begin) / streams : 0;
    for (int64_t p = s.begin; p < s.begin + length; p++)
        run_tile(b, 0, p, streams, length, none);
    const struct strip rest = {s.begin + length * streams, s.end};
    if (rest.begin < rest.end)
        run_strip(b, rest, (struct strip){0});
}

/* How many of the panels left a thread takes; the fewer are left the fewer, so that all threads end
 * together. A single row takes most of a thread's part: its streams are long. A batch, which holds
 * two strips, takes an eighth, and no more than the thread's second-level cache has room for. */
static int64_t turn_panels(const struct int8_batch *b, int64_t left) {
    const bool row = b->m == 1;
    const int64_t unit = row ? b->kernels->int8_streams : b->kernels->tile_panels;
    const int64_t cached = max_i64(STRIP_BYTES / qmat_panel_bytes(&b->q->shape) / unit, 1) * unit;
    const int64_t share = ceil_div(left * (row ? 7 : 1), 8 * b->threads * unit) * unit;
    const int64_t panels = b->threads == 1 ? left : share;
    return min_i64(left, row ? panels : min_i64(panels, cached));
}

/* The next panels that no thread has taken; an empty strip when there are none. */
static struct strip take_strip(struct int8_batch *b) {
    const memory_order order = memory_order_relaxed; /* nothing else passes between threads */
    struct strip s = {.begin = atomic_load_explicit(&b->next, order)};
    do
        s.end = s.begin + turn_panels(b, b->q->panels - s.begin);
    while (!atomic_compare_exchange_weak_explicit(&b->next, &s.begin, s.end, order, order));
    return s;
}

/* One thread's part of a product with a single row. */
static void run_row(struct int8_batch *b) {
    for (struct strip s = take_strip(b); s.begin < s.end; s = take_strip(b))
        run_streams(b, s);
}

/* One thread's part of a product with several: a strip is taken before it is its turn. */
static void run_rows(struct int8_batch *b) {
    struct strip now = take_strip(b);
    while (now.begin < now.end) {
        const struct strip next = take_strip(b);
        run_strip(b, now, next);
        now = next;
    }
}

static void run_panels(struct int8_batch *b) {
    if (b->m == 1)
        run_row(b);
    else
        run_rows(b);
}

/* What one thread can do it does outside of a parallel region: to enter and leave one takes
 * microseconds, even for one thread, and a product with a single row has few to lose. */
static void run_batch(struct int8_batch *b) {
    if (b->threads == 1 || b->tiles == 1)
        for (int64_t t = 0; t < b->tiles; t++)
            quantize_tile(b, t);
    else
#pragma omp parallel for schedule(static) num_threads(b->threads) default(none) shared(b)
        for (int64_t t = 0; t < b->tiles; t++)
            quantize_tile(b, t);
    b->next = 0;
    if (b->threads == 1)
        run_panels(b);
    else
#pragma omp parallel num_threads(b->threads) default(none) shared(b)
        run_panels(b);
}

static enum llmq_status batch_alloc(struct int8_batch *b, int64_t rows, llmq_error *err) {
    const struct qmat_shape *shape = &b->q->shape;
    b->codes = qmat_alloc(rows, shape->columns, sizeof *b->codes);
    b->scales = qmat_alloc(rows, shape->segment_count, sizeof *b->scales);
    b->starts = qmat_alloc(rows, shape->segment_count, sizeof *b->starts);
    if (!b->codes || !b->scales || !b->starts)
        return error_memory(err, "activations");
    return LLMQ_OK;
}

enum llmq_status qmat_matmul_int8(const struct llmq_kernels *kernels, const struct llmq_qmat *q,
                                  const float *x, int64_t m, float *y, llmq_error *err) {
    assert(m > 0);
    const int64_t batches = ceil_div(m, BATCH_ROWS);
    struct int8_batch b = {.kernels = kernels, .q = q, .threads = qmat_threads(q, m)};
    enum llmq_status status = batch_alloc(&b, ceil_div(m, batches), err);
    for (int64_t i = 0; i < batches && status == LLMQ_OK; i++) {
        int64_t begin = i * m / batches, end = (i + 1) * m / batches;
        b.x = x + begin * q->k;
        b.y = y + begin * q->n;
        b.m = end - begin;
        b.tiles = ceil_div(b.m, kernels->int8_rows);
        run_batch(&b);
    }
    free(b.codes);
    free(b.scales);
    free(b.starts);
    return status;
}
