/* SPDX-License-Identifier: Apache-2.0 */
/* GLM-4.5 to 4.7 and Solar Open: DeepSeek-V3's experts behind Llama's attention, of which half of a
 * head rotates (glm4_moe) or all (solar_open, without dense layers), or behind DeepSeek's
 * (glm4_moe_lite). Defaults: transformers' Glm4MoeConfig, Glm4MoeLiteConfig and SolarOpenConfig. */
#include "models/families/latent.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* clang-format off */
#define ROUTED_ROWS V3_ROUTER_ROW, V3_ROUTED_ROWS(expert)
#define ROUTED_SETTINGS(experts, top_k, ffn, scale)           \
    V3_SCORES,                                                \
    V3_EXPERTS(experts, top_k, ffn),                          \
    V3_CHOICE(1, 1, scale)
/* clang-format on */

/* The layer that predicts a further token, as DeepSeek-V3 has it (vLLM 028aedf6,
 * model_executor/models/glm4_moe_mtp.py; 055e47c2, glm4_moe_lite_mtp.py). */
static const struct draft_wiring draft = {EH_PROJ_WIRING, .behind_norm = true, .adds = T_SPARSE};

/* --- GLM-4.5, 4.6, 4.7 ------------------------------------------------------------------------ */

static const struct node glm4_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    {NORM(Q_NORM, Q, "self_attn.q_norm"), .groups = DIM_HEADS, .when = T_QK_NORM},
    {NORM(K_NORM, K, "self_attn.k_norm"), .groups = DIM_KV_HEADS, .when = T_QK_NORM},
    ATTEND_ROWS(Q_NORM, K_NORM, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    ROUTED_ROWS,
    {END},
};

static const struct setting glm4_settings[] = {
    SIZES(151552, 4096, 46, 96, 131072),
    KV_HEADS(8),
    HEAD_DIM(128), /* the class has none, and 4096 / 96, half of which rotates, cannot be */
    FFN(10944),
    THETA(10000),
    ROTARY("partial_rotary_factor", 0.5),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_QK_NORM, "use_qk_norm", false),
    ROUTED_SETTINGS(128, 8, 1408, 1),
    {0},
};

static const struct layer_rule rules[] = {
    {FROM(T_SPARSE, "first_k_dense_replace", 1)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const glm4_architectures[] = {"Glm4MoeForCausalLM", "Glm4MoeModel", NULL};

const struct family family_glm4_moe = {
    .name = "glm4_moe",
    .model_types = {"glm4_moe"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .draft = &draft,
    .rows = glm4_rows,
    .settings = glm4_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = glm4_architectures,
};

/* Inside of GLM-4.5V and GLM-4.6V. Defaults: transformers' Glm4vMoeTextConfig. */
static const struct setting glm4v_settings[] = {
    SIZES(151424, 4096, 46, 96, 65536),
    KV_HEADS(8),
    HEAD_DIM(128),
    FFN(10944),
    THETA(10000),
    ROTARY("partial_rotary_factor", 0.5),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", true),
    ROUTED_SETTINGS(128, 8, 1408, 1),
    {0},
};

static const char *const glm4v_architectures[] = {"Glm4vMoeTextModel", NULL};

const struct family family_glm4v_moe_text = {
    .name = "glm4v_moe_text",
    .model_types = {"glm4v_moe_text"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .rows = glm4_rows,
    .settings = glm4v_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = glm4v_architectures,
};

/* --- GLM-4.7-Flash ---------------------------------------------------------------------------- */

static const struct node lite_rows[] = {
    LATENT_ROWS,       {ADD(Y, X, ATTN_OUT)}, {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"), ROUTED_ROWS,           {END},
};

static const struct setting lite_settings[] = {
    SIZES(154880, 2048, 47, 20, 202752),
    FFN(10240),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    LATENT_SETTINGS(768, 512, 192, 64),
    DIM(V_HEAD, "v_head_dim", 256),
    FLAG(T_INTERLEAVED, "rope_interleave", true),
    ROUTED_SETTINGS(64, 4, 1536, 1.8),
    {0},
};

static const struct family_limit lite_limits[] = {LATENT_LIMITS, {.stack = NULL}};

static const char *const lite_architectures[] = {"Glm4MoeLiteForCausalLM", "Glm4MoeLiteModel",
                                                 NULL};

const struct family family_glm4_moe_lite = {
    .name = "glm4_moe_lite",
    .model_types = {"glm4_moe_lite"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .draft = &draft,
    .rows = lite_rows,
    .settings = lite_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_MSCALE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = lite_architectures,
    .limits = lite_limits,
};

/* --- Solar Open ------------------------------------------------------------------------------- */

static const struct node solar_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    ROUTED_ROWS,
    {END},
};

static const struct setting solar_settings[] = {
    SIZES(196608, 4096, 48, 64, 131072),
    KV_HEADS(8),
    HEAD_DIM(128),
    THETA(1000000),
    ROTARY("partial_rotary_factor", 1),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    ROUTED_SETTINGS(128, 8, 1280, 1),
    {0},
};

static const char *const solar_architectures[] = {"SolarOpenForCausalLM", "SolarOpenModel", NULL};

const struct family family_solar_open = {
    .name = "solar_open",
    .model_types = {"solar_open"},
    LLAMA_TENSOR_NAMES,
    .rows = solar_rows,
    .settings = solar_settings,
    .norm = NORM_RMS,
    .traits = T_SPARSE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = solar_architectures,
};
