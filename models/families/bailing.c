/* SPDX-License-Identifier: Apache-2.0 */
/* Ling and Ring: q, k, v in one linear; experts beside some that every token passes, chosen by a
 * softmax (version 1) or as DeepSeek-V3's (version 2, where the heads are normed and a part of them
 * rotates). Defaults: the BailingMoeConfig and BailingMoeV2Config that the models bring. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* clang-format off */
#define BAILING_NAMES                                         \
    .embedding = "model.word_embeddings.weight",              \
    .block_prefix = "model.layers.%lld.",                     \
    .final_norm = "model.norm",                               \
    .head = "lm_head.weight"
#define FIRST_ROWS                                                                              \
    {NORM(ATTN_IN, X, "input_layernorm")},                                                      \
    {LINEAR(QKV, ATTN_IN, QKV, "attention.query_key_value"), .bias = T_ATTENTION_BIAS},         \
    SPLIT_QKV_ROW(QKV, ONE)
#define REST_ROWS                                                                               \
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},                                                      \
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attention.dense")},                                     \
    {ADD(Y, X, ATTN_OUT)},                                                                      \
    {NORM(MLP_IN, Y, "post_attention_layernorm")}
/* clang-format on */

/* --- version 1 ---------------------------------------------------------------------------------
 */

static const struct node v1_rows[] = {
    FIRST_ROWS,
    ROTATE_ROWS(Q, K),
    REST_ROWS,
    {ROUTER(ROUTE, MLP_IN, "mlp.gate")},
    V3_ROUTED_ROWS(expert),
    {END},
};

static const struct setting v1_settings[] = {
    SIZES(30592, 1024, 24, 16, 16384),
    KV_HEADS(0),
    HEAD_DIM(0),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "use_qkv_bias", false),
    DIM(EXPERTS, "num_experts", 16),
    DIM(TOP_K, "num_experts_per_tok", 2),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1408),
    DIM(N_SHARED, "num_shared_experts", 2),
    FLAG(T_NORM_TOPK, "norm_topk_prob", true),
    {0},
};

static const char *const v1_architectures[] = {"BailingMoeForCausalLM", "BailingMoeModel", NULL};

const struct family family_bailing_moe = {
    .name = "bailing_moe",
    .model_types = {"bailing_moe"},
    BAILING_NAMES,
    .rows = v1_rows,
    .settings = v1_settings,
    .norm = NORM_RMS,
    .traits = T_SPARSE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v1_architectures,
};

/* --- version 2 ---------------------------------------------------------------------------------
 */

static const struct node v2_rows[] = {
    FIRST_ROWS,
    {NORM(Q_NORM, Q, "attention.query_layernorm"), .groups = DIM_HEADS, .when = T_QK_NORM},
    {NORM(K_NORM, K, "attention.key_layernorm"), .groups = DIM_KV_HEADS, .when = T_QK_NORM},
    ROTATE_ROWS(Q_NORM, K_NORM),
    REST_ROWS,
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mlp.gate.expert_bias", .when = T_SPARSE},
    V3_ROUTED_ROWS(expert),
    {END},
};

static const struct setting v2_settings[] = {
    SIZES(157184, 2048, 20, 16, 32768),
    KV_HEADS(4),
    HEAD_DIM(128),
    FFN(5120),
    THETA(600000),
    ROTARY("partial_rotary_factor", 1),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "use_qkv_bias", false),
    FLAG(T_QK_NORM, "use_qk_norm", true),
    WORD(0, "score_function", "sigmoid"),
    DIM(EXPERTS, "num_experts", 256),
    DIM(TOP_K, "num_experts_per_tok", 8),
    DIM(EXPERT_FFN, "moe_intermediate_size|moe_shared_expert_intermediate_size", 512),
    DIM(N_SHARED, "num_shared_experts", 1),
    V3_CHOICE(8, 4, 1),
    {0},
};

static const struct layer_rule v2_rules[] = {{FROM(T_SPARSE, "first_k_dense_replace", 1)}, {0}};

static const char *const v2_architectures[] = {"BailingMoeV2ForCausalLM", "BailingMoeV2Model",
                                               NULL};
static const char *const v2_inherent[] = {"moe_router_enable_expert_bias", NULL};

const struct family family_bailing_moe_v2 = {
    .name = "bailing_moe_v2",
    .model_types = {"bailing_moe_v2"},
    BAILING_NAMES,
    .draft_layers = true,
    .rows = v2_rows,
    .settings = v2_settings,
    .rules = v2_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v2_architectures,
    .inherent_keys = v2_inherent,
};
