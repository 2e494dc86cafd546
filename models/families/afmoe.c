/* SPDX-License-Identifier: Apache-2.0 */
/* Arcee Trinity: Llama's attention with norms of heads, whose output passes a gate of its own; four
 * norms; layers with a window rotate, the others do not; DeepSeek-V3's experts without groups.
 * Defaults: transformers' AfmoeConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    HEAD_NORM_ROWS,
    ROTATE_ROWS(Q_NORM, K_NORM),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_GATE, ATTN_IN, ATTN, "self_attn.gate_proj")},
    {GLU(ATTN_GATED, ATTN_GATE, CONTEXT), .act = ACT_SIGMOID},
    {LINEAR(ATTN_OUT, ATTN_GATED, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm")},
    {ADD(Y, X, ATTN_POST)},
    {NORM(MLP_IN, Y, "pre_mlp_layernorm")},
    DENSE_MLP_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.router.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mlp.expert_bias", .when = T_SPARSE},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert), .when = T_SPARSE},
    SHARED_ROWS(SHARED_FFN, "mlp.shared_experts"),
    {ADD(MLP_OUT, SHARED_OUT, ROUTED), .when = T_SPARSE},
    {NORM(MLP_POST, MLP_OUT, "post_mlp_layernorm")},
    {ADD(Z, Y, MLP_POST)},
    {END},
};

static const struct setting settings[] = {
    SIZES(200192, 2048, 32, 16, 16384),
    KV_HEADS(0),
    HEAD_DIM(128),
    FFN(6144),
    WINDOW(1024),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    /* the embedding times sqrt(hidden) */
    FLAG(T_A, "mup_enabled", false),
    {.set = SET_NUMBER, .what = NUM_EMBED, .same = DIM_HIDDEN, .power = 0.5, .when = T_A},
    WORD(0, "score_func", "sigmoid"),
    DIM(EXPERTS, "num_experts|num_local_experts", 64),
    DIM(TOP_K, "num_experts_per_tok", 6),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1408),
    DIM_OR_NONE(N_SHARED, "num_shared_experts", 2),
    DIM(N_GROUPS, "n_group", 1),
    DIM(TOP_GROUPS, "topk_group", 1),
    NUMBER(ROUTED, "route_scale", 1),
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_WINDOW, "global_attn_every_n_layers", 4)},
    {EVERY(T_NO_ROPE, "global_attn_every_n_layers", 4)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_WORD(T_NO_ROPE, "layer_types", "full_attention")},
    {FROM(T_SPARSE, "num_dense_layers", 1)},
    {0},
};

static const char *const architectures[] = {"AfmoeForCausalLM", "AfmoeModel", NULL};
static const char *const inherent[] = {"route_norm", "use_qk_norm", "use_gated_attention", NULL};

const struct family family_afmoe = {
    .name = "afmoe",
    .model_types = {"afmoe"},
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
