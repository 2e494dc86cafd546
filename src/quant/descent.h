/* SPDX-License-Identifier: Apache-2.0 */
/* Coordinate descent: codes and scales re-chosen one after the other, given all others. */
#ifndef LLMQ_QUANT_DESCENT_H
#define LLMQ_QUANT_DESCENT_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/error.h"
#include "quant/group_search.h"
#include "quant/metric.h"
#include "quant/quant.h"
#include "tensor/qlinear.h"

struct descent {
    int passes;  /* over all columns, at most: it ends when nothing changes */
    bool codes;  /* re-choose each column's code */
    bool scales; /* refit each group's scale to its codes */
    /* Choose codes, scale and zero point of each group together instead (group_search.h); NULL. */
    const struct group_factors *search;
};

/* Lower the error of each row of q, dw (H + damping I) dw^T with dw = W[row] - dequantized row.
 * W [n, k] are the target weights; q, sequential groups, is changed in place: codes stay on the
 * grid, scales are stored ones, zero points stay unless searched, codes of inputs that were never
 * active stay; where searched, these stand for 0.
 * No row's error increases, up to the rounding of float32 sums. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status descent_run(const struct quant_grid *grid,
                                            const struct metric *metric,
                                            const struct descent *descent, const float *W,
                                            const struct qlinear *q, llmq_error *err);

#endif
