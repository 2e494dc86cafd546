/* SPDX-License-Identifier: Apache-2.0 */
/* See shapes.h. */
#include "models/shapes.h"

#include "models/rows.h"

/* Two heads of queries for each of keys and values; every width can be told from the others. */
const struct facts shape_facts = {
    .dims =
        {
            [DIM_ONE] = 1,
            [DIM_HIDDEN] = 24,
            [DIM_HEADS] = 4,
            [DIM_KV_HEADS] = 2,
            [DIM_HEAD] = 6,
            [DIM_ATTN] = 24,
            [DIM_KV] = 12,
            [DIM_QKV] = 48,
            [DIM_FFN] = 40,
            [DIM_FFN2] = 80,
            [DIM_EXPERTS] = 8,
            [DIM_EXPERT_FFN] = 16,
            [DIM_TOP_K] = 2,
            [DIM_SHARED_FFN] = 32,
            [DIM_Q_LORA] = 10,
            [DIM_KV_LORA] = 14,
            [DIM_PE] = 2,
            [DIM_NOPE] = 4,
            [DIM_KV_A] = 16,
            [DIM_MLA_NOPE] = 16,
            [DIM_MLA_V] = 20,
            [DIM_KV_B] = 36,
            [DIM_MLA_Q] = 24,
            [DIM_CONV] = 3,
            [DIM_SSM_HEADS] = 4,
            [DIM_SSM_HEAD] = 5,
            [DIM_SSM_STATE] = 3,
            [DIM_SSM_GROUPS] = 2,
            [DIM_SSM_X] = 20,
            [DIM_SSM_BC] = 6,
            [DIM_SSM_CONV] = 32,
            [DIM_SSM_IN] = 56,
            [DIM_DELTA_KEY_HEADS] = 2,
            [DIM_DELTA_VALUE_HEADS] = 4,
            [DIM_DELTA_STEPS] = 8,
            [DIM_DELTA_KEY] = 3,
            [DIM_DELTA_VALUE] = 5,
            [DIM_DELTA_K] = 6,
            [DIM_DELTA_V] = 20,
            [DIM_DELTA_QKV] = 32,
            [DIM_DELTA_IN] = 52,
        },
    .numbers = {1, 1e-6, [NUM_MLP_STREAM] = 1.25, [NUM_MLP_BRANCH] = 0.5},
    .norm = NORM_RMS,
    .act = ACT_SILU,
};

const struct node shape_parallel[] = {
    {NORM(ATTN_IN, X, "ln")},
    {LINEAR(Q, ATTN_IN, ATTN, "q")},
    {LINEAR(K, ATTN_IN, KV, "k")},
    {LINEAR(V, ATTN_IN, KV, "v")},
    {ROPE(Q_ROT, Q, HEADS)},
    {ROPE(K_ROT, K, KV_HEADS)},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "dense")},
    {ADD(Y, X, ATTN_OUT)},
    {LINEAR(UP, ATTN_IN, FFN, "fc1")},
    {ACT(MID, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "fc2")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

const struct node shape_two_norms[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    QKV_ROWS(0),
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "dense")},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, X, "ln_2")},
    {LINEAR(UP, MLP_IN, FFN, "fc1")},
    {ACT(MID, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "fc2")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

const struct node shape_fused[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    {LINEAR(QKV, ATTN_IN, QKV, "c_attn")},
    {SPLIT(QKV, KV_HEADS), .out = {V_Q, V_K, V_V}, .width = {DIM_ATTN, DIM_KV, DIM_KV}},
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "c_proj")},
    {ADD(Z, X, ATTN_OUT)},
    {END},
};

const struct node shape_plain[] = {
    {NORM(ATTN_IN, X, "ln")},
    {LINEAR(Q, ATTN_IN, ATTN, "q"), .plain = true},
    {LINEAR(K, ATTN_IN, KV, "k"), .plain = true},
    {LINEAR(V, ATTN_IN, KV, "v"), .plain = true},
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "o")},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "ln_2")},
    {LINEAR(UP, MLP_IN, FFN, "up")},
    {ACT(MID, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "down")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

const struct node shape_post_norm[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(0),
    ATTEND_ROWS(Q, K, 0),
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm")},
    {ADD(Z, X, ATTN_POST)},
    {END},
};

const struct node shape_latent[] = {
    {NORM(ATTN_IN, X, "ln")},
    {LINEAR(Q_A, ATTN_IN, Q_LORA, "q_a"), .when = T_Q_LORA},
    {NORM(Q_A_NORM, Q_A, "q_a_norm"), .when = T_Q_LORA},
    {LINEAR(Q, Q_A_NORM, MLA_Q, "q_b"), .when = T_Q_LORA},
    {LINEAR(Q, ATTN_IN, MLA_Q, "q"), .unless = T_Q_LORA},
    {LINEAR(KV_A, ATTN_IN, KV_A, "kv_a")},
    {SPLIT(KV_A, ONE), .out = {V_KV_C, V_K_PE}, .width = {DIM_KV_LORA, DIM_PE}},
    {NORM(KV_C_NORM, KV_C, "kv_a_norm")},
    {LINEAR(KV_B, KV_C_NORM, KV_B, "kv_b")},
    {SPLIT(KV_B, HEADS), .out = {V_K_NOPE, V_V}, .width = {DIM_MLA_NOPE, DIM_MLA_V}},
    {JOIN(K, K_NOPE, K_PE, HEADS)},
    {ROPE(Q_ROT, Q, HEADS), .skip = DIM_NOPE},
    {ROPE(K_ROT, K, HEADS), .skip = DIM_NOPE},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "o")},
    {ADD(Z, X, ATTN_OUT)},
    {END},
};

