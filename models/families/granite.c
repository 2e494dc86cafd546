/* SPDX-License-Identifier: Apache-2.0 */
/* Granite 3: Llama with four factors, of the embedding, the scores, the branches and the logits;
 * the same with windows and sinks; with experts; with norms behind the branches (HyperCLOVA X).
 * Defaults: transformers' GraniteConfig, GraniteSWAConfig, GraniteMoeConfig and HyperCLOVAXConfig.
 */
#include "models/families/tables.h"

/* clang-format off */
#define FACTORS                                               \
    NUMBER_POW(EMBED, "embedding_multiplier", 1, 1),          \
    NUMBER_POW(ATTN_SCALE, "attention_multiplier", 1, 1),     \
    NUMBER_POW(RESIDUAL, "residual_multiplier", 1, 1),        \
    NUMBER_POW(LOGITS, "logits_scaling", 1, -1)
#define SETTINGS                                              \
    SIZES(32000, 4096, 32, 32, 2048),                         \
    KV_HEADS(0),                                              \
    HEAD_DIM(0),                                              \
    FFN(11008),                                               \
    THETA(10000),                                             \
    RMS_EPS(1e-6),                                            \
    TIED(false),                                              \
    FLAG(T_ATTENTION_BIAS, "attention_bias", false)
/* clang-format on */

static const struct node rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, T_ATTENTION_BIAS, T_MLP_BIAS),
    {END},
};

static const struct setting settings[] = {
    SETTINGS,
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    FACTORS,
    {0},
};

static const char *const architectures[] = {"GraniteForCausalLM", "GraniteModel", NULL};

const struct family family_granite = {
    .name = "granite",
    .model_types = {"granite"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "granite",
    .architectures = architectures,
};

/* --- with experts, of which all lie in two tensors -------------------------------------------- */

/* By themselves they have the names that vLLM and SGLang give them. */

static const struct node moe_expert[] = {
    {LINEAR(GATE, E, FFN, "w1"), .storage = STORED_STACK,
     .stack = "block_sparse_moe.input_linear.weight", .part = PART_FIRST},
    {LINEAR(UP, E, FFN, "w3"), .storage = STORED_STACK,
     .stack = "block_sparse_moe.input_linear.weight", .part = PART_SECOND},
    {GLU(MID, GATE, UP)},
    {LINEAR(E_OUT, MID, HIDDEN, "w2"), .storage = STORED_STACK,
     .stack = "block_sparse_moe.output_linear.weight"},
    {END},
};

static const struct node moe_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT), .number = NUM_RESIDUAL},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {ROUTER(ROUTE, MLP_IN, "block_sparse_moe.router.layer")},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "block_sparse_moe.experts.%d.", moe_expert)},
    {ADD(Z, Y, ROUTED), .number = NUM_RESIDUAL},
    {END},
};

static const struct setting moe_settings[] = {
    SETTINGS, FACTORS, DIM(EXPERTS, "num_local_experts", 8), DIM(TOP_K, "num_experts_per_tok", 2),
    {0},
};

static const struct family_limit moe_limits[] = {
    STACKED_LIMITS,
    {.stack = NULL},
};

static const char *const moe_architectures[] = {"GraniteMoeForCausalLM", "GraniteMoeModel", NULL};
static const char *const moe_inherent[] = {"norm_topk_prob", NULL};

const struct family family_granitemoe = {
    .name = "granitemoe",
    .model_types = {"granitemoe"},
    LLAMA_TENSOR_NAMES,
    .rows = moe_rows,
    .settings = moe_settings,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = moe_architectures,
    .limits = moe_limits,
    .inherent_keys = moe_inherent,
};

/* --- Granite 4: most layers with Mamba-2 in place of attention -------------------------------- */

/* Everywhere an MLP that every token passes, beside experts or alone. Whether heads are rotated,
 * position_embedding_type says. Defaults: transformers' GraniteMoeHybridConfig. */

static const struct node hybrid_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    MAMBA2_ROWS(ATTN_IN, "mamba", T_RECURRENT, 0),
    {NORM(SCAN_NORM, SCAN_GATED, "mamba.norm"), .when = T_RECURRENT},
    MAMBA2_OUT_ROW(SCAN_NORM, "mamba", T_MIXER_BIAS, T_RECURRENT, 0),
    {ADD(Y, X, MIX_OUT), .number = NUM_RESIDUAL, .when = T_RECURRENT},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {TURN(Q_ROT, Q, HEADS), .when = T_A, .unless = T_RECURRENT},
    {TURN(K_ROT, K, KV_HEADS), .when = T_A, .unless = T_RECURRENT},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_RECURRENT},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS,
     .unless = T_RECURRENT},
    {ADD(Y, X, ATTN_OUT), .number = NUM_RESIDUAL, .unless = T_RECURRENT},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {ROUTER(ROUTE, MLP_IN, "block_sparse_moe.router.layer"), .when = T_SPARSE},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "block_sparse_moe.experts.%d.", moe_expert), .when = T_SPARSE},
    {ADD(Y_ROUTED, Y, ROUTED), .number = NUM_RESIDUAL, .when = T_SPARSE},
    {SAME(Y_ROUTED, Y), .unless = T_SPARSE},
    {LINEAR(GATE_UP, MLP_IN, SHARED_FFN2, "shared_mlp.input_linear")},
    {SPLIT(GATE_UP, ONE), .out = {V_SHARED_GATE, V_SHARED_UP},
     .width = {DIM_SHARED_FFN, DIM_SHARED_FFN}},
    {GLU(SHARED_MID, SHARED_GATE, SHARED_UP)},
    {LINEAR(SHARED_OUT, SHARED_MID, HIDDEN, "shared_mlp.output_linear")},
    {ADD(Z, Y_ROUTED, SHARED_OUT), .number = NUM_RESIDUAL},
    {END},
};

