/* SPDX-License-Identifier: Apache-2.0 */
/* Quantizing one matrix: see llmq/matrix.h. The same solver as a run's (quant/judge.h), behind
 * options that are checked here, with AWQ's scale for the columns of this matrix alone. */
#include "llmq/matrix.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sized.h"
#include "matrix/matrix_moment.h"
#include "quant/awq.h"
#include "quant/damping.h"
#include "quant/grid.h"
#include "quant/judge.h"
#include "setup/setup.h"
#include "tensor/codes.h"

/* Of one side: BLAS counts in int. */
#define SIDE_MOST (INT32_MAX / 16)

/* Of descent and rounds: more change nothing any more. */
#define PASSES_MOST 1000

void llmq_matrix_options_init_sized(llmq_matrix_options *options, size_t size,
                                    enum llmq_method method) {
    llmq_quantize_options run; /* the same words mean the same */
    llmq_quantize_options_init(&run, method);
    const llmq_matrix_options usual = {.method = run.method,
                                       .bits = run.bits,
                                       .group = run.group,
                                       .sym = run.sym,
                                       .awq = run.awq,
                                       .scales = run.scales,
                                       .act_order = run.act_order,
                                       .search = run.search,
                                       .percentile = run.percentile,
                                       .descent = method == LLMQ_METHOD_GPTQ ? 1 : 0,
                                       .damp = DAMPING_FIRST};
    sized_write(&usual, sizeof usual, options, size);
}

void llmq_matrix_init_sized(llmq_matrix *matrix, size_t size) {
    const llmq_matrix usual = {.weights = NULL};
    sized_write(&usual, sizeof usual, matrix, size);
}

void llmq_matrix_result_free(llmq_matrix_result *result) {
    llmq_codes_free(&result->codes);
    free(result->column_scales);
    *result = (llmq_matrix_result){.method = ""};
}

/* --- what is asked for ------------------------------------------------------------------------ */

static enum llmq_status check_word(const char *name, int value, int most, llmq_error *err) {
    return value >= 0 && value <= most
               ? LLMQ_OK
               : error_set(err, LLMQ_E_USAGE, "%s: there is no value %d", name, value);
}

static enum llmq_status check_options(const llmq_matrix_options *o, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(check_word("method", (int)o->method, LLMQ_METHOD_AWQ, err));
    LLMQ_TRY(check_word("scales", (int)o->scales, LLMQ_SCALES_F16, err));
    LLMQ_TRY(check_word("act_order", (int)o->act_order, LLMQ_ACT_ORDER_GROUP_AWARE, err));
    LLMQ_TRY(check_word("search", (int)o->search, LLMQ_RANGE_ENTROPY, err));
    if (!(o->percentile > 50 && o->percentile <= 100))
        return error_set(err, LLMQ_E_USAGE, "percentile %g: above 50 and at most 100",
                         o->percentile);
    if (!(o->damp > 0 && o->damp < 1))
        return error_set(err, LLMQ_E_USAGE, "damp %g: above 0 and below 1", o->damp);
    if (o->descent < 0 || o->descent > PASSES_MOST || o->rounds < 0 || o->rounds > PASSES_MOST)
        return error_set(err, LLMQ_E_USAGE, "%d passes of descent, %d rounds: 0 to %d", o->descent,
                         o->rounds, PASSES_MOST);
    if (o->method == LLMQ_METHOD_RTN && o->awq)
        return error_set(err, LLMQ_E_USAGE, "awq with rtn: that is what the method awq does");
cleanup:
    return status;
}

static enum llmq_status check_matrix(const llmq_matrix *m, const struct quant_grid *grid,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (m->rows < 1 || m->columns < 1 || m->rows > SIDE_MOST || m->columns > SIDE_MOST)
        return error_set(err, LLMQ_E_USAGE, "a matrix cannot be [%" PRId64 ", %" PRId64 "]",
                         m->rows, m->columns);
    if (!m->weights)
        return error_set(err, LLMQ_E_USAGE, "a matrix without weights");
    LLMQ_TRY(grid_check(grid, m->columns, err));
    LLMQ_TRY(grid_check_weights(m->weights, m->rows, m->columns, err));
cleanup:
    return status;
}

static struct quant_grid grid_of(const llmq_matrix_options *o) {
    return (struct quant_grid){.bits = o->bits,
                               .group = o->group,
                               .sym = o->sym,
                               .zmax = (int)((1U << (o->bits & 31)) - 1),
                               .unit = 1,
                               .search = (enum range_search)o->search,
                               .percentile = (float)o->percentile,
                               .storage = o->scales == LLMQ_SCALES_F16 ? SCALE_F16 : SCALE_DUAL};
}

/* --- the work ----------------------------------------------------------------------------------
 */

/* What one matrix is quantized with. */
struct task {
    const llmq_matrix_options *o;
    const llmq_matrix *m;
    const llmq_context *ctx;
    struct quant_grid grid;
    struct matrix_moment moment;
    float *scaled; /* [rows, columns] W diag(s), or NULL */
    llmq_matrix_result *result;
};

static struct quant_problem problem_of(const struct task *t) {
    return (struct quant_problem){.grid = &t->grid,
                                  .W = t->scaled ? t->scaled : t->m->weights,
                                  .n = t->m->rows,
                                  .k = t->m->columns,
                                  .H = t->moment.H,
                                  .inputs = {.H = t->moment.H}};
}

/* The error of rounding as the matrix is. */
static enum llmq_status round_first(const struct task *t, llmq_error *err) {
    const struct quant_problem p = problem_of(t);
    struct qlinear q = {0};
    enum llmq_status status = quant_round(&p, &q, err);
    if (status == LLMQ_OK)
        status = quant_error(p.W, &q, &p.inputs, &t->result->rtn_error, err);
    qlinear_free(&q);
    return status;
}

