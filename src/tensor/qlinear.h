/* SPDX-License-Identifier: Apache-2.0 */
/* The neutral result of quantization: what every method produces and every format stores.
 *
 *     w[n][k] = (u[n][k] - z[n][g]) * s[n][g],   g = group of input column k
 *
 * Codes and zeros are unsigned, 0 ... 2^bits - 1; symmetric means z = 2^(bits-1) throughout. Codes
 * of floats stand for v(u) instead of u - z (minifloat.h), and their zeros are 0; a scale that many
 * rows share is there for each of them. */
#ifndef LLMQ_TENSOR_QLINEAR_H
#define LLMQ_TENSOR_QLINEAR_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/error.h"
#include "tensor/minifloat.h"

struct qlinear {
    int64_t n;      /* out_features: rows */
    int64_t k;      /* in_features: columns */
    int bits;       /* 2, 3, 4 or 8 */
    int64_t group;  /* columns per group, 1 ... k; the last group may be shorter only in files
                       written by others */
    int64_t groups; /* ceil(k / group) */
    int64_t whole;  /* rows of the linear that these are some of; 0: they are all of it */
    enum number_type number;
    bool sym;          /* every zero is 2^(bits-1), or codes are of floats */
    uint8_t *codes;    /* [n, k] */
    float *scales;     /* [n, groups], finite; > 0 as we write them */
    float unit;        /* that the scales are E4M3 numbers of, where a format keeps them so */
    uint8_t *zeros;    /* [n, groups] */
    int32_t *group_of; /* [k], group of each column; NULL means k / group */
};

/* Allocate all arrays (group_of stays NULL), contents undefined. group -1 means one group of k
 * columns. LLMQ_E_MEMORY on overflow or when memory is short. Release with qlinear_free. */
LLMQ_NODISCARD enum llmq_status qlinear_alloc(int64_t n, int64_t k, int bits, int64_t group,
                                              struct qlinear *q, llmq_error *err);
void qlinear_free(struct qlinear *q); /* accepts a zeroed struct; zeroes it */

/* How many steps of the scale each code stands for, given a zero point: values of floats, or code -
 * zero. For those who take codes one by one. */
struct qlinear_levels {
    bool floats;
    float values[NUMBER_CODES]; /* of floats */
};
struct qlinear_levels qlinear_levels(const struct qlinear *q);
static inline float qlinear_level(const struct qlinear_levels *l, uint8_t code, uint8_t zero) {
    return l->floats ? l->values[code] : (float)((int)code - (int)zero);
}

/* Decode rows [row_begin, row_end) into w [row_end - row_begin, k]. */
void qlinear_dequantize(const struct qlinear *q, int64_t row_begin, int64_t row_end, float *w);

/* Codes, scales and zero points of `count` rows of one, from row `at` on, to those of another of
 * the same k and group, from row `to_at` on. */
void qlinear_copy_rows(const struct qlinear *from, int64_t at, int64_t count,
                       const struct qlinear *to, int64_t to_at);

/* Largest magnitude of the weights that q stands for, if it is above `floor`; else `floor`. */
float qlinear_peak(const struct qlinear *q, float floor);

/* Check the invariants: code and zero ranges, finite non-negative scales, group_of in range.
 * LLMQ_E_INPUT says the first violation. */
LLMQ_NODISCARD enum llmq_status qlinear_check(const struct qlinear *q, llmq_error *err);

#endif
