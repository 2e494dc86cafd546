/* SPDX-License-Identifier: Apache-2.0 */
/* Persimmon 8B: q, k, v in one linear, head by head; LayerNorm on the heads of q and k, half of
 * which are rotated; relu(x)^2. Defaults: transformers' PersimmonConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(QKV, ATTN_IN, QKV, "self_attn.query_key_value"), .bias = T_ALWAYS},
    SPLIT_QKV_ROW(QKV, HEADS),
    {NORM(Q_NORM, Q, "self_attn.q_layernorm"), .groups = DIM_HEADS, .when = T_QK_NORM},
    {NORM(K_NORM, K, "self_attn.k_layernorm"), .groups = DIM_KV_HEADS, .when = T_QK_NORM},
    ROTATE_ROWS(Q_NORM, K_NORM),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.dense"), .bias = T_ALWAYS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    MLP_ROWS(MLP_IN, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(262144, 4096, 36, 64, 16384),
    EQUAL_HEADS,
    FFN(16384),
    THETA(25000),
    ROTARY("partial_rotary_factor", 0.5),
    LAYER_EPS("layer_norm_eps"),
    TIED(false),
    FLAG(T_QK_NORM, "qk_layernorm", true),
    {0},
};

static const char *const architectures[] = {"PersimmonForCausalLM", "PersimmonModel", NULL};

const struct family family_persimmon = {
    .name = "persimmon",
    .model_types = {"persimmon"},
    .embedding = "model.embed_tokens.weight",
    .block_prefix = "model.layers.%lld.",
    .final_norm = "model.final_layernorm",
    .head = "lm_head.weight",
    .rows = rows,
    .settings = settings,
    .norm = NORM_LAYER,
    .act_key = "hidden_act",
    .act = ACT_RELU2,
    .architectures = architectures,
};