const struct node shape_convolved[] = {
    {NORM(ATTN_IN, X, "ln")},
    {LINEAR(GATE_UP, ATTN_IN, FFN2, "in")},
    {SPLIT(GATE_UP, ONE), .out = {V_GATE, V_CONV_IN}, .width = {DIM_FFN, DIM_FFN}},
    {CONV(CONV_OUT, CONV_IN, "conv"), .bias = T_MLP_BIAS, .act = ACT_NONE},
    {GLU(MID, GATE, CONV_OUT), .act = ACT_NONE},
    {LINEAR(ATTN_OUT, MID, HIDDEN, "out")},
    {ADD(Z, X, ATTN_OUT)},
    {END},
};

const struct node shape_scanned[] = {
    {NORM(ATTN_IN, X, "ln")},
    {LINEAR(MIX_IN, ATTN_IN, SSM_IN, "in")},
    {SPLIT(MIX_IN, ONE), .out = {V_MIX_Z, V_CONV_IN, V_MIX_DT},
     .width = {DIM_SSM_X, DIM_SSM_CONV, DIM_SSM_HEADS}},
    {CONV(CONV_OUT, CONV_IN, "conv"), .bias = T_ALWAYS},
    {SPLIT(CONV_OUT, ONE), .out = {V_MIX_X, V_MIX_B, V_MIX_C},
     .width = {DIM_SSM_X, DIM_SSM_BC, DIM_SSM_BC}},
    {SCAN(SCAN, MIX_X, MIX_B, MIX_C, MIX_DT, "mixer")},
    {GLU(SCAN_GATED, MIX_Z, SCAN)},
    {NORM(SCAN_NORM, SCAN_GATED, "gated"), .groups = DIM_SSM_GROUPS, .each = true, .flat = true,
     .unless = T_CLIP},
    {LINEAR(MIX_OUT, SCAN_NORM, HIDDEN, "out")},
    {ADD(Z, X, MIX_OUT)},
    {END},
};

const struct node shape_delta[] = {
    {NORM(ATTN_IN, X, "ln")},
    {LINEAR(MIX_IN, ATTN_IN, DELTA_IN, "in")},
    {LINEAR(BETA_FADE, ATTN_IN, DELTA_STEPS, "steps"), .plain = true},
    {SPLIT(MIX_IN, DELTA_KEY_HEADS), .out = {V_Q, V_K, V_V, V_MIX_Z},
     .width = {DIM_DELTA_K, DIM_DELTA_K, DIM_DELTA_V, DIM_DELTA_V}},
    {SPLIT(BETA_FADE, DELTA_KEY_HEADS), .out = {V_BETA, V_FADE},
     .width = {DIM_DELTA_VALUE_HEADS, DIM_DELTA_VALUE_HEADS}},
    {NORM(Q_UNIT, Q, NULL), .norm = NORM_LENGTH, .groups = DIM_DELTA_KEY_HEADS},
    {NORM(K_UNIT, K, NULL), .norm = NORM_LENGTH, .groups = DIM_DELTA_KEY_HEADS},
    {DELTA(SCAN, Q_UNIT, K_UNIT, V, BETA, FADE, "mixer")},
    {NORM(SCAN_NORM, SCAN, "heads"), .groups = DIM_DELTA_VALUE_HEADS, .unless = T_CLIP},
    {GLU(SCAN_GATED, MIX_Z, SCAN_NORM)},
    {LINEAR(MIX_OUT, SCAN_GATED, HIDDEN, "out")},
    {ADD(Z, X, MIX_OUT)},
    {END},
};

const struct node shape_fading[] = {
    {NORM(ATTN_IN, X, "ln")},
    {LINEAR(Q, ATTN_IN, ATTN, "q")},
    {LINEAR(K, ATTN_IN, ATTN, "k")},
    {LINEAR(V, ATTN_IN, MLA_V, "v")},
    {LIGHTNING(SCAN, Q, K, V)},
    {LINEAR(MIX_OUT, SCAN, HIDDEN, "out")},
    {ADD(Z, ATTN_IN, MIX_OUT), .stream_number = NUM_MLP_STREAM, .number = NUM_MLP_BRANCH},
    {END},
};

const struct node shape_expert[] = {
    {LINEAR(GATE, E, EXPERT_FFN, "w1")},
    {LINEAR(UP, E, EXPERT_FFN, "w3")},
    {GLU(MID, GATE, UP)},
    {LINEAR(E_OUT, MID, HIDDEN, "w2")},
    {END},
};

const struct node shape_experts[] = {
    {NORM(MLP_IN, X, "ln")},
    {ROUTER(ROUTE, MLP_IN, "gate")},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "experts", shape_expert)},
    {ADD(Y_ROUTED, X, ROUTED)},
    {LINEAR(SHARED_GATE, MLP_IN, SHARED_FFN, "shared.gate")},
    {LINEAR(SHARED_UP, MLP_IN, SHARED_FFN, "shared.up")},
    {GLU(SHARED_MID, SHARED_GATE, SHARED_UP)},
    {LINEAR(SHARED_OUT, SHARED_MID, HIDDEN, "shared.down")},
    {LINEAR(SHARED_SWITCH, MLP_IN, ONE, "switch"), .plain = true},
    {GLU(SHARED, SHARED_SWITCH, SHARED_OUT)},
    {ADD(Z, Y_ROUTED, SHARED)},
    {END},
};
