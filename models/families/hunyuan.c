/* SPDX-License-Identifier: Apache-2.0 */
/* Hunyuan: dense models and A13B, where the norms of heads stand behind the rotation, and
 * Hunyuan 3. Defaults: transformers' HunYuanDenseV1Config, HunYuanMoEV1Config and HYV3Config. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* --- Hunyuan 1: beside the experts one that every token passes ---------------------------------
 */

static const struct node v1_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ROTATE_ROWS(Q, K),
    {NORM(Q_NORM, Q_ROT, "self_attn.query_layernorm"), .groups = DIM_HEADS},
    {NORM(K_NORM, K_ROT, "self_attn.key_layernorm"), .groups = DIM_KV_HEADS},
    {ATTENTION(CONTEXT, Q_NORM, K_NORM, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate.wg"), .when = T_SPARSE},
    ROUTED_AND_SHARED_ROWS("mlp.experts.%d.", expert, "mlp.shared_mlp"),
    {END},
};

/* clang-format off */
#define V1_SETTINGS                                     \
    SIZES(290943, 4096, 32, 32, 2048),                  \
    KV_HEADS(0),                                        \
    {.set = SET_DIM, .what = DIM_HEAD, .key = "head_dim|attention_head_dim", \
     .same = DIM_HIDDEN, .over = DIM_HEADS},            \
    THETA(10000),                                       \
    RMS_EPS(1e-5),                                      \
    TIED(false),                                        \
    FLAG(T_ATTENTION_BIAS, "attention_bias", false)
/* clang-format on */

static const char *const v1_inherent[] = {"use_qk_norm", "qk_norm", "norm_topk_prob", NULL};
/* of layers that share keys and values, which use_cla says */
static const char *const v1_ignored[] = {"cla_share_factor", NULL};

static const struct setting dense_settings[] = {V1_SETTINGS, FFN(11008), {0}};
static const char *const dense_architectures[] = {"HunYuanDenseV1ForCausalLM",
                                                  "HunYuanDenseV1Model", NULL};

const struct family family_hunyuan_v1_dense = {
    .name = "hunyuan_v1_dense",
    .model_types = {"hunyuan_v1_dense"},
    LLAMA_TENSOR_NAMES,
    .rows = v1_rows,
    .settings = dense_settings,
    .norm = NORM_RMS,
    .traits = T_NTK_ALPHA,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = dense_architectures,
    .inherent_keys = v1_inherent,
    .ignored_keys = v1_ignored,
};

/* transformers reads the first key for experts, vLLM the second. */
static const struct setting moe_settings[] = {
    V1_SETTINGS,
    DIM(EXPERT_FFN, "intermediate_size|moe_intermediate_size", 11008),
    DIM(EXPERTS, "num_experts", 1),
    DIM(TOP_K, "moe_topk", 1),
    DIM(N_SHARED, "num_shared_expert", 1),
    {0},
};

static const char *const moe_architectures[] = {"HunYuanMoEV1ForCausalLM", "HunYuanMoEV1Model",
                                                NULL};

const struct family family_hunyuan_v1_moe = {
    .name = "hunyuan_v1_moe",
    .model_types = {"hunyuan_v1_moe"},
    LLAMA_TENSOR_NAMES,
    .rows = v1_rows,
    .settings = moe_settings,
    .norm = NORM_RMS,
    .traits = T_NTK_ALPHA | T_NORM_TOPK | T_SPARSE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = moe_architectures,
    .inherent_keys = v1_inherent,
    .ignored_keys = v1_ignored,
};

/* --- Hunyuan 3: norms of heads; experts chosen by sigmoids and a bias, and a shared one ---------
 */

static const struct node v3_rows[] = {
    NORMED_HEADS_ROWS(T_ATTENTION_BIAS),
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.router.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mlp.expert_bias", .when = T_SPARSE},
    ROUTED_AND_SHARED_ROWS("mlp.experts.%d.", expert, "mlp.shared_mlp"),
    {END},
};

static const struct setting v3_settings[] = {
    SIZES(120832, 4096, 80, 64, 131072),
    KV_HEADS(8),
    HEAD_DIM(128),
    FFN(13312),
    THETA(11158840),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    DIM(EXPERTS, "num_experts|num_local_experts", 192),
    DIM(TOP_K, "num_experts_per_tok", 8),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1536),
    DIM_OR_NONE(N_SHARED, "num_shared_experts", 1),
    NUMBER(ROUTED, "router_scaling_factor", 2.826),
    {0},
};

static const struct layer_rule v3_rules[] = {
    {FROM(T_SPARSE, "first_k_dense_replace", 1)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const v3_architectures[] = {"HYV3ForCausalLM", "HYV3Model", NULL};
static const char *const v3_inherent[] = {
    "qk_norm", "use_qk_norm", "route_norm", "moe_router_use_sigmoid", "norm_topk_prob", NULL};

const struct family family_hy_v3 = {
    .name = "hy_v3",
    .model_types = {"hy_v3"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .rows = v3_rows,
    .settings = v3_settings,
    .rules = v3_rules,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v3_architectures,
    .inherent_keys = v3_inherent,
};
