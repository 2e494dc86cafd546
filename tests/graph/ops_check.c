/* See ops_check.h. */
#include "ops_check.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

float *random_row(uint64_t seed, int64_t count, double limit) {
    float *x = malloc((size_t)(count > 0 ? count : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(limit * ((double)(random_next(&seed) >> 11) * 0x1p-52 - 1));
    return x;
}

void assert_recurrence(const struct recurrence *r, const float *out) {
    double *state = malloc((size_t)r->state * sizeof *state);
    double *want = malloc((size_t)r->width * sizeof *want);
    ck_assert(state && want);
    for (int64_t h = 0; h < r->heads; h++) {
        memset(state, 0, (size_t)r->state * sizeof *state);
        for (int64_t t = 0; t < r->length; t++) {
            r->token(r->c, t, h, state, want);
            for (int64_t i = 0; i < r->width; i++)
                ck_assert_near(out[(t * r->heads + h) * r->width + i], want[i],
                               1e-5 * (1 + fabs(want[i])));
        }
    }
    free(state);
    free(want);
}

void assert_threads_change_nothing(void (*run)(void *c), void *c, const float *out, int64_t count) {
    float *first = malloc((size_t)count * sizeof *first);
    ck_assert_ptr_nonnull(first);
    run(c);
    memcpy(first, out, (size_t)count * sizeof *first);
    omp_set_num_threads(1);
    run(c);
    ck_assert_same(first, out, count);
    free(first);
}
