/* SPDX-License-Identifier: Apache-2.0 */
/* MiMo-V2-Flash: layers with a window have more key-value heads than the others, sinks, and a
 * rotary base of their own; values are narrower than keys, and scaled; DeepSeek-V3's experts
 * without one for every token. Defaults: transformers' MiMoV2FlashConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS},
    {LINEAR(V, ATTN_IN, VALUES, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS},
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .name = "self_attn.attention_sink_bias",
     .when = T_WINDOW},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_WINDOW},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj")},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    V3_ROUTER_ROW,
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert), .when = T_SPARSE},
    {ADD(Z, Y, ROUTED), .when = T_SPARSE},
    {END},
};

/* clang-format off */
#define ROTARY_OF(layers) \
    "rope_parameters." layers ".partial_rotary_factor|partial_rotary_factor"
/* clang-format on */

static const struct setting settings[] = {
    SIZES(152576, 4096, 48, 64, 131072),
    KV_HEADS(4),
    {.set = SET_DIM,
     .what = DIM_KV_HEADS,
     .key = "swa_num_key_value_heads",
     .same = DIM_KV_HEADS,
     .times = 2,
     .when = T_WINDOW},
    HEAD_DIM(192),
    {.set = SET_DIM, .what = DIM_HEAD, .key = "swa_head_dim", .same = DIM_HEAD, .when = T_WINDOW},
    DIM(V_HEAD, "v_head_dim", 128),
    {.set = SET_DIM,
     .what = DIM_V_HEAD,
     .key = "swa_v_head_dim",
     .same = DIM_V_HEAD,
     .when = T_WINDOW},
    FFN(16384),
    WINDOW(128),
    NUMBER(THETA, "rope_theta", 5000000),
    NUMBER(LOCAL_THETA, "swa_rope_theta", 10000),
    NUMBER(ROTARY, ROTARY_OF("full_attention"), 0.334),
    {.set = SET_NUMBER,
     .what = NUM_ROTARY,
     .key = ROTARY_OF("sliding_attention"),
     .absent = 0.334,
     .when = T_WINDOW},
    {.set = SET_NUMBER, .what = NUM_VALUES, .key = "attention_value_scale", .absent = 0.707},
    NUMBER(EPS, "rms_norm_eps|layernorm_epsilon", 1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    V3_SCORES,
    DIM(EXPERTS, "n_routed_experts", 256),
    DIM(TOP_K, "num_experts_per_tok", 8),
    DIM(EXPERT_FFN, "moe_intermediate_size", 2048),
    V3_CHOICE(1, 1, 1),
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_WINDOW, NULL, 6)},
    {BEFORE(T_WINDOW, NULL, 1), .clears = true},
    {BY_NUMBER(T_WINDOW, "hybrid_layer_pattern", 1)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {FROM(T_SPARSE, NULL, 1)},
    {BY_NUMBER(T_SPARSE, "moe_layer_freq", 1)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const architectures[] = {"MiMoV2FlashForCausalLM", "MiMoV2FlashModel", NULL};
static const char *const inherent[] = {"add_swa_attention_sink_bias", NULL};
/* no loader of this family reads the first; the second is not read beside settings for each kind of
 * layer */
static const char *const ignored[] = {"attention_chunk_size", "rope_theta", NULL};

static const char *const beside[] = {"model.mtp.", NULL};

const struct family family_mimo_v2_flash = {
    .name = "mimo_v2_flash",
    .model_types = {"mimo_v2_flash"},
    LLAMA_TENSOR_NAMES,
    .beside = beside,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_LOCAL_ROPE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
    .ignored_keys = ignored,
};
