/* SPDX-License-Identifier: Apache-2.0 */
/* What recurrences with a state for every channel take, forth and back. Not for use outside
 * src/graph/selective*.c and lru_back.c. */
#ifndef LLMQ_GRAPH_SELECTIVE_PARTS_H
#define LLMQ_GRAPH_SELECTIVE_PARTS_H

#include <stdint.h>

#include "graph/selective.h"

enum { SELECTIVE_CHANNELS = 32 }; /* of a block */
enum { LRU_ROWS = 64 };           /* that share a product with the gates' weights */

/* rate [state, SELECTIVE_CHANNELS] = -exp(A_log) of channels [first, first + count), else 0. */
void selective_rates(const struct selective *s, int64_t first, int64_t count, float *rate);

/* rate [width] = -8 softplus(parameter) of a head. */
void lru_rates(const struct lru *l, int64_t head, float *rate);

/* input, recurrent [rows, width] = the gates sigmoid(u W + b) of a head, where u [rows, heads x
 * width] begins with the first row's entries of the head, and `ones` are as many as a head has. */
void lru_open_gates(const struct lru *l, int64_t head, int64_t rows, const float *u,
                    const float *ones, float *input, float *recurrent);

#endif
