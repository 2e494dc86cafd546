/* SPDX-License-Identifier: Apache-2.0 */
/* Which keys a query sees where an index of its own chooses them: DeepSeek-V3.2's (DeepSeek-AI,
 * 2025, "DeepSeek-V3.2-Exp", eq. 1; transformers, modeling_deepseek_v32.py). */
#ifndef LLMQ_GRAPH_INDEX_H
#define LLMQ_GRAPH_INDEX_H

#include <stdint.h>

struct index {
    int64_t heads, width; /* of its queries; its keys are one head */
    int64_t top;          /* keys that a query sees */
    int64_t past;         /* the position of the first query: keys begin with position 0 */
};

struct index_input {
    const float *q;    /* [length, heads x width] */
    const float *k;    /* [past + length, width] */
    const float *gain; /* [length, heads] */
};

/* The score of key s for the query t is sum_h gain[t, h] / sqrt(heads) relu(q[t, h] k[s] /
 * sqrt(width)); of the keys s <= t those with the largest are chosen, of equal ones the first.
 * out     [length, top]: their positions, ascending, then -1 where there are fewer
 * scratch [threads, ATTENTION_TILE, stride], stride >= past + length */
void index_sequence(const struct index *x, int64_t length, const struct index_input *in,
                    float *scratch, int64_t stride, float *out);

#endif
