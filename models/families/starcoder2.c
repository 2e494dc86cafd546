/* SPDX-License-Identifier: Apache-2.0 */
/* StarCoder 2: LayerNorm, biases everywhere, an MLP without a gate, a window. Defaults:
 * transformers' Starcoder2Config. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    MLP_ROWS(MLP_IN, "mlp.c_fc", "mlp.c_proj", T_ATTENTION_BIAS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(49152, 3072, 30, 24, 4096),
    KV_HEADS(2),
    HEAD_DIM(0),
    FFN(12288),
    WINDOW(0),
    THETA(10000),
    LAYER_EPS("norm_epsilon"),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "use_bias", true),
    {0},
};

static const struct layer_rule rules[] = {{ALL_LAYERS(T_WINDOW)}, {0}};

static const char *const architectures[] = {"Starcoder2ForCausalLM", "Starcoder2Model", NULL};

const struct family family_starcoder2 = {
    .name = "starcoder2",
    .model_types = {"starcoder2"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_LAYER,
    .act_key = "hidden_act",
    .act = ACT_GELU_TANH,
    .gguf = "starcoder2",
    .architectures = architectures,
};
