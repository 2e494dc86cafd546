/* SPDX-License-Identifier: Apache-2.0 */
/* What the suites of the operations share. */
#ifndef LLMQ_TESTS_OPS_CHECK_H
#define LLMQ_TESTS_OPS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* `count` numbers in [-limit, limit), the same for the same seed; the caller frees. */
float *random_row(uint64_t seed, int64_t count, double limit);

/* Fail unless |got - want| <= bound. Passing costs nothing: no record of it is written. */
#define ck_assert_near(got, want, bound)                                                           \
    do {                                                                                           \
        const double got_ = (double)(got), want_ = (double)(want);                                 \
        if (!(fabs(got_ - want_) <= (bound)))                                                      \
            ck_abort_msg("%.9g, expected %.9g +- %g", got_, want_, (double)(bound));               \
    } while (0)

/* Fail unless the `count` numbers of a and b have the same bits. */
#define ck_assert_same(a, b, count) ck_assert(memcmp(a, b, (size_t)(count) * sizeof(float)) == 0)

/* A recurrence of several heads, each with a state of its own that begins at 0. */
struct recurrence {
    int64_t length, heads, width, state; /* tokens; of a head: its output, entries of its state */
    /* One token of a head by the formula, in double: the state goes on, out [width]. */
    void (*token)(const void *c, int64_t t, int64_t head, double *state, double *out);
    const void *c; /* the case */
};

/* out [length, heads, width] is what it gives, within 1e-5 (1 + |y|). */
void assert_recurrence(const struct recurrence *r, const float *out);

/* sum of dy [length, heads, width] times what it gives. */
double recurrence_loss(const struct recurrence *r, const float *dy);

/* `run` writes the same bits to out [count] with one thread as with those that are set; one is set
 * then. */
void assert_threads_change_nothing(void (*run)(void *c), void *c, const float *out, int64_t count);

/* --- gradients: the ways back against central differences of formulas in double precision ------
 */

/* `count` numbers below `limit` in size that lie half-way between multiples of 1/64, so that steps
 * of differences are exact and none crosses such a multiple; the caller frees. */
float *grid_row(uint64_t seed, int64_t count, double limit);
void to_grid(float *x, int64_t count);

/* What the gradient is one of: a number that the formula makes of the case, in double. */
struct slope {
    double (*loss)(const void *c);
    const void *c;
};

/* d [count] is the gradient of the loss towards the x of the case, from grid_row: in single
 * entries, all or some that are spread out, within 2e-6 times the largest of them, and along a way
 * on which all entries move, within 2e-6 times the length of d. The differences, of fourth order,
 * are good for 1e-9, so that what is left is the rounding of float32. x is as before afterwards. */
void assert_gradient(const struct slope *s, float *x, const float *d, int64_t count);
void assert_gradient_sums(const struct slope *s, float *x, const double *d, int64_t count);

/* sum of a[i] b[i] */
double products(const float *a, const double *b, int64_t count);

#endif
