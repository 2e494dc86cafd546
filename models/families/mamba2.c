/* SPDX-License-Identifier: Apache-2.0 */
/* Models that mix tokens by Mamba-2 (Dao & Gu, arXiv:2405.21060), alone or with attention.
 * Defaults: transformers' Mamba2Config, BambaConfig, FalconH1Config and NemotronHConfig.
 *
 * What stays in 16 bits: in vLLM's mixer in_proj and out_proj take a quantization config, conv1d
 * takes none, and A, D, dt_bias and the norm are parameters (vllm-project/vllm bb435db,
 * vllm/model_executor/layers/mamba/mamba_mixer2.py, MambaMixer2.__init__). That version asserts
 * that a quantized mixer is not split over GPUs. */
#include "models/families/tables.h"

/* clang-format off */
#define MAMBA2_KEYS                                                                                 \
    DIM(SSM_HEADS, "mamba_num_heads|num_heads", 128),                                               \
    DIM(SSM_STATE, "ssm_state_size|state_size", 128),                                               \
    DIM(SSM_GROUPS, "n_groups", 8),                                                                 \
    DIM(CONV, "conv_kernel", 4),                                                                    \
    FLAG(T_CONV_BIAS, "use_conv_bias", true),                                                       \
    FLAG(T_MIXER_BIAS, "use_bias", false),                                                          \
    STEP_LIMITS
/* clang-format on */

/* --- Mamba-2 itself, and Codestral Mamba ------------------------------------------------------ */

static const struct node mamba2_rows[] = {
    {NORM(ATTN_IN, X, "norm")},
    MAMBA2_ROWS(ATTN_IN, "mixer", 0, 0),
    {NORM(SCAN_NORM, SCAN_GATED, "mixer.norm")},
    MAMBA2_OUT_ROW(SCAN_NORM, "mixer", T_MIXER_BIAS, 0, 0),
    {ADD(Z, X, MIX_OUT)},
    {END},
};

static const struct setting mamba2_settings[] = {
    DIM(VOCAB, "vocab_size", 32768),
    DIM(HIDDEN, "hidden_size", 4096),
    DIM(LAYERS, "num_hidden_layers", 64),
    NO_POSITIONS,
    LAYER_EPS("layer_norm_epsilon"),
    TIED(false),
    MAMBA2_KEYS,
    DIM(SSM_HEAD, "head_dim", 64),
    {0},
};

static const char *const mamba2_architectures[] = {"Mamba2ForCausalLM", "Mamba2Model", NULL};

const struct family family_mamba2 = {
    .name = "mamba2",
    .model_types = {"mamba2"},
    BACKBONE_NAMES,
    .rows = mamba2_rows,
    .settings = mamba2_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = mamba2_architectures,
};

/* --- Nemotron-H: a layer is a mixer, an MLP, or experts --------------------------------------- */

static const struct node nemotron_expert[] = {
    {LINEAR(UP, E, EXPERT_FFN, "up_proj"), .bias = T_MLP_BIAS},
    {ACT(MID, UP)},
    {LINEAR(E_OUT, MID, HIDDEN, "down_proj"), .bias = T_MLP_BIAS},
    {END},
};

/* clang-format off */
#define OF_ATTENTION .unless = T_RECURRENT | T_DENSE | T_SPARSE
#define OF_DENSE     .when = T_DENSE, .unless = T_RECURRENT
#define OF_EXPERTS   .when = T_SPARSE, .unless = T_RECURRENT | T_DENSE
/* clang-format on */

