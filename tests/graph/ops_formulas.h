/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a block by their formulas, in double precision. */
#ifndef LLMQ_TESTS_OPS_FORMULAS_H
#define LLMQ_TESTS_OPS_FORMULAS_H

#include <stdint.h>

#include "graph/activate.h"
#include "graph/convolve.h"
#include "models/schema.h"

/* One group: the formula of enum norm with eps 1e-5. w is the stored weight, b NULL or the bias. */
void want_norm(enum norm kind, const float *x, const float *w, const float *b, int64_t n,
               double *out);

double want_act(enum act act, double x);

/* *size is the sum of the magnitudes of its terms. */
double want_xielu(const struct xielu *f, double x, double *size);

/* The gate's argument has its gain; ACT_CLAMPED with a slope of 1.5. */
double want_glu(enum act act, double limit, double g, double u);

/* One entry; *size is the sum of the magnitudes, which bounds what rounding can do. */
double want_convolved(const struct filter *f, const float *x, int64_t t, int64_t c, double *size);

#endif
