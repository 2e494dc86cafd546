/* SPDX-License-Identifier: Apache-2.0 */
/* Second moments: sums of products over all tokens, accumulated in double, handed out in float32.
 */
#ifndef LLMQ_CALIB_MOMENTS_H
#define LLMQ_CALIB_MOMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "llmq/error.h"

struct moment {
    double *sum;
    float *scratch; /* of the accumulation (linalg.h) */
};

/* Room for `count` entries in `arena`. The caller sets the scratch. */
LLMQ_NODISCARD enum llmq_status moment_alloc(size_t count, struct arena *arena, struct moment *out,
                                             llmq_error *err);

/* Begin a sum of `count` entries. Accepts a moment without room. */
void moment_clear(const struct moment *m, int64_t count);

/* diff = a / scale - b, [rows, width], scale [width] or NULL for 1. */
void moment_difference(const float *a, const float *b, const float *scale, int64_t rows,
                       int64_t width, float *diff);

/* Sums times `factor`, which take their place. */
float *moment_finish(const struct moment *m, int64_t count, double factor);

/* The same of a sum of squares, a packed upper triangle of order k: whole, [k, k]. The triangle's
 * k (k + 1) / 2 doubles have room for it. */
float *moment_finish_square(const struct moment *m, int64_t k, double factor);

#endif
