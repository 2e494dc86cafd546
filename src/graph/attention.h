/* Causal attention of one sequence, blocked over query rows. */
#ifndef LLMQ_GRAPH_ATTENTION_H
#define LLMQ_GRAPH_ATTENTION_H

#include <stdint.h>

#include "graph/rope.h"
#include "models/config.h"

/* Query rows that share one product with the keys. */
#define ATTENTION_TILE 64

/* Every head of every row, rotated to the row's position: x, out [length, heads x head_dim], which
 * may be the same. */
void attention_rotate(const struct rope_table *rope, int64_t length, int64_t heads,
                      int64_t head_dim, const float *x, float *out);

/* out = softmax(q k^T / sqrt(head_dim)) v, causal; with window > 0 a query sees itself and the
 * window - 1 rows before it. Query head h reads key-value head h / (heads / kv_heads).
 * q, out  [length, heads x head_dim]
 * k, v    [length, kv_heads x head_dim]
 * scores  scratch, [threads, ATTENTION_TILE, stride], stride >= length */
void attention_sequence(const struct model_config *c, int64_t window, int64_t length,
                        const float *q, const float *k, const float *v, float *scores,
                        int64_t stride, float *out);

#endif
