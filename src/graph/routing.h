/* SPDX-License-Identifier: Apache-2.0 */
/* Who goes where: the tokens that chose each expert of a block, in order, with their weights. */
#ifndef LLMQ_GRAPH_ROUTING_H
#define LLMQ_GRAPH_ROUTING_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/acts.h"
#include "llmq/error.h"

struct routing {
    int64_t tokens, experts, top_k;
    /* Expert e has entries [offsets[e], offsets[e + 1]): rows, ascending, and their weights. */
    int64_t *offsets; /* [experts + 1] */
    int32_t *row;
    float *weight;
    /* Before they are sorted: the choices of every token, [tokens, top_k]; -1: fewer. */
    int32_t *expert;
    float *unsorted;
};

/* Room for the choices of so many tokens. LLMQ_E_MEMORY. Release with routing_free. */
LLMQ_NODISCARD enum llmq_status routing_create(int64_t tokens, int64_t experts, int64_t top_k,
                                               struct routing *out, llmq_error *err);
void routing_free(struct routing *r); /* accepts a zeroed struct */

/* Bytes that routing_create allocates. */
uint64_t routing_bytes(int64_t tokens, int64_t experts, int64_t top_k);

/* Note the weights [rows, experts] of tokens [begin, begin + rows), of which at most top_k are not
 * 0. Every token must be noted before routing_sort makes the lists. */
void routing_note(struct routing *r, int64_t begin, int64_t rows, const float *weights);
void routing_sort(struct routing *r);

/* The next rows of an expert's list, at most `max_rows`. Start with a zeroed list; false when there
 * are no more. */
bool routing_next(const struct routing *r, int64_t expert, int64_t max_rows, struct row_list *rows);

#endif
