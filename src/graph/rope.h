/* Rotary position embedding and its scaling variants. */
#ifndef LLMQ_GRAPH_ROPE_H
#define LLMQ_GRAPH_ROPE_H

#include <stdint.h>

#include "llmq/error.h"
#include "models/config.h"

/* cos and sin of every position and frequency: [positions, head_dim / 2], already multiplied by
 * the attention factor. */
struct rope_table {
    int64_t positions;
    int64_t sequence; /* sequence length the frequencies were computed for */
    float *cos, *sin;
};

/* Make `table` serve sequences of `length` tokens, (re)building it when it does not yet. Only
 * dynamic scaling ever makes the frequencies depend on the length. */
LLMQ_NODISCARD enum llmq_status rope_table_prepare(const struct model_config *c, int64_t length,
                                                   struct rope_table *table, llmq_error *err);
void rope_table_free(struct rope_table *table);

/* What Llama 3 scaling divides frequency i by (config's rope type ROPE_LLAMA3). */
float rope_llama3_divisor(const struct model_config *c, int64_t i);

/* Rotate one head vector x [head_dim] at `position`: the halves form the pairs (x[i],
 * x[i + head_dim/2]), the layout of Hugging Face checkpoints. `out` [head_dim] may be `x`. */
void rope_rotate(const struct rope_table *table, int64_t position, int64_t head_dim, const float *x,
                 float *out);

#endif
