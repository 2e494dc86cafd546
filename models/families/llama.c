/* Llama 1, 2, 3 and the many checkpoints of its shape. Defaults: transformers' LlamaConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, T_ATTENTION_BIAS, T_MLP_BIAS),
    {END},
};

static const struct setting settings[] = {
    SIZES(32000, 4096, 32, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    {0},
};

static const char *const architectures[] = {"LlamaForCausalLM", "LlamaModel", "LLaMAForCausalLM",
                                            "LLaMaForCausalLM", NULL};

const struct family family_llama = {
    .name = "llama",
    .model_types = {"llama"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "llama",
    .architectures = architectures,
};
