/* SPDX-License-Identifier: Apache-2.0 */
/* What it takes to have a block's weights, or the output head's, in memory. */
#ifndef LLMQ_GRAPH_LOADING_H
#define LLMQ_GRAPH_LOADING_H

#include <stdint.h>

#include "graph/block.h"

/* Bytes at least as many as there are while block `index`, without its experts, or one of these is
 * loaded and kept: its weights as `mode` keeps them, and what reading the largest of them takes. */
uint64_t loading_bytes(const struct model *m, int64_t index, int64_t expert, enum load_mode mode);

/* The two apart: what stays, and what it takes meanwhile. */
struct loading {
    uint64_t kept, reading;
};
struct loading loading_of(const struct model *m, int64_t index, int64_t expert,
                          enum load_mode mode);

/* Memory that reading a plain or packed linear's weight takes besides the weight: the stack that it
 * is in, its codes. */
uint64_t loading_read_bytes(const struct model *m, struct linear_place at);

/* The same for rows of the output head: where it is packed, all of it is kept. */
uint64_t loading_head_bytes(const struct model *m);

#endif
