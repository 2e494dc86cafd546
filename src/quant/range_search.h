/* SPDX-License-Identifier: Apache-2.0 */
/* Better ranges than the extremes: scale and zero point of a group by the error they lead to.
 *
 * Symmetric conventions differ only in which multiple of the largest weight is the scale, and a
 * clipped range is a smaller scale on the same zero point: searching scales and zero points covers
 * them all. */
#ifndef LLMQ_QUANT_RANGE_SEARCH_H
#define LLMQ_QUANT_RANGE_SEARCH_H

#include <stdint.h>

#include "kernels/kernels.h"
#include "quant/quant.h"

/* Rows searched side by side. */
#define RANGE_ROWS RANGE_LANES

/* The same group of RANGE_ROWS rows, transposed: its columns in any order. */
struct range_group {
    int64_t count;           /* columns */
    const float *w;          /* [count, RANGE_ROWS] finite weights */
    const float *importance; /* [count] weight of a column's squared error, >= 0; NULL: all 1 */
};

/* Replace scale and zero [RANGE_ROWS], as grid_params gives them for each row's whole range, by
 * those of least error
 *     sum over columns c of importance_c (w_c - nearest on the grid)^2
 * among some thirty; where none is better they stay. Scales are rounded to the grid's storage, zero
 * points keep to its limits. Rows do not influence each other. */
void range_search(const struct quant_grid *grid, const struct range_group *group, float *scale,
                  float *zero);

#endif
