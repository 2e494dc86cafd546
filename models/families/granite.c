/* Granite 3, the dense models: Llama with four factors, of the embedding, the scores, the branches
 * and the logits. Defaults: transformers' GraniteConfig. */
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
    NUMBER_POW(EMBED, "embedding_multiplier", 1, 1),
    NUMBER_POW(ATTN_SCALE, "attention_multiplier", 1, 1),
    NUMBER_POW(RESIDUAL, "residual_multiplier", 1, 1),
    NUMBER_POW(LOGITS, "logits_scaling", 1, -1),
    {0},
};

static const char *const architectures[] = {"GraniteForCausalLM", "GraniteModel", NULL};

const struct family family_granite = {
    .name = "granite",
    .model_types = {"granite"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
};
