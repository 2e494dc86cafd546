/* SPDX-License-Identifier: Apache-2.0 */
/* Scales fitted between the weights of a checkpoint and its original, and one linear of both. For
 * verify_fold.c. */
#ifndef LLMQ_VERIFY_VERIFY_FOLD_FIT_H
#define LLMQ_VERIFY_VERIFY_FOLD_FIT_H

#include "verify/verify.h"

/* Sums over the original's weights x and the checkpoint's y. */
struct fit {
    double xx, xy, yy, xxxx;
};

void fit_add(struct fit *f, double x, double y);

/* a of y = a x; 0: there is nothing to fit. */
double fit_slope(const struct fit *f);

/* What the slope may be off. A few large weights count as few, however many small ones there are
 * beside them. */
double fit_tolerance(const struct fit *f);

struct pair {
    int64_t n, k;
    float *ours, *theirs; /* [n, k]; NULL: one of the two has no such linear */
    int bits;             /* of our codes, 0: it is not packed */
};

/* Load the linear of both. Release with pair_free, which accepts a zeroed struct. */
LLMQ_NODISCARD enum llmq_status pair_load(const struct verify *v, const struct verify *original,
                                          struct linear_place at, struct pair *p, llmq_error *err);
void pair_free(struct pair *p);

#endif
