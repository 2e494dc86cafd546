/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic that dimensions are cut into pieces with. */
#ifndef LLMQ_BASE_INT64_H
#define LLMQ_BASE_INT64_H

#include <stdint.h>

static inline int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Pieces of b > 0 that hold a >= 0. No sum of both, which might overflow. */
static inline int64_t ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

#endif