/* The weights with columns times the scales found. */
static enum llmq_status scale_weights(struct task *t, const float *scales, llmq_error *err) {
    const int64_t n = t->m->rows, k = t->m->columns;
    size_t bytes = 0;
    if (checked_mul_size((size_t)n * sizeof *t->scaled, (size_t)k, &bytes))
        t->scaled = malloc(bytes);
    if (!t->scaled)
        return error_memory(err, "scaled weights");
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < k; c++)
            t->scaled[r * k + c] = t->m->weights[r * k + c] * scales[c];
    return matrix_moment_divide(&t->moment, k, scales, err);
}

/* AWQ: scales of columns, where some are better than none. */
static enum llmq_status scale_columns(struct task *t, llmq_error *err) {
    const int64_t k = t->m->columns;
    const struct awq_consumer consumer = {t->m->weights, t->m->rows, t->grid};
    struct awq_outcome outcome;
    float *magnitude = malloc((size_t)k * sizeof *magnitude);
    float *scales = malloc((size_t)k * sizeof *scales);
    int64_t *channel = malloc((size_t)k * sizeof *channel);
    enum llmq_status status = LLMQ_OK;
    if (!magnitude || !scales || !channel)
        LLMQ_TRY(error_memory(err, "the scales of columns"));
    for (int64_t i = 0; i < k; i++)
        channel[i] = i;
    awq_magnitude(t->moment.H, k, magnitude);
    const struct awq_problem problem = {.k = k,
                                        .H = t->moment.H,
                                        .magnitude = magnitude,
                                        .consumers = &consumer,
                                        .count = 1,
                                        .channels = k,
                                        .channel = channel};
    LLMQ_TRY(awq_search(&problem, scales, &outcome, err));
    if (outcome.scaled) {
        LLMQ_TRY(scale_weights(t, scales, err));
        t->result->column_scales = scales;
        scales = NULL;
    }
cleanup:
    free(magnitude);
    free(scales);
    free(channel);
    return status;
}

static const char *method_name(const struct task *t, const char *solved) {
    const bool gptq = strcmp(solved, "gptq") == 0;
    if (!t->result->column_scales)
        return gptq ? "gptq" : "rtn";
    return gptq ? "awq+gptq" : "awq";
}

static enum llmq_status solve(const struct task *t, llmq_error *err) {
    const struct quant_options options = {.act_order = (enum act_order)t->o->act_order,
                                          .damp = t->o->damp,
                                          .descent_passes = t->o->descent,
                                          .rounds = t->o->rounds};
    struct quant_problem p = problem_of(t);
    struct gptq_factor *factor = NULL;
    struct quant_outcome outcome;
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    if (t->o->method == LLMQ_METHOD_GPTQ)
        LLMQ_TRY(gptq_factor_create(p.H, p.k, grid_group(&t->grid, p.k), &options, &factor, err));
    LLMQ_TRY(interrupt_check(t->ctx, err));
    p.factor = factor;
    LLMQ_TRY(quant_solve(&p, &q, &outcome, err));
    t->result->method = method_name(t, outcome.method);
    t->result->error = outcome.error;
    t->result->damp = outcome.damp;
    t->result->fell_back = factor && strcmp(outcome.method, "gptq") != 0;
    codes_give(&q, &t->result->codes);
cleanup:
    gptq_factor_free(&factor);
    qlinear_free(&q);
    return status;
}

static enum llmq_status quantize(struct task *t, llmq_error *err) {
    const bool scales = t->o->awq || t->o->method == LLMQ_METHOD_AWQ;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(check_options(t->o, err));
    LLMQ_TRY(setup_compute(t->ctx, err));
    LLMQ_TRY(check_matrix(t->m, &t->grid, err));
    if ((t->o->method != LLMQ_METHOD_RTN) && !t->m->moment && !t->m->inputs)
        LLMQ_TRY(error_set(err, LLMQ_E_USAGE, "gptq and awq take inputs or their moment"));
    LLMQ_TRY(matrix_moment_make(t->m, &t->moment, err));
    LLMQ_TRY(interrupt_check(t->ctx, err));
    LLMQ_TRY(round_first(t, err));
    LLMQ_TRY(interrupt_check(t->ctx, err));
    if (scales)
        LLMQ_TRY(scale_columns(t, err));
    LLMQ_TRY(interrupt_check(t->ctx, err));
    LLMQ_TRY(solve(t, err));
cleanup:
    return status;
}

enum llmq_status llmq_matrix_quantize(const llmq_matrix_options *given_options,
                                      const llmq_matrix *given, const llmq_context *lent,
                                      llmq_matrix_result *result, llmq_error *err) {
    llmq_matrix_options options;
    llmq_matrix matrix;
    llmq_context ctx;
    struct task t = {.o = &options, .m = &matrix, .ctx = &ctx, .result = result};
    enum llmq_status status = LLMQ_OK;
    *result = (llmq_matrix_result){.method = ""};
    llmq_matrix_options_init(&options, LLMQ_METHOD_GPTQ);
    llmq_matrix_init(&matrix);
    LLMQ_TRY(SIZED_READ(llmq_matrix_options, given_options, &options, err));
    LLMQ_TRY(SIZED_READ(llmq_matrix, given, &matrix, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    t.grid = grid_of(&options);
    LLMQ_TRY(quantize(&t, err));
cleanup:
    matrix_moment_free(&t.moment);
    free(t.scaled);
    return status;
}
