/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary position embedding and its scaling variants. */
#ifndef LLMQ_GRAPH_ROPE_H
#define LLMQ_GRAPH_ROPE_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/error.h"
#include "models/config.h"

/* What tables are made of. */
struct rope {
    const struct rope_config *config;
    int64_t width;         /* entries of a head that are rotated: two for each frequency */
    int64_t max_positions; /* that the model was trained for: where dynamic scaling begins */
};

/* Of a model; `local`: of its windowed layers where they have settings of their own. */
struct rope rope_of(const struct model_config *c, bool local);

/* cos and sin of every position and frequency: [positions, width / 2], already multiplied by the
 * attention factor. */
struct rope_table {
    int64_t positions, width;
    int64_t regime; /* of the length that the frequencies were computed for: rope.c */
    float *cos, *sin;
};

/* Lengths with the same number have the same frequencies; 0 where all have. */
int64_t rope_regime(const struct rope *rope, int64_t length);

/* Make `table` serve sequences of `length` tokens, (re)building it when it does not yet. Only
 * dynamic scaling and LongRoPE ever make the frequencies depend on the length. */
LLMQ_NODISCARD enum llmq_status rope_table_prepare(const struct rope *rope, int64_t length,
                                                   struct rope_table *table, llmq_error *err);

/* The same from position `first` on; it is not freed. */
struct rope_table rope_table_from(const struct rope_table *table, int64_t first);
void rope_table_free(struct rope_table *table);

/* What Llama 3 scaling divides frequency i by (config's rope type ROPE_LLAMA3). */
float rope_llama3_divisor(const struct rope *rope, int64_t i);

/* Heads that lie in a row one after the other, and what of each is rotated: as many entries as the
 * table has, from entry `skip` on. */
struct rope_heads {
    int64_t count, width, skip;
    bool backwards;  /* by the negative angle */
    bool neighbours; /* pairs are (x[2 i], x[2 i + 1]); else (x[i], x[i + half]), the halves */
};

/* Every head of every row, rotated to the row's position; the other entries as they are. x, out
 * [length, count x width], which may be the same. */
void rope_rotate(const struct rope_table *table, const struct rope_heads *heads, int64_t length,
                 const float *x, float *out);

#endif
