/* SPDX-License-Identifier: Apache-2.0 */
/* What ranks do together (llmq/ranks.h): the one folder that knows MPI.
 *
 * One operation is enough, an exchange: each rank hands each other one some bytes. All else is made
 * of it. No arithmetic is left to MPI, whose sums may depend on the number of ranks: who sums gets
 * the terms, and adds them in an order that is the caller's.
 *
 * Every rank must call the same operations in the same order, from one thread, outside of parallel
 * regions. A rank that fails does not come to the next one, where the others wait for it: it ends
 * them (llmq_ranks_abort). Waiting ends with LLMQ_E_INTERRUPTED when the caller asks to stop. */
#ifndef LLMQ_RANKS_RANKS_H
#define LLMQ_RANKS_RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/ranks.h"

/* What goes to one rank, and what comes from it: the sizes that two ranks have of the same piece
 * must agree. NULL with 0 bytes: nothing. The buffers do not overlap. */
struct ranks_piece {
    const void *out;
    size_t out_bytes;
    void *in;
    size_t in_bytes;
};

/* with [count]: what goes to and comes from each rank; the own piece is copied. */
LLMQ_NODISCARD enum llmq_status ranks_exchange(const struct ranks_piece *with,
                                               const llmq_context *ctx, llmq_error *err);

/* Rank r has bytes [begin[r], begin[r + 1]) of `all`, begin [count + 1]; then all have all. */
LLMQ_NODISCARD enum llmq_status ranks_gather(void *all, const size_t *begin,
                                             const llmq_context *ctx, llmq_error *err);

/* Rank `root` has the bytes; then all have them. */
LLMQ_NODISCARD enum llmq_status ranks_broadcast(int root, void *data, size_t bytes,
                                                const llmq_context *ctx, llmq_error *err);

/* Do all ranks hold the same text? Then *odd is -1, else the first rank that holds another one than
 * rank 0. */
LLMQ_NODISCARD enum llmq_status ranks_compare(const char *text, int *odd, const llmq_context *ctx,
                                              llmq_error *err);

/* What became of a step that ranks take each by themselves: every rank's status goes in, and when
 * one failed all fail with it. */
LLMQ_NODISCARD enum llmq_status ranks_agree(enum llmq_status status, const llmq_context *ctx,
                                            llmq_error *err);

/* Is the failure that this rank ends with another one's? */
bool ranks_failed_elsewhere(void);

/* What an exchange of such a size costs is known from this. */
struct ranks_traffic {
    uint64_t messages, bytes; /* that this rank sent to others */
    double seconds;           /* that it waited */
};
struct ranks_traffic ranks_traffic(void);

/* What it counts for a piece that goes to another rank; and for one that goes to `others`. */
void ranks_count_piece(struct ranks_traffic *t, size_t bytes);
void ranks_count_pieces(struct ranks_traffic *t, size_t bytes, int others);

/* --- shares ----------------------------------------------------------------------------------- */

/* The share of rank r of `units`: [ranks_share(units, r), ranks_share(units, r + 1)); and what it
 * would be of so many ranks. */
int64_t ranks_share(int64_t units, int rank);
int64_t ranks_share_of(int64_t units, int rank, int ranks);

/* --- for the files of this folder ------------------------------------------------------------- */

/* A message is at most so long: sizes are int in MPI, and a piece is sent in several. */
#define RANKS_MESSAGE ((size_t)1 << 30)

/* Is this process the first by what its launcher told it, or the only one? */
bool ranks_launched_first(void);

/* Send and receive all pieces but the own one. */
LLMQ_NODISCARD enum llmq_status ranks_transfer(const struct ranks_piece *with,
                                               const llmq_context *ctx, llmq_error *err);

#endif
