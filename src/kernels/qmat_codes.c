/* SPDX-License-Identifier: Apache-2.0 */
/* A packed matrix made of codes (llmq/codes.h), and back to numbers. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "kernels/qmat.h"
#include "llmq/codes.h"

enum llmq_status llmq_codes_pack(const llmq_codes *c, llmq_qmat **out, llmq_error *err) {
    const llmq_qmat_desc desc = {.size = sizeof desc,
                                 .n = c->rows,
                                 .k = c->columns,
                                 .bits = c->bits,
                                 .group = c->group,
                                 .codes = c->codes,
                                 .scales = c->scales,
                                 .zeros = c->zeros,
                                 .group_of = c->group_of};
    return llmq_qmat_create(&desc, out, err);
}

int64_t llmq_qmat_rows(const llmq_qmat *q) {
    return q->n;
}

int64_t llmq_qmat_columns(const llmq_qmat *q) {
    return q->k;
}

/* One segment of a lane, whose first padded column is `column`: as they were written by pack_codes
 * (qmat_pack.c). */
static void decode_segment(const struct llmq_qmat *q, const struct qmat_panel *panel,
                           const struct qmat_segment *segment, int64_t column, int64_t lane,
                           float *out) {
    const int width = q->shape.width, per_word = width == 4 ? 8 : 4;
    const uint32_t mask = (1U << width) - 1;
    const uint8_t *words = qmat_codes(panel, segment) + lane * 4;
    const float scale = qmat_scales(panel, segment)[lane];
    const int zero = panel->zeros[segment->group * QMAT_LANES + lane];
    for (int64_t c = 0; c < segment->columns; c++) {
        const int64_t at = q->source ? q->source[column + c] : column + c;
        uint32_t word = 0;
        if (at < 0)
            continue;
        memcpy(&word, words + c / per_word * QMAT_LANES * 4, sizeof word);
        out[at] = (float)((int)(word >> (c % per_word * width) & mask) - zero) * scale;
    }
}

enum llmq_status llmq_qmat_decode(const llmq_qmat *q, int64_t row_begin, int64_t row_end,
                                  float *out, llmq_error *err) {
    if (row_begin < 0 || row_end < row_begin || row_end > q->n)
        return error_set(err, LLMQ_E_USAGE,
                         "rows [%" PRId64 ", %" PRId64 ") of a matrix of %" PRId64, row_begin,
                         row_end, q->n);
    for (int64_t row = row_begin; row < row_end; row++) {
        const struct qmat_panel panel = qmat_panel_at(q, row / QMAT_LANES);
        int64_t column = 0;
        for (int64_t s = 0; s < q->shape.segment_count; s++) {
            decode_segment(q, &panel, &q->shape.segments[s], column, row % QMAT_LANES,
                           out + (row - row_begin) * q->k);
            column += q->shape.segments[s].columns;
        }
    }
    return LLMQ_OK;
}
