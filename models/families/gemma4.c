/* Gemma 4 (text) without inputs for each layer: layers without a window have sizes of their own,
 * and may take their values from their keys; experts beside the MLP, which read the stream behind
 * norms of their own. Norms multiply by their weight. Defaults: transformers' Gemma4TextConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {
    {LINEAR(GATE, E, EXPERT_FFN, "gate_proj"), .storage = STORED_STACK,
     .stack = "experts.gate_up_proj", .part = PART_FIRST},
    {LINEAR(UP, E, EXPERT_FFN, "up_proj"), .storage = STORED_STACK, .stack = "experts.gate_up_proj",
     .part = PART_SECOND},
    {GLU(MID, GATE, UP)},
    {LINEAR(E_OUT, MID, HIDDEN, "down_proj"), .storage = STORED_STACK,
     .stack = "experts.down_proj"},
    {END},
};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS, .unless = T_KEYS_ONLY},
    {SAME(V, K), .when = T_KEYS_ONLY},
    HEAD_NORM_ROWS,
    {NORM(V_UNIT, V, NULL), .groups = DIM_KV_HEADS, .norm = NORM_RMS_BARE},
    ROTATE_ROWS(Q_NORM, K_NORM),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V_UNIT)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm")},
    {ADD(Y, X, ATTN_POST)},
    {NORM(MLP_IN, Y, "pre_feedforward_layernorm")},
    GATED_ROWS(MLP_IN, 0),
    {SAME(MLP_SUM, MLP_OUT), .unless = T_SPARSE},
    {NORM(SHARED_OUT, MLP_OUT, "post_feedforward_layernorm_1"), .when = T_SPARSE},
    {NORM(ROUTE_IN, Y, "router"), .weight = ".scale", .when = T_SPARSE},
    {ROUTER(ROUTE, ROUTE_IN, "router.proj"), .number = NUM_ROUTE,
     .gains = "router.per_expert_scale", .when = T_SPARSE},
    {NORM(EXPERTS_IN, Y, "pre_feedforward_layernorm_2"), .when = T_SPARSE},
    {EXPERTS(ROUTED, EXPERTS_IN, ROUTE, "experts.%d.", expert), .when = T_SPARSE},
    {NORM(ROUTED_POST, ROUTED, "post_feedforward_layernorm_2"), .when = T_SPARSE},
    {ADD(MLP_SUM, SHARED_OUT, ROUTED_POST), .when = T_SPARSE},
    {NORM(MLP_POST, MLP_SUM, "post_feedforward_layernorm")},
    {ADD(Y_SUM, Y, MLP_POST)},
    {SCALE(Z, Y_SUM, "layer_scalar")},
    {END},
};

static const struct setting settings[] = {
    SIZES(262144, 2304, 30, 8, 131072),
    DIM(HEAD, "head_dim", 256),
    {.set = SET_DIM,
     .what = DIM_HEAD,
     .key = "global_head_dim|per_layer_config.*.head_dim",
     .same = DIM_HEAD,
     .unless = T_WINDOW},
    DIM(KV_HEADS, "num_key_value_heads", 4),
    {.set = SET_DIM,
     .what = DIM_KV_HEADS,
     .key = "num_global_key_value_heads|per_layer_config.*.num_key_value_heads",
     .same = DIM_KV_HEADS,
     .unless = T_WINDOW},
    FFN(9216),
    WINDOW(512),
    THETA(1000000),
    NUMBER(LOCAL_THETA, NULL, 10000),
    RMS_EPS(1e-6),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    {.set = SET_NUMBER, .what = NUM_EMBED, .same = DIM_HIDDEN, .power = 0.5},
    {.set = SET_NUMBER, .what = NUM_ROUTE, .same = DIM_HIDDEN, .power = -0.5},
    NUMBER(ATTN_SCALE, NULL, 1),
    CAP(FINAL_CAP, "final_logit_softcapping", 0),
    FLAG(T_A, "attention_k_eq_v", false),
    FLAG(T_B, "enable_moe_block", false),
    WORD(0, "use_bidirectional_attention", "vision"), /* of pictures only */
    DIM(EXPERTS, "num_experts", 128),
    DIM(TOP_K, "top_k_experts", 8),
    DIM(EXPERT_FFN, "moe_intermediate_size", 704),
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_WINDOW, NULL, 6)},
    {EVERY(T_KEYS_ONLY, NULL, 6), .when = T_A},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_WORD(T_KEYS_ONLY, "layer_types", "full_attention"), .when = T_A},
    {ALL_LAYERS(T_SPARSE), .when = T_B},
    {0},
};

static const char *const architectures[] = {"Gemma4ForCausalLM", "Gemma4TextModel", NULL};
static const char *const inherent[] = {"qk_norm", "use_qk_norm", NULL};

const struct family family_gemma4 = {
    .name = "gemma4",
    .model_types = {"gemma4_text"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_activation",
    .act = ACT_GELU_TANH,
    .traits = T_LOCAL_ROPE | T_NORM_TOPK,
    .architectures = architectures,
    .inherent_keys = inherent,
};
