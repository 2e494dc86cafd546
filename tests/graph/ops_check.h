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

#endif
