/* SPDX-License-Identifier: Apache-2.0 */
/* DeepSeek's MoE (version 1): Llama's attention; V2, V3 and V3.2: queries, keys and values through
 * latents; the first layers dense, the others with experts beside some that every token passes.
 * Defaults: the DeepseekConfig that version 1 brings, transformers' DeepseekV2Config and
 * DeepseekV3Config; scores scaled by yarn's magnitude in both, as in DeepSeek's own code, and
 * in vLLM and llama.cpp. */
#include "models/families/latent.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* clang-format off */
/* From ATTN_OUT to Z. */
#define V3_REST_ROWS                                                                                \
    {ADD(Y, X, ATTN_OUT)},                                                                          \
    {NORM(MLP_IN, Y, "post_attention_layernorm")},                                                  \
    DENSE_ROWS("mlp"),                                                                              \
    V3_ROUTER_ROW,                                                                                  \
    V3_ROUTED_ROWS(expert)
/* clang-format on */

static const struct family_limit limits[] = {LATENT_LIMITS, {.stack = NULL}};

/* --- V1 --------------------------------------------------------------------------------------- */

static const struct node v1_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .when = T_SPARSE},
    V3_ROUTED_ROWS(expert),
    {END},
};

static const struct setting v1_settings[] = {
    SIZES(102400, 4096, 30, 32, 2048),
    KV_HEADS(32),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    WORD(0, "scoring_func", "softmax"),
    DIM(EXPERTS, "n_routed_experts", 64), /* the class has none of these three */
    DIM(TOP_K, "num_experts_per_tok", 6),
    DIM(N_SHARED, "n_shared_experts", 2),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1407),
    FLAG(T_NORM_TOPK, "norm_topk_prob", false),
    {0},
};

static const char *const v1_architectures[] = {"DeepseekForCausalLM", "DeepseekModel", NULL};

static const struct layer_rule v2_rules[] = {{FROM(T_SPARSE, "first_k_dense_replace", 0)}, {0}};

const struct family family_deepseek = {
    .name = "deepseek",
    .model_types = {"deepseek"},
    LLAMA_TENSOR_NAMES,
    .rows = v1_rows,
    .settings = v1_settings,
    .rules = v2_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v1_architectures,
};

/* --- V2 --------------------------------------------------------------------------------------- */

static const struct node v2_rows[] = {
    LATENT_ROWS,
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .group_score = GROUP_BEST, .when = T_SPARSE},
    V3_ROUTED_ROWS(expert),
    {END},
};

static const struct setting v2_settings[] = {
    SIZES(32000, 4096, 32, 32, 2048),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    LATENT_SETTINGS(1536, 512, 128, 64),
    DIM(V_HEAD, "v_head_dim", 128),
    WORD(0, "scoring_func", "softmax"),
    WORD(0, "topk_method", "greedy"),
    WORD(T_A, "topk_method", "group_limited_greedy"),
    DIM(EXPERTS, "n_routed_experts", 64),
    DIM(TOP_K, "num_experts_per_tok", 0),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1407),
    DIM_OR_NONE(N_SHARED, "n_shared_experts", 2),
    {.set = SET_DIM, .what = DIM_N_GROUPS, .key = "n_group", .when = T_A},
    {.set = SET_DIM, .what = DIM_TOP_GROUPS, .key = "topk_group", .when = T_A},
    NUMBER(ROUTED, "routed_scaling_factor", 1),
    {0},
};

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

/* The layer that predicts a further token. Servers read it behind the model's last norm, have its
 * projection unquantized and its block by the checkpoint's config (vLLM 03356f8c,
 * model_executor/models/deepseek_mtp.py, for V3.2 and GLM-5 too). */
static const struct draft_wiring draft = {EH_PROJ_WIRING, .behind_norm = true, .adds = T_SPARSE};
/* It chooses its keys itself whatever the last block does (vLLM 002d6073, deepseek_v2.py). */
static const struct draft_wiring draft_indexed = {EH_PROJ_WIRING, .behind_norm = true,
                                                  .adds = T_SPARSE | T_INDEXED};

