/* SPDX-License-Identifier: Apache-2.0 */
/* Which part of a group's weights the grid reaches, by the estimator that the grid names.
 *
 * MINMAX          the extremes
 * PLAIN, WEIGHTED the range of least squared error: range_search.h
 * PERCENTILE      from the 100 - P to the P percentile; what lies beyond is clipped
 * ENTROPY         the extremes, and no more than a number of the group's root mean squares on
 * either side: one number for the module, see below
 *
 * A moving average of ranges is no estimator here: it is for values that come one batch after the
 * other, and the weights of a group are all there. */
#ifndef LLMQ_QUANT_RANGE_ESTIMATE_H
#define LLMQ_QUANT_RANGE_ESTIMATE_H

#include <stdint.h>

#include "llmq/error.h"
#include "quant/quant.h"
#include "quant/range_search.h"

/* Replace scale and zero [RANGE_ROWS], as grid_params gives them for each row's whole range, by the
 * estimator's, another than MINMAX. */
void range_choose(const struct quant_grid *grid, const struct range_group *group, float *scale,
                  float *zero);

/* The grid for a module W [n, k]: with ENTROPY's number in its `clip`, else as it is. Weights that
 * are not finite do not count. */
struct quant_grid range_prepare(const struct quant_grid *grid, const float *W, int64_t n,
                                int64_t k);

/* --- entropy ---------------------------------------------------------------------------------- */

/* The largest number t with the least divergence KL(P || Q), among 256 up to the largest weight;
 * HUGE_VALF without weights.
 * P   distribution over bins of all weights, each relative to the root mean square of its group;
 *     those beyond -t and t are counted in the last bins
 * Q   what rounding on a symmetric grid from -t to t leaves of it: the weight of each code, without
 *     those from beyond, spread evenly over those of its bins that are not empty
 * Source: Migacz, 8-bit inference with TensorRT, GTC 2017; there for activations, in one group. */
float range_entropy(const struct quant_grid *grid, const float *W, int64_t n, int64_t k);

#endif
