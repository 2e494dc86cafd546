/* See ops_check.h. */
#include "ops_check.h"

#include <stdlib.h>

#include "support.h"

float *random_row(uint64_t seed, int64_t count, double limit) {
    float *x = malloc((size_t)(count > 0 ? count : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(limit * ((double)(random_next(&seed) >> 11) * 0x1p-52 - 1));
    return x;
}
