/* The output head of a run: see run.h.
 *
 * It has as many rows as the vocabulary, and rows are independent of each other once the factor of
 * H is there: some thousand are solved at a time, so that its weights never lie in memory whole. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "pipeline/module_report.h"
#include "pipeline/run.h"
#include "pipeline/store.h"
#include "quant/quant.h"

/* Rows that are solved at a time. */
enum { ROWS = 4096 };

static const struct plan_module *head_of(const struct run *run) {
    return plan_head(&run->plan);
}

bool run_head_reads(const struct run *run) {
    const struct plan_module *head = head_of(run);
    return run->calib && head && head->fate == MODULE_QUANTIZED;
}

/* What the rows are solved with, and the sums of what became of those that are. */
struct solving {
    const struct plan_module *module;
    struct quant_grid grid;
    const float *H;             /* [k, k], NULL: without calibration */
    float *importance;          /* [k] of the inputs, for rounding; NULL: all alike */
    struct gptq_factor *factor; /* NULL unless by GPTQ */
    struct quant_outcome outcome;
    double norm, error, rtn_error; /* tr(W H W^T) and what the errors are parts of */
};

static enum llmq_status solve_rows(struct solving *s, const float *W, int64_t rows,
                                   struct qlinear *q, struct quant_outcome *o, llmq_error *err) {
    const int64_t k = s->module->shape.k;
    enum llmq_status status = LLMQ_OK;
    if (s->factor)
        return gptq_quantize(&s->grid, s->factor, W, s->H, rows, q, o, err);
    *o = (struct quant_outcome){.method = "rtn"};
    LLMQ_TRY(rtn_quantize(&s->grid, W, s->importance, rows, k, q, err));
    LLMQ_TRY(quant_error(W, q, s->H, &o->error, err));
    o->rtn_error = o->error;
cleanup:
    return status;
}

/* tr(W H W^T) of some rows. */
static enum llmq_status norm_of(const float *W, int64_t rows, int64_t k, const float *H,
                                double *norm, llmq_error *err) {
    float *P = malloc((size_t)rows * QUANT_FORM_COLUMNS * sizeof *P);
    double *forms = malloc((size_t)rows * sizeof *forms);
    *norm = 0;
    if (P && forms)
        quant_forms(W, rows, k, H, P, forms);
    for (int64_t i = 0; P && forms && i < rows; i++)
        *norm += forms[i];
    const bool made = P && forms;
    free(P);
    free(forms);
    return made ? LLMQ_OK : error_memory(err, "the norms of the output head's rows");
}

/* Errors are relative, each to its own rows. */
static void add_outcome(struct solving *s, const struct quant_outcome *o, double norm) {
    const double rows_kept = (double)s->outcome.rows_kept_rtn + (double)o->rows_kept_rtn;
    const bool first = !s->outcome.method;
    if (first || strcmp(o->method, "gptq") == 0)
        s->outcome.method = o->method;
    s->outcome.damp = o->damp;
    s->outcome.damp_retries = o->damp_retries;
    s->outcome.dead_columns = o->dead_columns;
    s->outcome.fell_back = o->fell_back;
    s->outcome.rows_kept_rtn = (int64_t)rows_kept;
    s->norm += norm;
    s->error += o->error * norm;
    s->rtn_error += o->rtn_error * norm;
}

/* The rows from `begin` on take their place in the whole. */
static void put_rows(const struct qlinear *part, int64_t begin, struct qlinear *whole) {
    const size_t params = (size_t)(part->n * part->groups);
    memcpy(whole->codes + begin * whole->k, part->codes, (size_t)(part->n * part->k));
    memcpy(whole->scales + begin * whole->groups, part->scales, params * sizeof *part->scales);
    memcpy(whole->zeros + begin * whole->groups, part->zeros, params);
}

static enum llmq_status solve(const struct run *run, struct solving *s, struct qlinear *whole,
                              llmq_error *err) {
    const struct quant_shape *shape = &s->module->shape;
    const int64_t most = min_i64(shape->n, ROWS);
    float *W = malloc((size_t)(most * shape->k) * sizeof *W);
    enum llmq_status status = W ? LLMQ_OK : error_memory(err, "rows of the output head");
    for (int64_t begin = 0; status == LLMQ_OK && begin < shape->n; begin += most) {
        const int64_t rows = min_i64(most, shape->n - begin);
        struct quant_outcome o = {0};
        struct qlinear part = {0};
        double norm = 0;
        log_progress(run->ctx, begin, shape->n, "output head");
        status = interrupt_check(run->ctx, err);
        if (status == LLMQ_OK)
            status = model_head_rows(&run->model, begin, begin + rows, W, err);
        if (status == LLMQ_OK)
            status = solve_rows(s, W, rows, &part, &o, err);
        if (status == LLMQ_OK)
            status = norm_of(W, rows, shape->k, s->H, &norm, err);
        if (status == LLMQ_OK) {
            add_outcome(s, &o, norm);
            put_rows(&part, begin, whole);
        }
        qlinear_free(&part);
    }
    free(W);
    return status;
}

