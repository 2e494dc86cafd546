/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma 4 (text): layers without a window have sizes of their own, and may take their values from
 * their keys; experts beside the MLP, which read the stream behind norms of their own (26B-A4B).
 * E2B and E4B: what tokens themselves say to every layer, and last layers that take over the keys
 * and values of earlier ones, some with an MLP twice as wide. Norms multiply by their weight.
 * Defaults: transformers' Gemma4TextConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {
    STACKED_EXPERT_ROWS(STORED_STACK, "experts.gate_up_proj", "experts.down_proj")};

/* clang-format off */
/* Keys and values are kept as attention reads them: K_ROT and V_UNIT. */
#define KEEP_ROWS                                                                                   \
    {SPLIT(KEPT, ONE), .out = {V_K_ROT, V_V_UNIT, V_KEPT_OLD},                                       \
     .width = {DIM_KV, DIM_KV, DIM_KEPT_GLOBAL}, .when = T_BORROWS | T_WINDOW, .partly = true},      \
    {SPLIT(KEPT, ONE), .out = {V_KEPT_OLD, V_K_ROT, V_V_UNIT},                                       \
     .width = {DIM_KEPT_LOCAL, DIM_KV, DIM_KV}, .when = T_BORROWS, .unless = T_WINDOW, .partly = true}, \
    {SAME(KEPT_NEW, KEPT), .when = T_BORROWS},                                                       \
    {SPLIT(KEPT, ONE), .out = {V_KEPT_LOCAL, V_KEPT_GLOBAL},                                         \
     .width = {DIM_KEPT_LOCAL, DIM_KEPT_GLOBAL}, .when = T_KEPT, .unless = T_BORROWS, .partly = true}, \
    {JOIN3(KEPT_NEW, K_ROT, V_UNIT, KEPT_GLOBAL, ONE), .when = T_KEPT | T_WINDOW,                    \
     .unless = T_BORROWS},                                                                           \
    {JOIN3(KEPT_NEW, KEPT_LOCAL, K_ROT, V_UNIT, ONE), .when = T_KEPT, .unless = T_BORROWS | T_WINDOW}
/* clang-format on */

/* Where layers take over keys and values of earlier ones, those of the last layer of either kind go
 * along behind the hidden state. */
static const struct node rows[] = {
    {SPLIT(X, ONE), .out = {V_STREAM, V_KEPT}, .width = {DIM_HIDDEN, DIM_KEPT}, .when = T_KEPT},
    {SAME(STREAM, X), .unless = T_KEPT},
    {NORM(ATTN_IN, STREAM, "input_layernorm")},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS, .unless = T_BORROWS},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS,
     .unless = T_KEYS_ONLY | T_BORROWS},
    {SAME(V, K), .when = T_KEYS_ONLY, .unless = T_BORROWS},
    {NORM(Q_NORM, Q, "self_attn.q_norm"), .groups = DIM_HEADS},
    {NORM(K_NORM, K, "self_attn.k_norm"), .groups = DIM_KV_HEADS, .unless = T_BORROWS},
    {NORM(V_UNIT, V, NULL), .groups = DIM_KV_HEADS, .norm = NORM_RMS_BARE, .unless = T_BORROWS},
    {TURN(Q_ROT, Q_NORM, HEADS)},
    {TURN(K_ROT, K_NORM, KV_HEADS), .unless = T_BORROWS},
    KEEP_ROWS,
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V_UNIT)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm")},
    {ADD(Y, STREAM, ATTN_POST)},
    {NORM(MLP_IN, Y, "pre_feedforward_layernorm")},
    {LINEAR(GATE, MLP_IN, FFN, "mlp.gate_proj"), .unless = T_WIDE},
    {LINEAR(UP, MLP_IN, FFN, "mlp.up_proj"), .unless = T_WIDE},
    {LINEAR(GATE, MLP_IN, FFN2, "mlp.gate_proj"), .when = T_WIDE},
    {LINEAR(UP, MLP_IN, FFN2, "mlp.up_proj"), .when = T_WIDE},
    {GLU(MID, GATE, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.down_proj")},
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
    {LINEAR(TOKEN_GATE, Y_SUM, TOKEN, "per_layer_input_gate"), .when = T_TOKEN},
    {TOKEN(TOKEN, TOKEN), .when = T_TOKEN},
    {GLU(TOKEN_MID, TOKEN_GATE, TOKEN), .when = T_TOKEN},
    {LINEAR(TOKEN_OUT, TOKEN_MID, HIDDEN, "per_layer_projection"), .when = T_TOKEN},
    {NORM(TOKEN_POST, TOKEN_OUT, "post_per_layer_input_norm"), .when = T_TOKEN},
    {ADD(Y_TOKEN, Y_SUM, TOKEN_POST), .when = T_TOKEN},
    {SAME(Y_TOKEN, Y_SUM), .unless = T_TOKEN},
    {SCALE(Z, Y_TOKEN, "layer_scalar"), .unless = T_KEPT},
    {SCALE(STREAM_OUT, Y_TOKEN, "layer_scalar"), .when = T_KEPT},
    {JOIN(Z, STREAM_OUT, KEPT_NEW, ONE), .when = T_KEPT},
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
    {.set = SET_DIM,
     .what = DIM_TOKEN,
     .key = "hidden_size_per_layer_input",
     .absent = 256,
     .null_is_off = true,
     .may_be_none = true},
    FLAG_UNLESS_NULL(T_TOKEN, "hidden_size_per_layer_input"),
    DIM(TOKEN_VOCAB, "vocab_size_per_layer_input", 262144),
    {.set = SET_NUMBER, .what = NUM_TOKEN_PROJECTION, .same = DIM_HIDDEN, .power = -0.5},
    {.set = SET_NUMBER, .what = NUM_TOKEN_TABLE, .same = DIM_TOKEN, .power = 0.5, .when = T_TOKEN},
    NUMBER_POW(TOKEN, NULL, 2, -0.5),
    FLAG_IF(T_KEPT, "num_kv_shared_layers"),
    FLAG(T_D, "use_double_wide_mlp", false),
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_WINDOW, NULL, 6)},
    {EVERY(T_KEYS_ONLY, NULL, 6), .when = T_A},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_WORD(T_KEYS_ONLY, "layer_types", "full_attention"), .when = T_A},
    {ALL_LAYERS(T_SPARSE), .when = T_B},
    {LAST(T_BORROWS, "num_kv_shared_layers", 0), .when = T_KEPT},
    {LAST(T_WIDE, "num_kv_shared_layers", 0), .when = T_D},
    {0},
};

static const char *const architectures[] = {"Gemma4ForCausalLM", "Gemma4TextModel", NULL};
/* of layers that take over those of others */
static const char *const block_beside[] = {"self_attn.k_proj.", "self_attn.v_proj.",
                                           "self_attn.k_norm.", NULL};
static const char *const inherent[] = {"qk_norm", "use_qk_norm", NULL};

const struct family family_gemma4 = {
    .name = "gemma4",
    .model_types = {"gemma4_text"},
    LLAMA_TENSOR_NAMES,
    .token_table = "model.embed_tokens_per_layer.weight",
    .token_projection = "model.per_layer_model_projection",
    .token_norm = "model.per_layer_projection_norm",
    .block_beside = block_beside,
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