static const struct node nemotron_rows[] = {
    {NORM(ATTN_IN, X, "norm")},
    MAMBA2_ROWS(ATTN_IN, "mixer", T_RECURRENT, 0),
    {NORM(SCAN_NORM, SCAN_GATED, "mixer.norm"), .groups = DIM_SSM_GROUPS, .each = true,
     .flat = true, .when = T_RECURRENT},
    MAMBA2_OUT_ROW(SCAN_NORM, "mixer", T_MIXER_BIAS, T_RECURRENT, 0),
    {ADD(Z, X, MIX_OUT), .when = T_RECURRENT},
    {LINEAR(UP, ATTN_IN, FFN, "mixer.up_proj"), .bias = T_MLP_BIAS, OF_DENSE},
    {ACT(MID, UP), OF_DENSE},
    {LINEAR(MLP_OUT, MID, HIDDEN, "mixer.down_proj"), .bias = T_MLP_BIAS, OF_DENSE},
    {ADD(Z, X, MLP_OUT), OF_DENSE},
    {ROUTER(ROUTE, ATTN_IN, "mixer.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mixer.gate.e_score_correction_bias", OF_EXPERTS},
    {EXPERTS(ROUTED, ATTN_IN, ROUTE, "mixer.experts.%d.", nemotron_expert), OF_EXPERTS},
    {ADD(Y_ROUTED, X, ROUTED), OF_EXPERTS},
    {LINEAR(SHARED_UP, ATTN_IN, SHARED_FFN, "mixer.shared_experts.up_proj"), .bias = T_MLP_BIAS,
     OF_EXPERTS},
    {ACT(SHARED_MID, SHARED_UP), OF_EXPERTS},
    {LINEAR(SHARED_OUT, SHARED_MID, HIDDEN, "mixer.shared_experts.down_proj"), .bias = T_MLP_BIAS,
     OF_EXPERTS},
    {ADD(Z, Y_ROUTED, SHARED_OUT), OF_EXPERTS},
    {LINEAR(Q, ATTN_IN, ATTN, "mixer.q_proj"), .bias = T_ATTENTION_BIAS, OF_ATTENTION},
    {LINEAR(K, ATTN_IN, KV, "mixer.k_proj"), .bias = T_ATTENTION_BIAS, OF_ATTENTION},
    {LINEAR(V, ATTN_IN, KV, "mixer.v_proj"), .bias = T_ATTENTION_BIAS, OF_ATTENTION},
    {ATTENTION(CONTEXT, Q, K, V), OF_ATTENTION},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "mixer.o_proj"), .bias = T_ATTENTION_BIAS, OF_ATTENTION},
    {ADD(Z, X, ATTN_OUT), OF_ATTENTION},
    {END},
};

static const struct setting nemotron_settings[] = {
    DIM(VOCAB, "vocab_size", 131072),
    DIM(HIDDEN, "hidden_size", 4096),
    /* num_hidden_layers is not read by any loader */
    {.set = SET_DIM,
     .what = DIM_LAYERS,
     .key = "hybrid_override_pattern|layers_block_type",
     .absent = 4,
     .counts = true},
    DIM(POSITIONS, "max_position_embeddings", 4096),
    DIM(HEADS, "num_attention_heads", 32),
    KV_HEADS(8),
    DIM(HEAD, "head_dim|attention_head_dim", 128),
    FFN(21504),
    LAYER_EPS("layer_norm_epsilon"),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    MAMBA2_KEYS,
    DIM(SSM_HEAD, "mamba_head_dim", 64),
    WORD(0, "mamba_hidden_act", "silu"),
    DIM(EXPERTS, "n_routed_experts", 8),
    DIM(TOP_K, "num_experts_per_tok", 2),
    DIM(EXPERT_FFN, "moe_intermediate_size", 7688),
    DIM(SHARED_FFN, "moe_shared_expert_intermediate_size", 7688),
    V3_CHOICE(1, 1, 1),
    {0},
};

/* M, *, - and E, or what version 5 of transformers calls them. */
static const struct layer_rule nemotron_rules[] = {
    {BY_LETTER(T_RECURRENT, "hybrid_override_pattern", "M")},
    {BY_LETTER(T_RECURRENT, "hybrid_override_pattern", "*"), .clears = true},
    {BY_LETTER(T_DENSE, "hybrid_override_pattern", "-")},
    {BY_LETTER(T_SPARSE, "hybrid_override_pattern", "E")},
    {BY_WORD(T_RECURRENT, "layers_block_type", "mamba|linear_attention")},
    {BY_WORD(T_RECURRENT, "layers_block_type", "attention|full_attention"), .clears = true},
    {BY_WORD(T_DENSE, "layers_block_type", "mlp")},
    {BY_WORD(T_SPARSE, "layers_block_type", "moe")},
    {0},
};

static const char *const nemotron_architectures[] = {"NemotronHForCausalLM", "NemotronHModel",
                                                     NULL};
static const char *const nemotron_beside[] = {"mtp.", NULL};
/* one shared expert: the width is that of all of them to some loaders, of one to others */
static const char *const nemotron_inherent[] = {"n_shared_experts", NULL};
static const char *const nemotron_ignored[] = {"mamba_ssm_cache_dtype", "mamba_proj_bias", NULL};

