/* SPDX-License-Identifier: Apache-2.0 */
/* Building the packed form of a quantized matrix (qmat.h): check, cut the columns, pack the codes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/hugemem.h"
#include "base/int64.h"
#include "base/sized.h"
#include "kernels/qmat.h"

/* Groups of one description, column by column. */
struct grouping {
    const llmq_qmat_desc *desc;
    int64_t groups;
    int64_t *begin; /* [groups + 1] first padded column of each group */
    int64_t *count; /* [groups] columns without padding */
};

static int64_t group_of(const struct grouping *g, int64_t column) {
    if (g->desc->group_of)
        return g->desc->group_of[column];
    return g->desc->group == -1 ? 0 : column / g->desc->group;
}

static enum llmq_status check_desc(const llmq_qmat_desc *d, llmq_error *err) {
    if (d->n <= 0 || d->k <= 0 || d->n > INT32_MAX || d->k > INT32_MAX / QMAT_STEP)
        return error_set(err, LLMQ_E_USAGE, "a quantized matrix cannot be [%lld, %lld]",
                         (long long)d->n, (long long)d->k);
    if (d->bits != 2 && d->bits != 3 && d->bits != 4 && d->bits != 8)
        return error_set(err, LLMQ_E_USAGE, "codes of %d bits; 2, 3, 4 and 8 are supported",
                         d->bits);
    if (d->group != -1 && d->group <= 0)
        return error_set(err, LLMQ_E_USAGE,
                         "groups of %lld columns; expected -1 or a positive number",
                         (long long)d->group);
    assert(d->codes && d->scales && d->zeros);
    return LLMQ_OK;
}

/* --- columns ---------------------------------------------------------------------------------- */

/* Count the columns of each group and give each group its padded place. */
static enum llmq_status grouping_init(struct grouping *g, llmq_error *err) {
    const llmq_qmat_desc *d = g->desc;
    g->groups = d->group == -1 ? 1 : ceil_div(d->k, d->group);
    g->begin = calloc((size_t)g->groups + 1, sizeof *g->begin);
    g->count = calloc((size_t)g->groups, sizeof *g->count);
    if (!g->begin || !g->count)
        return error_memory(err, "the groups of a quantized matrix");
    for (int64_t c = 0; c < d->k; c++) {
        int64_t group = group_of(g, c);
        if (group < 0 || group >= g->groups)
            return error_set(err, LLMQ_E_USAGE, "column %lld is in group %lld of %lld",
                             (long long)c, (long long)group, (long long)g->groups);
        g->count[group]++;
    }
    for (int64_t i = 0; i < g->groups; i++)
        g->begin[i + 1] = g->begin[i] + ceil_div(g->count[i], QMAT_STEP) * QMAT_STEP;
    return LLMQ_OK;
}

/* Which column of x each padded column reads; stays NULL when the two orders are one. */
static enum llmq_status source_init(const struct grouping *g, struct llmq_qmat *q,
                                    llmq_error *err) {
    q->source = malloc((size_t)q->shape.columns * sizeof *q->source);
    int64_t *next = malloc((size_t)g->groups * sizeof *next);
    if (!q->source || !next) {
        free(next);
        return error_memory(err, "the column order of a quantized matrix");
    }
    memcpy(next, g->begin, (size_t)g->groups * sizeof *next);
    for (int64_t c = 0; c < q->shape.columns; c++)
        q->source[c] = -1;
    bool same = q->shape.columns == q->k;
    for (int64_t c = 0; c < q->k; c++) {
        int64_t place = next[group_of(g, c)]++;
        q->source[place] = (int32_t)c;
        same = same && place == c;
    }
    free(next);
    if (same) {
        free(q->source);
        q->source = NULL;
    } else {
        q->bytes += (size_t)q->shape.columns * sizeof *q->source;
    }
    return LLMQ_OK;
}

