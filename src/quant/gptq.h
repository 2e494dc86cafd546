/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of GPTQ share: the inside of the factor, and the column loop. */
#ifndef LLMQ_QUANT_GPTQ_H
#define LLMQ_QUANT_GPTQ_H

#include <stdbool.h>

#include "quant/quant.h"

/* The factor before the last redamping. What lies strictly above its diagonal is, in reverse, in
 * the triangle that U leaves free, or where it was if no factor came after it. */
struct factor_aside {
    bool kept;
    double damp, damping;
    int damp_retries;
    float *diagonal, *loss; /* [k] */
    float *square;          /* U's memory while there is no U */
};

struct gptq_factor {
    int64_t k;
    int64_t group; /* columns per group that the order keeps together (group-aware) */
    struct quant_options options; /* as given */
    int64_t *column;              /* [k] input column processed at each position */
    int64_t *position;            /* [k] position of each input column */
    float *importance;            /* [k] by input column, quant_importance of H: 0 for dead ones */
    float *loss;          /* [k] by input column, 1 / U_ii^2: what an error in it costs once the
                             columns after it have made up for what they can */
    uint8_t *dead;        /* [k] by input column: 1 when it was never active */
    int64_t dead_columns; /* how many */
    double damp;          /* lambda that led to U */
    double damping;       /* what it added to the diagonal: lambda * mean(diag H) */
    int damp_retries;
    float *U; /* [k, k] upper triangle, in processing order, U^T U = H^-1; the strict lower
                 triangle is not part of it; NULL when no damping led to a factor */
    struct factor_aside aside;
};

/* Where scales and zero points come from: the weights, or q, which has them already. */
enum gptq_params { PARAMS_FITTED, PARAMS_GIVEN };

/* All rows of W [n, k] by GPTQ into q, whose arrays are allocated for the grid. The factor must be
 * usable. losses[n], unless NULL: dw (H + damping I) dw^T of each row over the inputs that are not
 * dead. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status gptq_solve(const struct quant_grid *grid,
                                           const struct gptq_factor *factor, const float *W,
                                           enum gptq_params params, const struct qlinear *q,
                                           double *losses, llmq_error *err);

#endif
