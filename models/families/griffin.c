/* SPDX-License-Identifier: Apache-2.0 */
/* RecurrentGemma (Griffin; De et al., arXiv:2402.19427): two layers with a gated linear recurrence
 * for each with windowed attention. Defaults: transformers' RecurrentGemmaConfig. The gates of the
 * recurrence, small blocks for each head, stay as they are: their outputs are exponents. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "temporal_pre_norm")},
    {LINEAR(MIX_X, ATTN_IN, SSM_X, "temporal_block.linear_x"), .bias = T_ALWAYS,
     .when = T_RECURRENT},
    {LINEAR(MIX_Z, ATTN_IN, SSM_X, "temporal_block.linear_y"), .bias = T_ALWAYS,
     .when = T_RECURRENT},
    {CONV(CONV_OUT, MIX_X, "temporal_block.conv_1d"), .bias = T_ALWAYS, .act = ACT_NONE,
     .when = T_RECURRENT},
    {LRU(SCAN, CONV_OUT, "temporal_block.rg_lru"), .when = T_RECURRENT},
    {GLU(SCAN_GATED, MIX_Z, SCAN), .when = T_RECURRENT},
    {LINEAR(MIX_OUT, SCAN_GATED, HIDDEN, "temporal_block.linear_out"), .bias = T_ALWAYS,
     .when = T_RECURRENT},
    {ADD(Y, X, MIX_OUT), .when = T_RECURRENT},
    {LINEAR(Q, ATTN_IN, ATTN, "temporal_block.q_proj"), .bias = T_ATTENTION_BIAS,
     .unless = T_RECURRENT},
    {LINEAR(K, ATTN_IN, KV, "temporal_block.k_proj"), .bias = T_ATTENTION_BIAS,
     .unless = T_RECURRENT},
    {LINEAR(V, ATTN_IN, KV, "temporal_block.v_proj"), .bias = T_ATTENTION_BIAS,
     .unless = T_RECURRENT},
    {TURN(Q_ROT, Q, HEADS), .unless = T_RECURRENT},
    {TURN(K_ROT, K, KV_HEADS), .unless = T_RECURRENT},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_RECURRENT},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "temporal_block.o_proj"), .bias = T_ALWAYS,
     .unless = T_RECURRENT},
    {ADD(Y, X, ATTN_OUT), .unless = T_RECURRENT},
    {NORM(MLP_IN, Y, "channel_pre_norm")},
    {LINEAR(GATE, MLP_IN, FFN, "mlp_block.gate_proj"), .bias = T_ALWAYS},
    {LINEAR(UP, MLP_IN, FFN, "mlp_block.up_proj"), .bias = T_ALWAYS},
    {GLU(MID, GATE, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp_block.down_proj"), .bias = T_ALWAYS},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    DIM(VOCAB, "vocab_size", 256000),
    DIM(HIDDEN, "hidden_size", 2560),
    DIM(LAYERS, "num_hidden_layers", 26),
    DIM(HEADS, "num_attention_heads", 10),
    NO_POSITIONS,
    KV_HEADS(0),
    HEAD_DIM(0),
    /* gate and up together */
    DIM(FFN_STEP, "intermediate_size", 7680),
    {.set = SET_DIM, .what = DIM_FFN, .same = DIM_FFN_STEP, .per = 2},
    DIM(WINDOW, "attention_window_size", 2048),
    ROTARY("partial_rotary_factor", 0.5),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    CAP(FINAL_CAP, "logits_soft_cap", 30),
    DIM_AS(SSM_X, "lru_width", HIDDEN),
    {.set = SET_DIM, .what = DIM_LRU, .same = DIM_SSM_X, .over = DIM_HEADS},
    DIM(CONV, "conv1d_width", 4),
    /* a buffer of transformers' model, in bfloat16 whatever the weights are in */
    {.set = SET_NUMBER, .what = NUM_EMBED, .same = DIM_HIDDEN, .power = 0.5, .bf16 = true},
    {0},
};

static const struct layer_rule rules[] = {
    {ALL_LAYERS(T_WINDOW)},
    {NOT_EVERY(T_RECURRENT, NULL, 3)},
    {CYCLE(T_RECURRENT, "block_types", "recurrent")},
    {CYCLE(T_RECURRENT, "block_types", "attention"), .clears = true},
    {0},
};

static const char *const architectures[] = {"RecurrentGemmaForCausalLM", "RecurrentGemmaModel",
                                            NULL};

const struct family family_recurrent_gemma = {
    .name = "recurrent_gemma",
    .model_types = {"recurrent_gemma"},
    .embedding = "model.embed_tokens.weight",
    .block_prefix = "model.layers.%lld.",
    .final_norm = "model.final_norm",
    .head = "lm_head.weight",
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS1,
    .act_key = "hidden_activation",
    .act = ACT_GELU_TANH,
    .architectures = architectures,
};
