/* SPDX-License-Identifier: Apache-2.0 */
/* GPTQ for a module, refined and judged. Candidates are made one after the other:
 *
 *     round-to-nearest
 *     GPTQ
 *     its coordinate descent, which also refits the scales
 *     then in each round GPTQ once more, on the scales and zero points the last descent ended with,
 *     and its descent
 *
 * Errors are those under the damped Hessian, which is what is known of inputs to come (damping.c),
 * and each row keeps its best candidate: in that metric the result is never worse than
 * round-to-nearest's or plain GPTQ's. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/descent.h"
#include "quant/gptq.h"
#include "quant/grid.h"

/* A module on its way. */
struct contest {
    const struct quant_grid *grid;
    const struct gptq_factor *factor;
    const float *W, *H;
    struct qlinear best, current;
    double *best_errors, *errors; /* [n] by row, one allocation that best_errors owns */
    uint8_t *refined;             /* [n] 1 where the best is not round-to-nearest's */
};

static void contest_free(struct contest *c) {
    qlinear_free(&c->best);
    qlinear_free(&c->current);
    free(c->best_errors);
    free(c->refined);
}

/* Weights that no input ever reaches become 0 exactly; errors do not change. */
static void zero_dead_columns(const struct gptq_factor *factor, const struct qlinear *q) {
    for (int64_t c = 0; factor->dead_columns > 0 && c < q->k; c++)
        for (int64_t row = 0; factor->dead[c] && row < q->n; row++)
            q->codes[row * q->k + c] = q->zeros[row * q->groups + c / q->group];
}

/* --- candidates ------------------------------------------------------------------------------- */

/* dw dw^T of a row over the inputs that are not dead. */
static double square_of(const struct contest *c, const struct qlinear *q,
                        const struct qlinear_levels *levels, int64_t row) {
    const float *W = c->W + row * q->k;
    const uint8_t *codes = q->codes + row * q->k, *dead = c->factor->dead;
    double sum = 0;
    for (int64_t i = 0; i < q->k; i++) {
        const int64_t g = row * q->groups + i / q->group;
        const float d = W[i] - qlinear_level(levels, codes[i], q->zeros[g]) * q->scales[g];
        sum += dead[i] ? 0 : (double)d * (double)d;
    }
    return sum;
}

/* errors[n] of q in the damped metric: dw (H + damping I) dw^T, over the inputs that are not dead.
 */
static enum llmq_status measure(const struct contest *c, const struct qlinear *q, double *errors,
                                llmq_error *err) {
    const struct quant_inputs inputs = {.H = c->H};
    const struct qlinear_levels levels = qlinear_levels(q);
    const double damping = c->factor->damping;
    enum llmq_status status = quant_row_errors(c->W, q, &inputs, errors, NULL, err);
    if (status != LLMQ_OK)
        return status;
#pragma omp parallel for schedule(static) default(none) shared(c, q, errors, damping, levels)
    for (int64_t row = 0; row < q->n; row++)
        errors[row] += damping * square_of(c, q, &levels, row);
    return LLMQ_OK;
}

static void copy_row(const struct qlinear *from, const struct qlinear *to, int64_t row) {
    size_t k = (size_t)to->k, groups = (size_t)to->groups, at = (size_t)row;
    memcpy(to->codes + at * k, from->codes + at * k, k);
    memcpy(to->scales + at * groups, from->scales + at * groups, groups * sizeof *to->scales);
    memcpy(to->zeros + at * groups, from->zeros + at * groups, groups);
}

/* Round-to-nearest, the first candidate. */
static enum llmq_status begin(struct contest *c, int64_t n, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(rtn_quantize(c->grid, c->W, c->factor->importance, n, c->factor->k, &c->best, err));
    c->best_errors = calloc((size_t)n, 2 * sizeof *c->best_errors);
    c->refined = calloc((size_t)n, 1);
    if (!c->best_errors || !c->refined)
        return error_memory(err, "the errors of a module");
    c->errors = c->best_errors + n;
    zero_dead_columns(c->factor, &c->best);
    LLMQ_TRY(measure(c, &c->best, c->best_errors, err));
cleanup:
    return status;
}

/* The current candidate's rows replace the best where they are at least as good. An error that is
 * not a number never wins. */
