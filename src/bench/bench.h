/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of `llmq bench`. */
#ifndef LLMQ_BENCH_BENCH_H
#define LLMQ_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/limits.h"
#include "llmq/bench.h"
#include "llmq/error.h"

enum {
    BENCH_SAMPLES = 5, /* at least; more while BENCH_SECONDS have not passed */
    BENCH_SAMPLES_MAX = 64,
    BENCH_GROUP = 128, /* columns of a group of weights */
};
#define BENCH_SECONDS 0.5

/* Rates of the same work, and of its limit, taken in turns. */
struct bench_samples {
    double rate[BENCH_SAMPLES_MAX], limit[BENCH_SAMPLES_MAX];
    int count;
    double begin; /* of the first, on the monotonic clock */
};

/* Are there enough samples? */
bool bench_enough(const struct bench_samples *s);

/* Median of `count` > 0 values, which are sorted in place. */
double bench_median(double *values, int count);

/* count numbers, uniform in [-1, 1), the same for the same seed. */
void bench_random(uint64_t seed, int64_t count, float *out);

/* The products with one INT4 matrix [n, k] on 1 and on `threads` threads, appended to the report:
 * both kinds of activations, m = 1, 16, 128, 512. */
LLMQ_NODISCARD enum llmq_status bench_products(int64_t n, int64_t k, int threads,
                                               const struct limits_memory *memory,
                                               llmq_bench_report *report, llmq_error *err);

/* GPTQ of one linear [n, k], appended to the report. */
LLMQ_NODISCARD enum llmq_status bench_solve(int64_t n, int64_t k, llmq_bench_report *report,
                                            llmq_error *err);

#endif
