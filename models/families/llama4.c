/* SPDX-License-Identifier: Apache-2.0 */
/* Llama 4, the text model: the router's weight scales what one expert reads, beside an MLP that
 * every token passes; most layers rotate and attend within chunks, the others see everything by
 * queries that grow with the position. Defaults: transformers' Llama4TextConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {STACKED_EXPERT_ROWS(
    STORED_STACK_T, "feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj")};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    /* vLLM and SGLang reorder the rows of queries and keys while they load them, those of plain
     * weights only, and merge the three. */
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS, .plain = true},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS, .plain = true},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS, .plain = true},
    ROTATE_ROWS(Q, K),
    {NORM(Q_UNIT, Q_ROT, NULL), .groups = DIM_HEADS, .norm = NORM_RMS_BARE, .when = T_QK_NORM,
     .unless = T_NO_ROPE},
    {NORM(K_UNIT, K_ROT, NULL), .groups = DIM_KV_HEADS, .norm = NORM_RMS_BARE, .when = T_QK_NORM,
     .unless = T_NO_ROPE},
    {ATTENTION(CONTEXT, Q_UNIT, K_UNIT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("feed_forward"),
    {ROUTER(ROUTE, MLP_IN, "feed_forward.router"), .score = SCORE_SIGMOID, .when = T_SPARSE},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "feed_forward.experts.%d.", expert), .scales_input = true,
     .when = T_SPARSE},
    {ADD(Y_ROUTED, Y, ROUTED), .when = T_SPARSE},
    SHARED_ROWS(EXPERT_FFN, "feed_forward.shared_expert"),
    {ADD(Z, Y_ROUTED, SHARED_OUT), .when = T_SPARSE},
    {END},
};

static const struct setting settings[] = {
    SIZES(202048, 5120, 48, 40, 131072),
    KV_HEADS(8),
    HEAD_DIM(128),
    DIM(FFN, "intermediate_size_mlp", 16384),
    DIM(EXPERT_FFN, "intermediate_size", 8192),
    THETA(500000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_QK_NORM, "use_qk_norm", true),
    {.set = SET_DIM,
     .what = DIM_CHUNK,
     .key = "attention_chunk_size",
     .absent = 8192,
     .null_is_off = true},
    /* released as a number */
    FLAG_UNLESS_NULL(T_A, "attn_temperature_tuning"),
    {.set = SET_NUMBER, .what = NUM_TEMPERATURE, .key = "attn_scale", .absent = 0.1, .when = T_A},
    {.set = SET_NUMBER, .what = NUM_FLOOR, .key = "floor_scale", .absent = 8192, .when = T_A},
    DIM(EXPERTS, "num_local_experts", 16),
    DIM(TOP_K, "num_experts_per_tok", 1),
    {0},
};

static const struct layer_rule rules[] = {
    {EVERY(T_NO_ROPE, "no_rope_layer_interval", 4)},
    {BY_NUMBER(T_NO_ROPE, "no_rope_layers", 0)},
    {EVERY(T_HEATED, "no_rope_layer_interval", 4), .when = T_A},
    {BY_NUMBER(T_HEATED, "no_rope_layers", 0), .when = T_A},
    {NOT_EVERY(T_CHUNKED, "no_rope_layer_interval", 4)},
    {BY_NUMBER(T_CHUNKED, "no_rope_layers", 1)},
    {BY_WORD(T_CHUNKED, "layer_types", "chunked_attention")},
    {EVERY(T_SPARSE, "interleave_moe_layer_step", 1)},
    {AMONG(T_SPARSE, "moe_layers")},
    {0},
};

static const struct family_limit limits[] = {
    {"vLLM", NULL, false, "no Marlin for experts whose inputs are scaled: slow"},
    {"vLLM (before mid-2026)", NULL, false, "no Marlin for experts whose inputs are scaled: slow"},
    {.stack = NULL},
};

static const char *const architectures[] = {"Llama4ForCausalLM", "Llama4TextModel", NULL};

const struct family family_llama4_text = {
    .name = "llama4_text",
    .model_types = {"llama4_text"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_INTERLEAVED,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .limits = limits,
};
