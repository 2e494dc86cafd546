/* SPDX-License-Identifier: Apache-2.0 */
/* How the rows of a module are shared out among threads: in panels whose size depends on the number
 * of rows alone, so that results do not depend on the number of threads. */
#ifndef LLMQ_QUANT_PANELS_H
#define LLMQ_QUANT_PANELS_H

#include <stdint.h>

#include "base/int64.h"
#include "tensor/qlinear.h"

/* Narrow modules get narrower panels, down to a vector's length, so that there is work for this
 * many threads. */
#define PANELS_WANTED  16
#define PANEL_ROWS_MIN 16

/* Columns transposed together where a panel is read or written row by row: reads stay inside a row,
 * and writes are as many streams as a first-level cache has ways for. */
#define PANEL_STREAMS 16

/* Rows of a panel for n rows in all, at most `max`; the last panel may have fewer. */
static inline int64_t panel_rows(int64_t n, int64_t max) {
    int64_t share = ceil_div(n, PANELS_WANTED);
    int64_t rows = ceil_div(share, PANEL_ROWS_MIN) * PANEL_ROWS_MIN;
    return min_i64(rows, max);
}

/* The same for the rows of q, which are cut as they are in the whole that they are a part of: who
 * does a module in parts begins them at multiples of panels_unit, and has the same bits. */
static inline int64_t panels_rows_of(const struct qlinear *q, int64_t max) {
    return panel_rows(q->whole > 0 ? q->whole : q->n, max);
}

/* Rows between places where panels of every kind begin, in a module of n. */
int64_t panels_unit(int64_t n);

#endif
