/* SPDX-License-Identifier: Apache-2.0 */
/* Mixtral: Mistral with experts in place of the MLP. Defaults: transformers' MixtralConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(FFN, "w1", "w3", "w2")};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(0),
    ATTEND_ROWS(Q, K, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {ROUTER(ROUTE, MLP_IN, "block_sparse_moe.gate")},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "block_sparse_moe.experts.%d.", expert)},
    {ADD(Z, Y, ROUTED)},
    {END},
};

static const struct setting settings[] = {
    SIZES(32000, 4096, 32, 32, 131072),
    KV_HEADS(8),
    HEAD_DIM(0),
    FFN(14336),
    WINDOW(0),
    THETA(1000000),
    RMS_EPS(1e-5),
    TIED(false),
    DIM(EXPERTS, "num_local_experts", 8),
    DIM(TOP_K, "num_experts_per_tok", 2),
    {0},
};

static const struct layer_rule rules[] = {{ALL_LAYERS(T_WINDOW)}, {0}};

static const char *const architectures[] = {"MixtralForCausalLM", "MixtralModel", NULL};
static const char *const inherent[] = {"norm_topk_prob", NULL};

const struct family family_mixtral = {
    .name = "mixtral",
    .model_types = {"mixtral"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "llama",
    .architectures = architectures,
    .inherent_keys = inherent,
};