const struct family family_nemotron_h = {
    .name = "nemotron_h",
    .model_types = {"nemotron_h"},
    BACKBONE_NAMES,
    .beside = nemotron_beside,
    .rows = nemotron_rows,
    .settings = nemotron_settings,
    .rules = nemotron_rules,
    .norm = NORM_RMS,
    .act_key = "mlp_hidden_act",
    .act = ACT_RELU2,
    .architectures = nemotron_architectures,
    .inherent_keys = nemotron_inherent,
    .ignored_keys = nemotron_ignored,
};

/* --- Bamba: attention in some layers ---------------------------------------------------------- */

/* clang-format off */
#define FEED_FORWARD_ROWS                                                                           \
    {LINEAR(GATE, MLP_IN, FFN, "feed_forward.gate_proj"), .bias = T_MLP_BIAS},                      \
    {LINEAR(UP, MLP_IN, FFN, "feed_forward.up_proj"), .bias = T_MLP_BIAS},                          \
    {GLU(MID, GATE, UP), .number = NUM_GATE},                                                       \
    {LINEAR(MLP_OUT, MID, HIDDEN, "feed_forward.down_proj"), .bias = T_MLP_BIAS},                   \
    {ADD(Z, Y, MLP_OUT), .number = NUM_MLP}
/* clang-format on */

static const struct node bamba_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    MAMBA2_ROWS(ATTN_IN, "mamba", T_RECURRENT, 0),
    {NORM(SCAN_NORM, SCAN_GATED, "mamba.norm"), .when = T_RECURRENT},
    MAMBA2_OUT_ROW(SCAN_NORM, "mamba", T_MIXER_BIAS, T_RECURRENT, 0),
    {ADD(Y, X, MIX_OUT), .when = T_RECURRENT},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS, .unless = T_RECURRENT},
    {TURN(Q_ROT, Q, HEADS), .unless = T_RECURRENT},
    {TURN(K_ROT, K, KV_HEADS), .unless = T_RECURRENT},
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_RECURRENT},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS,
     .unless = T_RECURRENT},
    {ADD(Y, X, ATTN_OUT), .unless = T_RECURRENT},
    {NORM(MLP_IN, Y, "pre_ff_layernorm")},
    FEED_FORWARD_ROWS,
    {END},
};

static const struct setting bamba_settings[] = {
    SIZES(128000, 4096, 32, 32, 262144),
    KV_HEADS(8),
    HEAD_DIM(0),
    FFN(14336),
    /* by its size in the files of IBM, which transformers does not read: it takes a half */
    DIM(ROT, "attn_rotary_emb", 0),
    ROTARY("partial_rotary_factor", 0.5),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    MAMBA2_SETTINGS(128, 256),
    {0},
};

static const struct layer_rule bamba_rules[] = {
    {ALL_LAYERS(T_RECURRENT)},
    {AMONG(T_RECURRENT, "attn_layer_indices"), .clears = true},
    {0},
};

static const char *const bamba_architectures[] = {"BambaForCausalLM", "BambaModel", NULL};
/* How many tokens a kernel takes at a time. */
static const char *const chunk_size[] = {"mamba_chunk_size", NULL};

const struct family family_bamba = {
    .name = "bamba",
    .model_types = {"bamba"},
    LATE_NORM_NAMES,
    .rows = bamba_rows,
    .settings = bamba_settings,
    .rules = bamba_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = bamba_architectures,
    .ignored_keys = chunk_size,
};

/* --- Falcon-H1: attention and Mamba-2 side by side, with a factor everywhere ------------------ */

/* T_A: with a norm behind the scan; T_B: before the gate, not after it; T_C: out_proj has a bias.
 */
