/* Mistral 7B, Nemo and relatives: Llama with a sliding window (on unless the config says null) and
 * a head_dim of its own. Defaults: transformers' MistralConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    LLAMA_ROWS(0, 0, 0),
    {END},
};

static const struct setting settings[] = {
    SIZES(32000, 4096, 32, 32, 131072),
    KV_HEADS(8),
    HEAD_DIM(0),
    FFN(14336),
    WINDOW(4096),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    {0},
};

static const struct layer_rule rules[] = {{ALL_LAYERS(T_WINDOW)}, {0}};

static const char *const architectures[] = {"MistralForCausalLM", "MistralModel", NULL};

const struct family family_mistral = {
    .name = "mistral",
    .model_types = {"mistral"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "llama",
    .architectures = architectures,
};
