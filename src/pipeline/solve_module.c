/* SPDX-License-Identifier: Apache-2.0 */
/* See solve_module.h.
 *
 * Rows are independent of each other but for three things: the strengths of a correction, which are
 * chosen by the errors of all rows; the verdict, likewise; and what is told of the module. So the
 * ranks do their rows, cut where panels begin (quant/panels.h), and put together the errors, row by
 * row or panel by panel: all of them add the same numbers in the same order, and come to the same
 * conclusion as one rank alone. Then they put together the codes, since what follows is calibrated
 * on them. Per rank: codes of n k / R bytes to each other one.
 *
 * Where codes are refined by what errors do to the predictions, rows take turns: all ranks put
 * together the codes and the targets, of n k / R floats, and each refines the whole for itself. */
#include "pipeline/solve_module.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pipeline/run_curvature.h"
#include "pipeline/run_ranks.h"
#include "quant/panels.h"
#include "ranks/ranks.h"

/* --- whose rows ------------------------------------------------------------------------------- */

/* Rows [begin, end) of a module of n are this rank's. */
struct row_share {
    bool divided;
    int64_t n, begin, end;
};

int64_t solve_share_begin(int64_t n, int rank, int ranks) {
    const int64_t unit = panels_unit(n), units = (n + unit - 1) / unit;
    const int64_t begin = ranks_share_of(units, rank, ranks) * unit;
    return begin < n ? begin : n;
}

static int64_t share_begin(int64_t n, int rank) {
    return solve_share_begin(n, rank, llmq_ranks_count());
}

static struct row_share share_of(int64_t n, const struct task_moments *task) {
    const int own = llmq_ranks_own();
    if (!task || task->alone || llmq_ranks_count() == 1)
        return (struct row_share){false, n, 0, n};
    return (struct row_share){true, n, share_begin(n, own), share_begin(n, own + 1)};
}

/* Rows [n] of `bytes` each: every rank has its own, then all have all. */
static enum llmq_status gather_rows(const struct run *run, int64_t n, void *rows, size_t bytes,
                                    llmq_error *err) {
    const int ranks = llmq_ranks_count();
    size_t *begin = malloc(((size_t)ranks + 1) * sizeof *begin);
    if (!begin)
        return error_memory(err, "an exchange between ranks");
    for (int r = 0; r <= ranks; r++)
        begin[r] = (size_t)share_begin(n, r) * bytes;
    const enum llmq_status status = ranks_gather(rows, begin, run->ctx, err);
    free(begin);
    return status;
}

/* --- the target ------------------------------------------------------------------------------- */

bool solve_corrects(const struct run *run, const struct plan_module *module) {
    return run->plan.paired && module->manner.correct.mode != LLMQ_CORRECT_OFF;
}

static struct correct_lack lack_of(const struct task_moments *task, const struct row_share *rows) {
    const struct calib_moments *m = &task->moments;
    const int64_t skipped = rows->begin * m->k;
    return (struct correct_lack){.D = m->D,
                                 .WD = task->WD ? task->WD + skipped : NULL,
                                 .B = task->B ? task->B + skipped : NULL,
                                 .held = m->held.count,
                                 .X = m->held.X,
                                 .X_lack = m->held.lack,
                                 .S_lack = m->held.stream_lack,
                                 .whole = rows->n,
                                 .first = rows->begin};
}

/* The strengths that are best for all rows, by the errors of each rank's panels. */
static enum llmq_status choose_strength(const struct run *run, const struct row_share *rows,
                                        const struct correct_lack *lack,
                                        struct correct_error *errors, struct correction *strength,
                                        llmq_error *err) {
    const int64_t high = correct_panel_rows(rows->n), panels = (rows->n + high - 1) / high;
    const int ranks = llmq_ranks_count();
    enum llmq_status status = LLMQ_OK;
    size_t *begin = malloc(((size_t)ranks + 1) * sizeof *begin);
    if (!begin)
        return error_memory(err, "an exchange between ranks");
    for (int r = 0; r <= ranks; r++)
        begin[r] = (size_t)((share_begin(rows->n, r) + high - 1) / high) * sizeof *errors;
    if (errors && rows->divided)
        status = ranks_gather(errors, begin, run->ctx, err);
    free(begin);
    *strength = correct_choose(errors, panels, lack->B != NULL);
    return status;
}

