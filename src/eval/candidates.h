/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens that a model finds most likely at some places of a corpus. */
#ifndef LLMQ_EVAL_CANDIDATES_H
#define LLMQ_EVAL_CANDIDATES_H

#include <stddef.h>
#include <stdint.h>

#include "graph/acts.h"
#include "graph/model.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"

struct candidate {
    int32_t token;
    double p;
};

/* The most likely ones first; of equal ones the smaller id. */
struct candidates {
    struct candidate list[LLMQ_COMPARE_TOP];
    size_t count;
};

/* Take in one more. */
void candidates_offer(struct candidates *c, int32_t token, double p);

/* out[i]: what `m` expects behind the token in row rows[i] of `hidden`, which its head reads. */
LLMQ_NODISCARD enum llmq_status eval_candidates(const struct model *m, const struct acts *hidden,
                                                const int64_t *rows, size_t count,
                                                struct candidates *out, llmq_error *err);

#endif
