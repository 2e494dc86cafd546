/* SPDX-License-Identifier: Apache-2.0 */
/* What rounding each linear to nearest does to the model's predictions, by their curvature: see
 * study.h.
 *
 * With labels drawn from the model's own predictions, the gradients g_t towards what a linear makes
 * of x_t have the Fisher information as their second moments, which is the Hessian of the
 * divergence from the model where it is 0. So an error dW of the weights moves the predictions of a
 * window by about E[(sum over t of g_t^T dW x_t)^2] / 2 nats. What two tokens have in common is
 * left out: the sum of squares has as many terms as there are tokens, the square of the sum one for
 * each window, and its noise costs more than the other's bias (docs/SENSITIVITY.md). One pass back
 * through the model has g_t and x_t of every linear at hand together: nothing is assumed of either,
 * and nothing is kept. */
#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "graph/backward.h"
#include "linalg/linalg.h"
#include "quant/quant.h"
#include "sensitivity/study.h"

struct collector {
    struct study *study;
    float *w, *error; /* [n, k] of a linear, and of its rounding */
    float *made;      /* [rows, n] what the error makes of its inputs */
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

/* The sum over rows of (g^T dW x)^2. */
static double squares(struct collector *c, const struct linear_slope *l) {
    double sum = 0;
    linalg_gemm_nt(l->rows, l->n, l->k, 1, l->x, l->k, c->error, l->k, 0, c->made, l->n);
    for (int64_t r = 0; r < l->rows; r++) {
        const double moved = linalg_dot(l->n, l->g + r * l->n, c->made + r * l->n);
        sum += moved * moved;
    }
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

uint64_t study_slopes_bytes(const struct study *s, bool spilled) {
    const struct model *m = &s->run.model;
    const struct corpus *c = &s->measured;
    const int64_t linears = blocks_linear_count(m->blocks);
    uint64_t most = 0;
    for (int64_t i = 0; i < linears; i++) {
        const struct quant_shape *shape = &s->run.plan.modules[i].shape;
        const uint64_t n = (uint64_t)shape->n, k = (uint64_t)shape->k;
        most = max_u64(most, n * k * (2 * sizeof(float) + 1) + BACKWARD_ROWS * n * sizeof(float));
    }
    return backward_bytes(m, c->offsets, c->count, spilled).memory + most;
}

enum llmq_status study_slopes(struct study *s, llmq_error *err) {
    const struct corpus *m = &s->measured;
    const size_t linears = (size_t)blocks_linear_count(s->run.model.blocks);
    const struct loss loss = {.kind = LOSS_DRAWN, .seed = s->quantize.seed};
    struct collector c = {.study = s};
    struct backward_result out = {.loss = calloc((size_t)m->tokens_used, sizeof *out.loss)};
    const struct backward_job job = {.m = &s->run.model,
                                     .ids = m->ids,
                                     .offsets = m->offsets,
                                     .count = m->count,
                                     .loss = &loss,
                                     .taps = {.c = &c, .linear = see},
                                     .spill_dir = s->spills_back ? s->spill_dir : NULL,
                                     .ctx = s->run.ctx,
                                     .tally = &s->run.tally};
    enum llmq_status status = LLMQ_OK;
    s->slopes = calloc(linears * LLMQ_CANDIDATES_MOST, sizeof *s->slopes);
    if (!out.loss || !s->slopes)
        LLMQ_TRY(error_memory(err, "sums of slopes"));
    LLMQ_TRY(backward_run(&job, &out, err));
    for (size_t i = 0; i < linears * LLMQ_CANDIDATES_MOST; i++)
        s->slopes[i] /= 2 * (double)(m->tokens_used - m->count);
cleanup:
    free(c.w);
    free(c.error);
    free(c.made);
    free(out.loss);
    return status;
}
