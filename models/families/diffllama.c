/* SPDX-License-Identifier: Apache-2.0 */
/* DiffLlama: Llama, where one half of the heads takes from what the other sees, and both read the
 * values of two heads. Defaults: transformers' DiffLlamaConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    {TURN(Q_ROT, Q, HEADS)},
    {TURN(K_ROT, K, KV_HEADS)},
    /* every head of the first half of the values beside that of the second, for either half of the
     * queries */
    {SPLIT(V, ONE), .out = {V_V_LEFT, V_V_RIGHT}, .width = {DIM_KV_HALF, DIM_KV_HALF}},
    {JOIN(V_PAIRS, V_LEFT, V_RIGHT, KV_PAIRS), .dealt = true},
    {JOIN(V_TWICE, V_PAIRS, V_PAIRS, ONE)},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V_TWICE)},
    {SPLIT(CONTEXT, ONE), .out = {V_CONTEXT_LEFT, V_CONTEXT_RIGHT}, .width = {DIM_ATTN, DIM_ATTN}},
    {DIFFER(CONTEXT_NORM, CONTEXT_LEFT, CONTEXT_RIGHT, HEAD_PAIRS, "self_attn")},
    {LINEAR(ATTN_OUT, CONTEXT_NORM, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(MLP_IN, 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(32000, 2048, 16, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(8192),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    {0},
};

static const char *const architectures[] = {"DiffLlamaForCausalLM", "DiffLlamaModel", NULL};

const struct family family_diffllama = {
    .name = "diffllama",
    .model_types = {"diffllama"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
};
