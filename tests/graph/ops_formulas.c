/* SPDX-License-Identifier: Apache-2.0 */
/* See ops_formulas.h. */
#include "ops_formulas.h"

#include <math.h>

/* One group: the formula of enum norm, in double. */
void want_norm(enum norm kind, const float *x, const float *w, const float *b, int64_t n,
               double *out) {
    const bool mean_off = kind == NORM_LAYER || kind == NORM_LAYER1 || kind == NORM_LAYER_W ||
                          kind == NORM_LAYER_BARE;
    const double one = kind == NORM_RMS1 || kind == NORM_LAYER1 ? 1 : 0;
    const double shared = kind == NORM_LENGTH ? 1 : (double)n;
    const bool weighted = kind != NORM_RMS_BARE && kind != NORM_LENGTH && kind != NORM_LAYER_BARE;
    double mean = 0, square = 0;
    for (int64_t i = 0; mean_off && i < n; i++)
        mean += (double)x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += ((double)x[i] - mean) * ((double)x[i] - mean) / shared;
    for (int64_t i = 0; i < n; i++)
        out[i] = ((double)x[i] - mean) / sqrt(square + 1e-5) * (weighted ? one + (double)w[i] : 1) +
                 (b ? (double)b[i] : 0);
}

double want_act(enum act act, double x) {
    const double u = sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
    switch (act) {
    case ACT_NONE:
        return x;
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU:
        return 0.5 * x * erfc(-x * sqrt(0.5));
    case ACT_GELU_TANH: /* (1 + tanh(u)) / 2 without cancellation */
        return x / (1 + exp(-2 * u));
    case ACT_RELU:
        return fmax(x, 0);
    case ACT_RELU2:
        return fmax(x, 0) * fmax(x, 0);
    case ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case ACT_EXP:
        return exp(x);
    case ACT_SOFTPLUS:
        return fmax(x, 0) + log1p(exp(-fabs(x)));
    case ACT_OF_CONFIG:
    case ACT_XIELU:
    case ACT_CLAMPED:
        break;
    }
    return (double)NAN;
}

double want_xielu(const struct xielu *f, double x, double *size) {
    const double p = log1p(exp((double)f->alpha_p)), beta = (double)f->beta;
    const double n = beta + log1p(exp((double)f->alpha_n));
    const double bend = x > 0 ? p * x * x : n * (expm1(fmin(x, (double)f->eps)) - x);
    *size = fabs(bend) + fabs(x);
    return bend + beta * x;
}

double want_glu(enum act act, double limit, double g, double u) {
    if (act != ACT_CLAMPED)
        return want_act(act, g) * u;
    g = fmin(g, limit);
    return g / (1 + exp(-1.5 * g)) * (fmin(fmax(u, -limit), limit) + 1);
}

/* Entry by entry, in double; the sum of the magnitudes bounds what rounding can do. */
double want_convolved(const struct filter *f, const float *x, int64_t t, int64_t c, double *size) {
    double sum = f->bias ? (double)f->bias[c] : 0;
    *size = fabs(sum);
    for (int64_t j = 0; j < f->tokens; j++) {
        const int64_t from = t - f->tokens + 1 + j;
        const double term =
            from < 0 ? 0 : (double)f->weight[c * f->tokens + j] * (double)x[from * f->width + c];
        sum += term;
        *size += fabs(term);
    }
    return sum;
}
