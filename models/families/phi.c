/* SPDX-License-Identifier: Apache-2.0 */
/* Phi 1, 1.5 and 2, and Phi 3 and 4, which have little in common with them. Defaults: transformers'
 * PhiConfig and Phi3Config. */
#include "models/families/tables.h"

/* --- Phi: attention and MLP side by side on one LayerNorm ------------------------------------- */

static const struct node phi_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ALWAYS),
    {NORM(Q_NORM, Q, "self_attn.q_layernorm"), .groups = DIM_HEADS, .when = T_QK_NORM},
    {NORM(K_NORM, K, "self_attn.k_layernorm"), .groups = DIM_KV_HEADS, .when = T_QK_NORM},
    ROTATE_ROWS(Q_NORM, K_NORM),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.dense"), .bias = T_ALWAYS},
    {ADD(Y, X, ATTN_OUT)},
    MLP_ROWS(ATTN_IN, "mlp.fc1", "mlp.fc2", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting phi_settings[] = {
    SIZES(51200, 2048, 24, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(8192),
    THETA(10000),
    ROTARY("partial_rotary_factor", 0.5),
    LAYER_EPS("layer_norm_eps"),
    TIED(false),
    FLAG(T_QK_NORM, "qk_layernorm", false),
    {0},
};

static const char *const phi_architectures[] = {"PhiForCausalLM", "PhiModel", NULL};

const struct family family_phi = {
    .name = "phi",
    .model_types = {"phi"},
    .embedding = "model.embed_tokens.weight",
    .block_prefix = "model.layers.%lld.",
    .final_norm = "model.final_layernorm",
    .head = "lm_head.weight",
    .rows = phi_rows,
    .settings = phi_settings,
    .norm = NORM_LAYER,
    .act_key = "hidden_act",
    .act = ACT_GELU_TANH,
    .traits = T_PARALLEL | T_HEAD_BIAS,
    .architectures = phi_architectures,
};

/* --- Phi 3, 3.5, 4 and 4-mini: Llama's block with q, k, v and gate, up fused ------------------ */

static const struct node phi3_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(QKV, ATTN_IN, QKV, "self_attn.qkv_proj")},
    SPLIT_QKV_ROW(QKV, ONE),
    ATTEND_ROWS(Q, K, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    FUSED_GATED_ROWS(MLP_IN, 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting phi3_settings[] = {
    SIZES(32064, 3072, 32, 32, 4096),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(8192),
    WINDOW(0),
    THETA(10000),
    ROTARY("partial_rotary_factor", 1),
    RMS_EPS(1e-5),
    TIED(false),
    {0},
};

static const struct layer_rule phi3_rules[] = {{ALL_LAYERS(T_WINDOW)}, {0}};

static const char *const phi3_architectures[] = {"Phi3ForCausalLM", "Phi3Model", NULL};

const struct family family_phi3 = {
    .name = "phi3",
    .model_types = {"phi3"},
    LLAMA_TENSOR_NAMES,
    .rows = phi3_rows,
    .settings = phi3_settings,
    .rules = phi3_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "phi3",
    .architectures = phi3_architectures,
};