/* Move the weights of l to the target that makes up for errors upstream: the rank's rows. */
static enum llmq_status correct(const struct run *run, const struct plan_module *module,
                                const struct task_moments *task, const struct row_share *rows,
                                struct linear *l, struct correction *strength, llmq_error *err) {
    const llmq_correct *wanted = &module->manner.correct;
    const struct correct_lack lack = lack_of(task, rows);
    const bool choose = wanted->mode == LLMQ_CORRECT_AUTO, judge = choose && lack.held > 0;
    const int64_t high = correct_panel_rows(rows->n), count = rows->end - rows->begin;
    float *W = l->w + rows->begin * l->k;
    struct correct_target target = {0};
    struct correct_error *errors =
        judge ? calloc((size_t)(rows->n / high + 1), sizeof *errors) : NULL;
    enum llmq_status status = LLMQ_OK;
    if (judge && !errors)
        return error_memory(err, "a corrected target");
    *strength = (struct correction){wanted->alpha, task->B ? wanted->beta : 0};
    if (count > 0)
        LLMQ_TRY(correct_target_make(task->factor.factor, count, &lack, W,
                                     errors ? errors + rows->begin / high : NULL, &target, err));
    if (choose)
        LLMQ_TRY(choose_strength(run, rows, &lack, errors, strength, err));
    if (count > 0)
        correct_apply(&target, lack.B, *strength, W);
cleanup:
    correct_target_free(&target);
    free(errors);
    return status;
}

enum llmq_status solve_stream(struct run *run, const struct plan_module *module,
                              struct task_moments *task, llmq_error *err) {
    if (!solve_corrects(run, module) || !task->moments.R || task->B ||
        !gptq_factor_usable(task->factor.factor))
        return LLMQ_OK;
    const struct row_share rows = share_of(task->stream, task);
    task->B = task->moments.R;
    if (rows.begin == rows.end)
        return LLMQ_OK;
    return correct_stream_rows(task->factor.factor, rows.n, rows.end - rows.begin,
                               task->B + rows.begin * task->moments.k, err);
}

/* --- codes ------------------------------------------------------------------------------------ */

/* What a module is made from, and what it is judged on: without calibration every input counts
 * alike. */
static struct quant_problem problem_of(const struct plan_module *module,
                                       const struct quant_grid *grid, const struct linear *l,
                                       const struct task_moments *task) {
    struct quant_problem p = {.grid = grid, .W = l->w, .n = l->n, .k = l->k};
    if (!task)
        return p;
    const struct calib_moments *m = &task->moments;
    p.H = m->H;
    p.factor = module->manner.method == LLMQ_METHOD_GPTQ ? task->factor.factor : NULL;
    p.inputs = quant_unseen(m->H, m->held.square, m->held.X, m->held.count);
    p.refine = plan_refines(module);
    p.restarts = module->manner.restarts;
    return p;
}

/* All rows on this rank. */
static enum llmq_status solve_whole(struct run *run, const struct plan_module *module,
                                    const struct quant_grid *grid, const struct linear *l,
                                    const struct task_moments *task, struct solved_module *out,
                                    llmq_error *err) {
    struct quant_problem problem = problem_of(module, grid, l, task);
    float *metric = NULL;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(run_output_metric(run, module, &metric, err));
    problem.B = metric;
    LLMQ_TRY(quant_solve(&problem, &out->q, &out->outcome, err));
    out->outcome.misfit = quant_scale_misfit(grid, l->w, &out->q);
    LLMQ_TRY(block_fold_outcome(run, module, &problem, &out->q, &out->outcome, err));
cleanup:
    free(metric);
    return status;
}

