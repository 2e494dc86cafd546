/* Mistral 7B, Nemo and relatives: Llama with a sliding window (on unless the config says null) and
 * a head_dim of its own. Defaults: transformers' MistralConfig. */
#include "models/tables.h"

const struct family family_mistral = {
    .name = "mistral",
    .model_types = {"mistral"},
    LLAMA_TENSOR_NAMES,
    LLAMA_LINEARS(BIAS_NEVER, BIAS_NEVER, BIAS_NEVER),
    LLAMA_FOLDS,
    .window = WINDOW_VALUE,
    .gguf = "llama",
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
