/* SPDX-License-Identifier: Apache-2.0 */
/* Jais 2: LayerNorm, biases everywhere, an MLP with a squared ReLU and no gate. Defaults:
 * transformers' Jais2Config. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    MLP_ROWS(MLP_IN, "mlp.up_proj", "mlp.down_proj", T_MLP_BIAS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(150272, 3328, 32, 26, 8192),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(26624),
    THETA(10000),
    LAYER_EPS("layer_norm_eps"),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", true),
    FLAG(T_MLP_BIAS, "mlp_bias", true),
    {0},
};

static const char *const architectures[] = {"Jais2ForCausalLM", "Jais2Model", NULL};

const struct family family_jais2 = {
    .name = "jais2",
    .model_types = {"jais2"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_LAYER,
    .act_key = "hidden_act",
    .act = ACT_RELU2,
    .architectures = architectures,
};
