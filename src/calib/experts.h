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
    struct stream whole; /* what experts read, of all ranks' tokens; nothing with one rank */
};

/* The experts of the block at hand, one after the other. */
struct expert_turn {
    struct expert_side quantized, original;
    struct arena *weights; /* of the expert at hand, on both sides */
    int64_t base;          /* the first of those that have their turn; -1: no routes yet */
    int64_t expert;        /* this rank's of them */
    bool divided;          /* they are one for each rank; else one, which every rank has */
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
                                                   const char *spill_dir, llmq_error *err);
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

/* --- expert_share.c: over several ranks ------------------------------------------------------- */

/* Room for what experts read, of all tokens; then side->experts reads that, with several ranks. */
LLMQ_NODISCARD enum llmq_status expert_share_create(const struct expert_room *room,
                                                    const char *spill_dir, struct expert_side *side,
                                                    llmq_error *err);

/* Bytes of that for a stream, which may lie in a file; of what experts make of their tokens. */
uint64_t expert_share_bytes(const struct expert_room *room);
uint64_t expert_share_buffers(const struct expert_room *room);

/* When the own tokens are routed, and when side->experts was begun: those of all. */
LLMQ_NODISCARD enum llmq_status expert_share_routes(const struct calib *c, struct expert_side *side,
                                                    llmq_error *err);
LLMQ_NODISCARD enum llmq_status expert_share_inputs(const struct calib *c, const struct stream *own,
                                                    struct expert_side *side, llmq_error *err);

/* What experts make of their tokens, added to the sums of the ranks that have these, in the order
 * of the experts: divided, of `first` and those behind it, one for each rank, `expert` being this
 * one's or NULL; else of `first`, which `expert` is on every rank. */
LLMQ_NODISCARD enum llmq_status expert_share_add(const struct calib *c, struct expert_side *side,
                                                 const struct block *expert, int64_t first,
                                                 bool divided, llmq_error *err);

/* --- experts.c, again ------------------------------------------------------------------------- */

/* Run the experts as they are. */
LLMQ_NODISCARD enum llmq_status expert_turn_pass_over(struct calib *c, llmq_error *err);

#endif
