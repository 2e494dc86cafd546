/* SPDX-License-Identifier: Apache-2.0 */
/* See panels.h. */
#include "quant/panels.h"

#include "quant/range_search.h"

/* The widths that panels have at most: those of GPTQ, descent and targets; those of errors. */
enum { SOLVING = 256, MEASURING = 512 };

static int64_t divisor(int64_t a, int64_t b) {
    while (b > 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int64_t multiple(int64_t a, int64_t b) {
    return a / divisor(a, b) * b;
}

int64_t panels_unit(int64_t n) {
    return multiple(multiple(panel_rows(n, SOLVING), panel_rows(n, MEASURING)), RANGE_ROWS);
}
