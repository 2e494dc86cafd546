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

/* `run` writes the same bits to out [count] with one thread as with those that are set; one is set
 * then. */
void assert_threads_change_nothing(void (*run)(void *c), void *c, const float *out, int64_t count);

#endif
