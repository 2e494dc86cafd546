/* GPTQ for a module, judged: round-to-nearest on the same grid stands beside it, errors are
 * measured with the Hessian itself, and each row keeps the better candidate. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/gptq_private.h"
#include "quant/grid.h"

/* Both candidates and their row errors. */
struct candidates {
    struct qlinear gptq, rtn;
    double *gptq_errors, *rtn_errors, *norms; /* [n], one allocation that gptq_errors owns */
};

static void candidates_free(struct candidates *c) {
    qlinear_free(&c->gptq);
    qlinear_free(&c->rtn);
    free(c->gptq_errors);
}

/* Weights that no input ever reaches become 0 exactly; errors do not change. */
static void zero_dead_columns(const struct gptq_factor *factor, const struct qlinear *q) {
    for (int64_t c = 0; factor->dead_columns > 0 && c < q->k; c++)
        for (int64_t row = 0; factor->dead[c] && row < q->n; row++)
            q->codes[row * q->k + c] = q->zeros[row * q->groups + c / q->group];
}

static enum llmq_status candidates_fill(struct candidates *c, const struct quant_grid *grid,
                                        const struct gptq_factor *factor, const float *W,
                                        const float *H, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int64_t n = c->rtn.n;
    c->gptq_errors = calloc((size_t)n, 3 * sizeof *c->gptq_errors);
    if (!c->gptq_errors)
        return error_memory(err, "the errors of a module");
    c->rtn_errors = c->gptq_errors + n;
    c->norms = c->rtn_errors + n;
    zero_dead_columns(factor, &c->rtn);
    LLMQ_TRY(quant_row_errors(W, &c->rtn, H, c->rtn_errors, c->norms, err));
    if (!gptq_factor_usable(factor))
        return LLMQ_OK;
    LLMQ_TRY(qlinear_alloc(n, factor->k, grid->bits, grid->group, &c->gptq, err));
    c->gptq.sym = grid->sym;
    LLMQ_TRY(gptq_solve(grid, factor, W, &c->gptq, err));
    LLMQ_TRY(quant_row_errors(W, &c->gptq, H, c->gptq_errors, NULL, err));
cleanup:
    return status;
}

static void copy_row(const struct qlinear *from, const struct qlinear *to, int64_t row) {
    size_t k = (size_t)to->k, groups = (size_t)to->groups, at = (size_t)row;
    memcpy(to->codes + at * k, from->codes + at * k, k);
    memcpy(to->scales + at * groups, from->scales + at * groups, groups * sizeof *to->scales);
    memcpy(to->zeros + at * groups, from->zeros + at * groups, groups);
}

/* The better of the two for each row, in c->gptq; returns how many are RTN's. An error that is not
 * a number never wins. */
static int64_t choose_rows(const struct candidates *c, double *error) {
    int64_t kept = 0;
    for (int64_t row = 0; row < c->gptq.n; row++) {
        if (c->gptq_errors[row] <= c->rtn_errors[row]) {
            *error += c->gptq_errors[row];
            continue;
        }
        copy_row(&c->rtn, &c->gptq, row);
        *error += c->rtn_errors[row];
        kept++;
    }
    return kept;
}

/* error / norm, where a module without weights has no error. */
static double relative(double error, double norm) {
    return error == 0 ? 0 : error / norm;
}

/* Fill the outcome and hand over the result. */
static void conclude(struct candidates *c, const struct gptq_factor *factor, struct qlinear *q,
                     struct quant_outcome *outcome) {
    int64_t n = c->rtn.n, kept = n;
    bool usable = gptq_factor_usable(factor);
    double norm = 0, rtn = 0, error = 0;
    for (int64_t row = 0; row < n; row++) {
        norm += c->norms[row];
        rtn += c->rtn_errors[row];
    }
    if (usable)
        kept = choose_rows(c, &error);
    *outcome = (struct quant_outcome){
        .method = kept < n ? "gptq" : "rtn",
        .error = relative(usable ? error : rtn, norm),
        .rtn_error = relative(rtn, norm),
        .damp = kept < n ? factor->damp : 0,
        .damp_retries = factor->damp_retries,
        .dead_columns = factor->dead_columns,
        .rows_kept_rtn = kept,
        .fell_back = !usable,
    };
    struct qlinear *best = usable ? &c->gptq : &c->rtn;
    *q = *best;
    *best = (struct qlinear){0};
}

enum llmq_status gptq_quantize(const struct quant_grid *grid, const struct gptq_factor *factor,
                               const float *W, const float *H, int64_t n, struct qlinear *q,
                               struct quant_outcome *outcome, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct candidates c = {0};
    *q = (struct qlinear){0};
    if (factor->order == ACT_ORDER_GROUP_AWARE && grid_group(grid, factor->k) != factor->group)
        LLMQ_TRY(error_set(err, LLMQ_E_USAGE, "groups of %lld with a factor ordered for %lld",
                           (long long)grid_group(grid, factor->k), (long long)factor->group));
    LLMQ_TRY(rtn_quantize(grid, W, factor->importance, n, factor->k, &c.rtn, err));
    LLMQ_TRY(candidates_fill(&c, grid, factor, W, H, err));
    conclude(&c, factor, q, outcome);
cleanup:
    candidates_free(&c);
    return status;
}
