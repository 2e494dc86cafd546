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
    double *sum;    /* over the batches that are not held back */
    float *held;    /* over those held back, or NULL */
    float *scratch; /* of the accumulation (linalg.h) */
};

/* How many tokens there are, and how many of them are held back. */
struct moment_tokens {
    int64_t all, held;
};

/* Room for `count` entries in `arena`; with `held` also for the batches held back. The caller sets
 * the scratch. */
LLMQ_NODISCARD enum llmq_status moment_alloc(size_t count, bool held, struct arena *arena,
                                             struct moment *out, llmq_error *err);

/* Begin a sum of `count` entries. Accepts a moment without room. */
void moment_clear(const struct moment *m, int64_t count);

/* m += A^T X over the rows of a batch, A [rows, width], X [rows, k]; the batch is held back or not.
 * Of the square X^T X only the upper triangle is formed. */
void moment_add_product(const struct moment *m, bool held, int64_t rows, const float *A,
                        int64_t width, const float *X, int64_t k);
void moment_add_square(const struct moment *m, bool held, int64_t rows, const float *X, int64_t k);

/* diff = a / scale - b, [rows, width], scale [width] or NULL for 1. */
void moment_difference(const float *a, const float *b, const float *scale, int64_t rows,
                       int64_t width, float *diff);

/* Make a finished sum of squares [k, k] whole. */
void moment_mirror(const struct moment *m, int64_t k);

/* Sums to means of 2ab: over those held back in `held`, over all tokens in the result, which takes
 * the place of the sums. */
const float *moment_finish(const struct moment *m, int64_t count,
                           const struct moment_tokens *tokens);

#endif
