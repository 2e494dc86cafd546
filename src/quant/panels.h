/* How the rows of a module are shared out among threads: in panels whose size depends on the number
 * of rows alone, so that results do not depend on the number of threads. */
#ifndef LLMQ_QUANT_PANELS_H
#define LLMQ_QUANT_PANELS_H

#include <stdint.h>

/* Narrow modules get narrower panels, down to a vector's length, so that there is work for this
 * many threads. */
#define PANELS_WANTED  16
#define PANEL_ROWS_MIN 16

static inline int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Rows of a panel for n rows in all, at most `max`; the last panel may have fewer. */
static inline int64_t panel_rows(int64_t n, int64_t max) {
    int64_t share = (n + PANELS_WANTED - 1) / PANELS_WANTED;
    int64_t rows = (share + PANEL_ROWS_MIN - 1) / PANEL_ROWS_MIN * PANEL_ROWS_MIN;
    return min_i64(rows, max);
}

#endif
