/* SPDX-License-Identifier: Apache-2.0 */
/* Zamba2: Mamba-2 in every layer. Some layers hand their mixer, beside the stream, what a
 * transformer block makes of the stream and the embedding; there are but one or two such blocks,
 * which these layers share, each with adapters of its own. Defaults: transformers' Zamba2Config.
 *
 * Plain: all linears of the shared blocks, as one weight serves in several places, and the
 * adapters; of the mixer as in mamba2.c. */
#include "models/families/tables.h"

#define T_HYBRID  T_D
#define T_ADAPTED T_A
#define T_ROTATES T_B

/* clang-format off */
#define SHARED      .plain = true, .shared = true, .when = T_HYBRID
#define OF_ADAPTERS .plain = true, .shared = true, .when = T_HYBRID | T_ADAPTED
/* What an adapter of the layer's own adds to one of the first linears: `p` is Q, K or V. */
#define ADAPTER_ROWS(p, w, letter)                                                                  \
    {LINEAR(p##_LOW, ATTN_IN, ADAPTER,                                                              \
            ("shared_transformer.self_attn.linear_" letter "_adapter_list.%d.0")), OF_ADAPTERS},    \
    {LINEAR(p##_MORE, p##_LOW, w,                                                                   \
            ("shared_transformer.self_attn.linear_" letter "_adapter_list.%d.1")), OF_ADAPTERS},    \
    {ADD(p##_SUM, p, p##_MORE), .when = T_HYBRID | T_ADAPTED},                                      \
    {SAME(p##_SUM, p), .when = T_HYBRID, .unless = T_ADAPTED}
/* The mixer of what `in` holds, and its norm. */
#define MIXER_ROWS(in, part, w, wo)                                                                 \
    {NORM(2_ATTN_IN, in, (part "input_layernorm")), .when = w, .unless = wo},                       \
    MAMBA2_ROWS(2_ATTN_IN, part "mamba", w, wo),                                                    \
    {NORM(SCAN_NORM, SCAN_GATED, (part "mamba.norm")), .groups = DIM_SSM_GROUPS, .each = true,      \
     .flat = true, .eps = 1e-5, .when = w, .unless = wo},                                           \
    MAMBA2_OUT_ROW(SCAN_NORM, part "mamba", T_MIXER_BIAS, w, wo)

static const struct node rows[] = {
    {EMBEDDING(EMBEDDED), .when = T_HYBRID},
    {JOIN(ATTN_X, X, EMBEDDED, ONE), .when = T_HYBRID},
    {NORM(ATTN_IN, ATTN_X, "shared_transformer.input_layernorm"), .shared = true, .when = T_HYBRID},
    {LINEAR(Q, ATTN_IN, ATTN, "shared_transformer.self_attn.q_proj"), SHARED},
    {LINEAR(K, ATTN_IN, KV, "shared_transformer.self_attn.k_proj"), SHARED},
    {LINEAR(V, ATTN_IN, KV, "shared_transformer.self_attn.v_proj"), SHARED},
    ADAPTER_ROWS(Q, ATTN, "q"),
    ADAPTER_ROWS(K, KV, "k"),
    ADAPTER_ROWS(V, KV, "v"),
    {TURN(Q_ROT, Q_SUM, HEADS), .when = T_HYBRID | T_ROTATES},
    {TURN(K_ROT, K_SUM, KV_HEADS), .when = T_HYBRID | T_ROTATES},
    {SAME(Q_ROT, Q_SUM), .when = T_HYBRID, .unless = T_ROTATES},
    {SAME(K_ROT, K_SUM), .when = T_HYBRID, .unless = T_ROTATES},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V_SUM), .when = T_HYBRID},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "shared_transformer.self_attn.o_proj"), SHARED},
    {NORM(MLP_IN, ATTN_OUT, "shared_transformer.pre_ff_layernorm"), .shared = true, .when = T_HYBRID},
    {LINEAR(GATE_UP, MLP_IN, FFN2, "shared_transformer.feed_forward.gate_up_proj"),
     .bias = T_MIXER_BIAS, SHARED},
    {LINEAR(UP_LOW, MLP_IN, ADAPTER,
            "shared_transformer.feed_forward.gate_up_proj_adapter_list.%d.0"), SHARED},
    {LINEAR(UP_MORE, UP_LOW, FFN2,
            "shared_transformer.feed_forward.gate_up_proj_adapter_list.%d.1"), SHARED},
    {ADD(UP_SUM, GATE_UP, UP_MORE), .when = T_HYBRID},
    {SPLIT(UP_SUM, ONE), .out = {V_GATE, V_UP}, .width = {DIM_FFN, DIM_FFN}, .when = T_HYBRID},
    {GLU(MID, GATE, UP), .when = T_HYBRID},
    {LINEAR(MLP_OUT, MID, HIDDEN, "shared_transformer.feed_forward.down_proj"),
     .bias = T_MIXER_BIAS, SHARED},
    {LINEAR(ADDED, MLP_OUT, HIDDEN, "linear"), .when = T_HYBRID},
    {ADD(MIX_SUM, X, ADDED), .when = T_HYBRID},
    MIXER_ROWS(MIX_SUM, "mamba_decoder.", T_HYBRID, 0),
    MIXER_ROWS(X, "", 0, T_HYBRID),
    {ADD(Z, X, MIX_OUT)},
    {END},
};
/* clang-format on */

