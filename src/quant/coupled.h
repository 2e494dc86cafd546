/* SPDX-License-Identifier: Apache-2.0 */
/* Codes, scales and zero points chosen by what errors do to the model's predictions.
 *
 * An error E = W - Q of a linear moves the predictions by about tr(B E M E^T), M = H + damping I of
 * its inputs and B the second moments of the gradients at its outputs (graph/curvature.h). B
 * couples the rows: given all others, row r is least wrong where it makes up for what their errors
 * do in its direction,
 *
 *     tr(B E M E^T) = B_rr |E_r + sum over s != r of B_rs / B_rr E_s|_M^2 + what has no E_r.
 *
 * So rows take turns in chunks. Those of a chunk are solved side by side, each for the target that
 * the others leave it, by the methods that rows without coupling are solved by (gptq.h, descent.h,
 * group_search.h); then one after the other is taken as far as the whole gets better, with those of
 * its chunk that were taken before. A first sweep goes on from the codes there are, the others
 * start anew from GPTQ, on scales of their own that no failure sets back and with chunks drawn
 * anew: restarts, of which each row keeps what lowers the whole. */
#ifndef LLMQ_QUANT_COUPLED_H
#define LLMQ_QUANT_COUPLED_H

#include <stdint.h>

#include "llmq/error.h"
#include "quant/gptq.h"
#include "quant/quant.h"

struct coupled_problem {
    const struct quant_grid *grid;
    const struct gptq_factor *factor; /* of H, usable */
    const float *W;                   /* [n, k] targets */
    const float *H;                   /* [k, k] */
    const float *B;                   /* [n, n] symmetric, positive definite; NULL: the identity */
    int restarts;                     /* sweeps beyond the first */
};

/* What is to be added to the diagonal of B, as a part of its mean, where B is of so many tokens:
 * 0.4, or 16 n / tokens where that is more. FIDELITY.md has what it is worth. */
double coupled_damping(int64_t n, int64_t tokens);

/* B [n, n] as it is to be used: of mean 1 on its diagonal, to which `damp` is added. One that is 0
 * or not finite becomes the identity. */
void coupled_prepare(float *B, int64_t n, double damp);

/* Lower tr(B E M E^T) of q [n, k], over the inputs that are not dead. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status coupled_refine(const struct coupled_problem *problem,
                                               const struct qlinear *q, llmq_error *err);

/* That sum. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status coupled_error(const struct coupled_problem *problem,
                                              const struct qlinear *q, double *error,
                                              llmq_error *err);

/* Bytes that coupled_refine takes, besides B; operations. */
uint64_t coupled_bytes(int64_t n, int64_t k, int64_t group);
double coupled_flops(int64_t n, int64_t k, int64_t group, int restarts);

#endif
