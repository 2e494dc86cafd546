/* SPDX-License-Identifier: Apache-2.0 */
/* Codes as callers have them: see llmq/codes.h. */
#include "tensor/codes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"

void codes_give(struct qlinear *q, llmq_codes *out) {
    assert(q->number == NUMBER_INT);
    *out = (llmq_codes){.rows = q->n,
                        .columns = q->k,
                        .bits = q->bits,
                        .group = q->group,
                        .groups = q->groups,
                        .sym = q->sym,
                        .codes = q->codes,
                        .scales = q->scales,
                        .zeros = q->zeros,
                        .group_of = q->group_of};
    *q = (struct qlinear){0};
}

void llmq_codes_free(llmq_codes *codes) {
    free(codes->codes);
    free(codes->scales);
    free(codes->zeros);
    free(codes->group_of);
    *codes = (llmq_codes){0};
}

enum llmq_status llmq_codes_decode(const llmq_codes *c, int64_t row_begin, int64_t row_end,
                                   float *out, llmq_error *err) {
    if (row_begin < 0 || row_end < row_begin || row_end > c->rows)
        return error_set(err, LLMQ_E_USAGE,
                         "rows [%" PRId64 ", %" PRId64 ") of a matrix of %" PRId64, row_begin,
                         row_end, c->rows);
    const struct qlinear q = {.n = c->rows,
                              .k = c->columns,
                              .bits = c->bits,
                              .group = c->group,
                              .groups = c->groups,
                              .number = NUMBER_INT,
                              .sym = c->sym,
                              .codes = c->codes,
                              .scales = c->scales,
                              .zeros = c->zeros,
                              .group_of = c->group_of};
    if (row_begin < row_end)
        qlinear_dequantize(&q, row_begin, row_end, out);
    return LLMQ_OK;
}