static const struct setting hybrid_settings[] = {
    SETTINGS,
    FACTORS,
    MAMBA2_SETTINGS(128, 256),
    WORD(T_A, "position_embedding_type", "rope"),
    WORD(0, "position_embedding_type", "nope"),
    DIM(EXPERTS, "num_local_experts", 8),
    {.set = SET_TRAIT_IF, .what = T_SPARSE, .key = "num_local_experts", .absent = 1},
    DIM(TOP_K, "num_experts_per_tok", 2),
    DIM(SHARED_FFN, "shared_intermediate_size", 1024),
    {0},
};

static const struct layer_rule hybrid_rules[] = {
    {ALL_LAYERS(T_RECURRENT)}, /* where layer_types is missing */
    {BY_WORD(T_RECURRENT, "layer_types", "mamba|linear_attention")},
    {BY_WORD(T_RECURRENT, "layer_types", "attention|full_attention"), .clears = true},
    {0},
};

static const char *const hybrid_architectures[] = {"GraniteMoeHybridForCausalLM",
                                                   "GraniteMoeHybridModel", NULL};

/* How many tokens a kernel takes at a time. */
static const char *const hybrid_ignored[] = {"mamba_chunk_size", NULL};

const struct family family_granitemoehybrid = {
    .name = "granitemoehybrid",
    .model_types = {"granitemoehybrid"},
    LLAMA_TENSOR_NAMES,
    .rows = hybrid_rows,
    .settings = hybrid_settings,
    .rules = hybrid_rules,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = hybrid_architectures,
    .limits = moe_limits,
    .inherent_keys = moe_inherent,
    .ignored_keys = hybrid_ignored,
};

/* --- windows in three of four layers, and sinks in all ---------------------------------------- */

static const struct node swa_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .name = "self_attn.sinks"},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT), .number = NUM_RESIDUAL},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(MLP_IN, T_MLP_BIAS),
    {ADD(Z, Y, MLP_OUT), .number = NUM_RESIDUAL},
    {END},
};

static const struct setting swa_settings[] = {
    SIZES(100352, 2560, 24, 20, 8192),
    KV_HEADS(4),
    HEAD_DIM(0),
    FFN(8192),
    WINDOW(128),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    FACTORS,
    {0},
};

static const struct layer_rule swa_rules[] = {
    {NOT_EVERY(T_WINDOW, NULL, 4), .begin = 1},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_NUMBER(T_NO_ROPE, "layer_rope_theta", 0), .others = NUM_THETA},
    {0},
};

static const char *const swa_architectures[] = {"GraniteSWAForCausalLM", "GraniteSWAModel", NULL};
static const char *const swa_inherent[] = {"attention_sinks", "use_attention_sinks", NULL};

const struct family family_granite_swa = {
    .name = "granite_swa",
    .model_types = {"granite_swa"},
    LLAMA_TENSOR_NAMES,
    .rows = swa_rows,
    .settings = swa_settings,
    .rules = swa_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = swa_architectures,
    .inherent_keys = swa_inherent,
};

/* --- HyperCLOVA X: logits times their factor -------------------------------------------------- */

static const struct node clova_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {NORM(ATTN_POST, ATTN_OUT, "post_norm1"), .when = T_A},
    {ADD(Y, X, ATTN_POST), .number = NUM_RESIDUAL},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(MLP_IN, T_MLP_BIAS),
    {NORM(MLP_POST, MLP_OUT, "post_norm2"), .when = T_A},
    {ADD(Z, Y, MLP_POST), .number = NUM_RESIDUAL},
    {END},
};

static const struct setting clova_settings[] = {
    SETTINGS,
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    FLAG(T_A, "use_post_norm", true),
    NUMBER(EMBED, "embedding_multiplier", 1),
    NUMBER(ATTN_SCALE, "attention_multiplier", 0),
    NUMBER(RESIDUAL, "residual_multiplier", 1),
    NUMBER(LOGITS, "logits_scaling", 1),
    {0},
};

static const char *const clova_architectures[] = {"HyperCLOVAXForCausalLM", "HyperCLOVAXModel",
                                                  NULL};

const struct family family_hyperclovax = {
    .name = "hyperclovax",
    .model_types = {"hyperclovax"},
    LLAMA_TENSOR_NAMES,
    .rows = clova_rows,
    .settings = clova_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = clova_architectures,
};