/* Cut every group into segments and gather runs of segments into blocks. The arrays are there. */
static void cut_columns(const struct grouping *g, struct llmq_qmat *q) {
    struct qmat_segment *segment = q->segments;
    struct qmat_block *block = NULL;
    const int64_t column_bytes = (int64_t)QMAT_LANES * q->shape.width / 8;
    int64_t column = 0, record = 0;
    for (int64_t i = 0; i < g->groups; i++)
        while (column < g->begin[i + 1]) {
            int32_t columns = (int32_t)min_i64(g->begin[i + 1] - column, QMAT_SEGMENT);
            if (!block || block->columns + columns > QMAT_BLOCK) {
                block = &q->blocks[q->shape.block_count++];
                *block = (struct qmat_block){.column = column, .segment = segment - q->segments};
            }
            block->segments++;
            block->columns += columns;
            *segment++ = (struct qmat_segment){(int32_t)i, columns, record};
            q->shape.segment_count++;
            column += columns;
            record += QMAT_SCALE_BYTES + columns * column_bytes;
        }
}

/* The zero point of all groups, or -1. */
static int common_zero(const llmq_qmat_desc *d, int64_t groups) {
    for (int64_t i = 1; i < d->n * groups; i++)
        if (d->zeros[i] != d->zeros[0])
            return -1;
    return d->zeros[0];
}

static enum llmq_status shape_init(const struct grouping *g, struct llmq_qmat *q, llmq_error *err) {
    const int64_t columns = g->begin[g->groups];
    const size_t most = (size_t)(g->groups + columns / QMAT_SEGMENT); /* segments; blocks too */
    q->segments = malloc(most * sizeof *q->segments);
    q->blocks = malloc(most * sizeof *q->blocks);
    if (!q->segments || !q->blocks)
        return error_memory(err, "the segments of a quantized matrix");
    q->shape = (struct qmat_shape){.width = g->desc->bits == 8 ? 8 : 4,
                                   .columns = columns,
                                   .groups = g->groups,
                                   .zero = common_zero(g->desc, g->groups),
                                   .segments = q->segments,
                                   .blocks = q->blocks};
    cut_columns(g, q);
    q->bytes += most * (sizeof *q->segments + sizeof *q->blocks);
    return source_init(g, q, err);
}

/* --- panels ----------------------------------------------------------------------------------- */

/* count * size bytes. */
static void *panel_alloc(size_t count, size_t size, size_t *total) {
    size_t bytes = 0;
    void *p = checked_mul_size(count, size, &bytes) ? huge_malloc(bytes) : NULL;
    if (p)
        *total += bytes;
    return p;
}

static enum llmq_status panels_alloc(struct llmq_qmat *q, llmq_error *err) {
    size_t params = 0;
    const int64_t pair = (int64_t)2 * QMAT_LANES;
    q->panels = ceil_div(q->n, pair) * 2;
    if (!checked_mul_size((size_t)q->panels * QMAT_LANES, (size_t)q->shape.groups, &params))
        return error_memory(err, "a quantized matrix");
    q->records = panel_alloc((size_t)q->panels, (size_t)qmat_panel_bytes(&q->shape), &q->bytes);
    q->zeros = panel_alloc(params, sizeof *q->zeros, &q->bytes);
    if (!q->records || !q->zeros)
        return error_memory(err, "a quantized matrix");
    return LLMQ_OK;
}

/* The codes of one row, or of no row (NULL) for padding, in the padded columns [begin, end) to its
 * lane. Returns all codes OR-ed together, for the range check. */
static unsigned pack_codes(const struct llmq_qmat *q, const uint8_t *row, int64_t begin,
                           int64_t end, uint8_t *lane) {
    const int width = q->shape.width, per_word = width == 4 ? 8 : 4;
    unsigned seen = 0;
    for (int64_t c = begin; c < end; c += per_word, lane += QMAT_LANES * 4) {
        uint32_t word = 0;
        for (int j = 0; row && j < per_word; j++) {
            int64_t from = q->source ? q->source[c + j] : c + j;
            unsigned code = from < 0 ? 0 : row[from];
            seen |= code;
            word |= code << (j * width); /* a code too large is found after the fact */
        }
        memcpy(lane, &word, sizeof word);
    }
    return seen;
}

