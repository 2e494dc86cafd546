/* SPDX-License-Identifier: Apache-2.0 */
/* Nemotron 4, Minitron and Arcee's AFM: an MLP without a gate, relu(x)^2 in its middle. Nemotron
 * has LayerNorms that store their weight minus 1, and rotates a part of each head. Defaults:
 * transformers' NemotronConfig and ArceeConfig. */
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

static const struct setting nemotron_settings[] = {
    SIZES(256000, 6144, 32, 48, 4096),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(24576),
    ROTARY("partial_rotary_factor", 0.5),
    THETA(10000),
    NUMBER(EPS, "norm_eps", 1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    {0},
};

static const char *const nemotron_architectures[] = {"NemotronForCausalLM", "NemotronModel", NULL};

const struct family family_nemotron = {
    .name = "nemotron",
    .model_types = {"nemotron"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = nemotron_settings,
    .norm = NORM_LAYER1,
    .act_key = "hidden_act",
    .act = ACT_RELU2,
    .architectures = nemotron_architectures,
};

static const struct setting arcee_settings[] = {
    SIZES(32000, 2560, 32, 32, 4096),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(18432),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    {0},
};

static const char *const arcee_architectures[] = {"ArceeForCausalLM", "ArceeModel", NULL};

const struct family family_arcee = {
    .name = "arcee",
    .model_types = {"arcee"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = arcee_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_RELU2,
    .architectures = arcee_architectures,
};
