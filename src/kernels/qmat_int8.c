/* Products with quantized weights and activations of 8 bits: how the work is divided. The
 * arithmetic is in the kernel table, its meaning in qmat.h.
 *
 * The rows of activations are cut into tiles and quantized once. A thread takes a strip of panels
 * whose codes fit its second-level cache and multiplies every tile with it: a token streams the
 * weights from memory once, a batch reads them from cache. */
#include <assert.h>
#include <omp.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/error.h"
#include "kernels/qmat.h"

enum {
    BATCH_ROWS = 512,       /* activation rows quantized at a time */
    STRIP_BYTES = 512 << 10 /* codes of a strip, where one tile is not more */
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

/* Every tile of activations times `panels` panels from `panel`. */
static void run_strip(const struct int8_batch *b, int64_t panel, int64_t panels) {
    const struct llmq_qmat *q = b->q;
    const struct llmq_kernels *kernels = b->kernels;
    for (int64_t t = 0; t < b->tiles; t++) {
        int64_t begin = tile_begin(b, t), rows = tile_begin(b, t + 1) - begin;
        int step = kernels->tile_panels;
        for (int64_t p = panel; p < panel + panels && p * QMAT_LANES < q->n; p += step) {
            bool streams = rows == 1 && p + kernels->int8_streams <= panel + panels;
            step = streams ? kernels->int8_streams : kernels->tile_panels;
            struct qmat_panel first = qmat_panel_at(q, p);
            int64_t left = q->n - p * QMAT_LANES, lanes = (int64_t)step * QMAT_LANES;
            struct qmat_int8_tile tile = {
                .panel = &first,
                .codes = b->codes + begin * q->shape.columns,
                .scales = b->scales + begin * q->shape.segment_count,
                .starts = b->starts + begin * q->shape.segment_count,
                .rows = (int)rows,
                .panels = step,
                .outputs = (int)(left < lanes ? left : lanes),
                .y = b->y + begin * q->n + p * QMAT_LANES,
                .ldy = q->n,
            };
            b->kernels->qmat_int8_tile(&q->shape, &tile);
        }
    }
}

/* Panels of a strip: even; fewer when there would be too few strips to keep all threads busy. */
static int64_t strip_panels(const struct llmq_qmat *q, int threads) {
    int64_t panels = STRIP_BYTES / (int64_t)qmat_panel_bytes(&q->shape) / 2 * 2;
    while (panels > 2 && q->panels / panels < 8 * (int64_t)threads)
        panels = panels / 4 * 2;
    return panels < 2 ? 2 : panels;
}

static void run_batch(const struct int8_batch *b, int threads) {
    const int64_t width = strip_panels(b->q, threads), panels = b->q->panels;
    /* A single tile is not worth a barrier of all threads. */
#pragma omp parallel for schedule(static) num_threads(threads) default(none)                       \
    shared(b) if (b->tiles > 1)
    for (int64_t t = 0; t < b->tiles; t++)
        quantize_tile(b, t);
#pragma omp parallel for schedule(dynamic) num_threads(threads) default(none)                      \
    shared(b, width, panels) if (threads > 1)
    for (int64_t p = 0; p < panels; p += width)
        run_strip(b, p, width < panels - p ? width : panels - p);
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
    const int threads = qmat_threads(q, m);
    const int64_t batches = (m - 1) / BATCH_ROWS + 1;
    struct int8_batch b = {.kernels = kernels, .q = q};
    enum llmq_status status = batch_alloc(&b, (m - 1) / batches + 1, err);
    for (int64_t i = 0; i < batches && status == LLMQ_OK; i++) {
        int64_t begin = i * m / batches, end = (i + 1) * m / batches;
        b.x = x + begin * q->k;
        b.y = y + begin * q->n;
        b.m = end - begin;
        b.tiles = (b.m - 1) / kernels->int8_rows + 1;
        run_batch(&b, threads);
    }
    free(b.codes);
    free(b.scales);
    free(b.starts);
    return status;
}
