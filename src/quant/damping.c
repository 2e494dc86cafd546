/* SPDX-License-Identifier: Apache-2.0 */
/* Damping as shrinkage: see damping.h.
 *
 * GPTQ wants the second moment S of the inputs that the model will meet; H is an estimate of it
 * from T tokens, and no better than T lets it be: with T < k there are directions in which H is 0
 * and S is not, and rounding errors are pushed into them as if they cost nothing. Linear shrinkage
 * towards a multiple of the identity,
 *
 *     S ~ (1 - rho) H + rho mu I,  mu = mean(diag H),
 *
 * (Ledoit and Wolf, J. Multivariate Analysis 88, 2004, eq. 14) is what damping does: but for a
 * factor that changes no code, it is H + lambda mu I with lambda = rho / (1 - rho). Their estimate
 * of rho is best in the Frobenius norm, which the largest directions decide, while feedback runs
 * along the smallest; on the inputs of layers it came out far too small. So lambda is chosen by the
 * loss itself, on tokens held back. */
#include "quant/damping.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "quant/gptq.h"

static const double ladder[] = {DAMPING_FIRST, 0.05, 0.25, 1.25};
#define RUNGS ((int)(sizeof ladder / sizeof *ladder))

/* Single rungs are off by a few parts in a hundred. Where the error is so far above the least, the
 * minimum was passed; where it is not so far below, less damping is kept: with many tokens H is
 * good, and what damping gains on few inputs it loses in what the whole model does. */
#define PASSED 1.05
#define GAINS  0.98

/* A trial on its way. */
struct search {
    const struct damping_trial *trial;
    struct gptq_factor *factor;
    float *W; /* [DAMPING_SAMPLE, k] */
};

/* Rows evenly spread over a linear; returns how many. */
static int64_t take_sample(const struct damping_linear *l, int64_t k, float *W) {
    const int64_t rows = min_i64(l->n, DAMPING_SAMPLE);
    for (int64_t r = 0; r < rows; r++)
        memcpy(W + r * k, l->W + r * l->n / rows * k, (size_t)k * sizeof *W);
    return rows;
}

/* *sum += the sample's error on the rows held back, relative to its outputs. */
static enum llmq_status add_error(const struct search *s, const struct damping_linear *l,
                                  double *sum, llmq_error *err) {
    const struct gptq_factor *f = s->factor;
    const int64_t rows = take_sample(l, f->k, s->W);
    double error = 0;
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    const bool shared = l->grid->rows > 1; /* the sample's blocks stand for the linear's */
    if (shared)
        LLMQ_TRY(rtn_quantize(l->grid, s->W, f->importance, rows, f->k, &q, err));
    else
        LLMQ_TRY(qlinear_alloc(rows, f->k, l->grid->bits, l->grid->group, &q, err));
    q.number = l->grid->number;
    LLMQ_TRY(gptq_solve(l->grid, f, s->W, shared ? PARAMS_GIVEN : PARAMS_FITTED, &q, NULL, err));
    LLMQ_TRY(quant_error(s->W, &q, &s->trial->held, &error, err));
    *sum += error;
cleanup:
    qlinear_free(&q);
    return status;
}

/* The error with a rung's lambda; infinite when it leads to no factor. */
static enum llmq_status try_rung(const struct search *s, int rung, double *error, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *error = (double)INFINITY;
    LLMQ_TRY(gptq_factor_redamp(s->factor, s->trial->H, ladder[rung], err));
    if (!gptq_factor_usable(s->factor))
        return LLMQ_OK;
    *error = 0;
    for (int i = 0; i < s->trial->count; i++)
        LLMQ_TRY(add_error(s, &s->trial->linears[i], error, err));
cleanup:
    return status;
}

enum llmq_status damping_choose(const struct damping_trial *trial, struct gptq_factor *factor,
                                llmq_error *err) {
    struct search s = {.trial = trial, .factor = factor};
    double least = (double)INFINITY, error = 0;
    int best = 0;
    enum llmq_status status = LLMQ_OK;
    s.W = malloc((size_t)(DAMPING_SAMPLE * factor->k) * sizeof *s.W);
    if (!s.W)
        return error_memory(err, "the choice of a damping");
    for (int rung = 0; rung < RUNGS && (rung == 0 || !(error > PASSED * least)); rung++) {
        LLMQ_TRY(try_rung(&s, rung, &error, err));
        if (error < GAINS * least) {
            least = error;
            best = rung;
        } else {
            gptq_factor_take_back(factor);
        }
    }
    LLMQ_TRY(gptq_factor_redamp(factor, trial->H, ladder[best], err));
cleanup:
    free(s.W);
    return status;
}
