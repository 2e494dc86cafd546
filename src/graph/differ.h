/* SPDX-License-Identifier: Apache-2.0 */
/* What one half of the heads of attention sees beyond the other (differential attention: Ye et al.,
 * arXiv:2410.05258, equations 1 to 3). Of pieces a and b of a row, each with the head of its half:
 *
 *     y = a - w b      w = exp(q1 k1) - exp(q2 k2) + l      l = 0.8 - 0.6 exp(-0.3 block)
 *     out = (1 - l) y / sqrt(mean(y^2) + eps)
 *
 * where q1, k1, q2 and k2 are vectors of the block's. */
#ifndef LLMQ_GRAPH_DIFFER_H
#define LLMQ_GRAPH_DIFFER_H

#include <stdint.h>

enum { DIFFER_VECTORS = 4 }; /* q1, k1, q2, k2 */

struct differ {
    int64_t groups, width; /* pieces of a row, and how wide one is */
    int64_t block;
    double eps;
    int64_t size; /* of each vector */
    const float *vector[DIFFER_VECTORS];
};

/* out [rows, groups x width] of a and b, which are as wide; it may be either. */
void differ_rows(const struct differ *d, int64_t rows, const float *a, const float *b, float *out);

/* The way back: da, db += the gradients towards a and b, where dy is that towards what differ_rows
 * makes of them; vector[i], as long as the rule's, += that towards it, NULL: nobody asks.
 * scratch [rows, groups] */
struct differ_back {
    const float *a, *b, *dy;
    float *da, *db;
    double *vector[DIFFER_VECTORS];
    float *scratch;
};
void differ_back(const struct differ *d, int64_t rows, const struct differ_back *back);

#endif
