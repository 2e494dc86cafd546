/* SPDX-License-Identifier: Apache-2.0 */
/* A.X K1: DeepSeek-V3 with a norm behind the experts. Defaults: transformers' AXK1Config. */
#include "models/families/latent.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node rows[] = {
    LATENT_ROWS,
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    V3_ROUTER_ROW,
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert), .when = T_SPARSE},
    SHARED_ROWS(SHARED_FFN, "mlp.shared_experts"),
    {ADD(MLP_OUT, SHARED_OUT, ROUTED), .when = T_SPARSE},
    {NORM(MLP_POST, MLP_OUT, "post_mlp_layernorm"), .when = T_SPARSE},
    {ADD(Z, Y, MLP_POST), .when = T_SPARSE},
    {END},
};

static const struct setting settings[] = {
    SIZES(163840, 7168, 61, 64, 32768),
    FFN(18432),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    LATENT_SETTINGS(1536, 512, 128, 64),
    DIM(V_HEAD, "v_head_dim", 128),
    FLAG(T_INTERLEAVED, "rope_interleave", true),
    V3_SCORES,
    V3_EXPERTS(192, 8, 2048),
    V3_CHOICE(8, 4, 2.5),
    {0},
};

static const struct layer_rule rules[] = {{FROM(T_SPARSE, "first_k_dense_replace", 1)}, {0}};
static const struct family_limit limits[] = {LATENT_LIMITS, {.stack = NULL}};
static const char *const architectures[] = {"AXK1ForCausalLM", "AXK1Model", NULL};

const struct family family_axk1 = {
    .name = "axk1",
    .model_types = {"axk1"},
    LLAMA_TENSOR_NAMES,
    .draft_layers = true,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_MSCALE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .limits = limits,
};
