/* Llama 1, 2, 3 and the many checkpoints of its shape. Defaults: transformers' LlamaConfig. */
#include "models/tables.h"

const struct family family_llama = {
    .name = "llama",
    .model_types = {"llama"},
    LLAMA_TENSOR_NAMES,
    LLAMA_LINEARS(BIAS_IF_ATTENTION, BIAS_IF_ATTENTION, BIAS_IF_MLP),
    LLAMA_FOLDS,
    .window = WINDOW_NEVER,
    .gguf = "llama",
    .defaults =
        {
            .vocab_size = 32000,
            .hidden_size = 4096,
            .intermediate_size = 11008,
            .num_hidden_layers = 32,
            .num_attention_heads = 32,
            .max_position_embeddings = 2048,
            .rms_norm_eps = 1e-6,
            .rope_theta = 10000.0,
        },
};
