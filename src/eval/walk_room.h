/* What the walk through a model's blocks needs: passes and widths. Not for use outside src/eval. */
#ifndef LLMQ_EVAL_WALK_ROOM_H
#define LLMQ_EVAL_WALK_ROOM_H

#include "eval/hidden.h"
#include "graph/experts.h"
#include "graph/stream.h"

/* The passes over blocks of one kind: through all of it, or before and after its experts. */
struct way {
    struct schedule before, after;
};

struct walk_room {
    struct way ways[BLOCKS_MAX_KINDS];
    struct homes homes;
    struct experts_needs needs; /* all 0 without experts */
    struct forward_size size;
};
LLMQ_NODISCARD enum llmq_status walk_room_measure(const struct eval_job *job, struct walk_room *out,
                                                  llmq_error *err);

#endif
