/* SPDX-License-Identifier: Apache-2.0 */
/* GLM-4-9B and its relatives (glm), GLM-4-0414 (glm4): gate and up in one linear, rotary pairs of
 * neighbours in a part of each head; glm4 with norms behind the branches too, also inside of
 * GLM-4.1V and GLM-4.6V-Flash. Defaults: transformers' GlmConfig, Glm4Config and Glm4vTextConfig.
 */
#include "models/families/tables.h"

#define BRANCH_NORMS T_A

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, 0),
    {NORM(ATTN_POST, ATTN_OUT, "post_self_attn_layernorm"), .when = BRANCH_NORMS},
    {ADD(Y, X, ATTN_POST)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    FUSED_GATED_ROWS(MLP_IN, 0),
    {NORM(MLP_POST, MLP_OUT, "post_mlp_layernorm"), .when = BRANCH_NORMS},
    {ADD(Z, Y, MLP_POST)},
    {END},
};

static const struct setting settings[] = {
    SIZES(151552, 4096, 40, 32, 131072),
    KV_HEADS(2),
    HEAD_DIM(128),
    FFN(13696),
    ROTARY("partial_rotary_factor", 0.5),
    THETA(10000),
    RMS_EPS(1.5625e-7),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", true),
    {0},
};

static const char *const glm_architectures[] = {"GlmForCausalLM", "GlmModel", NULL};

const struct family family_glm = {
    .name = "glm",
    .model_types = {"glm"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .traits = T_INTERLEAVED,
    .architectures = glm_architectures,
};

static const char *const glm4_architectures[] = {"Glm4ForCausalLM", "Glm4Model", NULL};

const struct family family_glm4 = {
    .name = "glm4",
    .model_types = {"glm4"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .traits = T_INTERLEAVED | BRANCH_NORMS,
    .architectures = glm4_architectures,
};

static const struct setting glm4v_settings[] = {
    SIZES(151552, 4096, 40, 32, 32768),
    KV_HEADS(2),
    HEAD_DIM(0),
    FFN(13696),
    ROTARY("partial_rotary_factor", 1),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    {0},
};

static const char *const glm4v_architectures[] = {"Glm4vTextModel", NULL};
static const char *const glm4v_inherent[] = {"attention_bias", NULL};

const struct family family_glm4v_text = {
    .name = "glm4v_text",
    .model_types = {"glm4v_text"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .rows = rows,
    .settings = glm4v_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .traits = T_INTERLEAVED | BRANCH_NORMS | T_ATTENTION_BIAS,
    .architectures = glm4v_architectures,
    .inherent_keys = glm4v_inherent,
};
