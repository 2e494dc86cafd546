/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel checkers share: the tables this machine can run, random numbers from a printed
 * seed, and arrays between guards that show any access outside them. */
#ifndef LLMQ_TESTS_KERNEL_CHECK_H
#define LLMQ_TESTS_KERNEL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* The distinct tables of this machine, plain C first, whatever LLMQ_CPU says. Returns how many. */
int check_tables(const struct llmq_kernels *tables[CPU_LEVELS]);

/* Seed of this run: LLMQ_TEST_SEED or the clock; printed the first time. */
uint64_t check_seed(void);

/* Uniform in [-1, 1). */
float random_float(uint64_t *state);

/* n floats with guards of NaN around them, `shift` floats off a 64-byte boundary. */
struct guarded {
    float *data;
    int64_t n;
    unsigned char *raw;
    int64_t raw_bytes;
};
struct guarded guarded_create(int64_t n, int shift);
bool guarded_intact(const struct guarded *g);
void guarded_free(struct guarded *g);

/* Kinds of data every kernel must bear. */
enum fill { FILL_RANDOM, FILL_MIN, FILL_MAX, FILL_ZERO, FILL_WIDE, FILL_COUNT };
void fill_floats(enum fill kind, float limit, uint64_t *state, float *x, int64_t n);

#endif
