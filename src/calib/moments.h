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

/* Make a finished sum of squares [k, k], of which the upper triangle was formed, whole. */
void moment_mirror(const struct moment *m, int64_t k);

/* Sums over `tokens` to means of 2ab, which take their place. */
float *moment_finish(const struct moment *m, int64_t count, int64_t tokens);

#endif
