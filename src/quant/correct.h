/* SPDX-License-Identifier: Apache-2.0 */
/* Targets corrected for what is already wrong upstream.
 *
 * By the time a linear is quantized its input is no longer the original model's: x instead of x_o.
 * Before rounding, its weights are moved so that on x they do what the original weights did on x_o.
 * A linear that adds to the residual stream can repair the stream as well: s instead of s_o. With
 *
 *     H = (2/T) X^T X     D = (2/T) (X_o - X)^T X     R = (2/T) (S_o - S)^T X
 *
 * the least-squares answer is W + A + B, A = W D H^-1, B = R H^-1. Fitted on finitely many tokens
 * it goes too far; W + alpha A + beta B with the strengths that do best on tokens held back does
 * not. Their error there is quadratic in alpha and beta, so the best ones have a closed form.
 * Related: GPTAQ (arXiv:2504.02692), Qronos (arXiv:2505.11695), LoaQ (arXiv:2509.06297). */
#ifndef LLMQ_QUANT_CORRECT_H
#define LLMQ_QUANT_CORRECT_H

#include <stdint.h>

#include "llmq/error.h"
#include "quant/quant.h"

/* What linears lack, in the moments and on tokens that these leave out. */
struct correct_lack {
    const float *D; /* [k, k], or ... */
    float *WD;      /* ... [n, k] W D of the linear at hand; overwritten */
    const float *B; /* [n, k] of correct_stream; NULL when the linear does not add to a stream */
    int64_t held;   /* tokens held back, 0: none */
    const float *X, *X_lack; /* [held, k] of these, and X_o - X */
    const float *S_lack;     /* [held, n] S_o - S; NULL without B */
};

/* How far to go, 0 to 1: alpha for the input's error, beta for the residual stream's. */
struct correction {
    double alpha, beta;
};

/* R [n, k] becomes B = R (H + lambda I)^-1, with the H behind the factor, which must be usable. It
 * is the same for all linears that read the same input and add to the same stream. LLMQ_E_MEMORY.
 */
LLMQ_NODISCARD enum llmq_status correct_stream(const struct gptq_factor *factor, int64_t n,
                                               float *R, llmq_error *err);

/* W [n, k] += alpha A + beta B, A = W D (H + lambda I)^-1.
 * strength  in: fixed strengths; `choose`: out, the best on the tokens held back (0.75 when none
 *           are)
 * LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status correct_weights(const struct gptq_factor *factor, int64_t n,
                                                const struct correct_lack *lack, bool choose,
                                                struct correction *strength, float *W,
                                                llmq_error *err);

#endif
