/* SPDX-License-Identifier: Apache-2.0 */
/* Command R (cohere), Command R7B and Command A (cohere2), Aya: attention and MLP side by side on
 * one LayerNorm without bias, rotary pairs of neighbours, scaled logits. Command R+ norms every
 * head of q and k with weights of its own; cohere2 rotates in the layers with a window and in no
 * others. Defaults: transformers' CohereConfig and Cohere2Config. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    {NORM(Q_NORM, Q, "self_attn.q_norm"), .groups = DIM_HEADS, .each = true, .when = T_QK_NORM},
    {NORM(K_NORM, K, "self_attn.k_norm"), .groups = DIM_KV_HEADS, .each = true, .when = T_QK_NORM},
    ATTEND_ROWS(Q_NORM, K_NORM, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    GATED_ROWS(ATTN_IN, 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

/* clang-format off */
#define COHERE_SETTINGS                              \
    SIZES(256000, 8192, 40, 64, 8192),               \
    KV_HEADS(0),                                     \
    FFN(22528),                                      \
    THETA(10000),                                    \
    NUMBER(EPS, "layer_norm_eps", 1e-5),             \
    TIED(true),                                      \
    FLAG(T_ATTENTION_BIAS, "attention_bias", false), \
    NUMBER_POW(LOGITS, "logit_scale", 0.0625, 1)
/* clang-format on */

static const struct setting cohere_settings[] = {
    COHERE_SETTINGS,
    HEAD_DIM(0),
    FLAG(T_QK_NORM, "use_qk_norm", false),
    {0},
};

static const char *const cohere_architectures[] = {"CohereForCausalLM", "CohereModel", NULL};

const struct family family_cohere = {
    .name = "cohere",
    .model_types = {"cohere"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = cohere_settings,
    .norm = NORM_LAYER_W,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .traits = T_INTERLEAVED | T_PARALLEL,
    .architectures = cohere_architectures,
};

static const struct setting cohere2_settings[] = {
    COHERE_SETTINGS,
    HEAD_DIM(128),
    WINDOW(4096),
    {0},
};

static const struct layer_rule cohere2_rules[] = {
    {NOT_EVERY(T_WINDOW, WINDOW_PATTERN, 4)},
    {EVERY(T_NO_ROPE, WINDOW_PATTERN, 4)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_WORD(T_NO_ROPE, "layer_types", "full_attention")},
    {0},
};

static const char *const cohere2_architectures[] = {"Cohere2ForCausalLM", "Cohere2Model", NULL};

const struct family family_cohere2 = {
    .name = "cohere2",
    .model_types = {"cohere2"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = cohere2_settings,
    .rules = cohere2_rules,
    .norm = NORM_LAYER_W,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .traits = T_INTERLEAVED | T_PARALLEL,
    .architectures = cohere2_architectures,
};