/* Rows of the whole that are something else than rounded to nearest, and so the method. */
static enum llmq_status put_outcome(const struct run *run, const struct row_share *rows,
                                    const struct task_moments *task, struct quant_outcome *outcome,
                                    llmq_error *err) {
    const struct gptq_factor *factor = task->factor.factor;
    const int ranks = llmq_ranks_count(), own = llmq_ranks_own();
    const bool any = rows->end > rows->begin;
    int64_t refined = 0;
    enum llmq_status status = LLMQ_OK;
    int64_t *each = calloc((size_t)ranks, sizeof *each);
    size_t *begin = malloc(((size_t)ranks + 1) * sizeof *begin);
    if (!each || !begin)
        LLMQ_TRY(error_memory(err, "an exchange between ranks"));
    for (int r = 0; r <= ranks; r++)
        begin[r] = (size_t)r * sizeof *each;
    if (any && strcmp(outcome->method, "gptq") == 0)
        each[own] = rows->end - rows->begin - outcome->rows_kept_rtn;
    LLMQ_TRY(ranks_gather(each, begin, run->ctx, err));
    for (int r = 0; r < ranks; r++)
        refined += each[r];
    outcome->method = refined > 0 ? "gptq" : "rtn";
    outcome->damp = refined > 0 ? gptq_factor_damp(factor) : 0;
    outcome->rows_kept_rtn = rows->n - refined;
cleanup:
    free(each);
    free(begin);
    return status;
}

/* The codes of all rows, of what was made of each rank's. */
static enum llmq_status put_codes(const struct run *run, const struct row_share *rows,
                                  const struct quant_grid *grid, const struct qlinear *part,
                                  struct qlinear *q, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const int64_t columns = q->k;
    qlinear_free(q);
    LLMQ_TRY(qlinear_alloc(rows->n, columns, grid->bits, grid->group, q, err));
    q->sym = grid->sym;
    q->number = grid->number;
    q->unit = grid->unit;
    const size_t groups = (size_t)q->groups;
    qlinear_copy_rows(part, 0, rows->end - rows->begin, q, rows->begin);
    LLMQ_TRY(gather_rows(run, rows->n, q->codes, (size_t)q->k, err));
    LLMQ_TRY(gather_rows(run, rows->n, q->scales, groups * sizeof *q->scales, err));
    LLMQ_TRY(gather_rows(run, rows->n, q->zeros, groups, err));
cleanup:
    return status;
}

/* The errors of all rows in one allocation: *all, whose three arrays they are. */
static enum llmq_status put_errors(const struct run *run, const struct row_share *rows,
                                   const struct quant_rows *part, struct quant_rows *all,
                                   llmq_error *err) {
    const size_t n = (size_t)rows->n, at = (size_t)rows->begin;
    const size_t bytes = (size_t)(rows->end - rows->begin) * sizeof(double);
    enum llmq_status status = LLMQ_OK;
    all->error = calloc(3 * n, sizeof *all->error);
    if (!all->error)
        return error_memory(err, "the errors of a module");
    all->norm = all->error + n;
    all->rtn_error = all->norm + n;
    if (bytes > 0) {
        memcpy(all->error + at, part->error, bytes);
        memcpy(all->norm + at, part->norm, bytes);
        memcpy(all->rtn_error + at, part->rtn.codes ? part->rtn_error : part->error, bytes);
    }
    LLMQ_TRY(gather_rows(run, rows->n, all->error, sizeof(double), err));
    LLMQ_TRY(gather_rows(run, rows->n, all->norm, sizeof(double), err));
    LLMQ_TRY(gather_rows(run, rows->n, all->rtn_error, sizeof(double), err));
cleanup:
    return status;
}

static enum llmq_status gather_targets(const struct run *run, const struct linear *l,
                                       llmq_error *err) {
    return gather_rows(run, l->n, l->w, (size_t)l->k * sizeof *l->w, err);
}

/* Codes of this rank's rows to those of all, refined, and back. */
static enum llmq_status refine_shared(struct run *run, const struct plan_module *module,
                                      const struct quant_problem *problem,
                                      const struct row_share *rows, const struct linear *l,
                                      struct qlinear *part, struct qlinear *q, llmq_error *err) {
    struct quant_problem whole = *problem;
    enum llmq_status status = LLMQ_OK;
    float *metric = NULL;
    LLMQ_TRY(put_codes(run, rows, problem->grid, part, q, err));
    LLMQ_TRY(gather_targets(run, l, err));
    LLMQ_TRY(run_output_metric(run, module, &metric, err));
    whole.B = metric;
    LLMQ_TRY(quant_refine(&whole, q, err));
    qlinear_copy_rows(q, rows->begin, rows->end - rows->begin, part, 0);
cleanup:
    free(metric);
    return status;
}

