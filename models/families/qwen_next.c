/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen3-Next and Qwen3.5: gated delta rules, and in every fourth layer attention with a gate for
 * every head's output; an MLP, or experts beside an MLP behind a switch. Defaults: transformers'
 * Qwen3NextConfig, Qwen3_5TextConfig and Qwen3_5MoeTextConfig.
 *
 * Plain: the convolution, the linears that make decays and betas, the router and the switch
 * (GPTQModel f4c327a, models/definitions/qwen3_next.py, qwen3_5.py and qwen3_5_moe.py; vLLM
 * 002d607, model_executor/models/qwen3_next.py, has the last two without a quantization).
 * llm-compressor 30816e0, examples/quantization_w4a4_fp4/qwen3_next_example.py, leaves out all of
 * linear_attn. */
#include "models/families/delta.h"

/* clang-format off */
#define BEFORE_ROWS {NORM(ATTN_IN, X, "input_layernorm")}

/* From what the linears make to the stream: one convolution for queries, keys and values; a norm of
 * each head by a plain weight, then the gate Z. */
#define RECURRENT_ROWS                                                                               \
    {CONV(CONV_OUT, CONV_IN, "linear_attn.conv1d"), .when = T_RECURRENT},                            \
    {SPLIT(CONV_OUT, ONE), .out = {V_Q, V_K, V_V},                                                   \
     .width = {DIM_DELTA_K, DIM_DELTA_K, DIM_DELTA_V}, .when = T_RECURRENT},                         \
    DELTA_ROWS("linear_attn"),                                                                       \
    {NORM(SCAN_NORM, SCAN, "linear_attn.norm"), .norm = NORM_RMS, .groups = DIM_DELTA_VALUE_HEADS,   \
     .when = T_RECURRENT},                                                                           \
    {GLU(SCAN_GATED, MIX_Z, SCAN_NORM), .act = ACT_SILU, .when = T_RECURRENT},                       \
    {LINEAR(MIX_OUT, SCAN_GATED, HIDDEN, "linear_attn.out_proj"), .when = T_RECURRENT},              \
    {ADD(Y, X, MIX_OUT), .when = T_RECURRENT}

/* Every head's queries lie beside its gates. */
#define ATTENTION_ROWS                                                                               \
    {LINEAR(Q_GATE, ATTN_IN, ATTN2, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS,                   \
     .unless = T_RECURRENT},                                                                         \
    {SPLIT(Q_GATE, HEADS), .out = {V_Q, V_ATTN_GATE}, .width = {DIM_ATTN, DIM_ATTN},                 \
     .unless = T_RECURRENT},                                                                         \
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},   \
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},   \
    {NORM(Q_NORM, Q, "self_attn.q_norm"), .groups = DIM_HEADS, .unless = T_RECURRENT},               \
    {NORM(K_NORM, K, "self_attn.k_norm"), .groups = DIM_KV_HEADS, .unless = T_RECURRENT},            \
    {TURN(Q_ROT, Q_NORM, HEADS), .unless = T_RECURRENT},                                             \
    {TURN(K_ROT, K_NORM, KV_HEADS), .unless = T_RECURRENT},                                          \
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_RECURRENT},                                    \
    {GLU(ATTN_GATED, ATTN_GATE, CONTEXT), .act = ACT_SIGMOID, .unless = T_RECURRENT},                     \
    {LINEAR(ATTN_OUT, ATTN_GATED, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS,                  \
     .unless = T_RECURRENT},                                                                         \
    {ADD(Y, X, ATTN_OUT), .unless = T_RECURRENT},                                                    \
    {NORM(MLP_IN, Y, "post_attention_layernorm")}

#define SPARSE_ROWS(rows)                                                                            \
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .when = T_SPARSE},                                           \
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", rows), .when = T_SPARSE},                     \
    {ADD(Y_ROUTED, Y, ROUTED), .when = T_SPARSE},                                                    \
    SHARED_ROWS(SHARED_FFN, "mlp.shared_expert"),                                                    \
    {LINEAR(SHARED_SWITCH, MLP_IN, ONE, "mlp.shared_expert_gate"), .plain = true,                    \
     .when = T_SPARSE},                                                                              \
    {GLU(SHARED, SHARED_SWITCH, SHARED_OUT), .act = ACT_SIGMOID, .when = T_SPARSE},                  \
    {ADD(Z, Y_ROUTED, SHARED), .when = T_SPARSE}

