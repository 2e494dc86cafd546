/* SPDX-License-Identifier: Apache-2.0 */
/* The ways through a model's blocks from beginning to end: passes, and what they need. */
#ifndef LLMQ_GRAPH_WAYS_H
#define LLMQ_GRAPH_WAYS_H

#include "graph/experts.h"
#include "graph/stream.h"

/* The passes over blocks of one kind: through all of it, or before and after its experts. */
struct way {
    struct schedule before, after;
};

struct ways {
    struct way of[BLOCKS_MAX_KINDS];
    struct homes homes;
    struct experts_needs needs; /* all 0 without experts */
    int64_t width;              /* of scratch, see forward_size */
};
LLMQ_NODISCARD enum llmq_status ways_make(const struct blocks *blocks, struct ways *out,
                                          llmq_error *err);

#endif
