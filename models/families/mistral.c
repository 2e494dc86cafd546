/* Mistral 7B, Nemo and relatives: Llama with a sliding window (on unless the config says null) and
 * a head_dim of its own. Defaults: transformers' MistralConfig. */
#include <stddef.h>

#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(0),
    ATTEND_ROWS(Q, K, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const char *const mistral_architectures[] = {"MistralForCausalLM", "MistralModel", NULL};

const struct family family_mistral = {
    .name = "mistral",
    .model_types = {"mistral"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .window = WINDOW_VALUE,
    .gguf = "llama",
    .architectures = mistral_architectures,
    .defaults =
        {
            .vocab_size = 32000,
            .hidden_size = 4096,
            .intermediate_size = 14336,
            .num_hidden_layers = 32,
            .num_attention_heads = 32,
            .num_key_value_heads = 8,
            .max_position_embeddings = 131072,
            .sliding_window = 4096,
            .rms_norm_eps = 1e-6,
            .rope_theta = 10000.0,
        },
};
