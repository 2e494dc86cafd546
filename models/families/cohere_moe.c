/* SPDX-License-Identifier: Apache-2.0 */
/* Command A+ (cohere2_moe): Cohere 2 with experts beside the attention on its norm, chosen by their
 * logits, and beside them one that every token passes; first layers with an MLP, which see
 * everything and rotate. Defaults: transformers' Cohere2MoeConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* T_A: scores are sigmoids. T_B: there is a shared expert. T_C: its sum with the others' counts,
 * not their mean. */
static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {SAME(MLP_IN, ATTN_IN)},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .score = SCORE_SIGMOID, .when = T_SPARSE | T_A},
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .when = T_SPARSE, .unless = T_A},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert), .when = T_SPARSE},
    {ADD(Z, Y, ROUTED), .when = T_SPARSE, .unless = T_B},
    {ADD(Y_ROUTED, Y, ROUTED), .number = NUM_RESIDUAL, .when = T_SPARSE | T_B},
    {LINEAR(SHARED_GATE, MLP_IN, SHARED_FFN, "mlp.shared_experts.gate_proj"),
     .when = T_SPARSE | T_B},
    {LINEAR(SHARED_UP, MLP_IN, SHARED_FFN, "mlp.shared_experts.up_proj"), .when = T_SPARSE | T_B},
    {GLU(SHARED_MID, SHARED_GATE, SHARED_UP), .when = T_SPARSE | T_B},
    {LINEAR(SHARED_OUT, SHARED_MID, HIDDEN, "mlp.shared_experts.down_proj"),
     .when = T_SPARSE | T_B},
    {ADD(Z, Y_ROUTED, SHARED_OUT), .number = NUM_RESIDUAL, .when = T_SPARSE | T_B},
    {END},
};

static const struct setting settings[] = {
    SIZES(256000, 8192, 40, 64, 8192),
    KV_HEADS(0),
    HEAD_DIM(128),
    DIM(EXPERT_FFN, "intermediate_size", 22528),
    DIM_AS(FFN, "prefix_dense_intermediate_size", EXPERT_FFN),
    WINDOW(4096),
    THETA(10000),
    NUMBER(EPS, "layer_norm_eps", 1e-5),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    NUMBER_POW(LOGITS, "logit_scale", 0.0625, 1),
    DIM(EXPERTS, "num_experts", 8),
    DIM(TOP_K, "num_experts_per_tok", 2),
    FLAG(T_NORM_TOPK, "norm_topk_prob", true),
    WORD(T_A, "expert_selection_fn", "sigmoid"),
    WORD(0, "expert_selection_fn", "softmax"),
    {.set = SET_TRAIT, .what = T_NORM_TOPK, .absent = 1, .unless = T_A},
    DIM(N_SHARED, "num_shared_experts", 0),
    FLAG_IF(T_B, "num_shared_experts"),
    WORD(T_C, "shared_expert_combination_strategy", "sum"),
    WORD(0, "shared_expert_combination_strategy", "average"),
    {.set = SET_NUMBER, .what = NUM_RESIDUAL, .absent = 0.5, .unless = T_C},
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_WINDOW, WINDOW_PATTERN, 4), .offset = "first_k_dense_replace"},
    {EVERY(T_NO_ROPE, WINDOW_PATTERN, 4), .offset = "first_k_dense_replace"},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_WORD(T_NO_ROPE, "layer_types", "full_attention")},
    {FROM(T_SPARSE, "first_k_dense_replace", 0)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {BEFORE(T_NO_ROPE, "first_k_dense_replace", 0), .clears = true},
    {BY_WORD(T_NO_ROPE, "mlp_layer_types", "dense"), .clears = true},
    {0},
};

static const char *const architectures[] = {"Cohere2MoeForCausalLM", "Cohere2MoeModel", NULL};
/* 1: in first layers */
static const char *const inherent[] = {"prefix_dense_sliding_window_pattern", NULL};

const struct family family_cohere2_moe = {
    .name = "cohere2_moe",
    .model_types = {"cohere2_moe"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_LAYER_W,
    .traits = T_INTERLEAVED | T_PARALLEL,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
};
