/* What rounding each linear to nearest does to the model's predictions, by their curvature: see
 * study.h.
 *
 * With labels drawn from the model's own predictions, the gradients g_t towards what a linear makes
 * of x_t have the Fisher information as their second moments, which is the Hessian of the
 * divergence from the model where it is 0. So an error dW of the weights moves the predictions of a
 * window by about E[(sum over t of g_t^T dW x_t)^2] / 2 nats. One pass back through the model has
 * g_t and x_t of every linear at hand together: nothing is assumed of either, and nothing is kept.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "graph/backward.h"
#include "linalg/linalg.h"
#include "quant/quant.h"
#include "sensitivity/study.h"

struct collector {
    struct study *study;
    int32_t *window_of; /* [tokens] */
    double *window;     /* [windows] sums over a linear's rows */
    float *w, *error;   /* [n, k] of a linear, and of its rounding */
    float *made;        /* [rows, n] what the error makes of its inputs */
    size_t w_cap, made_cap;
};

/* --- one linear ------------------------------------------------------------------------------- */

static enum llmq_status grow(float **buffer, size_t *cap, size_t count, llmq_error *err) {
    if (count <= *cap)
        return LLMQ_OK;
    float *larger = realloc(*buffer, count * sizeof *larger);
    if (!larger)
        return error_memory(err, "errors of rounding");
    *buffer = larger;
    *cap = count;
    return LLMQ_OK;
}

static enum llmq_status make_room(struct collector *c, const struct linear_slope *l,
                                  llmq_error *err) {
    const size_t count = (size_t)l->n * (size_t)l->k;
    size_t same = c->w_cap;
    enum llmq_status status = grow(&c->w, &same, count, err);
    if (status == LLMQ_OK)
        status = grow(&c->error, &c->w_cap, count, err);
    return status == LLMQ_OK ? grow(&c->made, &c->made_cap, (size_t)l->rows * (size_t)l->n, err)
                             : status;
}

/* c->error = c->w less what it is rounded to. */
static enum llmq_status round_weights(struct collector *c, const struct linear_slope *l,
                                      int64_t linear, int setting, llmq_error *err) {
    const struct quant_grid grid = study_plain_grid(c->study, linear, setting);
    struct qlinear q = {0};
    const float *w = c->w;
    float *error = c->error;
    const int64_t n = l->n, k = l->k;
    const enum llmq_status status = rtn_quantize(&grid, w, NULL, n, k, &q, err);
    if (status != LLMQ_OK)
        return status;
#pragma omp parallel for schedule(static) default(none) shared(q, w, error, n, k)
    for (int64_t r = 0; r < n; r++) {
        qlinear_dequantize(&q, r, r + 1, error + r * k);
        for (int64_t i = r * k; i < (r + 1) * k; i++)
            error[i] = w[i] - error[i];
    }
    qlinear_free(&q);
    return LLMQ_OK;
}

/* The squares of the windows' sums of g^T dW x. */
static double squares(struct collector *c, const struct linear_slope *l) {
    const int64_t windows = c->study->measured.count;
    double sum = 0;
    linalg_gemm_nt(l->rows, l->n, l->k, 1, l->x, l->k, c->error, l->k, 0, c->made, l->n);
    memset(c->window, 0, (size_t)windows * sizeof *c->window);
    for (int64_t r = 0; r < l->rows; r++)
        c->window[c->window_of[l->begin + (l->row ? l->row[r] : r)]] +=
            linalg_dot(l->n, l->g + r * l->n, c->made + r * l->n);
    for (int64_t w = 0; w < windows; w++)
        sum += c->window[w] * c->window[w];
    return sum;
}

static enum llmq_status see(void *of, const struct linear_slope *l, llmq_error *err) {
    struct collector *c = of;
    struct study *s = c->study;
    const struct linear_place at = {l->block, l->node, l->expert};
    const int64_t linear = study_linear(s, at);
    const llmq_part_settings *part = study_part(s, linear);
    enum llmq_status status = LLMQ_OK;
    if (!part)
        return LLMQ_OK;
    LLMQ_TRY(make_room(c, l, err));
    LLMQ_TRY(model_load_weight(&s->run.model, at, c->w, err));
    for (int i = 0; i < (int)part->setting_count; i++) {
        LLMQ_TRY(interrupt_check(s->run.ctx, err));
        LLMQ_TRY(round_weights(c, l, linear, i, err));
        s->slopes[linear * LLMQ_CANDIDATES_MOST + i] += squares(c, l);
    }
cleanup:
    return status;
}

/* --- all -------------------------------------------------------------------------------------- */

static void number_windows(const struct corpus *c, int32_t *window_of) {
    for (int64_t w = 0; w < c->count; w++)
        for (int64_t t = c->offsets[w]; t < c->offsets[w + 1]; t++)
            window_of[t] = (int32_t)w;
}

enum llmq_status study_slopes(struct study *s, llmq_error *err) {
    const struct corpus *m = &s->measured;
    const size_t linears = (size_t)blocks_linear_count(s->run.model.blocks);
    const struct loss loss = {.kind = LOSS_DRAWN, .seed = s->quantize.seed};
    struct collector c = {.study = s,
                          .window_of = calloc((size_t)m->tokens_used, sizeof *c.window_of),
                          .window = calloc((size_t)m->count, sizeof *c.window)};
    struct backward_result out = {.loss = calloc((size_t)m->tokens_used, sizeof *out.loss)};
    const struct backward_job job = {.m = &s->run.model,
                                     .ids = m->ids,
                                     .offsets = m->offsets,
                                     .count = m->count,
                                     .loss = &loss,
                                     .taps = {.c = &c, .linear = see},
                                     .spill_dir = s->spill_dir,
                                     .ctx = s->run.ctx,
                                     .tally = &s->run.tally};
    enum llmq_status status = LLMQ_OK;
    s->slopes = calloc(linears * LLMQ_CANDIDATES_MOST, sizeof *s->slopes);
    if (!c.window_of || !c.window || !out.loss || !s->slopes)
        LLMQ_TRY(error_memory(err, "sums of slopes"));
    number_windows(m, c.window_of);
    LLMQ_TRY(backward_run(&job, &out, err));
    for (size_t i = 0; i < linears * LLMQ_CANDIDATES_MOST; i++)
        s->slopes[i] /= 2 * (double)(m->tokens_used - m->count);
cleanup:
    free(c.window_of);
    free(c.window);
    free(c.w);
    free(c.error);
    free(c.made);
    free(out.loss);
    return status;
}
