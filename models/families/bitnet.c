/* SPDX-License-Identifier: Apache-2.0 */
/* BitNet b1.58 in 16 bits: Llama with a norm before the last linear of each branch. Its own code
 * rounds weights to three values as it goes; what is computed here is what the stored ones make.
 * Defaults: transformers' BitNetConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {NORM(CONTEXT_NORM, CONTEXT, "self_attn.attn_sub_norm")},
    {LINEAR(ATTN_OUT, CONTEXT_NORM, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {LINEAR(GATE, MLP_IN, FFN, "mlp.gate_proj")},
    {LINEAR(UP, MLP_IN, FFN, "mlp.up_proj")},
    {GLU(MID, GATE, UP)},
    {NORM(MID_NORM, MID, "mlp.ffn_sub_norm")},
    {LINEAR(MLP_OUT, MID_NORM, HIDDEN, "mlp.down_proj")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(128256, 2560, 30, 20, 2048),
    KV_HEADS(5),
    HEAD_DIM(0),
    FFN(6912),
    THETA(500000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    {0},
};

static const char *const architectures[] = {"BitNetForCausalLM", "BitNetModel", "BitnetForCausalLM",
                                            NULL};

const struct family family_bitnet = {
    .name = "bitnet",
    .model_types = {"bitnet"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_RELU2,
    .architectures = architectures,
};
