/* SPDX-License-Identifier: Apache-2.0 */
/* Judging what was made of a module on inputs that it was not fitted to. */
#ifndef LLMQ_QUANT_JUDGE_H
#define LLMQ_QUANT_JUDGE_H

#include "quant/quant.h"

/* What a module was made from, and what it is judged on. */
struct quant_problem {
    const struct quant_grid *grid;
    const float *W; /* [n, k] */
    int64_t n, k;
    const float *H;                   /* [k, k] to fit it to; NULL: without calibration */
    const struct gptq_factor *factor; /* of H, for GPTQ; NULL: rounded to nearest */
    struct quant_inputs inputs;       /* that errors are measured on, see quant_unseen */
    /* With a factor: refine the whole at the end, see coupled.h. */
    bool refine;
    const float *B; /* [n, n], or NULL */
    int restarts;
};

/* Inputs to judge a fit to H on: the rows X [count, k] that H leaves out. Where none could be held
 * back, H itself. */
struct quant_inputs quant_unseen(const float *H, const float *X, int64_t count);

/* Choose the module's codes, and judge them. The caller frees q. */
LLMQ_NODISCARD enum llmq_status quant_solve(const struct quant_problem *problem, struct qlinear *q,
                                            struct quant_outcome *outcome, llmq_error *err);

/* Round W to nearest, as a method or to compare with one: by the problem's grid, the importance of
 * inputs from H. The caller frees q. */
LLMQ_NODISCARD enum llmq_status quant_round(const struct quant_problem *problem, struct qlinear *q,
                                            llmq_error *err);

/* Set the outcome's norm and errors, q's and round-to-nearest's. Where the latter is smaller, its
 * codes take the place of q's, `method` becomes "rtn" and `beaten` true: on inputs that it has not
 * seen, a result is not worse than round-to-nearest's. */
LLMQ_NODISCARD enum llmq_status quant_judge(const struct quant_problem *problem, struct qlinear *q,
                                            struct quant_outcome *outcome, llmq_error *err);

#endif
