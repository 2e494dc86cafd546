/* DeepSeek V2 and V3: queries, keys and values through latents; the first layers dense, the others
 * with experts beside some that every token passes. Defaults: transformers' DeepseekV2Config and
 * DeepseekV3Config; scores scaled by yarn's magnitude in both, as in DeepSeek's own code, and in
 * vLLM and llama.cpp. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* clang-format off */
#define ATTENTION_ROWS                                                                              \
    {NORM(ATTN_IN, X, "input_layernorm")},                                                          \
    {LINEAR(Q_A, ATTN_IN, Q_LORA, "self_attn.q_a_proj"), .bias = T_ATTENTION_BIAS, .when = T_Q_LORA}, \
    {NORM(Q_A_NORM, Q_A, "self_attn.q_a_layernorm"), .eps = 1e-6, .when = T_Q_LORA},                \
    {LINEAR(Q, Q_A_NORM, MLA_Q, "self_attn.q_b_proj"), .when = T_Q_LORA},                           \
    {LINEAR(Q, ATTN_IN, MLA_Q, "self_attn.q_proj"), .unless = T_Q_LORA},                            \
    /* one latent for all heads, and the one part of the keys that is rotated */                    \
    {LINEAR(KV_A, ATTN_IN, KV_A, "self_attn.kv_a_proj_with_mqa"), .bias = T_ATTENTION_BIAS},        \
    {SPLIT(KV_A, ONE), .out = {V_KV_C, V_K_PE}, .width = {DIM_KV_LORA, DIM_PE}},                    \
    {NORM(KV_C_NORM, KV_C, "self_attn.kv_a_layernorm"), .eps = 1e-6},                               \
    {LINEAR(KV_B, KV_C_NORM, KV_B, "self_attn.kv_b_proj")},                                         \
    {SPLIT(KV_B, HEADS), .out = {V_K_NOPE, V_V}, .width = {DIM_MLA_NOPE, DIM_MLA_V}},               \
    {JOIN(K, K_NOPE, K_PE, HEADS)},                                                                 \
    {ROPE(Q_ROT, Q, HEADS), .skip = DIM_NOPE},                                                      \
    {ROPE(K_ROT, K, HEADS), .skip = DIM_NOPE},                                                      \
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},                                                          \
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},              \
    {ADD(Y, X, ATTN_OUT)},                                                                          \
    {NORM(MLP_IN, Y, "post_attention_layernorm")},                                                  \
    DENSE_ROWS("mlp")
#define ROUTED_ROWS                                                                                 \
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert), .when = T_SPARSE},                  \
    {ADD(Y_ROUTED, Y, ROUTED), .when = T_SPARSE},                                                   \
    SHARED_ROWS(SHARED_FFN, "mlp.shared_experts"),                                                  \
    {ADD(Z, Y_ROUTED, SHARED_OUT), .when = T_SPARSE}

/* A count that null makes 0. */
#define COUNT(d, k, n) {.set = SET_DIM, .what = DIM_##d, .key = k, .absent = n, .null_is_off = true}
#define LATENT_SETTINGS                                                                             \
    KV_HEADS(0),                                                                                    \
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),                                                \
    COUNT(Q_LORA, "q_lora_rank", 1536),                                                             \
    {.set = SET_TRAIT_IF, .what = T_Q_LORA, .key = "q_lora_rank", .absent = 1, .null_is_off = true},\
    DIM(KV_LORA, "kv_lora_rank", 512),                                                              \
    DIM(NOPE, "qk_nope_head_dim", 128),                                                             \
    DIM(PE, "qk_rope_head_dim", 64),                                                                \
    DIM(HEAD, "qk_rope_head_dim", 64),                                                              \
    DIM(V_HEAD, "v_head_dim", 128)
/* clang-format on */

static const struct family_limit limits[] = {
    {"SGLang", "awq", true, "takes packed latents (q_a_proj, kv_a_proj, kv_b_proj) from awq only"},
    {.stack = NULL},
};

/* --- V2 --------------------------------------------------------------------------------------- */

static const struct node v2_rows[] = {
    ATTENTION_ROWS,
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .group_score = GROUP_BEST, .when = T_SPARSE},
    ROUTED_ROWS,
    {END},
};

static const struct setting v2_settings[] = {
    SIZES(32000, 4096, 32, 32, 2048),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    LATENT_SETTINGS,
    WORD(0, "scoring_func", "softmax"),
    WORD(0, "topk_method", "greedy"),
    WORD(T_A, "topk_method", "group_limited_greedy"),
    DIM(EXPERTS, "n_routed_experts", 64),
    DIM(TOP_K, "num_experts_per_tok", 0),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1407),
    COUNT(N_SHARED, "n_shared_experts", 2),
    {.set = SET_DIM, .what = DIM_N_GROUPS, .key = "n_group", .when = T_A},
    {.set = SET_DIM, .what = DIM_TOP_GROUPS, .key = "topk_group", .when = T_A},
    NUMBER(ROUTED, "routed_scaling_factor", 1),
    {0},
};

static const struct layer_rule v2_rules[] = {{FROM(T_SPARSE, "first_k_dense_replace", 0)}, {0}};

static const char *const v2_architectures[] = {"DeepseekV2ForCausalLM", "DeepseekV2Model", NULL};

const struct family family_deepseek_v2 = {
    .name = "deepseek_v2",
    .model_types = {"deepseek_v2"},
    LLAMA_TENSOR_NAMES,
    .rows = v2_rows,
    .settings = v2_settings,
    .rules = v2_rules,
    .norm = NORM_RMS,
    .traits = T_INTERLEAVED | T_MSCALE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v2_architectures,
    .limits = limits,
};

/* --- V3 --------------------------------------------------------------------------------------- */

static const struct node v3_rows[] = {
    ATTENTION_ROWS,
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mlp.gate.e_score_correction_bias", .when = T_SPARSE},
    ROUTED_ROWS,
    {END},
};

static const struct setting v3_settings[] = {
    SIZES(129280, 7168, 61, 128, 4096),
    FFN(18432),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    LATENT_SETTINGS,
    FLAG(T_INTERLEAVED, "rope_interleave", true),
    WORD(0, "scoring_func", "sigmoid"),
    WORD(0, "topk_method", "noaux_tc"),
    DIM(EXPERTS, "n_routed_experts", 256),
    DIM(TOP_K, "num_experts_per_tok", 8),
    DIM(EXPERT_FFN, "moe_intermediate_size", 2048),
    COUNT(N_SHARED, "n_shared_experts", 1),
    DIM(N_GROUPS, "n_group", 8),
    DIM(TOP_GROUPS, "topk_group", 4),
    FLAG(T_NORM_TOPK, "norm_topk_prob", true),
    NUMBER(ROUTED, "routed_scaling_factor", 2.5),
    {0},
};

static const struct layer_rule v3_rules[] = {{FROM(T_SPARSE, "first_k_dense_replace", 3)}, {0}};

static const char *const v3_architectures[] = {"DeepseekV3ForCausalLM", "DeepseekV3Model", NULL};

const struct family family_deepseek_v3 = {
    .name = "deepseek_v3",
    .model_types = {"deepseek_v3"},
    LLAMA_TENSOR_NAMES,
    .rows = v3_rows,
    .settings = v3_settings,
    .rules = v3_rules,
    .norm = NORM_RMS,
    .traits = T_MSCALE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v3_architectures,
    .limits = limits,
};