/* --- V3 --------------------------------------------------------------------------------------- */

static const struct node v3_rows[] = {
    LATENT_ROWS,
    V3_REST_ROWS,
    {END},
};

static const struct setting v3_settings[] = {
    SIZES(129280, 7168, 61, 128, 4096),
    FFN(18432),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    LATENT_SETTINGS(1536, 512, 128, 64),
    DIM(V_HEAD, "v_head_dim", 128),
    FLAG(T_INTERLEAVED, "rope_interleave", true),
    V3_SCORES,
    V3_EXPERTS(256, 8, 2048),
    V3_CHOICE(8, 4, 2.5),
    {0},
};

static const struct layer_rule v3_rules[] = {{FROM(T_SPARSE, "first_k_dense_replace", 3)}, {0}};

static const char *const v3_architectures[] = {"DeepseekV3ForCausalLM", "DeepseekV3Model", NULL};

const struct family family_deepseek_v3 = {
    .name = "deepseek_v3",
    .model_types = {"deepseek_v3", "kimi_k2"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .draft = &draft,
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

/* --- V3.2 ------------------------------------------------------------------------------------- */

static const struct node v32_rows[] = {
    LATENT_INDEXED_ROWS(true),
    V3_REST_ROWS,
    {END},
};

static const struct setting v32_settings[] = {
    SIZES(129280, 7168, 61, 128, 163840),
    FFN(18432),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    DIM(Q_LORA, "q_lora_rank", 1536),
    LATENT_KEY_SETTINGS(512, 128, 64),
    DIM(V_HEAD, "v_head_dim", 128),
    INDEX_SETTINGS(64, 128, 2048),
    V3_SCORES,
    V3_EXPERTS(256, 8, 2048),
    V3_CHOICE(8, 4, 2.5),
    {0},
};

static const struct layer_rule v32_rules[] = {
    INDEX_RULES,
    {FROM(T_SPARSE, "first_k_dense_replace", 3)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const v32_architectures[] = {"DeepseekV32ForCausalLM", "DeepseekV32Model", NULL};

const struct family family_deepseek_v32 = {
    .name = "deepseek_v32",
    .model_types = {"deepseek_v32"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .draft = &draft_indexed,
    .rows = v32_rows,
    .settings = v32_settings,
    .rules = v32_rules,
    .norm = NORM_RMS,
    .traits = T_INTERLEAVED | T_MSCALE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v32_architectures,
    .limits = limits,
};

/* --- GLM-5, which is built alike -------------------------------------------------------------- */

static const struct node glm_rows[] = {
    LATENT_INDEXED_ROWS(false),
    V3_REST_ROWS,
    {END},
};

static const struct setting glm_settings[] = {
    SIZES(154880, 6144, 78, 64, 202752),
    FFN(12288),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    DIM(Q_LORA, "q_lora_rank", 2048),
    LATENT_KEY_SETTINGS(512, 192, 64),
    DIM(V_HEAD, "v_head_dim", 256),
    INDEX_SETTINGS(32, 128, 2048),
    V3_SCORES,
    V3_EXPERTS(256, 8, 2048),
    V3_CHOICE(1, 1, 2.5),
    {0},
};

static const char *const glm_architectures[] = {"GlmMoeDsaForCausalLM", "GlmMoeDsaModel", NULL};

const struct family family_glm_moe_dsa = {
    .name = "glm_moe_dsa",
    .model_types = {"glm_moe_dsa"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .draft = &draft_indexed,
    .rows = glm_rows,
    .settings = glm_settings,
    .rules = v32_rules,
    .norm = NORM_RMS,
    .traits = T_INTERLEAVED | T_MSCALE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = glm_architectures,
    .limits = limits,
};
