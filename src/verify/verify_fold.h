/* SPDX-License-Identifier: Apache-2.0 */
/* Scales that were folded into a checkpoint: AWQ divides what feeds a stage's linears by a scale
 * for each channel and multiplies the columns that read the channel by it, which leaves the
 * function alone. Found by comparing a checkpoint with its original, and checked: both sides of a
 * fold have to agree. */
#ifndef LLMQ_VERIFY_VERIFY_FOLD_H
#define LLMQ_VERIFY_VERIFY_FOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "verify/verify.h"

/* The folds of one block, or of one of its experts. */
struct verify_fold {
    float
        *columns[V_COUNT]; /* by what linears read: [k] their columns were multiplied by; NULL: 1 */
    float *rows[GRAPH_NODES]; /* of linears: [n] their rows were divided by; NULL: 1 */
    bool sound[V_COUNT];      /* folded, and both sides agree */
};

/* Find the folds of block `block` of a known family. Where the two sides of one disagree the rule
 * against-fold is broken. Release with verify_fold_free. */
LLMQ_NODISCARD enum llmq_status verify_fold_find(struct verify *v, const struct verify *original,
                                                 int64_t block, struct verify_fold *out,
                                                 llmq_error *err);

/* The same for the expert of the place: `block` are the folds of its block. */
LLMQ_NODISCARD enum llmq_status
verify_fold_find_expert(struct verify *v, const struct verify *original, struct linear_place at,
                        const struct verify_fold *block, struct verify_fold *out, llmq_error *err);
void verify_fold_free(struct verify_fold *f); /* accepts a zeroed struct */

/* Is this tensor of the block, which is not packed, one that a sound fold changed? */
bool verify_fold_explains(const struct verify *v, const struct verify_fold *f, int64_t block,
                          const char *tensor);

/* Take rows [begin, begin + count) of a linear that the folds are of, w [count, k], back to the
 * original's scale. */
void verify_fold_undo(const struct verify *v, const struct verify_fold *f, struct linear_place at,
                      int64_t begin, int64_t count, float *w);

#endif
