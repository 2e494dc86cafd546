/* SPDX-License-Identifier: Apache-2.0 */
/* Layers to quantize, and what must hold for any result. */
#ifndef LLMQ_TESTS_PROBLEM_H
#define LLMQ_TESTS_PROBLEM_H

#include <stdbool.h>
#include <stdint.h>

#include "quant/quant.h"

/* Random numbers: the same for the same seed. uniform: [-1, 1); normal: roughly so, with the
 * heavier tails of real weights. */
void problem_seed(uint32_t seed);
float uniform(void);
float normal(void);

/* A layer: weights, and the Hessian of inputs that are correlated and of very different size. */
struct problem {
    int64_t n, k;
    float *W, *H;
    double *Hd; /* H in double */
};

struct problem problem_create(int64_t n, int64_t k);
void problem_free(struct problem *p);

/* A grid with all zero points. */
struct quant_grid grid_of(int bits, int64_t group, bool sym, enum scale_storage storage);

/* Factor with damping 0.01 and quantize; asserts what holds for any result. */
struct qlinear quantize(const struct problem *p, const struct quant_grid *grid,
                        enum act_order order, struct quant_outcome *outcome);

/* Losses of float32 products are right to about so much. */
#define ROUNDING 1e-5

/* losses[n]: dw (H + lambda mean(diag H) I) dw^T of each row of q over the inputs that are not
 * dead, by double loops; what quantizing makes small. */
void problem_losses(const struct problem *p, const struct qlinear *q, double lambda,
                    double *losses);

/* Same codes, scales and zeros? */
bool same_row(const struct qlinear *a, const struct qlinear *b, int64_t row);

#endif
