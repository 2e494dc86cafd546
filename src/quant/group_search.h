/* SPDX-License-Identifier: Apache-2.0 */
/* Scale, zero point and codes of a group chosen together, given all else in its row.
 *
 * With the gradient g = d M of a row's error (descent.h) the weights that a group should stand for,
 * all else being as it is, are t = v + g M_gg^-1, v being those it stands for now, and what others
 * u cost is (u - t) M_gg (u - t)^T. For each of some scales and zero points around the present ones
 * the codes are those of the nearest plane in that metric (Babai 1986), which is GPTQ within the
 * group, and the scale is then the one of least error for these codes.
 * Choosing both together for low bits: NeUQI (arXiv:2505.17595). */
#ifndef LLMQ_QUANT_GROUP_SEARCH_H
#define LLMQ_QUANT_GROUP_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/error.h"
#include "quant/metric.h"
#include "quant/quant.h"

/* Columns of the widest group that is searched: its work grows with the square of the width. */
#define GROUP_SEARCH_MOST 1024

/* M_gg of every group, factored: R R^T with R upper triangular, columns by descending diagonal. */
struct group_factors {
    int64_t k, group;
    int32_t *order; /* [k] the group's column at each position */
    float *R;       /* [k, group], 0 below the diagonals */
};

/* Can groups of the grid be searched? Floats and shared scales cannot. */
bool group_searchable(const struct quant_grid *grid, int64_t k);

/* Release with group_factors_free. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status group_factors_create(const struct metric *metric, int64_t k,
                                                     int64_t group, struct group_factors *out,
                                                     llmq_error *err);
void group_factors_free(struct group_factors *f); /* accepts a zeroed struct */

/* The same group of some rows; arrays [group, rows] hold columns one after the other. */
struct group_rows {
    int64_t rows;
    const float *g; /* [group, rows] gradient, as it is now */
    float *levels;  /* [group, rows] that the codes stand for; changed */
    float *scales;  /* [rows]; changed */
    float *zeros;   /* [rows]; changed */
    float *moves;   /* [group, rows] set: weights before less weights after */
};

/* Floats of scratch for groups of such a size. */
int64_t group_search_floats(int64_t group);

/* Search the index-th group. No row's error increases, up to the rounding of float32 sums. Returns
 * how many rows change. */
int64_t group_search(const struct quant_grid *grid, const struct group_factors *factors,
                     int64_t index, const struct group_rows *rows, float *scratch);

#endif
