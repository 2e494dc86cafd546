/* SPDX-License-Identifier: Apache-2.0 */
/* LongCat-Flash: a layer has two attentions through latents and two MLPs, one after the other, and
 * experts that read what the first MLP reads and whose sum joins the stream at the end of the
 * layer. Some experts are idle: they make of a token what it was. Defaults: transformers'
 * LongcatFlashConfig.
 *
 * Plain: the routers, which servers do not take packed (vLLM 055e47c,
 * model_executor/models/longcat_flash.py, LongcatRouter; GPTQModel f4c327a,
 * models/definitions/longcat_flash.py). */
#include "models/families/latent.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

/* clang-format off */
/* One of the two attentions: `s` stands before the names of its values, nothing or 2_. */
#define ATTENTION_ROWS(s, n)                                                                        \
    {NORM(s##ATTN_IN, s##X, ("input_layernorm." n))},                                               \
    {LINEAR(s##Q_A, s##ATTN_IN, Q_LORA, ("self_attn." n ".q_a_proj")), .bias = T_ATTENTION_BIAS},   \
    {NORM(s##Q_A_NORM, s##Q_A, ("self_attn." n ".q_a_layernorm")), .eps = 1e-6},                    \
    {LINEAR(s##Q, s##Q_A_NORM, MLA_Q, ("self_attn." n ".q_b_proj")), .number = NUM_Q_LATENT},       \
    {LINEAR(s##KV_A, s##ATTN_IN, KV_A, ("self_attn." n ".kv_a_proj_with_mqa")),                     \
     .bias = T_ATTENTION_BIAS},                                                                     \
    {SPLIT(s##KV_A, ONE), .out = {V_##s##KV_C, V_##s##K_PE}, .width = {DIM_KV_LORA, DIM_PE}},       \
    {NORM(s##KV_C_NORM, s##KV_C, ("self_attn." n ".kv_a_layernorm")), .eps = 1e-6},                 \
    {LINEAR(s##KV_B, s##KV_C_NORM, KV_B, ("self_attn." n ".kv_b_proj")), .number = NUM_KV_LATENT},  \
    {SPLIT(s##KV_B, HEADS), .out = {V_##s##K_NOPE, V_##s##V}, .width = {DIM_MLA_NOPE, DIM_MLA_V}},  \
    {JOIN(s##K, s##K_NOPE, s##K_PE, HEADS)},                                                        \
    {TURN(s##Q_ROT, s##Q, HEADS), .skip = DIM_NOPE},                                                \
    {TURN(s##K_ROT, s##K, HEADS), .skip = DIM_NOPE},                                                \
    {ATTENTION(s##CONTEXT, s##Q_ROT, s##K_ROT, s##V)},                                              \
    {LINEAR(s##ATTN_OUT, s##CONTEXT, HIDDEN, ("self_attn." n ".o_proj")), .bias = T_ATTENTION_BIAS}, \
    {ADD(s##Y, s##X, s##ATTN_OUT)},                                                                 \
    {NORM(s##MLP_IN, s##Y, ("post_attention_layernorm." n))}
#define HALF_MLP_ROWS(s, n)                                             \
    {LINEAR(s##GATE, s##MLP_IN, FFN, ("mlps." n ".gate_proj"))},        \
    {LINEAR(s##UP, s##MLP_IN, FFN, ("mlps." n ".up_proj"))},            \
    {GLU(s##MID, s##GATE, s##UP)},                                      \
    {LINEAR(s##MLP_OUT, s##MID, HIDDEN, ("mlps." n ".down_proj"))}
/* clang-format on */

static const struct node rows[] = {
    ATTENTION_ROWS(, "0"),
    {ROUTER_OF(CHOICES, MLP_IN, CHOICES, "mlp.router.classifier"),
     .choice_bias = "mlp.router.e_score_correction_bias"},
    {SPLIT(CHOICES, ONE), .out = {V_ROUTE, V_IDLE}, .width = {DIM_EXPERTS, DIM_IDLE}, .when = T_C},
    {SAME(ROUTE, CHOICES), .unless = T_C},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert)},
    {SUM(IDLE_GAIN, IDLE, ONE), .when = T_C},
    {GLU(IDLE_OUT, IDLE_GAIN, MLP_IN), .act = ACT_NONE, .when = T_C},
    {ADD(SHORTCUT, IDLE_OUT, ROUTED), .when = T_C},
    {SAME(SHORTCUT, ROUTED), .unless = T_C},
    HALF_MLP_ROWS(, "0"),
    {ADD(2_X, Y, MLP_OUT)},
    ATTENTION_ROWS(2_, "1"),
    HALF_MLP_ROWS(2_, "1"),
    {ADD(Y_SUM, 2_Y, 2_MLP_OUT)},
    {ADD(Z, Y_SUM, SHORTCUT)},
    {END},
};

static const struct setting settings[] = {
    DIM(VOCAB, "vocab_size", 131072),
    DIM(HIDDEN, "hidden_size", 6144),
    DIM(LAYERS, "num_layers", 28), /* num_hidden_layers counts their halves */
    DIM(HEADS, "num_attention_heads", 64),
    DIM(POSITIONS, "max_position_embeddings", 131072),
    DIM(FFN, "ffn_hidden_size", 12288),
    THETA(10000000),
    RMS_EPS(1e-5),
    TIED(false),
    DIM(Q_LORA, "q_lora_rank", 1536),
    LATENT_KEY_SETTINGS(512, 128, 64),
    DIM(V_HEAD, "v_head_dim", 128),
    FLAG(T_A, "mla_scale_q_lora", true),
    FLAG(T_B, "mla_scale_kv_lora", true),
    {.set = SET_NUMBER,
     .what = NUM_Q_LATENT,
     .same = DIM_HIDDEN,
     .power = 0.5,
     .size = DIM_Q_LORA,
     .size_to = -0.5,
     .when = T_A},
    {.set = SET_NUMBER,
     .what = NUM_KV_LATENT,
     .same = DIM_HIDDEN,
     .power = 0.5,
     .size = DIM_KV_LORA,
     .size_to = -0.5,
     .when = T_B},
    DIM(EXPERTS, "n_routed_experts", 512),
    {.set = SET_DIM,
     .what = DIM_IDLE,
     .key = "zero_expert_num",
     .absent = 256,
     .null_is_off = true,
     .may_be_none = true},
    FLAG_UNLESS_NULL(T_C, "zero_expert_num"),
    WORD(0, "zero_expert_type", "identity"),
    DIM(TOP_K, "moe_topk", 12),
    DIM(EXPERT_FFN, "expert_ffn_hidden_size", 2048),
    NUMBER(ROUTED, "routed_scaling_factor", 6),
    {0},
};

static const char *const architectures[] = {"LongcatFlashForCausalLM", "LongcatFlashModel", NULL};
static const char *const beside[] = {"model.mtp.", NULL};
static const struct family_limit limits[] = {LATENT_LIMITS, {.stack = NULL}};

const struct family family_longcat_flash = {
    .name = "longcat_flash",
    .model_types = {"longcat_flash"},
    LLAMA_TENSOR_NAMES,
    .beside = beside,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .traits = T_INTERLEAVED | T_MSCALE,
    .architectures = architectures,
    .limits = limits,
};
