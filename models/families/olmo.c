/* SPDX-License-Identifier: Apache-2.0 */
/* OLMo 1 to 3, and OLMoE. Defaults: transformers' OlmoConfig, Olmo2Config, Olmo3Config,
 * OlmoeConfig and FlexOlmoConfig. */
#include "models/families/tables.h"

/* --- OLMo 1: norms without weights; queries, keys and values within a bound ------------------- */

static const struct node olmo_rows[] = {
    {NORM(ATTN_IN, X, NULL)},
    QKV_ROWS(T_ATTENTION_BIAS),
    {CLIP(Q_CLIP, Q)},
    {CLIP(K_CLIP, K)},
    {CLIP(V_CLIP, V)},
    ROTATE_ROWS(Q_CLIP, K_CLIP),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V_CLIP)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, NULL)},
    GATED_ROWS(MLP_IN, 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting olmo_settings[] = {
    SIZES(50304, 4096, 32, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    NUMBER(EPS, NULL, 1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG_IF(T_CLIP, "clip_qkv"),
    NUMBER(CLIP, "clip_qkv", 0),
    {0},
};

static const char *const olmo_architectures[] = {"OlmoForCausalLM", "OlmoModel", NULL};

const struct family family_olmo = {
    .name = "olmo",
    .model_types = {"olmo"},
    LLAMA_TENSOR_NAMES,
    .rows = olmo_rows,
    .settings = olmo_settings,
    .norm = NORM_LAYER_BARE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = olmo_architectures,
};

/* --- OLMo 2: norms behind the branches, and over all heads of queries and keys ---------------- */

/* clang-format off */
/* From X to Y. */
#define NORMED_ROWS                                             \
    QKV_OF_ROWS(X, T_ATTENTION_BIAS),                           \
    {NORM(Q_NORM, Q, "self_attn.q_norm")},                      \
    {NORM(K_NORM, K, "self_attn.k_norm")},                      \
    ATTEND_ROWS(Q_NORM, K_NORM, T_ATTENTION_BIAS),              \
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm")},    \
    {ADD(Y, X, ATTN_POST)}
/* clang-format on */

static const struct node olmo2_rows[] = {
    NORMED_ROWS,
    GATED_ROWS(Y, 0),
    {NORM(MLP_POST, MLP_OUT, "post_feedforward_layernorm")},
    {ADD(Z, Y, MLP_POST)},
    {END},
};

static const struct setting olmo2_settings[] = {
    SIZES(50304, 4096, 32, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    {0},
};

static const char *const olmo2_architectures[] = {"Olmo2ForCausalLM", "Olmo2Model", NULL};
static const char *const olmo2_inherent[] = {"qk_norm",    "use_qk_norm",    "post_norm",
                                             "norm_after", "reordered_norm", NULL};

const struct family family_olmo2 = {
    .name = "olmo2",
    .model_types = {"olmo2"},
    LLAMA_TENSOR_NAMES,
    .rows = olmo2_rows,
    .settings = olmo2_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "olmo2",
    .architectures = olmo2_architectures,
    .inherent_keys = olmo2_inherent,
};

/* --- OLMo 3: the same with a window in three of four layers -------------------------------------
 */

/* Scaled rotation is that of the layers without a window alone, as OLMo was trained, and as vLLM
 * and transformers 4.57 have it (Olmo3Model there); transformers 5 has one rotation for all. */
static const struct setting olmo3_settings[] = {
    SIZES(50304, 4096, 32, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    WINDOW(4096),
    THETA(10000),
    NUMBER(LOCAL_THETA, "rope_theta|rope_parameters.rope_theta", 10000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    {0},
};

static const struct layer_rule olmo3_rules[] = {
    {NOT_EVERY(T_WINDOW, NULL, 4)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const char *const olmo3_architectures[] = {"Olmo3ForCausalLM", "Olmo3Model", NULL};

const struct family family_olmo3 = {
    .name = "olmo3",
    .model_types = {"olmo3"},
    LLAMA_TENSOR_NAMES,
    .rows = olmo2_rows,
    .settings = olmo3_settings,
    .rules = olmo3_rules,
    .norm = NORM_RMS,
    .traits = T_LOCAL_ROPE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = olmo3_architectures,
    .inherent_keys = olmo2_inherent,
};

/* --- OLMoE: experts; norms over all heads of queries and keys, and bounds behind them --------- */

static const struct node olmoe_expert[] = {EXPERT_ROWS(FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node olmoe_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    {NORM(Q_NORM, Q, "self_attn.q_norm")},
    {NORM(K_NORM, K, "self_attn.k_norm")},
    {CLIP(Q_CLIP, Q_NORM)},
    {CLIP(K_CLIP, K_NORM)},
    {CLIP(V_CLIP, V)},
    ROTATE_ROWS(Q_CLIP, K_CLIP),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V_CLIP)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {ROUTER(ROUTE, MLP_IN, "mlp.gate")},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", olmoe_expert)},
    {ADD(Z, Y, ROUTED)},
    {END},
};

static const struct setting olmoe_settings[] = {
    SIZES(50304, 2048, 16, 16, 4096),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(2048),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG_IF(T_CLIP, "clip_qkv"),
    NUMBER(CLIP, "clip_qkv", 0),
    DIM(EXPERTS, "num_experts|num_local_experts", 64),
    DIM(TOP_K, "num_experts_per_tok", 8),
    FLAG(T_NORM_TOPK, "norm_topk_prob", false),
    {0},
};

static const char *const olmoe_architectures[] = {"OlmoeForCausalLM", "OlmoeModel", NULL};
static const char *const olmoe_inherent[] = {"qk_norm", "use_qk_norm", NULL};

const struct family family_olmoe = {
    .name = "olmoe",
    .model_types = {"olmoe"},
    LLAMA_TENSOR_NAMES,
    .rows = olmoe_rows,
    .settings = olmoe_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = olmoe_architectures,
    .inherent_keys = olmoe_inherent,
};

/* --- FlexOlmo: OLMo 2's norms around experts ----------------------------------------------------
 */

static const struct node flex_rows[] = {
    NORMED_ROWS,
    {ROUTER(ROUTE, Y, "mlp.gate")},
    {EXPERTS(ROUTED, Y, ROUTE, "mlp.experts.%d.", olmoe_expert)},
    {NORM(MLP_POST, ROUTED, "post_feedforward_layernorm")},
    {ADD(Z, Y, MLP_POST)},
    {END},
};

static const struct setting flex_settings[] = {
    SIZES(100352, 4096, 32, 32, 4096),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(500000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    DIM(EXPERTS, "num_experts|num_local_experts", 7),
    DIM(TOP_K, "num_experts_per_tok", 5),
    FLAG(T_NORM_TOPK, "norm_topk_prob", false),
    {0},
};

static const char *const flex_architectures[] = {"FlexOlmoForCausalLM", "FlexOlmoModel", NULL};

const struct family family_flex_olmo = {
    .name = "flex_olmo",
    .model_types = {"flex_olmo"},
    LLAMA_TENSOR_NAMES,
    .rows = flex_rows,
    .settings = flex_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = flex_architectures,
    .inherent_keys = olmo2_inherent,
};
