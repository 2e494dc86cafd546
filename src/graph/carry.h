/* SPDX-License-Identifier: Apache-2.0 */
/* What the operations of a block carry from one part of a sequence to the next, so that a pass over
 * new tokens need not repeat those before them: keys and values of attention, the keys of an index,
 * the last rows of a convolution, the states of scans, delta rules and recurrent units. Which nodes
 * carry what follows from the rows; all others take each token by itself, or by its position.
 *
 * Passes of a struct forward that has a carry have batches of one sequence, which goes on behind
 * the tokens that earlier passes had. */
#ifndef LLMQ_GRAPH_CARRY_H
#define LLMQ_GRAPH_CARRY_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/attention.h"
#include "graph/index.h"
#include "graph/pass.h"
#include "models/graph.h"

struct carry {
    int64_t capacity; /* tokens of the whole sequence */
    /* The caller's: tokens before those of the pass, and all that are known, also if no pass had
     * them yet: what rotary frequencies that depend on the length go by. */
    int64_t past, length;
    float *node[GRAPH_NODES];
    int64_t entries[GRAPH_NODES];
};

/* Bytes that a carry of the block takes. */
uint64_t carry_bytes(const struct graph *g, int64_t capacity);

/* Room comes from `arena`, which outlives it. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status carry_create(const struct graph *g, int64_t capacity,
                                             struct arena *arena, struct carry *out,
                                             llmq_error *err);

/* Before the first token: states are 0. */
void carry_begin(struct carry *c);

/* --- for the operations ----------------------------------------------------------------------- */

/* What the step's node carries; NULL in a pass of whole sequences. */
float *carry_of(const struct step *s);

/* The tokens before those of a pass, and all that are known; 0 for whole sequences. */
int64_t carry_past(const struct forward *f);
int64_t carry_length(const struct forward *f);

/* Attention of the step's tokens to all up to them; and the choice of an index. */
void carry_attend(const struct step *s, struct attention attention);
void carry_choose(const struct step *s, struct index index);

#endif
