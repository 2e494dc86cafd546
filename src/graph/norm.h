/* SPDX-License-Identifier: Apache-2.0 */
/* Norms of the rows of a batch: see enum norm (models/schema.h). */
#ifndef LLMQ_GRAPH_NORM_H
#define LLMQ_GRAPH_NORM_H

#include <stdbool.h>
#include <stdint.h>

#include "models/schema.h"

/* A norm of rows [groups, width], each group by itself. */
struct norm_rule {
    enum norm kind;
    double eps;
    int64_t groups, width;
    bool each;           /* weight and bias are [groups, width]; else [width], for every group */
    const float *weight; /* what is multiplied by: norm_weight */
    const float *bias;   /* or NULL */
};

/* What a norm of this kind multiplies by: `stored` [count], the weight of the checkpoint, or
 * `scratch` [count] filled with 1 + stored, or with ones where the kind has no weight (`stored` is
 * not read then). Made anew whenever the stored weight may have changed. */
const float *norm_weight(enum norm kind, const float *stored, int64_t count, float *scratch);

/* out [rows, groups x width] = the norm of x, which it may be. RMSNorm: Zhang & Sennrich,
 * arXiv:1910.07467; LayerNorm: Ba et al., arXiv:1607.06450. Means in double; relative error of what
 * the weight multiplies below 1e-6 of the largest entry. */
void norm_rows(const struct norm_rule *rule, int64_t rows, const float *x, float *out);

/* The way back: x and dx [rows, groups x width], dy as wide. dx += the gradient towards x, where dy
 * is that towards what norm_rows makes of it; weight and bias, as wide as the rule's, += those
 * towards what is multiplied by and added. */
struct norm_back {
    const float *x, *dy;
    float *dx;
    float *stats;          /* scratch, [rows, groups, 2] */
    double *weight, *bias; /* or NULL */
};
void norm_back(const struct norm_rule *rule, int64_t rows, const struct norm_back *b);

#endif
