/* SPDX-License-Identifier: Apache-2.0 */
/* The modules of a result as a grid: blocks across, what they consist of down. */
#ifndef LLMQ_REPORT_GRID_H
#define LLMQ_REPORT_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"

/* Errors of a place; of experts, the mean over them. */
struct grid_cell {
    double error, rtn;
    int64_t modules;
};

struct grid {
    int64_t blocks, kinds;
    char **names;                   /* [kinds]: "self_attn.q_proj", "mlp.experts.*.up_proj" */
    struct grid_cell *cells;        /* [kinds, blocks] */
    double error_least, error_most; /* above 0 */
};

/* Of the modules of an llmq.json that lie in blocks; a grid without cells where there are none.
 * False when memory is short. Release with grid_free. */
bool grid_make(const struct json *made, struct grid *out);
void grid_free(struct grid *g);

/* error / rtn of a cell, NaN where there is none. */
double grid_ratio(const struct grid_cell *c);

#endif
