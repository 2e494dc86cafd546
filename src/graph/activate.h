/* SPDX-License-Identifier: Apache-2.0 */
/* Activations and gated units, entry by entry: see enum act (models/schema.h). */
#ifndef LLMQ_GRAPH_ACTIVATE_H
#define LLMQ_GRAPH_ACTIVATE_H

#include <stdint.h>

#include "models/schema.h"

/* xIELU (Huang & Schlag, arXiv:2411.13010, as in transformers, activations.py, XIELUActivation):
 * for x > 0 p x^2 + b x, else n (e^min(x, eps) - 1 - x) + b x, where p = softplus(alpha_p) and n =
 * b + softplus(alpha_n). Error below 1e-6 of the larger term. `out` may be `x`. */
struct xielu {
    float alpha_p, alpha_n, beta, eps;
};
void activate_xielu(const struct xielu *f, int64_t count, const float *x, float *out);

/* out[i] = act(x[i]), i < count; `out` may be `x`. `act` is one of a single argument, not
 * ACT_XIELU or ACT_CLAMPED; ACT_NONE is exact. Error below 1e-6 relative, but for GELU_TANH, where
 * the argument u of the hyperbolic tangent is rounded: 1e-6 + 5e-7 |u|. */
void activate(enum act act, int64_t count, const float *x, float *out);

/* A gated unit (Shazeer, arXiv:2002.05202). */
struct glu {
    enum act act;
    float gain;         /* the gate is multiplied by this first */
    float limit, slope; /* ACT_CLAMPED: g sigmoid(slope g) (u + 1), g <= limit and |u| <= limit */
    int64_t width;      /* of a row of `up` and of `out` */
    int64_t gate_width; /* a divisor of it: one gate for so many entries, one after the other */
};

/* out = act(gate) up. gate [rows, gate_width]; up, out [rows, width]. `out` may be `up`, or `gate`
 * where it is as wide. */
void glu_rows(const struct glu *glu, int64_t rows, const float *gate, const float *up, float *out);

/* --- the way back: dx is the gradient towards x, dy that towards what is made of it ----------- */

/* dx[i] += act'(x[i]) dy[i]. `act` as of activate; a corner counts as what is left of it. Error of
 * act' below 2e-6. */
void activate_back(enum act act, int64_t count, const float *x, const float *dy, float *dx);
void activate_xielu_back(const struct xielu *f, int64_t count, const float *x, const float *dy,
                         float *dx);

/* Of glu_rows: gate and dgate [rows, gate_width], the others [rows, width]; dgate and dup are added
 * to. */
struct glu_back {
    const float *gate, *up, *dy;
    float *dgate, *dup;
};
void glu_back(const struct glu *glu, int64_t rows, const struct glu_back *b);

#endif
