/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory the evaluation of a model takes, so that its activations can lie in files where
 * that is too much. */
#ifndef LLMQ_EVAL_ROOM_H
#define LLMQ_EVAL_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "eval/hidden.h"

/* Bytes, of one model. */
struct eval_room {
    uint64_t blocks; /* while blocks run: the largest one's weights, scratch, routes */
    uint64_t stream; /* what is kept of all tokens between them, in memory or in files ... */
    uint64_t batch;  /* ... and a batch of it, beside the files */
    uint64_t hidden; /* what remains of that for the output head */
    uint64_t head;   /* while the output head runs, with the rows it reads from a file */
};
LLMQ_NODISCARD enum llmq_status eval_room(const struct eval_job *job, struct eval_room *out,
                                          llmq_error *err);

/* The most at once of models that run one after the other, and then their heads together. */
uint64_t eval_room_peak(const struct eval_room *rooms, int count, bool spill);

#endif