/* One row, or no row, to its lane of a panel's records. */
static unsigned pack_row(const struct llmq_qmat *q, const llmq_qmat_desc *d, int64_t row,
                         uint8_t *records, int64_t lane) {
    const bool real = row < q->n;
    unsigned seen = 0;
    int64_t column = 0;
    for (int64_t s = 0; s < q->shape.segment_count; s++) {
        const struct qmat_segment *segment = &q->shape.segments[s];
        uint8_t *record = records + segment->record;
        float scale = real ? d->scales[row * q->shape.groups + segment->group] : 0;
        memcpy(record + lane * (int64_t)sizeof scale, &scale, sizeof scale);
        seen |= pack_codes(q, real ? d->codes + row * d->k : NULL, column,
                           column + segment->columns, record + QMAT_SCALE_BYTES + lane * 4);
        column += segment->columns;
    }
    return seen;
}

/* The records and zeros of one panel. Lanes beyond the matrix get scale 0. */
static unsigned pack_panel(const struct llmq_qmat *q, const llmq_qmat_desc *d, int64_t index) {
    const int64_t groups = q->shape.groups;
    uint8_t *records = q->records + index * qmat_panel_bytes(&q->shape);
    uint8_t *zeros = q->zeros + index * groups * QMAT_LANES;
    unsigned seen = 0;
    for (int64_t lane = 0; lane < QMAT_LANES; lane++) {
        int64_t row = index * QMAT_LANES + lane;
        seen |= pack_row(q, d, row, records, lane);
        for (int64_t g = 0; g < groups; g++)
            zeros[g * QMAT_LANES + lane] = row < q->n ? d->zeros[row * groups + g] : 0;
    }
    return seen;
}

/* Names the first code that does not fit; there is one. */
static enum llmq_status refuse_code(const llmq_qmat_desc *d, llmq_error *err) {
    int64_t i = 0;
    while (!(d->codes[i] >> d->bits))
        i++;
    return error_set(err, LLMQ_E_USAGE, "row %lld, column %lld: code %d exceeds %d bits",
                     (long long)(i / d->k), (long long)(i % d->k), d->codes[i], d->bits);
}

static enum llmq_status pack(struct llmq_qmat *q, const llmq_qmat_desc *d, llmq_error *err) {
    unsigned seen = 0;
#pragma omp parallel for schedule(static) default(none) shared(q, d) reduction(| : seen)
    for (int64_t p = 0; p < q->panels; p++)
        seen |= pack_panel(q, d, p);
    return seen >> d->bits ? refuse_code(d, err) : LLMQ_OK;
}

static enum llmq_status create(const llmq_qmat_desc *desc, llmq_qmat **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct grouping grouping = {.desc = desc};
    struct llmq_qmat *q = NULL;
    LLMQ_TRY(check_desc(desc, err));
    q = calloc(1, sizeof *q);
    if (!q) {
        status = error_memory(err, "a quantized matrix");
        goto cleanup;
    }
    q->n = desc->n;
    q->k = desc->k;
    q->bytes = sizeof *q;
    LLMQ_TRY(grouping_init(&grouping, err));
    LLMQ_TRY(shape_init(&grouping, q, err));
    LLMQ_TRY(panels_alloc(q, err));
    LLMQ_TRY(pack(q, desc, err));
    *out = q;
    q = NULL;
cleanup:
    free(grouping.begin);
    free(grouping.count);
    llmq_qmat_free(&q);
    return status;
}

void llmq_qmat_desc_init_sized(llmq_qmat_desc *desc, size_t size) {
    const llmq_qmat_desc usual = {.group = 0};
    sized_write(&usual, sizeof usual, desc, size);
}

enum llmq_status llmq_qmat_create(const llmq_qmat_desc *given, llmq_qmat **out, llmq_error *err) {
    llmq_qmat_desc desc = {.size = sizeof desc};
    assert(out);
    *out = NULL;
    const enum llmq_status status = SIZED_READ(llmq_qmat_desc, given, &desc, err);
    return status == LLMQ_OK ? create(&desc, out, err) : status;
}

void llmq_qmat_free(llmq_qmat **q) {
    if (!*q)
        return;
    free((*q)->source);
    free((*q)->segments);
    free((*q)->blocks);
    free((*q)->records);
    free((*q)->zeros);
    free(*q);
    *q = NULL;
}

size_t llmq_qmat_bytes(const llmq_qmat *q) {
    return q->bytes;
}
