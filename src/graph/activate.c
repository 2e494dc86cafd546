/* SPDX-License-Identifier: Apache-2.0 */
/* Activations and gated units: see activate.h. A piece of a row at a time. */
#include "graph/activate.h"

#include <assert.h>
#include <math.h>

#include "base/int64.h"
#include "graph/activate_piece.h"
#include "kernels/kernels.h"

enum { PIECE = ACTIVATE_PIECE };

void activate_gelu_argument(int64_t n, const float *x, float *twice) {
    for (int64_t i = 0; i < n; i++)
        twice[i] = 2 * GELU_ROOT * (x[i] + GELU_CUBIC * x[i] * x[i] * x[i]);
}

static void gelu_tanh(const struct llmq_kernels *kernels, int64_t n, const float *x, float *out) {
    float twice[PIECE];
    activate_gelu_argument(n, x, twice);
    kernels->logistic_mul(twice, x, out, n);
}

static void sigmoid(const struct llmq_kernels *kernels, int64_t n, const float *x, float *out) {
    float ones[PIECE];
    for (int64_t i = 0; i < n; i++)
        ones[i] = 1;
    kernels->logistic_mul(x, ones, out, n);
}

/* Comparisons are written so that NaN comes out. */
static float relu(float x) {
    return x < 0 ? 0 : x;
}

/* max(x, 0) + log(1 + e^-|x|), which neither overflows nor cancels. */
static float softplus(float x) {
    return relu(x) + log1pf(expf(-fabsf(x)));
}

void activate_piece(enum act act, int64_t n, const float *x, float *out) {
    const struct llmq_kernels *kernels = kernels_get();
    assert(act != ACT_OF_CONFIG && act != ACT_XIELU && act != ACT_CLAMPED);
    switch (act) {
    case ACT_NONE:
        for (int64_t i = 0; i < n; i++)
            out[i] = x[i];
        break;
    case ACT_SILU:
        kernels->logistic_mul(x, x, out, n);
        break;
    case ACT_GELU:
        kernels->gelu(x, out, n);
        break;
    case ACT_GELU_TANH:
        gelu_tanh(kernels, n, x, out);
        break;
    case ACT_RELU:
        for (int64_t i = 0; i < n; i++)
            out[i] = relu(x[i]);
        break;
    case ACT_RELU2:
        for (int64_t i = 0; i < n; i++)
            out[i] = relu(x[i]) * relu(x[i]);
        break;
    case ACT_SIGMOID:
        sigmoid(kernels, n, x, out);
        break;
    case ACT_SOFTPLUS:
        for (int64_t i = 0; i < n; i++)
            out[i] = softplus(x[i]);
        break;
    case ACT_EXP:
        for (int64_t i = 0; i < n; i++)
            out[i] = expf(x[i]);
        break;
    case ACT_OF_CONFIG:
    case ACT_XIELU:
    case ACT_CLAMPED:
        break;
    }
}

void activate(enum act act, int64_t count, const float *x, float *out) {
#pragma omp parallel for schedule(static) default(none) shared(act, count, x, out)
    for (int64_t i = 0; i < count; i += PIECE)
        activate_piece(act, min_i64(PIECE, count - i), x + i, out + i);
}

void activate_xielu(const struct xielu *f, int64_t count, const float *x, float *out) {
    const float positive = softplus(f->alpha_p), negative = f->beta + softplus(f->alpha_n);
#pragma omp parallel for schedule(static) default(none) shared(f, positive, negative, count, x, out)
    for (int64_t i = 0; i < count; i++) {
        const float curve =
            x[i] > 0 ? positive * x[i] * x[i] : negative * (expm1f(fminf(x[i], f->eps)) - x[i]);
        out[i] = curve + f->beta * x[i];
    }
}

/* --- gated units ------------------------------------------------------------------------------ */

static float bounded(float x, float low, float high) {
    const float raised = x < low ? low : x;
    return raised > high ? high : raised;
}

/* gpt-oss: transformers, modeling_gpt_oss.py (GptOssExperts). */
static void clamped_piece(const struct glu *glu, int64_t n, const float *gate, const float *up,
                          float *out) {
    const float limit = glu->limit;
    float argument[PIECE], factor[PIECE];
    for (int64_t i = 0; i < n; i++) {
        const float g = gate[i] > limit ? limit : gate[i];
        argument[i] = glu->slope * g;
        factor[i] = g * (bounded(up[i], -limit, limit) + 1);
    }
    kernels_get()->logistic_mul(argument, factor, out, n);
}

static void glu_piece(const struct glu *glu, int64_t n, const float *gate, const float *up,
                      float *out) {
    float gates[PIECE], scaled[PIECE] = {0}; /* n > 0, which gcc cannot see */
    for (int64_t i = 0; i < n; i++)
        scaled[i] = glu->gain * gate[i];
    if (glu->act == ACT_CLAMPED) {
        clamped_piece(glu, n, scaled, up, out);
        return;
    }
    activate_piece(glu->act, n, scaled, gates);
    for (int64_t i = 0; i < n; i++)
        out[i] = gates[i] * up[i];
}

/* `span` entries that share a gate. */
static void glu_span(const struct glu *glu, int64_t span, float gate, const float *up, float *out) {
    float repeated[PIECE];
    for (int64_t i = 0; i < min_i64(PIECE, span); i++)
        repeated[i] = gate;
    for (int64_t i = 0; i < span; i += PIECE)
        glu_piece(glu, min_i64(PIECE, span - i), repeated, up + i, out + i);
}

static void glu_row(const struct glu *glu, const float *gate, const float *up, float *out) {
    const int64_t span = glu->width / glu->gate_width;
    for (int64_t i = 0; span > 1 && i < glu->width; i += span)
        glu_span(glu, span, gate[i / span], up + i, out + i);
    for (int64_t i = 0; span == 1 && i < glu->width; i += PIECE)
        glu_piece(glu, min_i64(PIECE, glu->width - i), gate + i, up + i, out + i);
}

void glu_rows(const struct glu *glu, int64_t rows, const float *gate, const float *up, float *out) {
    const struct llmq_kernels *kernels = kernels_get();
    const int64_t width = glu->width, gates = glu->gate_width;
    assert(width % gates == 0);
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(kernels, glu, rows, width, gates, gate, up, out)
    for (int64_t r = 0; r < rows; r++) {
        const float *g = gate + r * gates, *u = up + r * width;
        if (glu->act == ACT_SILU && gates == width && !(glu->gain < 1) && !(glu->gain > 1))
            kernels->silu_mul(g, u, out + r * width, width);
        else
            glu_row(glu, g, u, out + r * width);
    }
}
