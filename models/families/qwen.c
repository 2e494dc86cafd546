/* Qwen2, Qwen2.5 and Qwen3 dense models: Llama with biases on q, k, v (Qwen2) or RMSNorm on the
 * heads of q and k (Qwen3). Defaults: transformers' Qwen2Config and Qwen3Config. */
#include <stddef.h>

#include "models/families/tables.h"

/* clang-format off */
#define QWEN_DEFAULTS                      \
    .vocab_size = 151936,                  \
    .hidden_size = 4096,                   \
    .intermediate_size = 22016,            \
    .num_hidden_layers = 32,               \
    .num_attention_heads = 32,             \
    .num_key_value_heads = 32,             \
    .max_position_embeddings = 32768,      \
    .max_window_layers = 28,               \
    .rms_norm_eps = 1e-6,                  \
    .rope_theta = 10000.0
/* clang-format on */

static const struct node qwen2_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ALWAYS),
    ATTEND_ROWS(Q, K, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const char *const qwen2_architectures[] = {"Qwen2ForCausalLM", "Qwen2Model", NULL};
static const char *const qwen2_inherent[] = {"attention_bias", "qkv_bias", "use_qkv_bias",
                                             "add_qkv_bias", NULL};

const struct family family_qwen2 = {
    .name = "qwen2",
    .model_types = {"qwen2"},
    LLAMA_TENSOR_NAMES,
    .rows = qwen2_rows,
    .window = WINDOW_SWITCHED,
    .gguf = "qwen2",
    .architectures = qwen2_architectures,
    .inherent_keys = qwen2_inherent,
    .defaults = {QWEN_DEFAULTS},
};

static const struct node qwen3_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    HEAD_NORM_ROWS,
    ATTEND_ROWS(Q_NORM, K_NORM, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const char *const qwen3_architectures[] = {"Qwen3ForCausalLM", "Qwen3Model", NULL};
static const char *const qwen3_honoured[] = {"attention_bias", NULL};
static const char *const qwen3_inherent[] = {"qk_norm",          "use_qk_norm",    "qk_layernorm",
                                             "use_qk_layernorm", "query_key_norm", NULL};

const struct family family_qwen3 = {
    .name = "qwen3",
    .model_types = {"qwen3"},
    LLAMA_TENSOR_NAMES,
    .rows = qwen3_rows,
    .window = WINDOW_SWITCHED,
    .gguf = "qwen3",
    .architectures = qwen3_architectures,
    .honoured_keys = qwen3_honoured,
    .inherent_keys = qwen3_inherent,
    .defaults = {QWEN_DEFAULTS, .head_dim = 128},
};
