/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention of one sequence, blocked over query rows. */
#ifndef LLMQ_GRAPH_ATTENTION_H
#define LLMQ_GRAPH_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>

/* Query rows that share one product with the keys. */
#define ATTENTION_TILE 64

/* Query head h reads key-value head h / (heads / kv_heads). */
struct attention {
    int64_t heads, kv_heads;
    int64_t width;       /* of one query and of one key */
    int64_t value_width; /* of one value */
    int64_t window; /* a query sees itself and the window - 1 rows before it; 0: all before it */
    int64_t chunk;  /* and none before the last multiple of this; 0: there are no chunks */
    float scale;    /* of the scores */
    float gain;     /* of the values */
    float cap;      /* scores s become cap tanh(s / cap); 0: they stay (arXiv:2408.00118, 3) */
    /* The queries of position p times 1 + temperature log(1 + n), where n is how often `floor` goes
     * into p + first; temperature 0: as they are (transformers, modeling_llama4.py, attn_scales,
     * where the first position is 1; modeling_ministral3.py, get_llama_4_attn_scale, 0). */
    double temperature, floor, first;
    /* [heads] or NULL: a score that every query of the head sees beside its keys' and that weighs
     * no value (transformers, modeling_gpt_oss.py, eager_attention_forward). */
    const float *sinks;
    /* [heads] or NULL: a score falls by this for every row between key and query (Press et al.,
     * arXiv:2108.12409, section 3), before or after it is scaled. */
    const float *slopes;
    bool slopes_before_scale;
    /* [length, kv_heads] or NULL: what is added to the scores of a key as they are weighed. */
    const float *lift;
    /* [length, choices] or NULL: of the keys before it a query sees those at these positions alone,
     * which ascend and end with the row or before -1 (graph/index.h). */
    const float *choice;
    int64_t choices;
    int64_t
        past; /* the position of the first query: keys, values and lifts begin with position 0 */
};

/* The slopes of `heads` heads: 2^(-8 i / n) for i = 1 ... n where n is the largest power of two
 * within; further heads take every second slope of 2 n heads (arXiv:2108.12409, section 3; the
 * authors' get_slopes). */
void attention_slopes(int64_t heads, float *slopes);

/* out = softmax(scale q k^T) v, causal, with what else `a` says.
 * q       [length, heads x width]
 * k       [past + length, kv_heads x width]
 * v       [past + length, kv_heads x value_width]
 * out     [length, heads x value_width]
 * scores  scratch, [threads, ATTENTION_TILE, stride], stride >= past + length + 1 */
void attention_sequence(const struct attention *a, int64_t length, const float *q, const float *k,
                        const float *v, float *scores, int64_t stride, float *out);

/* The way back of one sequence, for the queries that read key-value head `kv_head`: heads are for
 * the caller to spread over threads. dq, dk, dv += the gradients towards q, k and v, where dy is
 * that towards what attention_sequence makes of them; shapes as there. A choice is held fixed. */
struct attention_back {
    const float *q, *k, *v, *dy;
    float *dq, *dk, *dv;
    float *sinks; /* of an attention with sinks: [heads], those of these queries are set */
    float *dlift; /* of one with lifts: as they are, added to */
};

/* scratch [ATTENTION_BACK_TILES, ATTENTION_TILE, length + 1] */
enum { ATTENTION_BACK_TILES = 3 };
void attention_back(const struct attention *a, int64_t length, int64_t kv_head,
                    const struct attention_back *b, float *scratch);

#endif
