/* SPDX-License-Identifier: Apache-2.0 */
/* Products with quantized weights: how the work is divided. The arithmetic is in the kernel table.
 *
 * Few rows of activations (a token or a handful): the weights are the traffic. Panels are spread
 * over the threads, each streams its codes once and decodes them in registers.
 *
 * Many rows: the arithmetic is the cost. A thread takes a few panels, decodes one block of columns
 * of them into a buffer that fits its second-level cache, multiplies it with every row of
 * activations in register tiles, and moves on to the next block; the whole matrix never exists. The
 * activations are laid out once, tile by tile, so that a tile reads one contiguous stream.
 *
 * Every output is summed by one thread in the order of the columns, so the number of threads and
 * the division into tiles do not show in the result. */
#include <assert.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"
#include "kernels/qmat.h"

enum {
    STRIP_PANELS = 8,      /* panels a thread decodes at a time: 256 KiB for one block of columns */
    BATCH_ROWS = 512,      /* activation rows laid out at a time, at most */
    BATCH_ROWS_MIN = 64,   /* and at least: every batch decodes all weights */
    BATCH_BYTES = 6 << 20, /* of them: every strip reads them all again, from the last cache */
    ROWS_MAX = 1 << 30,    /* of one call */
};

/* Below this many products a call is over before a second thread has woken up. */
#define PARALLEL_MIN (1 << 20)

void *qmat_alloc(int64_t count, int64_t each, size_t size) {
    size_t bytes = 0;
    if (!checked_mul_size((size_t)count, (size_t)each, &bytes) ||
        !checked_mul_size(bytes, size, &bytes) || !checked_add_size(bytes, 63, &bytes))
        return NULL;
    return aligned_alloc(64, bytes - bytes % 64);
}

int qmat_threads(const struct llmq_qmat *q, int64_t m) {
    return q->n * q->k >= PARALLEL_MIN / m ? omp_get_max_threads() : 1;
}

const float *qmat_gather(const struct llmq_qmat *q, const float *x, int64_t begin, int64_t end,
                         float *out) {
    for (int64_t c = begin; c < end; c++)
        out[c - begin] = q->source[c] < 0 ? 0 : x[q->source[c]];
    return out;
}

/* --- few rows --------------------------------------------------------------------------------- */

static void dot_one_panel(const struct llmq_kernels *kernels, const struct llmq_qmat *q,
                          int64_t index, const float *x, int64_t m, float *y) {
    float out[QMAT_FEW * QMAT_LANES];
    struct qmat_panel panel = qmat_panel_at(q, index);
    int64_t row = index * QMAT_LANES, rows = min_i64(QMAT_LANES, q->n - row);
    kernels->qmat_dot(&q->shape, &panel, (int)m, x, q->shape.columns, out);
    for (int64_t r = 0; r < m; r++)
        memcpy(y + r * q->n + row, out + r * QMAT_LANES, (size_t)rows * sizeof *out);
}

static enum llmq_status matmul_few(const struct llmq_kernels *kernels, const struct llmq_qmat *q,
                                   const float *x, int64_t m, float *y, llmq_error *err) {
    float *gathered = NULL;
    if (q->source) {
        gathered = qmat_alloc(m, q->shape.columns, sizeof *gathered);
        if (!gathered)
            return error_memory(err, "activations");
        for (int64_t r = 0; r < m; r++)
            qmat_gather(q, x + r * q->k, 0, q->shape.columns, gathered + r * q->shape.columns);
        x = gathered;
    }
    const int64_t panels = ceil_div(q->n, QMAT_LANES);
#pragma omp parallel for schedule(static) default(none) shared(kernels, q, x, m, y, panels)        \
    num_threads(qmat_threads(q, m))
    for (int64_t p = 0; p < panels; p++)
        dot_one_panel(kernels, q, p, x, m, y);
    free(gathered);
    return LLMQ_OK;
}

/* --- many rows -------------------------------------------------------------------------------- */

/* One call's division into tiles of activations; tile t has rows [begin(t), begin(t + 1)). */
struct batch {
    const struct llmq_kernels *kernels;
    const struct llmq_qmat *q;
    const float *x; /* [m, k] of this batch */
    int64_t m;
    int64_t tiles;
    float *packed; /* tile t at begin(t) * columns: [columns][rows of t] */
    float *y;      /* [m, n] */
};

static int64_t tile_begin(const struct batch *b, int64_t tile) {
    return tile * b->m / b->tiles;
}

/* Lay out the activations of one tile, column by column. Sixteen columns at a time: a row is then
 * read by whole cache lines although rows may lie a power of two apart. */
static void pack_tile(const struct batch *b, int64_t tile) {
    const struct llmq_qmat *q = b->q;
    const int64_t columns = q->shape.columns;
    const int64_t begin = tile_begin(b, tile), rows = tile_begin(b, tile + 1) - begin;
    float *out = b->packed + begin * columns;
    for (int64_t c0 = 0; c0 < columns; c0 += 16)
        for (int64_t r = 0; r < rows; r++) {
            const float *x = b->x + (begin + r) * q->k;
            for (int64_t c = c0; c < min_i64(c0 + 16, columns); c++) {
                int64_t from = q->source ? q->source[c] : c;
                out[c * rows + r] = from < 0 ? 0 : x[from];
            }
        }
}

