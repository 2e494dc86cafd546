/* SPDX-License-Identifier: Apache-2.0 */
/* See batch.h. */
#include "graph/batch.h"

#include "base/int64.h"

int64_t batch_rows(const struct batch *b) {
    return b->offsets[b->sequences] - b->offsets[0];
}

int64_t batch_sequence(const struct batch *b, int64_t i, int64_t *length) {
    *length = b->offsets[i + 1] - b->offsets[i];
    return b->offsets[i] - b->offsets[0];
}

bool batch_next(const int64_t *offsets, int64_t count, int64_t max_rows, struct batch *b) {
    const int64_t *begin = b->offsets ? b->offsets + b->sequences : offsets;
    int64_t left = count - (begin - offsets), take = 1;
    if (left <= 0)
        return false;
    while (take < left && begin[take + 1] - begin[0] <= max_rows)
        take++;
    *b = (struct batch){begin, take};
    return true;
}

int64_t batch_max_rows(const int64_t *offsets, int64_t count, int64_t max_rows) {
    int64_t most = 0;
    for (struct batch b = {0}; batch_next(offsets, count, max_rows, &b);)
        most = max_i64(most, batch_rows(&b));
    return most;
}
