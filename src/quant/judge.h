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

/* Inputs to judge a fit to H on: the rows X [count, k] that H leaves out, or their X^T X [k, k]
 * where it is known. Where none could be held back, H itself. */
struct quant_inputs quant_unseen(const float *H, const float *square, const float *X,
                                 int64_t count);

/* --- in parts: rows solved apart, their errors put together, then the verdict ------------------
 */

/* What became of some rows. */
struct quant_rows {
    struct qlinear q, rtn;            /* rtn: rounded to nearest, where q may be something else */
    double *error, *norm, *rtn_error; /* [n] on the problem's inputs */
    struct quant_outcome outcome;     /* of these rows, but for what they are judged on */
};

/* Choose the codes of rows: as quant_solve, but what refines the whole. Release with
 * quant_rows_free. */
LLMQ_NODISCARD enum llmq_status quant_choose_rows(const struct quant_problem *problem,
                                                  struct quant_rows *out, llmq_error *err);
/* Then, where the problem asks for it, of all rows. */
LLMQ_NODISCARD enum llmq_status quant_refine(const struct quant_problem *whole,
                                             const struct qlinear *q, llmq_error *err);
/* Then the errors of the rows there are, and what is rounded to nearest. */
LLMQ_NODISCARD enum llmq_status quant_measure_rows(const struct quant_problem *problem,
                                                   struct quant_rows *rows, llmq_error *err);
/* The outcome as it is before any row is solved. */
struct quant_outcome quant_outcome_begin(const struct quant_problem *problem);
void quant_rows_free(struct quant_rows *rows); /* accepts a zeroed struct */

/* The errors of all rows of a module, in their order; set the outcome's by them, whose method is
 * what the module's codes are of. True: round-to-nearest's are to take their place. */
bool quant_verdict(const struct quant_rows *all, int64_t n, struct quant_outcome *outcome);

/* --- a module as a whole -----------------------------------------------------------------------
 */

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
