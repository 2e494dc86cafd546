/* Qwen 2 and 3 with experts in most layers; Qwen 2 beside an MLP that every token passes, behind a
 * switch of one row. Loaders differ in what a window does here, so that none is read. Defaults:
 * transformers' Qwen2MoeConfig and Qwen3MoeConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* clang-format off */
#define ROUTED_ROWS                                          \
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .when = T_SPARSE},   \
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert), .when = T_SPARSE}
#define EXPERT_SETTINGS(experts, top_k, ffn)                         \
    /* version 5 saves the other name */                             \
    DIM(EXPERTS, "num_experts|num_local_experts", experts),          \
    DIM(TOP_K, "num_experts_per_tok", top_k),                        \
    DIM(EXPERT_FFN, "moe_intermediate_size", ffn),                   \
    FLAG(T_NORM_TOPK, "norm_topk_prob", false)
/* clang-format on */

static const struct layer_rule rules[] = {
    {EVERY(T_SPARSE, "decoder_sparse_step", 1)},
    {AMONG(T_SPARSE, "mlp_only_layers"), .clears = true},
    {0},
};

/* --- Qwen 2 ----------------------------------------------------------------------------------- */

static const struct node qwen2_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    ROUTED_ROWS,
    {ADD(Y_ROUTED, Y, ROUTED), .when = T_SPARSE},
    SHARED_ROWS(SHARED_FFN, "mlp.shared_expert"),
    {LINEAR(SHARED_SWITCH, MLP_IN, ONE, "mlp.shared_expert_gate"), .plain = true, .when = T_SPARSE},
    {GLU(SHARED, SHARED_SWITCH, SHARED_OUT), .act = ACT_SIGMOID, .when = T_SPARSE},
    {ADD(Z, Y_ROUTED, SHARED), .when = T_SPARSE},
    {END},
};

static const struct setting qwen2_settings[] = {
    SIZES(151936, 2048, 24, 16, 32768),
    KV_HEADS(16),
    HEAD_DIM(0),
    FFN(5632),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "qkv_bias", true),
    EXPERT_SETTINGS(60, 4, 1408),
    DIM(SHARED_FFN, "shared_expert_intermediate_size", 5632),
    {0},
};

static const char *const qwen2_architectures[] = {"Qwen2MoeForCausalLM", "Qwen2MoeModel", NULL};

const struct family family_qwen2_moe = {
    .name = "qwen2_moe",
    .model_types = {"qwen2_moe"},
    LLAMA_TENSOR_NAMES,
    .rows = qwen2_rows,
    .settings = qwen2_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = qwen2_architectures,
};

/* --- Qwen 3 ----------------------------------------------------------------------------------- */

static const struct node qwen3_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    HEAD_NORM_ROWS,
    ATTEND_ROWS(Q_NORM, K_NORM, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    ROUTED_ROWS,
    {ADD(Z, Y, ROUTED), .when = T_SPARSE},
    {END},
};

static const struct setting qwen3_settings[] = {
    SIZES(151936, 2048, 24, 32, 32768),
    KV_HEADS(4),
    HEAD_DIM(0),
    FFN(6144),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    EXPERT_SETTINGS(128, 8, 768),
    {0},
};

static const char *const qwen3_architectures[] = {"Qwen3MoeForCausalLM", "Qwen3MoeModel", NULL};
static const char *const qwen3_inherent[] = {"qk_norm",          "use_qk_norm",    "qk_layernorm",
                                             "use_qk_layernorm", "query_key_norm", NULL};

const struct family family_qwen3_moe = {
    .name = "qwen3_moe",
    .model_types = {"qwen3_moe"},
    LLAMA_TENSOR_NAMES,
    .rows = qwen3_rows,
    .settings = qwen3_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "qwen3moe",
    .architectures = qwen3_architectures,
    .inherent_keys = qwen3_inherent,
};
