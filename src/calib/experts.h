/* SPDX-License-Identifier: Apache-2.0 */
/* The experts of a block in calibration. Not for use outside src/calib. */
#ifndef LLMQ_CALIB_EXPERTS_H
#define LLMQ_CALIB_EXPERTS_H

#include "calib/calib.h"
#include "graph/experts.h"

/* What the experts of a model's blocks take; `experts` is 0 when no block has any. */
struct expert_room {
    int64_t tokens, experts, top_k;
    uint64_t weights; /* bytes of one expert */
    struct experts_needs needs;
};
LLMQ_NODISCARD enum llmq_status expert_room_measure(const struct blocks *blocks, int64_t tokens,
                                                    struct expert_room *out, llmq_error *err);

/* Bytes for pieces of so many rows, with one stream or two. */
uint64_t expert_room_bytes(const struct expert_room *room, int64_t rows, int streams);

/* One model's side: where its tokens go, and the expert at hand. */
struct expert_side {
    struct routing routing;
    struct experts experts;
    struct block block;
};

/* The experts of the block at hand, one after the other. */
struct expert_turn {
    struct expert_side quantized, original;
    struct arena *weights; /* of the expert at hand, on both sides */
    int64_t expert;        /* -1: the tokens are not routed yet */
    int task;              /* of its body, the next one */
    bool loaded, looking;
    const float *scales;         /* of what all experts read, see calib_scale_experts */
    const float *inner[V_COUNT]; /* of what the expert at hand makes, see calib_scale_expert */
    /* The tokens that it is calibrated on, `held` of them held back: these last. */
    int32_t *row;
    float *weight;
    int64_t count, held, borrowed;
    uint8_t *mark; /* of every token */
};

/* Marks of tokens: routed to the expert; of its layer, beside those; of a batch that is held back;
 * routed to the expert by the original model. */
enum { EXPERT_OWN = 1, EXPERT_BORROWED = 2, EXPERT_HELD = 4, EXPERT_PAIRED = 8 };

/* Mark and list the tokens of the expert that has its turn. */
void expert_rows_choose(struct calib *c);

LLMQ_NODISCARD enum llmq_status expert_turn_create(struct calib *c, const struct expert_room *room,
                                                   llmq_error *err);
void expert_turn_free(struct expert_turn *t); /* accepts a zeroed struct */

/* Before the first task of a block. */
void expert_turn_start_over(struct calib *c);

/* Do experts that had no turn yet lie on the pass to the block's end? */
bool expert_turn_is_due(const struct calib *c, const struct schedule *rest);

/* The next task of the experts; none in `out` when all had their turn. */
LLMQ_NODISCARD enum llmq_status expert_turn_next(struct calib *c, struct calib_task *out,
                                                 llmq_error *err);

/* What the block makes of its first batch, which lies in x [rows, hidden], in place. The stores of
 * the stream are used and hold the start of the block again. */
LLMQ_NODISCARD enum llmq_status expert_turn_probe(struct calib *c, const struct batch *b, float *x,
                                                  llmq_error *err);

/* Run the experts as they are. */
LLMQ_NODISCARD enum llmq_status expert_turn_pass_over(struct calib *c, llmq_error *err);

#endif
