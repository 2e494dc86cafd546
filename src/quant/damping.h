/* SPDX-License-Identifier: Apache-2.0 */
/* The damping of a Hessian, chosen by what it is for: the error of rounding on inputs that the
 * Hessian has not seen. */
#ifndef LLMQ_QUANT_DAMPING_H
#define LLMQ_QUANT_DAMPING_H

#include "quant/quant.h"

/* Rows of each linear that are rounded for a trial, evenly spread over all. */
#define DAMPING_SAMPLE 64

/* A linear that reads the inputs at hand. */
struct damping_linear {
    const struct quant_grid *grid;
    const float *W; /* [n, k] */
    int64_t n;
};

/* What a choice is made on. */
struct damping_trial {
    const float *H; /* [k, k] behind the factor */
    const struct damping_linear *linears;
    int count;
    struct quant_inputs held; /* inputs that are not in H, see quant_unseen */
};

/* The first lambda that is tried: what a factor for damping_choose is created with. */
#define DAMPING_FIRST 0.01

/* Leave `factor` with the lambda, of 0.01, 0.05, 0.25 and 1.25, that rounds a sample of the
 * linears' rows with the least error, relative to their outputs, on the inputs held back. Up to
 * three more factors of H are made, in the memory of the first. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status damping_choose(const struct damping_trial *trial,
                                               struct gptq_factor *factor, llmq_error *err);

#endif