#define ATTENTION_SETTINGS(kv_heads)                    \
    KV_HEADS(kv_heads),                                 \
    HEAD_DIM(256),                                      \
    DELTA_SIZES(16, 32, 128, 128),                      \
    ROTARY("partial_rotary_factor", 0.25),              \
    THETA(10000),                                       \
    RMS_EPS(1e-6),                                      \
    TIED(false),                                        \
    FLAG(T_ATTENTION_BIAS, "attention_bias", false)
#define EXPERT_SETTINGS(experts, top_k)                                  \
    DIM(EXPERTS, "num_experts|num_local_experts", experts),              \
    DIM(TOP_K, "num_experts_per_tok", top_k),                            \
    DIM(EXPERT_FFN, "moe_intermediate_size", 512),                       \
    DIM(SHARED_FFN, "shared_expert_intermediate_size", 512)

#define LAYER_RULES                                             \
    {NOT_EVERY(T_RECURRENT, "full_attention_interval", 4)},     \
    {BY_WORD(T_RECURRENT, "layer_types", "linear_attention")}
/* clang-format on */

static const char *const inherent[] = {
    "qk_norm",        "use_qk_norm",      "qk_layernorm",   "use_qk_layernorm",
    "query_key_norm", "attn_output_gate", "norm_topk_prob", NULL};
/* Positions of text are the same in every section; the state's type is the server's choice. */
static const char *const ignored[] = {"mamba_ssm_dtype", "mrope_section", NULL};
static const char *const beside[] = {"mtp.", NULL}; /* predicts a second token: ... */

/* ... behind the model's last norm, with attention of the kind that every fourth layer has. To vLLM
 * fc is a linear like others, which stays plain here, as vLLM takes it with NVFP4 (055e47c2,
 * model_executor/models/qwen3_next_mtp.py; 01d99805, qwen3_5_mtp.py). */
#define MTP_WIRING                                                                                 \
    .prefix = "mtp.layers.%lld.", .shared = true, .token_norm = "mtp.pre_fc_norm_embedding",       \
    .hidden_norm = "mtp.pre_fc_norm_hidden", .projection = "mtp.fc", .out_norm = "mtp.norm",       \
    .behind_norm = true, .drops = T_RECURRENT
static const struct draft_wiring draft_sparse = {MTP_WIRING, .adds = T_SPARSE};
static const struct draft_wiring draft_dense = {MTP_WIRING};

/* --- Qwen3-Next: what a key head and its value heads need lies together ----------------------- */

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node next_rows[] = {
    BEFORE_ROWS,
    {LINEAR(MIX_IN, ATTN_IN, DELTA_IN, "linear_attn.in_proj_qkvz"), .when = T_RECURRENT},
    {LINEAR(BETA_FADE, ATTN_IN, DELTA_STEPS, "linear_attn.in_proj_ba"), .plain = true,
     .when = T_RECURRENT},
    {SPLIT(MIX_IN, DELTA_KEY_HEADS), .out = {V_MIX_Q, V_MIX_K, V_MIX_V, V_MIX_Z},
     .width = {DIM_DELTA_K, DIM_DELTA_K, DIM_DELTA_V, DIM_DELTA_V}, .when = T_RECURRENT},
    {SPLIT(BETA_FADE, DELTA_KEY_HEADS), .out = {V_BETA, V_FADE},
     .width = {DIM_DELTA_VALUE_HEADS, DIM_DELTA_VALUE_HEADS}, .when = T_RECURRENT},
    {JOIN3(CONV_IN, MIX_Q, MIX_K, MIX_V, ONE), .when = T_RECURRENT},
    RECURRENT_ROWS,
    ATTENTION_ROWS,
    DENSE_ROWS("mlp"),
    SPARSE_ROWS(expert),
    {END},
};

static const struct setting next_settings[] = {
    SIZES(151936, 2048, 48, 16, 32768),
    FFN(5632),
    ATTENTION_SETTINGS(2),
    EXPERT_SETTINGS(512, 10),
    FLAG(T_NORM_TOPK, "norm_topk_prob", true),
    {0},
};

