/* SPDX-License-Identifier: Apache-2.0 */
/* LFM2 and its mixtures: short convolutions between two products with what the same linear makes,
 * attention in some layers. Defaults: transformers' Lfm2Config and Lfm2MoeConfig.
 *
 * Plain: the convolutions, which servers do not take packed, and the routers (GPTQModel f4c327a,
 * models/definitions/lfm2.py and lfm2_moe.py; vLLM 055e47c, model_executor/models/lfm2.py). */
#include "models/families/tables.h"

/* clang-format off */
#define MIXER_ROWS                                                                               \
    {NORM(ATTN_IN, X, "operator_norm")},                                                         \
    {LINEAR(MIX_IN, ATTN_IN, HIDDEN3, "conv.in_proj"), .bias = T_A, .when = T_RECURRENT},        \
    {SPLIT(MIX_IN, ONE), .out = {V_MIX_B, V_MIX_C, V_MIX_X},                                     \
     .width = {DIM_HIDDEN, DIM_HIDDEN, DIM_HIDDEN}, .when = T_RECURRENT},                        \
    {GLU(CONV_IN, MIX_B, MIX_X), .act = ACT_NONE, .when = T_RECURRENT},                          \
    {CONV(CONV_OUT, CONV_IN, "conv.conv"), .act = ACT_NONE, .bias = T_A, .when = T_RECURRENT},   \
    {GLU(SCAN_GATED, MIX_C, CONV_OUT), .act = ACT_NONE, .when = T_RECURRENT},                    \
    {LINEAR(MIX_OUT, SCAN_GATED, HIDDEN, "conv.out_proj"), .bias = T_A, .when = T_RECURRENT},    \
    {ADD(Y, X, MIX_OUT), .when = T_RECURRENT},                                                   \
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .unless = T_RECURRENT},                       \
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .unless = T_RECURRENT},                         \
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .unless = T_RECURRENT},                         \
    {NORM(Q_NORM, Q, "self_attn.q_layernorm"), .groups = DIM_HEADS, .unless = T_RECURRENT},      \
    {NORM(K_NORM, K, "self_attn.k_layernorm"), .groups = DIM_KV_HEADS, .unless = T_RECURRENT},   \
    {TURN(Q_ROT, Q_NORM, HEADS), .unless = T_RECURRENT},                                         \
    {TURN(K_ROT, K_NORM, KV_HEADS), .unless = T_RECURRENT},                                      \
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_RECURRENT},                                \
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.out_proj"), .unless = T_RECURRENT},            \
    {ADD(Y, X, ATTN_OUT), .unless = T_RECURRENT},                                                \
    {NORM(MLP_IN, Y, "ffn_norm")}
#define MIXER_SETTINGS                          \
    KV_HEADS(8),                                \
    HEAD_DIM(0),                                \
    DIM(CONV, "conv_L_cache", 3),               \
    FLAG(T_A, "conv_bias", false),              \
    NUMBER(THETA, "rope_theta|theta", 1000000), \
    LAYER_EPS("norm_eps"),                      \
    FLAG(T_TIED, "tie_word_embeddings|tie_embedding", true)
#define NAMES                                       \
    .embedding    = "model.embed_tokens.weight",    \
    .block_prefix = "model.layers.%lld.",           \
    .final_norm   = "model.embedding_norm",         \
    .head         = "lm_head.weight"
/* clang-format on */

static const char *const inherent[] = {"qk_norm",      "use_qk_norm",      "use_pos_enc",
                                       "qk_layernorm", "use_qk_layernorm", NULL};

/* --- dense ------------------------------------------------------------------------------------ */

static const struct node rows[] = {
    MIXER_ROWS,
    {LINEAR(GATE, MLP_IN, FITTED_FFN, "feed_forward.w1")},
    {LINEAR(UP, MLP_IN, FITTED_FFN, "feed_forward.w3")},
    {GLU(MID, GATE, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "feed_forward.w2")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(65536, 2560, 32, 32, 128000),
    DIM(FFN, "block_ff_dim|intermediate_size", 12288),
    FLAG(T_FITTED_FFN, "block_auto_adjust_ff_dim", true),
    NUMBER(FFN, "block_ffn_dim_multiplier", 1),
    DIM(FFN_STEP, "block_multiple_of", 256),
    MIXER_SETTINGS,
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_AMONG(T_RECURRENT, "full_attn_idxs")},
    {BY_WORD(T_RECURRENT, "layer_types", "conv")},
    {0},
};

static const char *const architectures[] = {"Lfm2ForCausalLM", "Lfm2Model", NULL};

const struct family family_lfm2 = {
    .name = "lfm2",
    .model_types = {"lfm2"},
    NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
};

/* --- with experts ----------------------------------------------------------------------------- */

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "w1", "w3", "w2")};

static const struct node moe_rows[] = {
    MIXER_ROWS,
    {LINEAR(GATE, MLP_IN, FFN, "feed_forward.w1"), .unless = T_SPARSE},
    {LINEAR(UP, MLP_IN, FFN, "feed_forward.w3"), .unless = T_SPARSE},
    {GLU(MID, GATE, UP), .unless = T_SPARSE},
    {LINEAR(MLP_OUT, MID, HIDDEN, "feed_forward.w2"), .unless = T_SPARSE},
    {ADD(Z, Y, MLP_OUT), .unless = T_SPARSE},
    {ROUTER(ROUTE, MLP_IN, "feed_forward.gate"), .score = SCORE_SIGMOID, .eps = 1e-6,
     .choice_bias = "feed_forward.expert_bias", .when = T_SPARSE | T_B},
    {ROUTER(ROUTE, MLP_IN, "feed_forward.gate"), .score = SCORE_SIGMOID, .eps = 1e-6,
     .when = T_SPARSE, .unless = T_B},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "feed_forward.experts.%d.", expert), .when = T_SPARSE},
    {ADD(Z, Y, ROUTED), .when = T_SPARSE},
    {END},
};

static const struct setting moe_settings[] = {
    SIZES(65536, 2048, 32, 32, 128000),
    FFN(7168),
    MIXER_SETTINGS,
    DIM(EXPERTS, "num_experts", 32),
    DIM(TOP_K, "num_experts_per_tok", 4),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1792),
    FLAG(T_NORM_TOPK, "norm_topk_prob", true),
    FLAG(T_B, "use_expert_bias", true),
    NUMBER(ROUTED, "routed_scaling_factor", 1),
    {0},
};

static const struct layer_rule moe_rules[] = {
    {BY_WORD(T_RECURRENT, "layer_types", "conv")},
    {FROM(T_SPARSE, "num_dense_layers", 2)},
    {0},
};

static const char *const moe_architectures[] = {"Lfm2MoeForCausalLM", "Lfm2MoeModel", NULL};

const struct family family_lfm2_moe = {
    .name = "lfm2_moe",
    .model_types = {"lfm2_moe"},
    NAMES,
    .rows = moe_rows,
    .settings = moe_settings,
    .rules = moe_rules,
    .norm = NORM_RMS,
    .act = ACT_SILU,
    .architectures = moe_architectures,
    .inherent_keys = inherent,
};
