/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows of a block a pass runs, and where the values lie that it makes.
 *
 * A pass starts from values that are there and ends at values that are wanted; what lies between is
 * found by walking back. Values get room from one scratch block, by their lives: those whose lives
 * do not overlap may share it, and an elementwise operation works in place where its input dies.
 * Some values have a home, a buffer of the caller's in which they are to lie. */
#ifndef LLMQ_GRAPH_SCHEDULE_H
#define LLMQ_GRAPH_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "models/graph.h"
#include "models/value_set.h"

/* Homes that values can be kept in between rounds, and all that a pass may have. */
enum { HOMES_KEPT = 6, HOMES = 8 };

/* Buffers of the caller's, numbered from 1. */
struct homes {
    int count;
    uint8_t of[V_COUNT];      /* the number of a value's home, 0: it has none */
    int64_t width[HOMES + 1]; /* entries of a row of the widest value that lives there */
};

struct schedule {
    uint64_t nodes; /* to run, in order; as bits */
    struct value_set given, wanted;
    struct value_set made;   /* what the nodes make because something needs it */
    uint8_t home[V_COUNT];   /* of each value of the pass: its home, or 0, and ... */
    int64_t column[V_COUNT]; /* ... where its rows begin in the scratch, in entries of one row */
    int64_t width;           /* entries of a row of scratch */
};

/* Plan the pass from the values `given`, which all have homes, to those `wanted`. What is given and
 * not wanted may be overwritten. */
void schedule_make(const struct graph *g, struct value_set given, struct value_set wanted,
                   const struct homes *homes, struct schedule *out);

/* The pass through a whole block, in place: input and output share home 1. */
void schedule_block(const struct graph *g, struct schedule *out);

/* --- passes of a block that is quantized round by round ----------------------------------------
 */

/* Homes for the values that are kept between rounds. A value takes over the home of one that dies
 * when it is made; the block's output ends in that of its input. LLMQ_E_UNSUPPORTED: the block
 * would need more than HOMES_KEPT. */
LLMQ_NODISCARD enum llmq_status homes_of_rounds(const struct graph *g, struct homes *out,
                                                llmq_error *err);

/* The values kept before `round`; the block's input before the first, its output after the last. */
struct value_set schedule_kept(const struct graph *g, int round);

#endif
