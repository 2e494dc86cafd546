/* config.json to what the forward pass and the planner need. */
#ifndef LLMQ_MODELS_CONFIG_H
#define LLMQ_MODELS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"
#include "models/family.h"

#define CONFIG_MAX_BLOCKS 1024

enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN };

/* Rotary embedding parameters under the names of transformers' rope_scaling / rope_parameters. */
struct rope_config {
    enum rope_type type;
    double theta;
    double factor;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    double attention_factor;                  /* yarn: multiplies cos and sin */
    bool truncate;                            /* yarn: correction range rounded to integers */
    int64_t original_max_positions;
};

struct model_config {
    const struct family *family;
    int64_t vocab, hidden, intermediate, blocks, heads, kv_heads, head_dim, max_positions;
    double norm_eps;
    struct rope_config rope;
    bool tied; /* output head = embedding */
    bool attention_bias, mlp_bias;
    bool own_code;  /* auto_map: the checkpoint brings Python of its own, which llmq does not run */
    int64_t window; /* sliding window, 0: none */
    bool slides[CONFIG_MAX_BLOCKS]; /* which blocks use it */
};

/* Read a parsed config.json (transformers 4 and 5 spellings). LLMQ_E_UNSUPPORTED names a
 * model_type, activation or rope type llmq does not know, or a key that changes the forward pass
 * and that it does not honour (config_neutral.c); LLMQ_E_INPUT a key with an impossible value, or
 * two that contradict each other. */
LLMQ_NODISCARD enum llmq_status config_parse(const struct json *json, struct model_config *out,
                                             llmq_error *err);

#endif
