/* SPDX-License-Identifier: Apache-2.0 */
/* The weight of one module of a checkpoint, however it is stored: a tensor of its own, as [n, k] or
 * [k, n], a part of a stack, or packed. */
#ifndef LLMQ_VERIFY_VERIFY_REFERENCE_H
#define LLMQ_VERIFY_VERIFY_REFERENCE_H

#include "verify/verify.h"

struct reference {
    const struct verify *of;
    const struct st_tensor *plain; /* its own, or the stack that it is in */
    struct linear_place at;        /* in blocks of a known family */
    bool turned, stacked;          /* its own is [k, n]; it is in a stack: then ... */
    float *whole;                  /* ... here as [n, k], once prepared */
    struct qlinear packed;
};

/* Find it; nothing is there where it then fits no shape. Release with reference_close. */
LLMQ_NODISCARD enum llmq_status reference_open(const struct verify *of, const char *module,
                                               struct reference *r, llmq_error *err);
void reference_close(struct reference *r);

/* Is there a weight of that shape? */
bool reference_fits(const struct reference *r, int64_t n, int64_t k);

/* Read what does not lie row by row; before reference_rows. */
LLMQ_NODISCARD enum llmq_status reference_prepare(struct reference *r, int64_t n, int64_t k,
                                                  llmq_error *err);

/* Rows [begin, end) of k columns. */
LLMQ_NODISCARD enum llmq_status reference_rows(const struct reference *r, int64_t begin,
                                               int64_t end, int64_t k, float *out, llmq_error *err);

#endif
