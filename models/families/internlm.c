/* SPDX-License-Identifier: Apache-2.0 */
/* InternLM 2 and 2.5: queries, keys and values in one linear, by key-value heads. InternLM 3: Llama
 * with a key for each kind of bias. Defaults: the InternLM2Config and InternLM3Config that the
 * models bring. */
#include "models/families/tables.h"

static const struct node v2_rows[] = {
    {NORM(ATTN_IN, X, "attention_norm")},
    {LINEAR(QKV, ATTN_IN, QKV, "attention.wqkv"), .bias = T_ATTENTION_BIAS},
    SPLIT_QKV_ROW(QKV, KV_HEADS),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attention.wo"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "ffn_norm")},
    {LINEAR(GATE, MLP_IN, FFN, "feed_forward.w1")},
    {LINEAR(UP, MLP_IN, FFN, "feed_forward.w3")},
    {GLU(MID, GATE, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "feed_forward.w2")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting v2_settings[] = {
    SIZES(103168, 4096, 32, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "bias", true),
    {0},
};

static const char *const v2_architectures[] = {"InternLM2ForCausalLM", "InternLM2Model", NULL};

const struct family family_internlm2 = {
    .name = "internlm2",
    .model_types = {"internlm2"},
    .embedding = "model.tok_embeddings.weight",
    .block_prefix = "model.layers.%lld.",
    .final_norm = "model.norm",
    .head = "output.weight",
    .rows = v2_rows,
    .settings = v2_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v2_architectures,
};

static const struct node v3_rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, T_MLP_BIAS, T_MLP_BIAS),
    {END},
};

static const struct setting v3_settings[] = {
    SIZES(128512, 4096, 32, 32, 32768),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "qkv_bias", false),
    FLAG(T_MLP_BIAS, "bias", false),
    {0},
};

static const char *const v3_architectures[] = {"InternLM3ForCausalLM", "InternLM3Model", NULL};

const struct family family_internlm3 = {
    .name = "internlm3",
    .model_types = {"internlm3"},
    LLAMA_TENSOR_NAMES,
    .rows = v3_rows,
    .settings = v3_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v3_architectures,
};