/* The Hessian is taken; nothing asks for the activations any more. */
static enum llmq_status prepare(struct run *run, struct solving *s, float **H, llmq_error *err) {
    const struct module_manner *manner = &s->module->manner;
    const int64_t k = s->module->shape.k;
    const struct quant_options quant = {.act_order = (enum act_order)manner->act_order,
                                        .damp = run->options->damp,
                                        .descent_passes = manner->descent,
                                        .rounds = manner->rounds};
    enum llmq_status status = LLMQ_OK;
    s->grid = run_grid(run, s->module);
    if (!run->calib)
        return LLMQ_OK;
    LLMQ_TRY(calib_head(run->calib, H, err));
    calib_free(&run->calib);
    tally_read(&run->tally, TALLY_MOMENTS, 0);
    s->H = *H;
    if (manner->method == LLMQ_METHOD_GPTQ) {
        LLMQ_TRY(gptq_factor_create(s->H, k, s->module->shape.group, &quant, &s->factor, err));
        tally_read(&run->tally, TALLY_FACTOR, plan_factor_flops(k));
    } else {
        s->importance = malloc((size_t)k * sizeof *s->importance);
        if (!s->importance)
            LLMQ_TRY(error_memory(err, "the importance of inputs"));
        quant_importance(s->H, k, s->importance);
    }
cleanup:
    return status;
}

static enum llmq_status quantize_head(struct run *run, const struct plan_module *module,
                                      llmq_error *err) {
    const struct quant_shape *shape = &module->shape;
    const struct module_tokens seen = {run->corpus.tokens_used, 0};
    const bool calibrated = run->calib != NULL;
    struct solving s = {.module = module};
    struct qlinear q = {0};
    float *H = NULL;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(prepare(run, &s, &H, err));
    LLMQ_TRY(qlinear_alloc(shape->n, shape->k, shape->bits,
                           shape->group == -1 ? shape->k : shape->group, &q, err));
    q.sym = shape->sym;
    LLMQ_TRY(solve(run, &s, &q, err));
    s.outcome.error = s.norm > 0 ? s.error / s.norm : 0;
    s.outcome.rtn_error = s.norm > 0 ? s.rtn_error / s.norm : 0;
    tally_read(&run->tally, TALLY_SOLVE,
               calibrated ? plan_rounding_flops(&module->manner, shape->n, shape->k) : 0);
    run->blocks.hashes[module - run->plan.modules] = output_hash(&q);
    LLMQ_TRY(store_module(run->plan.layout, module, &q, run->writer, err));
    LLMQ_TRY(module_report_add(run, module, &s.outcome, (struct correction){0},
                               calibrated ? &seen : NULL, err));
    tally_read(&run->tally, TALLY_WRITE, 0);
cleanup:
    qlinear_free(&q);
    gptq_factor_free(&s.factor);
    free(s.importance);
    free(H);
    return status;
}

enum llmq_status run_head(struct run *run, llmq_error *err) {
    const struct plan_module *head = head_of(run);
    if (!head)
        return LLMQ_OK;
    const enum llmq_status status = head->fate == MODULE_QUANTIZED
                                        ? quantize_head(run, head, err)
                                        : run_keep_module(run, head, err);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "%s", head->name);
}

uint64_t plan_head_bytes(const struct model *m, const struct plan *p,
                         const struct calib_tokens *tokens) {
    const struct plan_module *head = plan_head(p);
    if (!head || head->fate != MODULE_QUANTIZED)
        return 0;
    const uint64_t n = (uint64_t)head->shape.n, k = (uint64_t)head->shape.k;
    const uint64_t rows = n < ROWS ? n : ROWS;
    const uint64_t parts = head->shape.group <= 0 ? 1 : k / (uint64_t)head->shape.group;
    enum { WEIGHTS = 3 }; /* of rows: theirs, two candidates' codes, forms */
    const uint64_t moments =
        tokens ? calib_head_bytes(m, tokens) + gptq_factor_bytes(head->shape.k) : 0;
    return 2 * n * k + n * parts * (sizeof(float) + 1) + WEIGHTS * rows * k * sizeof(float) +
           moments;
}
