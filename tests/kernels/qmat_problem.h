/* SPDX-License-Identifier: Apache-2.0 */
/* Quantized matrices made up for the checkers of products, with their product in double. */
#ifndef LLMQ_TESTS_QMAT_PROBLEM_H
#define LLMQ_TESTS_QMAT_PROBLEM_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel_check.h"
#include "llmq/matmul.h"

/* A random matrix in the neutral form, activations, and their product in double. */
struct problem {
    llmq_qmat_desc desc;
    uint8_t *codes, *zeros;
    float *scales;
    int32_t *group_of;
    int64_t groups, m;
    float *x;
    double *want, *magnitude; /* [m, n]: sum of w x, and of |w x| */
};

struct problem_size {
    int bits;
    int64_t group, n, k, m;
    bool sym, mapped; /* mapped: columns belong to groups in random order */
};

struct problem problem_create(struct problem_size size, enum fill fill, uint64_t *state);
void problem_free(struct problem *p);

/* Fill in `want` and `magnitude`, again after a change of x. */
void problem_solve(struct problem *p);

/* Group of a column, and the weight in double. */
int64_t problem_group(const struct problem *p, int64_t column);
double problem_weight(const struct problem *p, int64_t row, int64_t column);

/* p, or an end of the test where it is NULL. */
void *must(void *p);

#endif
