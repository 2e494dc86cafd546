/* SPDX-License-Identifier: Apache-2.0 */
/* The second moment of a matrix' inputs, as given or made. */
#ifndef LLMQ_MATRIX_MATRIX_MOMENT_H
#define LLMQ_MATRIX_MATRIX_MOMENT_H

#include "llmq/matrix.h"

struct matrix_moment {
    const float *H; /* [columns, columns]; NULL: nothing is known of the inputs */
    float *made;    /* the same where it was made here */
};

/* Of the inputs X (2 / T) X^T X, T their number; else what was given. LLMQ_E_NUMERIC: a value that
 * is not finite, by its place; LLMQ_E_USAGE: both are given; LLMQ_E_MEMORY. Release with
 * matrix_moment_free. */
LLMQ_NODISCARD enum llmq_status matrix_moment_make(const llmq_matrix *matrix,
                                                   struct matrix_moment *out, llmq_error *err);
void matrix_moment_free(struct matrix_moment *m); /* accepts a zeroed struct */

/* The moment of inputs that are divided by scales [columns]: H diag(1/s) on both sides, in a copy
 * that takes the place of m's. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status matrix_moment_divide(struct matrix_moment *m, int64_t columns,
                                                     const float *scales, llmq_error *err);

#endif