static const struct setting settings[] = {
    SIZES(32000, 2560, 54, 32, 4096),
    KV_HEADS(0),
    {.set = SET_DIM,
     .what = DIM_HEAD,
     .key = "attention_head_dim",
     .same = DIM_HIDDEN,
     .over = DIM_HEADS,
     .times = 2},
    FFN_4("intermediate_size"),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(true),
    NUMBER_POW(ATTN_GAIN, NULL, 2, 0.5), /* heads are scaled as if they were half as wide */
    DIM(EXPAND, "mamba_expand", 2),
    DIM(SSM_HEADS, "n_mamba_heads", 8),
    {.set = SET_DIM,
     .what = DIM_SSM_HEAD,
     .key = "mamba_headdim",
     .same = DIM_HIDDEN,
     .by = DIM_EXPAND,
     .over = DIM_SSM_HEADS},
    DIM(SSM_STATE, "mamba_d_state", 64),
    DIM(SSM_GROUPS, "mamba_ngroups", 1),
    DIM(CONV, "mamba_d_conv", 4),
    FLAG(T_CONV_BIAS, "use_conv_bias", true),
    FLAG(T_MIXER_BIAS, "add_bias_linear", false),
    NUMBER(STEP_MIN, "time_step_limit[0/2]|time_step_min", 0.001),
    {.set = SET_NUMBER,
     .what = NUM_STEP_MAX,
     .key = "time_step_limit[1/2]",
     .absent = (double)INFINITY,
     .infinite = true},
    DIM(SHARES, "num_mem_blocks", 1),
    DIM(ADAPTER, "adapter_rank", 128),
    FLAG(T_ADAPTED, "use_shared_attention_adapter", false),
    FLAG(T_ROTATES, "use_mem_rope", false),
    {0},
};

static const struct layer_rule rules[] = {
    {BY_WORD(T_RECURRENT, "layers_block_type", "mamba|linear_attention"), .only = true},
    {BY_WORD(T_HYBRID, "layers_block_type", "hybrid"), .only = true},
    {0},
};

static const char *const architectures[] = {"Zamba2ForCausalLM", "Zamba2Model", NULL};

/* Its shared linears have no names there, by which they could be told to stay as they are
 * (vllm-project/vllm 0527cbc, vllm/model_executor/models/zamba2.py, Zamba2Attention, Zamba2MLP). */
static const struct family_limit limits[] = {
    {"vLLM", NULL, true, "packs the blocks that layers share as well, which stay in 16 bits here"},
    {.stack = NULL},
};

const struct family family_zamba2 = {
    .name = "zamba2",
    .model_types = {"zamba2"},
    .embedding = "model.embed_tokens.weight",
    .block_prefix = "model.layers.%lld.",
    .final_norm = "model.final_layernorm",
    .head = "lm_head.weight",
    .rows = rows,
    .shared = T_HYBRID,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_GELU,
    .architectures = architectures,
    .limits = limits,
};
