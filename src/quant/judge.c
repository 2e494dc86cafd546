/* SPDX-License-Identifier: Apache-2.0 */
/* See judge.h. A fit is better than rounding on what it was fitted to, always; with few tokens that
 * says nothing. */
#include "quant/judge.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/coupled.h"

struct quant_inputs quant_unseen(const float *H, const float *X, int64_t count) {
    return count > 0 ? (struct quant_inputs){.X = X, .count = count}
                     : (struct quant_inputs){.H = H};
}

enum llmq_status quant_round(const struct quant_problem *problem, struct qlinear *q,
                             llmq_error *err) {
    const int64_t k = problem->k;
    float *importance = problem->H ? malloc((size_t)k * sizeof *importance) : NULL;
    if (problem->H && !importance)
        return error_memory(err, "the importance of inputs");
    if (problem->H)
        quant_importance(problem->H, k, importance);
    const enum llmq_status status =
        rtn_quantize(problem->grid, problem->W, importance, problem->n, k, q, err);
    free(importance);
    return status;
}

static double part(double error, double norm) {
    return norm > 0 ? error / norm : 0;
}

enum llmq_status quant_judge(const struct quant_problem *problem, struct qlinear *q,
                             struct quant_outcome *outcome, llmq_error *err) {
    struct qlinear rtn = {0};
    double error = 0, rtn_error = 0, norm = 0;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(quant_error_sums(problem->W, q, &problem->inputs, &error, &norm, err));
    rtn_error = error;
    if (strcmp(outcome->method, "rtn") != 0) {
        LLMQ_TRY(quant_round(problem, &rtn, err));
        LLMQ_TRY(quant_error_sums(problem->W, &rtn, &problem->inputs, &rtn_error, NULL, err));
    }
    if (rtn_error < error) {
        const struct qlinear worse = *q;
        *q = rtn;
        rtn = worse;
        error = rtn_error;
        outcome->method = "rtn";
        outcome->beaten = true;
    }
    outcome->norm = norm;
    outcome->error = part(error, norm);
    outcome->rtn_error = part(rtn_error, norm);
cleanup:
    qlinear_free(&rtn);
    return status;
}

/* What GPTQ chose, by what errors do to the predictions. */
static enum llmq_status refine(const struct quant_problem *p, const struct qlinear *q,
                               llmq_error *err) {
    const struct coupled_problem coupled = {p->grid, p->factor, p->W, p->H, p->B, p->restarts};
    return p->refine && p->factor && gptq_factor_usable(p->factor)
               ? coupled_refine(&coupled, q, err)
               : LLMQ_OK;
}

enum llmq_status quant_solve(const struct quant_problem *problem, struct qlinear *q,
                             struct quant_outcome *outcome, llmq_error *err) {
    *outcome = (struct quant_outcome){.method = "rtn"};
    enum llmq_status status = problem->factor
                                  ? gptq_quantize(problem->grid, problem->factor, problem->W,
                                                  problem->H, problem->n, q, outcome, err)
                                  : quant_round(problem, q, err);
    if (problem->H)
        outcome->outliers = quant_outliers(problem->H, problem->k);
    if (status == LLMQ_OK)
        status = refine(problem, q, err);
    return status == LLMQ_OK ? quant_judge(problem, q, outcome, err) : status;
}