static const struct node falcon_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(MIX_IN, ATTN_IN, SSM_IN, "mamba.in_proj"), .bias = T_MIXER_BIAS, .number = NUM_MIX_IN},
    {SPLIT(MIX_IN, ONE), .out = {V_MIX_Z, V_MIX_XBC, V_MIX_DT},
     .width = {DIM_SSM_X, DIM_SSM_CONV, DIM_SSM_HEADS},
     .part_number = {NUM_MIX_Z, NUM_ONE, NUM_MIX_DT}},
    {SPLIT(MIX_XBC, ONE), .out = {V_X_IN, V_B_IN, V_C_IN},
     .width = {DIM_SSM_X, DIM_SSM_BC, DIM_SSM_BC},
     .part_number = {NUM_MIX_X, NUM_MIX_B, NUM_MIX_C}},
    {.op = OP_JOIN, .out = {V_CONV_IN}, .in = {V_X_IN, V_B_IN, V_C_IN}, .groups = DIM_ONE},
    {CONV(CONV_OUT, CONV_IN, "mamba.conv1d"), .bias = T_CONV_BIAS, .act = ACT_SILU},
    {SPLIT(CONV_OUT, ONE), .out = {V_MIX_X, V_MIX_B, V_MIX_C},
     .width = {DIM_SSM_X, DIM_SSM_BC, DIM_SSM_BC}},
    {SCAN(SCAN, MIX_X, MIX_B, MIX_C, MIX_DT, "mamba")},
    {NORM(SCAN_NORM, SCAN, "mamba.norm"), .groups = DIM_SSM_GROUPS, .each = true, .flat = true,
     .when = T_A | T_B},
    {GLU(SCAN_OUT, MIX_Z, SCAN_NORM), .act = ACT_SILU, .when = T_A | T_B},
    {GLU(SCAN_GATED, MIX_Z, SCAN), .act = ACT_SILU, .when = T_A, .unless = T_B},
    {NORM(SCAN_OUT, SCAN_GATED, "mamba.norm"), .groups = DIM_SSM_GROUPS, .each = true, .flat = true,
     .when = T_A, .unless = T_B},
    {GLU(SCAN_OUT, MIX_Z, SCAN), .act = ACT_SILU, .unless = T_A},
    MAMBA2_OUT_ROW(SCAN_OUT, "mamba", T_C, 0, 0),
    {ADD(Y_MIX, X, MIX_OUT), .number = NUM_MIX_OUT},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS, .number = NUM_ATTN_IN},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = T_ATTENTION_BIAS, .number = NUM_ATTN_IN},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = T_ATTENTION_BIAS, .number = NUM_ATTN_IN},
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, Y_MIX, ATTN_OUT), .number = NUM_ATTN_OUT},
    {NORM(MLP_IN, Y, "pre_ff_layernorm")},
    FEED_FORWARD_ROWS,
    {END},
};

static const struct setting falcon_settings[] = {
    SIZES(128000, 4096, 32, 32, 8192),
    KV_HEADS(8),
    HEAD_DIM(0),
    FFN(14336),
    THETA(100000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    FLAG(T_C, "projectors_bias", false),
    FLAG(T_A, "mamba_rms_norm", false),
    FLAG(T_B, "mamba_norm_before_gate", true),
    MAMBA2_SETTINGS(128, 256),
    {.set = SET_DIM,
     .what = DIM_SSM_INNER,
     .key = "mamba_d_ssm",
     .absent = 1024,
     .same = DIM_HIDDEN,
     .by = DIM_EXPAND},
    {.set = SET_DIM,
     .what = DIM_SSM_HEAD,
     .key = "mamba_d_head",
     .same = DIM_SSM_INNER,
     .over = DIM_SSM_HEADS},
    NUMBER(EMBED, "embedding_multiplier", 1),
    NUMBER(LOGITS, "lm_head_multiplier", 1),
    NUMBER(KEY, "key_multiplier", 1),
    NUMBER(ATTN_IN, "attention_in_multiplier", 1),
    NUMBER(ATTN_OUT, "attention_out_multiplier", 1),
    NUMBER(MIX_IN, "ssm_in_multiplier", 1),
    NUMBER(MIX_OUT, "ssm_out_multiplier", 1),
    NUMBER(MIX_Z, "ssm_multipliers[0/5]", 1),
    NUMBER(MIX_X, "ssm_multipliers[1/5]", 1),
    NUMBER(MIX_B, "ssm_multipliers[2/5]", 1),
    NUMBER(MIX_C, "ssm_multipliers[3/5]", 1),
    NUMBER(MIX_DT, "ssm_multipliers[4/5]", 1),
    NUMBER(GATE, "mlp_multipliers[0/2]", 1),
    NUMBER(MLP, "mlp_multipliers[1/2]", 1),
    {0},
};

static const char *const falcon_architectures[] = {"FalconH1ForCausalLM", "FalconH1Model", NULL};

const struct family family_falcon_h1 = {
    .name = "falcon_h1",
    .model_types = {"falcon_h1"},
    LATE_NORM_NAMES,
    .rows = falcon_rows,
    .settings = falcon_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = falcon_architectures,
    .ignored_keys = chunk_size,
};
