/* Llama 1, 2, 3 and the many checkpoints of its shape. Defaults: transformers' LlamaConfig. */
#include <stddef.h>

#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(T_MLP_BIAS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const char *const llama_architectures[] = {"LlamaForCausalLM", "LlamaModel",
                                                  "LLaMAForCausalLM", "LLaMaForCausalLM", NULL};
static const char *const llama_honoured[] = {"attention_bias", "mlp_bias", NULL};

const struct family family_llama = {
    .name = "llama",
    .model_types = {"llama"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .window = WINDOW_NEVER,
    .gguf = "llama",
    .architectures = llama_architectures,
    .honoured_keys = llama_honoured,
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
