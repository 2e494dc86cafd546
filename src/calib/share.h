/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the calibration's batches a rank runs, and sums over all of them. Not for use outside
 * src/calib.
 *
 * What is summed, and why like this. A moment is a sum over batches of at most 4096 tokens, each
 * formed in float32 and added in double, in the order of the batches; another order gives other
 * bits. Of k x k numbers from B batches on R ranks there is a choice:
 *
 *     sum on each rank, then over the ranks     8 k^2 bytes twice; another order for every R
 *     hand the sums from rank to rank           8 k^2 bytes; one rank works at a time, or every
 *                                               rank keeps the terms of all its batches
 *     share the activations, each sums a part   4 k T bytes: with T = 262,144 tokens and k = 4,096
 *                                               16 times the next line for R = 8
 *     share the terms, each sums a part         4 k^2 (B / R) bytes, and 4 k^2 for the result
 *
 * The last it is. Batches are dealt like cards: in step s rank r runs batch s R + r, and forms the
 * terms of all tiles (linalg.h). Every tile has a rank that keeps its sum: it is sent the tile's
 * terms of the step and adds them in the order of the ranks, which is that of the batches. So each
 * number is the same chain of additions as with one rank, bit by bit, and no order is left to MPI.
 * When the last step is done the keepers hand out means, in float32, as they are used.
 *
 * A triangle (H) has half of the numbers; where W D stands for D, n k. Per rank and task, sent:
 *
 *     4 (1 - 1/R) N (B / R + 1) bytes           N numbers in all moments of the task
 *
 * which falls with R, as terms of one step travel at the same time. Terms and means go in waves of
 * WAVE_BYTES, so that the buffers are small. Rows that are held back travel with their step
 * (share_held.c). */
#ifndef LLMQ_CALIB_SHARE_H
#define LLMQ_CALIB_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "calib/calib.h"
#include "graph/batch.h"
#include "linalg/linalg.h"
#include "ranks/ranks.h"

/* A batch of the calibration. */
struct share_batch {
    struct batch whole; /* where it lies among all tokens */
    struct batch own;   /* where among the rank's own; no sequences: it is another rank's */
    int64_t held_begin; /* rows that are held back before it, of all batches, ... */
    int64_t held;       /* ... and of it: its last ones */
};

/* All batches, and the tokens of those that this rank runs. */
struct share {
    const struct calib_tokens *all;
    struct calib_tokens own;   /* one behind the other, as batches in `own` say */
    struct share_batch *batch; /* [count] */
    int64_t count, steps;      /* in step s rank r runs batch s R + r, if there is one */
    int32_t *ids;              /* those of `own`, and its offsets, where they are copies */
    int64_t *offsets;
    void *buffer; /* WAVE_BYTES for what is sent, as much for what comes; NULL: one rank */
};

/* Deal the batches; `most` rows are held back at most, 0: none. `all` must outlive the result.
 * LLMQ_E_MEMORY. Release with share_free. */
LLMQ_NODISCARD enum llmq_status share_deal(const struct calib_tokens *all, int64_t most,
                                           struct share *out, llmq_error *err);
void share_free(struct share *s); /* accepts a zeroed struct */

/* The rank's batch of a step, or NULL. */
const struct share_batch *share_step(const struct share *s, int64_t step);

/* Of `ranks`: tokens of the one that has most of them; bytes of the buffers. */
int64_t share_most_tokens(const struct calib_tokens *all, int ranks);
uint64_t share_bytes(int ranks);

/* Rows at the end of a batch that are held back: of the windows that are for it or, without such,
 * when one of `every` windows is. */
int64_t share_held_of(const struct calib_tokens *all, const struct batch *whole, int64_t every);

/* One step of a sum: the term of the rank's batch, its last rows, those held back, left out. Every
 * rank has to come, also without a batch (term->rows 0). `scratch` as in linalg.h. */
struct share_sum {
    struct linalg_sum shape;
    double *sum;
    float *scratch;
};
/* A share that is NULL: the rank adds for itself. */
LLMQ_NODISCARD enum llmq_status share_add(const struct share *s, int64_t step,
                                          const struct share_sum *to,
                                          const struct linalg_term *term, const llmq_context *ctx,
                                          llmq_error *err);

/* After the last step: every rank has all numbers, times `factor` and rounded to float32. With one
 * rank, or without a share, nothing is done: *left says what factor is still to be applied. */
LLMQ_NODISCARD enum llmq_status share_finish(const struct share *s, const struct share_sum *of,
                                             double factor, double *left, const llmq_context *ctx,
                                             llmq_error *err);

/* What a rank sends in all steps of a sum, and to finish it; in all steps of share_held. */
void share_count(const struct calib_part *part, const struct linalg_sum *shape,
                 struct ranks_traffic *sent);
void share_note_held(const struct share *s, struct calib_part *part); /* before that */
void share_count_held(const struct calib_part *part, int64_t width, struct ranks_traffic *sent);

/* The rows of a step that are held back, in their places in x [held, width], on all ranks. */
LLMQ_NODISCARD enum llmq_status share_held(const struct share *s, int64_t step, int64_t width,
                                           float *x, const llmq_context *ctx, llmq_error *err);

#endif