static const struct layer_rule next_rules[] = {
    LAYER_RULES,
    {EVERY(T_SPARSE, "decoder_sparse_step", 1)},
    {AMONG(T_SPARSE, "mlp_only_layers"), .clears = true},
    {0},
};

static const char *const next_architectures[] = {"Qwen3NextForCausalLM", "Qwen3NextModel", NULL};

const struct family family_qwen3_next = {
    .name = "qwen3_next",
    .model_types = {"qwen3_next"},
    LLAMA_TENSOR_NAMES,
    .beside = beside,
    .draft = &draft_sparse,
    .rows = next_rows,
    .settings = next_settings,
    .rules = next_rules,
    .norm = NORM_RMS1,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = next_architectures,
    .inherent_keys = inherent,
    .ignored_keys = ignored,
};

/* --- Qwen3.5: a linear for each of them, or for queries, keys and values together ------------- */

/* clang-format off */
#define APART_ROWS                                                                                   \
    {LINEAR(CONV_IN, ATTN_IN, DELTA_QKV, "linear_attn.in_proj_qkv"), .when = T_RECURRENT},           \
    {LINEAR(MIX_Z, ATTN_IN, DELTA_V, "linear_attn.in_proj_z"), .when = T_RECURRENT},                 \
    {LINEAR(BETA, ATTN_IN, DELTA_VALUE_HEADS, "linear_attn.in_proj_b"), .plain = true,               \
     .when = T_RECURRENT},                                                                           \
    {LINEAR(FADE, ATTN_IN, DELTA_VALUE_HEADS, "linear_attn.in_proj_a"), .plain = true,               \
     .when = T_RECURRENT}
/* clang-format on */

static const struct node apart_rows[] = {
    BEFORE_ROWS,           APART_ROWS,           RECURRENT_ROWS, ATTENTION_ROWS,
    GATED_ROWS(MLP_IN, 0), {ADD(Z, Y, MLP_OUT)}, {END},
};

static const struct setting apart_settings[] = {
    SIZES(248320, 4096, 32, 16, 32768),
    FFN(12288),
    ATTENTION_SETTINGS(4),
    {0},
};

static const struct layer_rule apart_rules[] = {LAYER_RULES, {0}};

static const char *const apart_architectures[] = {"Qwen3_5ForCausalLM", "Qwen3_5TextModel", NULL};

const struct family family_qwen3_5 = {
    .name = "qwen3_5_text",
    .model_types = {"qwen3_5_text"},
    LLAMA_TENSOR_NAMES,
    .beside = beside,
    .draft = &draft_dense,
    .rows = apart_rows,
    .settings = apart_settings,
    .rules = apart_rules,
    .norm = NORM_RMS1,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = apart_architectures,
    .inherent_keys = inherent,
    .ignored_keys = ignored,
};

/* --- with experts, which are stacked ---------------------------------------------------------- */

static const struct node stacked[] = {
    STACKED_EXPERT_ROWS(STORED_STACK, "mlp.experts.gate_up_proj", "mlp.experts.down_proj")};

static const struct node moe_rows[] = {
    BEFORE_ROWS, APART_ROWS, RECURRENT_ROWS, ATTENTION_ROWS, SPARSE_ROWS(stacked), {END},
};

static const struct setting moe_settings[] = {
    SIZES(248320, 2048, 40, 16, 32768),
    ATTENTION_SETTINGS(2),
    EXPERT_SETTINGS(256, 8),
    {0},
};

static const struct layer_rule moe_rules[] = {LAYER_RULES, {ALL_LAYERS(T_SPARSE)}, {0}};

static const char *const moe_architectures[] = {"Qwen3_5MoeForCausalLM", "Qwen3_5MoeTextModel",
                                                NULL};

const struct family family_qwen3_5_moe = {
    .name = "qwen3_5_moe_text",
    .model_types = {"qwen3_5_moe_text"},
    LLAMA_TENSOR_NAMES,
    .beside = beside,
    .draft = &draft_sparse,
    .rows = moe_rows,
    .settings = moe_settings,
    .rules = moe_rules,
    .norm = NORM_RMS1,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = moe_architectures,
    .inherent_keys = inherent,
    .ignored_keys = ignored,
};
