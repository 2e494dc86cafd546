/* Hunyuan. Defaults: transformers' HYV3Config. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* --- Hunyuan 3: norms of heads; experts chosen by sigmoids and a bias, and a shared one ---------
 */

static const struct node v3_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    HEAD_NORM_ROWS,
    ATTEND_ROWS(Q_NORM, K_NORM, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.router.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mlp.expert_bias", .when = T_SPARSE},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert), .when = T_SPARSE},
    {ADD(Y_ROUTED, Y, ROUTED), .when = T_SPARSE},
    SHARED_ROWS(SHARED_FFN, "mlp.shared_mlp"),
    {ADD(Z, Y_ROUTED, SHARED_OUT), .when = T_SPARSE},
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
