/* SPDX-License-Identifier: Apache-2.0 */
/* MiniMax-Text-01: lightning attention, in every other layer attention, and experts; the stream
 * goes on as what was normed, times a factor, and so does every branch. Defaults: transformers'
 * MiniMaxConfig. The norm of lightning attention has an epsilon of its own (MiniMaxRMSNorm). */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(FFN, "w1", "w3", "w2")};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(MIX_IN, ATTN_IN, ATTN3, "self_attn.qkv_proj"), .when = T_RECURRENT},
    {LINEAR(MIX_Z, ATTN_IN, ATTN, "self_attn.output_gate"), .when = T_RECURRENT},
    {ACT(MIX_ACT, MIX_IN), .when = T_RECURRENT},
    {SPLIT(MIX_ACT, HEADS), .out = {V_Q, V_K, V_V}, .width = {DIM_ATTN, DIM_ATTN, DIM_ATTN},
     .when = T_RECURRENT},
    {LIGHTNING(SCAN, Q, K, V), .when = T_RECURRENT},
    {NORM(SCAN_NORM, SCAN, "self_attn.norm"), .eps = 1e-6, .when = T_RECURRENT},
    {GLU(SCAN_GATED, MIX_Z, SCAN_NORM), .act = ACT_SIGMOID, .when = T_RECURRENT},
    {LINEAR(MIX_OUT, SCAN_GATED, HIDDEN, "self_attn.out_proj"), .when = T_RECURRENT},
    {ADD(Y, ATTN_IN, MIX_OUT), .stream_number = NUM_LINEAR_STREAM, .number = NUM_LINEAR_BRANCH,
     .when = T_RECURRENT},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .unless = T_RECURRENT},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .unless = T_RECURRENT},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .unless = T_RECURRENT},
    {TURN(Q_ROT, Q, HEADS), .unless = T_RECURRENT},
    {TURN(K_ROT, K, KV_HEADS), .unless = T_RECURRENT},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_RECURRENT},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .unless = T_RECURRENT},
    {ADD(Y, ATTN_IN, ATTN_OUT), .stream_number = NUM_ATTN_STREAM, .number = NUM_ATTN_BRANCH,
     .unless = T_RECURRENT},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {ROUTER(ROUTE, MLP_IN, "block_sparse_moe.gate")},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "block_sparse_moe.experts.%d.", expert)},
    {ADD(Z, MLP_IN, ROUTED), .stream_number = NUM_MLP_STREAM, .number = NUM_MLP_BRANCH},
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
    NUMBER(ATTN_STREAM, "full_attn_alpha_factor", 1),
    NUMBER(ATTN_BRANCH, "full_attn_beta_factor", 1),
    NUMBER(LINEAR_STREAM, "linear_attn_alpha_factor", 1),
    NUMBER(LINEAR_BRANCH, "linear_attn_beta_factor", 1),
    NUMBER(MLP_STREAM, "mlp_alpha_factor", 1),
    NUMBER(MLP_BRANCH, "mlp_beta_factor", 1),
    {0},
};

static const struct layer_rule rules[] = {
    {ALL_LAYERS(T_WINDOW)},
    {EVERY(T_RECURRENT, NULL, 2)},
    {BY_WORD(T_RECURRENT, "layer_types", "linear_attention")},
    {0},
};

static const char *const architectures[] = {"MiniMaxForCausalLM", "MiniMaxModel", NULL};
static const char *const inherent[] = {"norm_topk_prob", NULL};

const struct family family_minimax = {
    .name = "minimax",
    .model_types = {"minimax"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
};
