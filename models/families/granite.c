/* Granite 3: Llama with four factors, of the embedding, the scores, the branches and the logits;
 * and the same with experts. Defaults: transformers' GraniteConfig and GraniteMoeConfig. */
#include "models/families/tables.h"

/* clang-format off */
#define FACTORS                                               \
    NUMBER_POW(EMBED, "embedding_multiplier", 1, 1),          \
    NUMBER_POW(ATTN_SCALE, "attention_multiplier", 1, 1),     \
    NUMBER_POW(RESIDUAL, "residual_multiplier", 1, 1),        \
    NUMBER_POW(LOGITS, "logits_scaling", 1, -1)
/* clang-format on */

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
    FACTORS,
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
    .gguf = "granite",
    .architectures = architectures,
};

/* --- with experts, of which all lie in two tensors -------------------------------------------- */

/* By themselves they have the names that vLLM and SGLang give them. */

static const struct node moe_expert[] = {
    {LINEAR(GATE, E, FFN, "w1"), .storage = STORED_STACK,
     .stack = "block_sparse_moe.input_linear.weight", .part = PART_FIRST},
    {LINEAR(UP, E, FFN, "w3"), .storage = STORED_STACK,
     .stack = "block_sparse_moe.input_linear.weight", .part = PART_SECOND},
    {GLU(MID, GATE, UP)},
    {LINEAR(E_OUT, MID, HIDDEN, "w2"), .storage = STORED_STACK,
     .stack = "block_sparse_moe.output_linear.weight"},
    {END},
};

static const struct node moe_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT), .number = NUM_RESIDUAL},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {ROUTER(ROUTE, MLP_IN, "block_sparse_moe.router.layer")},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "block_sparse_moe.experts.%d.", moe_expert)},
    {ADD(Z, Y, ROUTED), .number = NUM_RESIDUAL},
    {END},
};

static const struct setting moe_settings[] = {
    SIZES(32000, 4096, 32, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FACTORS,
    DIM(EXPERTS, "num_local_experts", 8),
    DIM(TOP_K, "num_experts_per_tok", 2),
    {0},
};

static const struct family_limit moe_limits[] = {
    {"transformers", NULL, true, "keeps the experts of this model stacked, and has no packed form"},
    {.stack = NULL},
};

static const char *const moe_architectures[] = {"GraniteMoeForCausalLM", "GraniteMoeModel", NULL};
static const char *const moe_inherent[] = {"norm_topk_prob", NULL};

const struct family family_granitemoe = {
    .name = "granitemoe",
    .model_types = {"granitemoe"},
    LLAMA_TENSOR_NAMES,
    .rows = moe_rows,
    .settings = moe_settings,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = moe_architectures,
    .limits = moe_limits,
    .inherent_keys = moe_inherent,
};