static void keep_better(const struct contest *c) {
    for (int64_t row = 0; row < c->best.n; row++) {
        if (!(c->errors[row] <= c->best_errors[row]))
            continue;
        copy_row(&c->current, &c->best, row);
        c->best_errors[row] = c->errors[row];
        c->refined[row] = 1;
    }
}

/* Scales that rows share stay: no row may change them for the others. */
static bool shares_scales(const struct contest *c) {
    return c->grid->rows > 1;
}

static enum llmq_status descend(const struct contest *c, llmq_error *err) {
    const struct metric metric = {c->H, c->factor->damping};
    const struct descent descent = {c->factor->options.descent_passes, true, !shares_scales(c),
                                    NULL};
    return descent_run(c->grid, &metric, &descent, c->W, &c->current, err);
}

static enum llmq_status run_gptq(struct contest *c, double *gptq_loss, llmq_error *err) {
    const struct quant_options *o = &c->factor->options;
    const enum gptq_params params = shares_scales(c) ? PARAMS_GIVEN : PARAMS_FITTED;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(qlinear_alloc(c->best.n, c->best.k, c->grid->bits, c->best.group, &c->current, err));
    c->current.number = c->grid->number;
    c->current.unit = c->grid->unit;
    c->current.whole = c->grid->whole;
    for (int64_t row = 0; params == PARAMS_GIVEN && row < c->best.n; row++)
        copy_row(&c->best, &c->current, row);
    /* GPTQ's losses are the errors in that metric. */
    LLMQ_TRY(gptq_solve(c->grid, c->factor, c->W, params, &c->current, c->errors, err));
    keep_better(c);
    *gptq_loss = quant_sum(c->best_errors, c->best.n);
    for (int round = 0; round <= o->rounds; round++) {
        if (round > 0)
            LLMQ_TRY(gptq_solve(c->grid, c->factor, c->W, PARAMS_GIVEN, &c->current, NULL, err));
        if (o->descent_passes > 0)
            LLMQ_TRY(descend(c, err));
        if (round > 0 || o->descent_passes > 0) {
            LLMQ_TRY(measure(c, &c->current, c->errors, err));
            keep_better(c);
        }
    }
cleanup:
    return status;
}

/* --- the outcome ------------------------------------------------------------------------------ */

void gptq_outcome_begin(const struct gptq_factor *factor, struct quant_outcome *outcome) {
    outcome->damp_retries = factor->damp_retries;
    outcome->dead_columns = factor->dead_columns;
    outcome->fell_back = !gptq_factor_usable(factor);
}

static void set_outcome(const struct contest *c, double rtn_loss, double gptq_loss,
                        struct quant_outcome *outcome) {
    int64_t refined = 0;
    for (int64_t row = 0; row < c->best.n; row++)
        refined += c->refined[row];
    *outcome = (struct quant_outcome){.method = "rtn"};
    gptq_outcome_begin(c->factor, outcome);
    outcome->method = refined > 0 ? "gptq" : "rtn";
    outcome->loss = quant_sum(c->best_errors, c->best.n);
    outcome->gptq_loss = gptq_loss;
    outcome->rtn_loss = rtn_loss;
    outcome->damp = refined > 0 ? c->factor->damp : 0;
    outcome->rows_kept_rtn = c->best.n - refined;
}

static enum llmq_status check_order(const struct quant_grid *grid, const struct gptq_factor *factor,
                                    llmq_error *err) {
    if (factor->options.act_order != ACT_ORDER_GROUP_AWARE ||
        grid_group(grid, factor->k) == factor->group)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_USAGE, "groups of %lld with a factor ordered for %lld",
                     (long long)grid_group(grid, factor->k), (long long)factor->group);
}

enum llmq_status gptq_quantize(const struct quant_grid *grid, const struct gptq_factor *factor,
                               const float *W, const float *H, int64_t n, struct qlinear *q,
                               struct quant_outcome *outcome, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct contest c = {.grid = grid, .factor = factor, .W = W, .H = H};
    *q = (struct qlinear){0};
    LLMQ_TRY(check_order(grid, factor, err));
    LLMQ_TRY(begin(&c, n, err));
    double rtn_loss = quant_sum(c.best_errors, n), gptq_loss = rtn_loss;
    if (gptq_factor_usable(factor))
        LLMQ_TRY(run_gptq(&c, &gptq_loss, err));
    set_outcome(&c, rtn_loss, gptq_loss, outcome);
    *q = c.best;
    c.best = (struct qlinear){0};
cleanup:
    contest_free(&c);
    return status;
}
