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

/* Moments over all tokens, and over those held back (NULL and share 0: none are). */
struct correct_moments {
    const float *D; /* [k, k] */
    const float *R; /* [n, k], NULL when the linear does not add to a stream */
    const float *H_held, *D_held, *R_held;
    double held_share; /* of all tokens, below 1 */
};

/* How far to go, 0 to 1: alpha for the input's error, beta for the residual stream's. */
struct correction {
    double alpha, beta;
};

/* target = W + alpha A + beta B, with the damped H behind the factor, which must be usable.
 * W         [n, k]
 * strength  in: fixed strengths; `choose`: out, the best on the tokens held back, fitted on the
 *           others (0.75 when none are held back)
 * target    [n, k], no overlap with W
 * LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status correct_target(const struct gptq_factor *factor, const float *W,
                                               int64_t n, const struct correct_moments *moments,
                                               bool choose, struct correction *strength,
                                               float *target, llmq_error *err);

#endif
