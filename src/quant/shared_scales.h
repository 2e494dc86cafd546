/* SPDX-License-Identifier: Apache-2.0 */
/* Scales that many rows share: one for each block of grid->rows rows and a group's columns. */
#ifndef LLMQ_QUANT_SHARED_SCALES_H
#define LLMQ_QUANT_SHARED_SCALES_H

#include "llmq/error.h"
#include "quant/quant.h"

/* Choose the scales of q for W [n, k], by the extremes of each block or as the grid searches, and
 * give them to every row of it; the last rows and columns may be smaller blocks. Zeros become 0.
 * importance  [k], see rtn_quantize
 * LLMQ_E_MEMORY; LLMQ_E_NUMERIC: a weight that is not finite. */
LLMQ_NODISCARD enum llmq_status shared_scales_fit(const struct quant_grid *grid, const float *W,
                                                  const float *importance, const struct qlinear *q,
                                                  llmq_error *err);

#endif
