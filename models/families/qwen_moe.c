/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen 2 and 3 with experts in most layers; Qwen 2 beside an MLP that every token passes, behind a
 * switch of one row. Loaders differ in what a window does here, so that none is read. Inside of
 * Qwen3-VL, experts lie in stacks. Mellum 2 is Qwen 3 with windows that are read. Defaults:
 * transformers' Qwen2MoeConfig, Qwen3MoeConfig, Qwen3VLMoeTextConfig and MellumConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* clang-format off */
#define ROUTED_ROWS(body)                                    \
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .when = T_SPARSE},   \
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", body), .when = T_SPARSE}
#define QWEN3_ROWS(body)                                     \
    NORMED_HEADS_ROWS(T_ATTENTION_BIAS),                     \
    DENSE_ROWS("mlp"),                                       \
    ROUTED_ROWS(body),                                       \
    {ADD(Z, Y, ROUTED), .when = T_SPARSE}
#define EXPERT_SETTINGS(experts, top_k, ffn)                         \
    /* version 5 saves the other name */                             \
    DIM(EXPERTS, "num_experts|num_local_experts", experts),          \
    DIM(TOP_K, "num_experts_per_tok", top_k),                        \
    DIM(EXPERT_FFN, "moe_intermediate_size", ffn)
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
    ROUTED_ROWS(expert),
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
    FLAG(T_NORM_TOPK, "norm_topk_prob", false),
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
    QWEN3_ROWS(expert),
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
    FLAG(T_NORM_TOPK, "norm_topk_prob", false),
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

/* --- Mellum 2 ----------------------------------------------------------------------------------
 */

static const struct setting mellum_settings[] = {
    SIZES(98304, 2304, 28, 32, 131072),
    KV_HEADS(4),
    HEAD_DIM(128),
    FFN(7168),
    WINDOW(1024),
    THETA(500000),
    NUMBER(LOCAL_THETA, NULL, 10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    EXPERT_SETTINGS(64, 8, 896),
    FLAG(T_NORM_TOPK, "norm_topk_prob", true),
    {0},
};

static const struct layer_rule mellum_rules[] = {
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {ALL_LAYERS(T_SPARSE)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const mellum_architectures[] = {"MellumForCausalLM", "MellumModel", NULL};

const struct family family_mellum = {
    .name = "mellum",
    .model_types = {"mellum"},
    LLAMA_TENSOR_NAMES,
    .rows = qwen3_rows,
    .settings = mellum_settings,
    .rules = mellum_rules,
    .norm = NORM_RMS,
    .traits = T_LOCAL_ROPE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = mellum_architectures,
    .inherent_keys = qwen3_inherent,
};

/* --- inside of Qwen3-VL ------------------------------------------------------------------------
 */

static const struct node vl_expert[] = {
    STACKED_EXPERT_ROWS(STORED_STACK_T, "mlp.experts.gate_up_proj", "mlp.experts.down_proj")};

static const struct node vl_rows[] = {
    QWEN3_ROWS(vl_expert),
    {END},
};

static const struct setting vl_settings[] = {
    SIZES(151936, 2048, 24, 16, 128000),
    KV_HEADS(16),
    HEAD_DIM(0),
    FFN(5632),
    THETA(5000000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    EXPERT_SETTINGS(60, 4, 1408),
    {0},
};

static const struct family_limit vl_limits[] = {
    STACKED_LIMITS,
    {.stack = NULL},
};

static const char *const vl_architectures[] = {"Qwen3VLMoeTextModel", NULL};
static const char *const vl_inherent[] = {
    "qk_norm",        "use_qk_norm", "qk_layernorm", "use_qk_layernorm", "query_key_norm",
    "norm_topk_prob", NULL};

const struct family family_qwen3_vl_moe_text = {
    .name = "qwen3_vl_moe_text",
    .model_types = {"qwen3_vl_moe_text"},
    LLAMA_TENSOR_NAMES,
    .rows = vl_rows,
    .settings = vl_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = vl_architectures,
    .inherent_keys = vl_inherent,
    .limits = vl_limits,
};