/* Every rank has the targets. */
static enum llmq_status round_again(const struct quant_problem *problem, struct qlinear *q,
                                    llmq_error *err) {
    qlinear_free(q);
    return quant_round(problem, q, err);
}

/* The problem of this rank's rows, with a grid of its own. */
static struct quant_problem own_problem(const struct quant_problem *whole,
                                        const struct row_share *rows, struct quant_grid *grid) {
    struct quant_problem own = *whole;
    *grid = *whole->grid;
    grid->whole = rows->n;
    own.grid = grid;
    own.W += rows->begin * whole->k;
    own.n = rows->end - rows->begin;
    return own;
}

/* The rank's rows, if it has any, then all of them. */
static enum llmq_status solve_shared(struct run *run, const struct plan_module *module,
                                     const struct quant_grid *grid, const struct row_share *rows,
                                     const struct linear *l, const struct task_moments *task,
                                     struct solved_module *out, llmq_error *err) {
    const struct quant_problem problem = problem_of(module, grid, l, task);
    struct quant_grid own_grid;
    const struct quant_problem own = own_problem(&problem, rows, &own_grid);
    struct quant_rows part = {.outcome = quant_outcome_begin(&problem)}, all = {0};
    enum llmq_status status = LLMQ_OK;
    out->q.k = l->k;
    if (own.n > 0)
        LLMQ_TRY(quant_choose_rows(&own, &part, err));
    out->outcome = part.outcome;
    if (problem.factor)
        LLMQ_TRY(put_outcome(run, rows, task, &out->outcome, err));
    if (problem.refine)
        LLMQ_TRY(refine_shared(run, module, &problem, rows, l, &part.q, &out->q, err));
    if (own.n > 0)
        LLMQ_TRY(quant_measure_rows(&own, &part, err));
    LLMQ_TRY(put_errors(run, rows, &part, &all, err));
    const bool beaten = quant_verdict(&all, rows->n, &out->outcome);
    if (!problem.refine)
        LLMQ_TRY(put_codes(run, rows, grid, beaten ? &part.rtn : &part.q, &out->q, err));
    else if (beaten)
        LLMQ_TRY(round_again(&problem, &out->q, err));
    if (quant_scales_near_limits(grid, &out->q)) {
        LLMQ_TRY(gather_targets(run, l, err));
        out->outcome.misfit = quant_scale_misfit(grid, l->w, &out->q);
    }
cleanup:
    quant_rows_free(&part);
    quant_rows_free(&all);
    return status;
}

enum llmq_status solve_module(struct run *run, const struct plan_module *module, struct linear *l,
                              const struct task_moments *task, struct solved_module *out,
                              llmq_error *err) {
    const struct quant_grid grid = run_grid(run, module);
    const struct row_share rows = share_of(l->n, task);
    const int64_t held = task ? task->moments.held.count : 0;
    const bool squared = task && task->moments.held.square;
    enum llmq_status status = LLMQ_OK;
    *out = (struct solved_module){.q = {.n = 0}};
    if (solve_corrects(run, module) && gptq_factor_usable(task->factor.factor)) {
        LLMQ_TRY(correct(run, module, task, &rows, l, &out->strength, err));
        tally_read(&run->tally, TALLY_CORRECT, plan_correction_flops(l->n, l->k, held));
    }
    LLMQ_TRY(rows.divided ? solve_shared(run, module, &grid, &rows, l, task, out, err)
                          : solve_whole(run, module, &grid, l, task, out, err));
    tally_read(&run->tally, TALLY_SOLVE,
               task
                   ? plan_rounding_flops(&module->manner, l->n, l->k) +
                         plan_judging_flops(l->n, l->k, held, squared) + plan_refining_flops(module)
                   : 0);
cleanup:
    return status;
}
