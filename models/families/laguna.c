/* SPDX-License-Identifier: Apache-2.0 */
/* Laguna: layers with a window have more heads than the others and rotate by settings of their own;
 * a gate for each head on what it attends to; experts chosen by sigmoids and a bias. Defaults:
 * transformers' LagunaConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    HEAD_NORM_ROWS,
    ROTATE_ROWS(Q_NORM, K_NORM),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    /* a row for each head: as narrow as a router */
    {LINEAR(ATTN_GATE, ATTN_IN, HEADS, "self_attn.g_proj"), .plain = true},
    {GLU(ATTN_GATED, ATTN_GATE, CONTEXT), .act = ACT_SOFTPLUS},
    {LINEAR(ATTN_OUT, ATTN_GATED, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mlp.experts.e_score_correction_bias", .when = T_SPARSE},
    ROUTED_AND_SHARED_ROWS("mlp.experts.%d.", expert, "mlp.shared_expert"),
    {END},
};

static const struct setting settings[] = {
    SIZES(100352, 2048, 40, 48, 131072),
    {.set = SET_DIM,
     .what = DIM_HEADS,
     .key = "num_attention_heads_per_layer",
     .same = DIM_HEADS,
     .when = T_WINDOW},
    KV_HEADS(8),
    HEAD_DIM(128),
    FFN(8192),
    WINDOW(512),
    NUMBER(THETA, "rope_theta", 500000),
    NUMBER(LOCAL_THETA, NULL, 10000),
    NUMBER(ROTARY, "rope_parameters.full_attention.partial_rotary_factor", 0.5),
    {.set = SET_NUMBER,
     .what = NUM_ROTARY,
     .key = "rope_parameters.sliding_attention.partial_rotary_factor",
     .absent = 1,
     .when = T_WINDOW},
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    DIM(EXPERTS, "num_experts", 256),
    DIM(TOP_K, "num_experts_per_tok", 8),
    DIM(EXPERT_FFN, "moe_intermediate_size", 512),
    DIM(SHARED_FFN, "shared_expert_intermediate_size", 512),
    NUMBER(ROUTED, "moe_routed_scaling_factor", 1),
    {0},
};

static const struct layer_rule rules[] = {
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {FROM(T_SPARSE, NULL, 1)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const architectures[] = {"LagunaForCausalLM", "LagunaModel", NULL};
static const char *const inherent[] = {"gating", "norm_topk_prob", NULL};
/* not read beside settings for each kind of layer */
static const char *const ignored[] = {"rope_theta", NULL};

const struct family family_laguna = {
    .name = "laguna",
    .model_types = {"laguna"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_LOCAL_ROPE | T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
    .ignored_keys = ignored,
};
