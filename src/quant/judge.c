/* SPDX-License-Identifier: Apache-2.0 */
/* See judge.h. A fit is better than rounding on what it was fitted to, always; with few tokens that
 * says nothing. */
#include "quant/judge.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/coupled.h"

struct quant_inputs quant_unseen(const float *H, const float *square, const float *X,
                                 int64_t count) {
    if (count > 0 && !square)
        return (struct quant_inputs){.X = X, .count = count};
    return (struct quant_inputs){.H = count > 0 ? square : H};
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

static bool is_rtn(const struct quant_outcome *outcome) {
    return strcmp(outcome->method, "rtn") == 0;
}

/* The errors of q's rows and, beside something else, those of round-to-nearest. */
static enum llmq_status measure(const struct quant_problem *problem, const struct qlinear *q,
                                bool beside, struct quant_rows *out, llmq_error *err) {
    const size_t n = (size_t)problem->n;
    enum llmq_status status = LLMQ_OK;
    out->error = malloc(3 * n * sizeof *out->error);
    if (!out->error)
        return error_memory(err, "the errors of a module");
    out->norm = out->error + n;
    out->rtn_error = out->norm + n;
    LLMQ_TRY(quant_row_errors(problem->W, q, &problem->inputs, out->error, out->norm, err));
    if (!beside)
        return LLMQ_OK;
    LLMQ_TRY(quant_round(problem, &out->rtn, err));
    LLMQ_TRY(quant_row_errors(problem->W, &out->rtn, &problem->inputs, out->rtn_error, NULL, err));
cleanup:
    return status;
}

void quant_rows_free(struct quant_rows *rows) {
    qlinear_free(&rows->q);
    qlinear_free(&rows->rtn);
    free(rows->error);
    *rows = (struct quant_rows){0};
}

bool quant_verdict(const struct quant_rows *all, int64_t n, struct quant_outcome *outcome) {
    double error = quant_sum(all->error, n), norm = quant_sum(all->norm, n);
    const double rtn_error = is_rtn(outcome) ? error : quant_sum(all->rtn_error, n);
    const bool beaten = rtn_error < error;
    if (beaten) {
        error = rtn_error;
        outcome->method = "rtn";
        outcome->beaten = true;
    }
    outcome->norm = norm;
    outcome->error = part(error, norm);
    outcome->rtn_error = part(rtn_error, norm);
    return beaten;
}

enum llmq_status quant_judge(const struct quant_problem *problem, struct qlinear *q,
                             struct quant_outcome *outcome, llmq_error *err) {
    struct quant_rows rows = {0};
    const enum llmq_status status = measure(problem, q, !is_rtn(outcome), &rows, err);
    if (status == LLMQ_OK && quant_verdict(&rows, problem->n, outcome)) {
        const struct qlinear worse = *q;
        *q = rows.rtn;
        rows.rtn = worse;
    }
    quant_rows_free(&rows);
    return status;
}

enum llmq_status quant_refine(const struct quant_problem *p, const struct qlinear *q,
                              llmq_error *err) {
    const struct coupled_problem coupled = {p->grid, p->factor, p->W, p->H, p->B, p->restarts};
    return p->refine && p->factor && gptq_factor_usable(p->factor)
               ? coupled_refine(&coupled, q, err)
               : LLMQ_OK;
}

struct quant_outcome quant_outcome_begin(const struct quant_problem *problem) {
    struct quant_outcome outcome = {.method = "rtn"};
    if (problem->factor)
        gptq_outcome_begin(problem->factor, &outcome);
    if (problem->H)
        outcome.outliers = quant_outliers(problem->H, problem->k);
    return outcome;
}

/* The codes, not yet judged. */
static enum llmq_status choose(const struct quant_problem *problem, struct qlinear *q,
                               struct quant_outcome *outcome, llmq_error *err) {
    const struct quant_outcome begin = *outcome = quant_outcome_begin(problem);
    enum llmq_status status = problem->factor
                                  ? gptq_quantize(problem->grid, problem->factor, problem->W,
                                                  problem->H, problem->n, q, outcome, err)
                                  : quant_round(problem, q, err);
    outcome->outliers = begin.outliers;
    return status;
}

enum llmq_status quant_solve(const struct quant_problem *problem, struct qlinear *q,
                             struct quant_outcome *outcome, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(choose(problem, q, outcome, err));
    LLMQ_TRY(quant_refine(problem, q, err));
    LLMQ_TRY(quant_judge(problem, q, outcome, err));
cleanup:
    return status;
}

bool quant_divides(const struct quant_grid *grid) {
    return grid->rows <= 1 && grid->search != RANGE_ENTROPY;
}

enum llmq_status quant_choose_rows(const struct quant_problem *problem, struct quant_rows *out,
                                   llmq_error *err) {
    *out = (struct quant_rows){0};
    return choose(problem, &out->q, &out->outcome, err);
}

/* Other rows may be something else where all of these are rounded to nearest. */
enum llmq_status quant_measure_rows(const struct quant_problem *problem, struct quant_rows *rows,
                                    llmq_error *err) {
    return measure(problem, &rows->q, problem->factor != NULL, rows, err);
}
