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
    /* For some rows of a linear [whole, k]: S_lack is [held, whole], and its columns from `first`
     * on are theirs; whole 0: they are all of it. */
    int64_t whole, first;
};

/* The error on the tokens held back, but for a constant, as a function of the strengths:
 *     aa alpha^2 + 2 ab alpha beta + bb beta^2 - 2 a alpha - 2 b beta
 */
struct correct_error {
    double aa, ab, bb, a, b;
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

/* The same for n rows of a linear of `whole`. */
LLMQ_NODISCARD enum llmq_status correct_stream_rows(const struct gptq_factor *factor, int64_t whole,
                                                    int64_t n, float *R, llmq_error *err);

/* W [n, k] += alpha A + beta B, A = W D (H + lambda I)^-1.
 * strength  in: fixed strengths; `choose`: out, the best on the tokens held back (0.75 when none
 *           are)
 * LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status correct_weights(const struct gptq_factor *factor, int64_t n,
                                                const struct correct_lack *lack, bool choose,
                                                struct correction *strength, float *W,
                                                llmq_error *err);

/* --- in parts: the targets, their errors put together, the choice, then the sum ----------------
 */

/* Panels of a linear of `whole` rows. */
int64_t correct_panel_rows(int64_t whole);

/* Tokens that strengths are chosen by, of so many held back. */
int64_t correct_judges(int64_t held);

/* A of the rows, on the way to W + alpha A + beta B. */
struct correct_target {
    float *A, *own; /* [n, k]; what is to be freed of it */
    int64_t n, k;
};

/* errors, unless NULL: of each panel of the rows. Release with correct_target_free. */
LLMQ_NODISCARD enum llmq_status correct_target_make(const struct gptq_factor *factor, int64_t n,
                                                    const struct correct_lack *lack, const float *W,
                                                    struct correct_error *errors,
                                                    struct correct_target *out, llmq_error *err);
void correct_target_free(struct correct_target *t); /* accepts a zeroed struct */

/* The best strengths by the errors of all panels, in their order; errors NULL: there are none. */
struct correction correct_choose(const struct correct_error *errors, int64_t panels,
                                 bool with_beta);

/* W += alpha A + beta B, B NULL or [n, k]. */
void correct_apply(const struct correct_target *t, const float *B, struct correction strength,
                   float *W);

#endif