/* All tiles of activations times the decoded block of a strip of panels. */
static void multiply_strip(const struct batch *b, int64_t block, int64_t panel, int64_t panels,
                           const float *decoded) {
    const struct llmq_qmat *q = b->q;
    const int step = b->kernels->tile_panels, lanes = step * QMAT_LANES;
    const struct qmat_block *cut = &q->shape.blocks[block];
    for (int64_t t = 0; t < b->tiles; t++) {
        int64_t begin = tile_begin(b, t), rows = tile_begin(b, t + 1) - begin;
        for (int64_t p = 0; p < panels; p += step) {
            struct qmat_panel first = qmat_panel_at(q, panel + p);
            int64_t row = (panel + p) * QMAT_LANES;
            if (row >= q->n)
                break;
            struct qmat_tile tile = {.panel = &first,
                                     .x = b->packed + begin * q->shape.columns + cut->column * rows,
                                     .w = decoded + p * QMAT_LANES * cut->columns,
                                     .rows = (int)rows,
                                     .outputs = (int)min_i64(lanes, q->n - row),
                                     .first = block == 0,
                                     .y = b->y + begin * q->n + row,
                                     .ldy = q->n};
            b->kernels->qmat_tile(&q->shape, block, &tile);
        }
    }
}

/* y for a strip of panels: blocks in order of the columns. `decoded` is this thread's buffer; the
 * panels of one register tile lie side by side in it. */
static void run_strip(const struct batch *b, int64_t panel, int64_t panels, float *decoded) {
    const struct llmq_qmat *q = b->q;
    const int step = b->kernels->tile_panels;
    for (int64_t block = 0; block < q->shape.block_count; block++) {
        for (int64_t p = 0; p < panels; p++) {
            struct qmat_panel source = qmat_panel_at(q, panel + p);
            float *out = decoded + p / step * step * QMAT_LANES * q->shape.blocks[block].columns +
                         p % step * QMAT_LANES;
            b->kernels->qmat_decode(&q->shape, &source, block, out, (int64_t)step * QMAT_LANES);
        }
        multiply_strip(b, block, panel, panels, decoded);
    }
}

/* Narrower strips when there would be too few of them to keep all threads busy. */
static int64_t strip_panels(const struct llmq_qmat *q, int threads) {
    int64_t panels = STRIP_PANELS;
    while (panels > 2 && q->panels / panels < 4 * (int64_t)threads)
        panels /= 2;
    return panels;
}

static void run_batch(const struct batch *b, int threads, float *decoded) {
    const int64_t width = strip_panels(b->q, threads), panels = b->q->panels;
    const int64_t buffer = (int64_t)STRIP_PANELS * QMAT_LANES * QMAT_BLOCK;
#pragma omp parallel num_threads(threads) default(none) shared(b, decoded, width, panels, buffer)
    {
#pragma omp for schedule(static)
        for (int64_t t = 0; t < b->tiles; t++)
            pack_tile(b, t);
#pragma omp for schedule(dynamic)
        for (int64_t p = 0; p < panels; p += width)
            run_strip(b, p, min_i64(width, panels - p), decoded + omp_get_thread_num() * buffer);
    }
}

static int64_t batch_rows(const struct qmat_shape *shape) {
    const int64_t cached = BATCH_BYTES / (shape->columns * (int64_t)sizeof(float));
    return min_i64(max_i64(cached, BATCH_ROWS_MIN), BATCH_ROWS);
}

static enum llmq_status matmul_many(const struct llmq_kernels *kernels, const struct llmq_qmat *q,
                                    const float *x, int64_t m, float *y, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const int threads = qmat_threads(q, m);
    const int64_t batches = ceil_div(m, batch_rows(&q->shape)), most = ceil_div(m, batches);
    struct batch b = {.kernels = kernels, .q = q};
    float *decoded = qmat_alloc((int64_t)threads * STRIP_PANELS, (int64_t)QMAT_LANES * QMAT_BLOCK,
                                sizeof *decoded);
    b.packed = qmat_alloc(most, q->shape.columns, sizeof *b.packed);
    if (!decoded || !b.packed) {
        status = error_memory(err, "activations");
        goto cleanup;
    }
    for (int64_t i = 0; i < batches; i++) {
        int64_t begin = i * m / batches, end = (i + 1) * m / batches;
        b.x = x + begin * q->k;
        b.y = y + begin * q->n;
        b.m = end - begin;
        b.tiles = ceil_div(b.m, kernels->tile_rows);
        run_batch(&b, threads, decoded);
    }
cleanup:
    free(decoded);
    free(b.packed);
    return status;
}

enum llmq_status qmat_matmul_exact(const struct llmq_kernels *kernels, const struct llmq_qmat *q,
                                   const float *x, int64_t m, float *y, llmq_error *err) {
    assert(m > 0);
    if (m <= QMAT_FEW)
        return matmul_few(kernels, q, x, m, y, err);
    return matmul_many(kernels, q, x, m, y, err);
}

enum llmq_status llmq_qmat_matmul(const llmq_qmat *q, const float *x, int64_t m,
                                  enum llmq_activations activations, float *y, llmq_error *err) {
    assert(q);
    if (m < 0 || m > ROWS_MAX)
        return error_set(err, LLMQ_E_USAGE, "a product with %lld rows of activations",
                         (long long)m);
    if (m == 0)
        return LLMQ_OK;
    assert(x && y);
    if (activations == LLMQ_ACTIVATIONS_INT8)
        return qmat_matmul_int8(kernels_get(), q, x, m, y, err);
    return qmat_matmul_exact(kernels_get(), q, x, m, y, err);
}
