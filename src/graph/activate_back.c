/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through activations and gated units: see activate.h. A piece of a row at a time, as
 * on the way forth. */
#include <assert.h>
#include <math.h>

#include "base/int64.h"
#include "graph/activate.h"
#include "graph/activate_piece.h"
#include "kernels/kernels.h"

enum { PIECE = ACTIVATE_PIECE };

/* logistic = 1 / (1 + e^-x), and bend = its derivative, which is the product of those of x and -x.
 */
static void logistic(int64_t n, const float *x, float *logistic, float *bend) {
    float minus[PIECE];
    for (int64_t i = 0; i < n; i++)
        minus[i] = -x[i];
    activate_piece(ACT_SIGMOID, n, x, logistic);
    kernels_get()->logistic_mul(minus, logistic, bend, n);
}

/* value = x s(steep x) and slope = its derivative, s the logistic function. */
static void swish(int64_t n, float steep, const float *x, float *value, float *slope) {
    float argument[PIECE] = {0}, bend[PIECE];
    for (int64_t i = 0; i < n; i++)
        argument[i] = steep * x[i];
    logistic(n, argument, slope, bend);
    for (int64_t i = 0; i < n; i++) {
        value[i] = x[i] * slope[i];
        slope[i] += argument[i] * bend[i];
    }
}

static void gelu_tanh(int64_t n, const float *x, float *value, float *slope) {
    float twice[PIECE], bend[PIECE];
    activate_gelu_argument(n, x, twice);
    logistic(n, twice, slope, bend);
    for (int64_t i = 0; i < n; i++) {
        value[i] = x[i] * slope[i];
        slope[i] += x[i] * bend[i] * 2 * GELU_ROOT * (1 + 3 * GELU_CUBIC * x[i] * x[i]);
    }
}

static void gelu(int64_t n, const float *x, float *value, float *slope) {
    for (int64_t i = 0; i < n; i++) {
        const float part = 0.5F * erfcf(-x[i] * 0.70710678118654752440F);
        value[i] = x[i] * part;
        slope[i] = part + x[i] * 0.39894228040143267794F * expf(-0.5F * x[i] * x[i]);
    }
}

static void relu(int64_t n, bool squared, const float *x, float *value, float *slope) {
    for (int64_t i = 0; i < n; i++) {
        const float kept = x[i] > 0 ? x[i] : 0;
        value[i] = squared ? kept * kept : kept;
        slope[i] = squared ? 2 * kept : x[i] > 0 ? 1.0F : 0.0F;
    }
}

/* value = act(x), slope = act'(x), n <= PIECE. */
static void slope_piece(enum act act, int64_t n, const float *x, float *value, float *slope) {
    assert(act != ACT_OF_CONFIG && act != ACT_XIELU && act != ACT_CLAMPED);
    switch (act) {
    case ACT_NONE:
        for (int64_t i = 0; i < n; i++) {
            value[i] = x[i];
            slope[i] = 1;
        }
        break;
    case ACT_SILU:
        swish(n, 1, x, value, slope);
        break;
    case ACT_GELU:
        gelu(n, x, value, slope);
        break;
    case ACT_GELU_TANH:
        gelu_tanh(n, x, value, slope);
        break;
    case ACT_RELU:
    case ACT_RELU2:
        relu(n, act == ACT_RELU2, x, value, slope);
        break;
    case ACT_SIGMOID:
        logistic(n, x, value, slope);
        break;
    case ACT_SOFTPLUS:
        activate_piece(ACT_SOFTPLUS, n, x, value);
        activate_piece(ACT_SIGMOID, n, x, slope);
        break;
    case ACT_EXP:
        activate_piece(ACT_EXP, n, x, value);
        activate_piece(ACT_EXP, n, x, slope);
        break;
    case ACT_OF_CONFIG:
    case ACT_XIELU:
    case ACT_CLAMPED:
        break;
    }
}

void activate_back(enum act act, int64_t count, const float *x, const float *dy, float *dx) {
#pragma omp parallel for schedule(static) default(none) shared(act, count, x, dy, dx)
    for (int64_t i = 0; i < count; i += PIECE) {
        const int64_t n = min_i64(PIECE, count - i);
        float value[PIECE], slope[PIECE];
        slope_piece(act, n, x + i, value, slope);
        for (int64_t j = 0; j < n; j++)
            dx[i + j] += slope[j] * dy[i + j];
    }
}

void activate_xielu_back(const struct xielu *f, int64_t count, const float *x, const float *dy,
                         float *dx) {
    float alpha[2] = {f->alpha_p, f->alpha_n};
    activate(ACT_SOFTPLUS, 2, alpha, alpha);
    const float positive = alpha[0], negative = f->beta + alpha[1];
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(f, positive, negative, count, x, dy, dx)
    for (int64_t i = 0; i < count; i++) {
        const float bend = x[i] < f->eps ? expm1f(x[i]) : -1;
        const float slope = x[i] > 0 ? 2 * positive * x[i] : negative * bend;
        dx[i] += (slope + f->beta) * dy[i];
    }
}

/* --- gated units ------------------------------------------------------------------------------ */

/* Of gates: what they multiply by and, with the unit's gain, its derivative. */
static void open_gates(const struct glu *glu, int64_t n, const float *gate, float *value,
                       float *slope) {
    float scaled[PIECE] = {0}; /* n > 0, which gcc cannot see */
    const bool bounded = glu->act == ACT_CLAMPED;
    for (int64_t i = 0; i < n; i++)
        scaled[i] = bounded ? fminf(glu->gain * gate[i], glu->limit) : glu->gain * gate[i];
    if (bounded)
        swish(n, glu->slope, scaled, value, slope);
    else
        slope_piece(glu->act, n, scaled, value, slope);
    for (int64_t i = 0; i < n; i++)
        slope[i] *= bounded && glu->gain * gate[i] > glu->limit ? 0 : glu->gain;
}

/* The entries of one gate. */
static void add_span(const struct glu *glu, int64_t span, float value, float slope, const float *up,
                     const float *dy, float *dgate, float *dup) {
    const bool bounded = glu->act == ACT_CLAMPED;
    double sum = 0;
    for (int64_t i = 0; i < span; i++) {
        const float kept = bounded ? fmaxf(fminf(up[i], glu->limit), -glu->limit) + 1 : up[i];
        const bool moves = !bounded || fabsf(up[i]) <= glu->limit;
        sum += (double)(kept * dy[i]);
        dup[i] += moves ? value * dy[i] : 0;
    }
    *dgate += slope * (float)sum;
}

static void add_row(const struct glu *glu, int64_t row, const struct glu_back *b) {
    const int64_t gates = glu->gate_width, span = glu->width / gates;
    float value[PIECE], slope[PIECE];
    for (int64_t first = 0; first < gates; first += PIECE) {
        const int64_t n = min_i64(PIECE, gates - first);
        open_gates(glu, n, b->gate + row * gates + first, value, slope);
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = row * glu->width + (first + i) * span;
            add_span(glu, span, value[i], slope[i], b->up + at, b->dy + at,
                     b->dgate + row * gates + first + i, b->dup + at);
        }
    }
}

void glu_back(const struct glu *glu, int64_t rows, const struct glu_back *b) {
    assert(glu->width % glu->gate_width == 0);
#pragma omp parallel for schedule(static) default(none) shared(glu, rows, b)
    for (int64_t r = 0; r < rows; r++)
        add_row(glu, r, b);
}
