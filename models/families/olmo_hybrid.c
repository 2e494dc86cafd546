/* SPDX-License-Identifier: Apache-2.0 */
/* OLMo Hybrid: gated delta rules with a linear and a convolution each for queries, keys and values,
 * behind norms; attention in every fourth layer, with norms behind the branches as in OLMo 2, and
 * without rotation where rope_theta is null. Defaults: transformers' OlmoHybridConfig (5.15).
 *
 * Plain, as in Qwen3-Next: the convolutions and the linears that make decays and betas. */
#include "models/families/delta.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "attention_layer_norm"), .when = T_RECURRENT},
    {LINEAR(MIX_Q, ATTN_IN, DELTA_K, "linear_attn.q_proj"), .when = T_RECURRENT},
    {LINEAR(MIX_K, ATTN_IN, DELTA_K, "linear_attn.k_proj"), .when = T_RECURRENT},
    {LINEAR(MIX_V, ATTN_IN, DELTA_V, "linear_attn.v_proj"), .when = T_RECURRENT},
    {LINEAR(MIX_Z, ATTN_IN, DELTA_V, "linear_attn.g_proj"), .when = T_RECURRENT},
    {LINEAR(BETA, ATTN_IN, DELTA_VALUE_HEADS, "linear_attn.b_proj"), .plain = true,
     .when = T_RECURRENT},
    {LINEAR(FADE, ATTN_IN, DELTA_VALUE_HEADS, "linear_attn.a_proj"), .plain = true,
     .when = T_RECURRENT},
    {CONV(Q, MIX_Q, "linear_attn.q_conv1d"), .when = T_RECURRENT},
    {CONV(K, MIX_K, "linear_attn.k_conv1d"), .when = T_RECURRENT},
    {CONV(V, MIX_V, "linear_attn.v_conv1d"), .when = T_RECURRENT},
    DELTA_ROWS("linear_attn"),
    {NORM(SCAN_NORM, SCAN, "linear_attn.o_norm"), .eps = 1e-5, .groups = DIM_DELTA_VALUE_HEADS,
     .when = T_RECURRENT},
    {GLU(SCAN_GATED, MIX_Z, SCAN_NORM), .act = ACT_SILU, .when = T_RECURRENT},
    {LINEAR(MIX_OUT, SCAN_GATED, HIDDEN, "linear_attn.o_proj"), .when = T_RECURRENT},
    {SAME(ATTN_POST, MIX_OUT), .when = T_RECURRENT},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {NORM(Q_NORM, Q, "self_attn.q_norm"), .unless = T_RECURRENT},
    {NORM(K_NORM, K, "self_attn.k_norm"), .unless = T_RECURRENT},
    {TURN(Q_ROT, Q_NORM, HEADS), .when = T_A, .unless = T_RECURRENT},
    {TURN(K_ROT, K_NORM, KV_HEADS), .when = T_A, .unless = T_RECURRENT},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_RECURRENT},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS,
     .unless = T_RECURRENT},
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm"), .unless = T_RECURRENT},
    {ADD(Y, X, ATTN_POST)},
    {NORM(MLP_IN, Y, "feedforward_layer_norm"), .when = T_RECURRENT},
    GATED_ROWS(MLP_IN, 0),
    {NORM(MLP_POST, MLP_OUT, "post_feedforward_layernorm"), .unless = T_RECURRENT},
    {ADD(Z, Y, MLP_POST)},
    {END},
};

static const struct setting settings[] = {
    SIZES(100352, 3840, 32, 30, 65536),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    /* rotated, unless the key is there and null */
    FLAG_UNLESS_NULL(T_A, "rope_parameters.rope_theta|rope_theta"),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_BETA_TWICE, "linear_allow_neg_eigval", true),
    DIM(CONV, "linear_conv_kernel_dim", 4),
    DIM_AS(DELTA_KEY_HEADS, "linear_num_key_heads", HEADS),
    DIM_AS(DELTA_VALUE_HEADS, "linear_num_value_heads", HEADS),
    /* three quarters of the model's width over the heads, and twice as much */
    {.set = SET_DIM, .what = DIM_DELTA_KEY, .same = DIM_HIDDEN, .over = DIM_HEADS, .times = 3},
    {.set = SET_DIM,
     .what = DIM_DELTA_KEY,
     .key = "linear_key_head_dim",
     .same = DIM_DELTA_KEY,
     .over = DIM_FOUR},
    {.set = SET_DIM,
     .what = DIM_DELTA_VALUE,
     .key = "linear_value_head_dim",
     .same = DIM_DELTA_KEY,
     .times = 2},
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_RECURRENT, NULL, 4)},
    {BY_WORD(T_RECURRENT, "layer_types", "linear_attention")},
    {0},
};

static const char *const architectures[] = {"OlmoHybridForCausalLM", "OlmoHybridModel", NULL};
static const char *const inherent[] = {"qk_norm", "use_qk_norm", "qk_layernorm", "use_qk_layernorm",
                                       NULL};

const struct family family_olmo_hybrid = {
    .name = "olmo_hybrid",
    .model_types = {"olmo_hybrid"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
};
