/* SPDX-License-Identifier: Apache-2.0 */
/* Models that mix tokens by Mamba-1 (Gu & Dao, arXiv:2312.00752), alone or with attention.
 * Defaults: transformers' MambaConfig, FalconMambaConfig and JambaConfig.
 *
 * What stays in 16 bits: x_proj and dt_proj, whose outputs are the steps and states of the scan and
 * which are narrow, beside the convolution, A_log and D. vLLM gives no linear of this mixer a
 * quantization config (vllm-project/vllm 00f8d44, vllm/model_executor/layers/mamba/mamba_mixer.py,
 * MambaMixer.__init__): it runs in_proj and out_proj in 16 bits as well, and packed ones are not
 * loaded. */
#include "models/families/tables.h"

/* clang-format off */
/* All of the mixer between its norm and the stream; `normed`: what stands between x_proj and the
 * scan. */
#define MAMBA_IN_ROWS(module, w)                                                                    \
    {LINEAR(MIX_IN, ATTN_IN, SSM_X2, (module ".in_proj")), .bias = T_MIXER_BIAS, .when = w},        \
    {SPLIT(MIX_IN, ONE), .out = {V_CONV_IN, V_MIX_Z}, .width = {DIM_SSM_X, DIM_SSM_X}, .when = w},  \
    {CONV(CONV_OUT, CONV_IN, (module ".conv1d")), .bias = T_CONV_BIAS, .when = w},                  \
    {LINEAR(MIX_XBC, CONV_OUT, SSM_DBC, (module ".x_proj")), .plain = true, .when = w},             \
    {SPLIT(MIX_XBC, ONE), .out = {V_STEP_IN, V_B_IN, V_C_IN},                                       \
     .width = {DIM_SSM_RANK, DIM_SSM_STATE, DIM_SSM_STATE}, .when = w}
#define MAMBA_OUT_ROWS(step, b, c, module, w)                                                       \
    {LINEAR(MIX_DT, step, SSM_X, (module ".dt_proj")), .bias = T_ALWAYS, .plain = true, .when = w}, \
    {SELECTIVE(SCAN, CONV_OUT, b, c, MIX_DT, module), .when = w},                                   \
    {GLU(SCAN_GATED, MIX_Z, SCAN), .when = w},                                                      \
    {LINEAR(MIX_OUT, SCAN_GATED, HIDDEN, (module ".out_proj")), .bias = T_MIXER_BIAS, .when = w}
#define RANK(k) {.set = SET_DIM, .what = DIM_SSM_RANK, .key = k, .same = DIM_HIDDEN, .per = 16}

#define MAMBA_SETTINGS                                                                              \
    DIM(VOCAB, "vocab_size", 50280),                                                                \
    DIM(HIDDEN, "hidden_size", 768),                                                                \
    DIM(LAYERS, "num_hidden_layers", 32),                                                           \
    NO_POSITIONS,                                                                                   \
    LAYER_EPS("layer_norm_epsilon"),                                                                \
    TIED(true),                                                                                     \
    DIM(EXPAND, "expand", 2),                                                                       \
    {.set = SET_DIM, .what = DIM_SSM_X, .key = "intermediate_size", .same = DIM_HIDDEN, .by = DIM_EXPAND}, \
    DIM(SSM_STATE, "state_size", 16),                                                               \
    DIM(CONV, "conv_kernel", 4),                                                                    \
    RANK("time_step_rank"),                                                                         \
    FLAG(T_CONV_BIAS, "use_conv_bias", true),                                                       \
    FLAG(T_MIXER_BIAS, "use_bias", false)
/* clang-format on */

static const struct family_limit limits[] = {
    {"vLLM", NULL, true, "keeps the Mamba mixers of this model in 16 bits"},
    {.stack = NULL},
};

/* --- Mamba ------------------------------------------------------------------------------------ */

static const struct node mamba_rows[] = {
    {NORM(ATTN_IN, X, "norm")},
    MAMBA_IN_ROWS("mixer", 0),
    MAMBA_OUT_ROWS(STEP_IN, B_IN, C_IN, "mixer", 0),
    {ADD(Z, X, MIX_OUT)},
    {END},
};

static const struct setting mamba_settings[] = {MAMBA_SETTINGS, {0}};

static const char *const mamba_architectures[] = {"MambaForCausalLM", "MambaModel", NULL};

const struct family family_mamba = {
    .name = "mamba",
    .model_types = {"mamba"},
    BACKBONE_NAMES,
    .rows = mamba_rows,
    .settings = mamba_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = mamba_architectures,
    .limits = limits,
};

/* --- Falcon-Mamba: norms without weights before the scan -------------------------------------- */

static const struct node falcon_rows[] = {
    {NORM(ATTN_IN, X, "norm")},
    MAMBA_IN_ROWS("mixer", 0),
    {NORM(STEP_NORM, STEP_IN, NULL), .norm = NORM_RMS_BARE, .eps_number = NUM_MIX_EPS},
    {NORM(B_NORM, B_IN, NULL), .norm = NORM_RMS_BARE, .eps_number = NUM_MIX_EPS},
    {NORM(C_NORM, C_IN, NULL), .norm = NORM_RMS_BARE, .eps_number = NUM_MIX_EPS},
    MAMBA_OUT_ROWS(STEP_NORM, B_NORM, C_NORM, "mixer", 0),
    {ADD(Z, X, MIX_OUT)},
    {END},
};

static const struct setting falcon_settings[] = {
    MAMBA_SETTINGS,
    NUMBER(MIX_EPS, "mixer_rms_eps", 1e-6),
    {0},
};

static const char *const falcon_architectures[] = {"FalconMambaForCausalLM", "FalconMambaModel",
                                                   NULL};

const struct family family_falcon_mamba = {
    .name = "falcon_mamba",
    .model_types = {"falcon_mamba"},
    BACKBONE_NAMES,
    .rows = falcon_rows,
    .settings = falcon_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = falcon_architectures,
    .limits = limits,
};

/* --- Jamba: attention and experts in some layers ---------------------------------------------- */

static const struct node jamba_expert[] = {EXPERT_ROWS(FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node jamba_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    MAMBA_IN_ROWS("mamba", T_RECURRENT),
    {NORM(STEP_NORM, STEP_IN, "mamba.dt_layernorm"), .when = T_RECURRENT},
    {NORM(B_NORM, B_IN, "mamba.b_layernorm"), .when = T_RECURRENT},
    {NORM(C_NORM, C_IN, "mamba.c_layernorm"), .when = T_RECURRENT},
    MAMBA_OUT_ROWS(STEP_NORM, B_NORM, C_NORM, "mamba", T_RECURRENT),
    {ADD(Y, X, MIX_OUT), .when = T_RECURRENT},
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .unless = T_RECURRENT},
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .unless = T_RECURRENT},
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .unless = T_RECURRENT},
    {ATTENTION(CONTEXT, Q, K, V), .unless = T_RECURRENT},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .unless = T_RECURRENT},
    {ADD(Y, X, ATTN_OUT), .unless = T_RECURRENT},
    {NORM(MLP_IN, Y, "pre_ff_layernorm")},
    DENSE_ROWS("feed_forward"),
    {ROUTER(ROUTE, MLP_IN, "feed_forward.router"), .when = T_SPARSE},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "feed_forward.experts.%d.", jamba_expert), .when = T_SPARSE},
    {ADD(Z, Y, ROUTED), .when = T_SPARSE},
    {END},
};

static const struct setting jamba_settings[] = {
    SIZES(65536, 4096, 32, 32, 262144),
    KV_HEADS(8),
    HEAD_DIM(0),
    FFN(14336),
    RMS_EPS(1e-6),
    TIED(false),
    DIM(EXPERTS, "num_experts", 16),
    DIM(TOP_K, "num_experts_per_tok", 2),
    /* one expert alone is an MLP */
    {.set = SET_TRAIT_IF, .what = T_A, .key = "num_experts", .is = 1},
    DIM(EXPAND, "mamba_expand", 2),
    {.set = SET_DIM, .what = DIM_SSM_X, .same = DIM_HIDDEN, .by = DIM_EXPAND},
    DIM(SSM_STATE, "mamba_d_state", 16),
    DIM(CONV, "mamba_d_conv", 4),
    RANK("mamba_dt_rank"),
    FLAG(T_CONV_BIAS, "mamba_conv_bias", true),
    FLAG(T_MIXER_BIAS, "mamba_proj_bias", false),
    {0},
};

static const struct layer_rule jamba_rules[] = {
    {ALL_LAYERS(T_RECURRENT)},
    {PHASE(T_RECURRENT, "attn_layer_period", 8, "attn_layer_offset", 4), .clears = true},
    {PHASE(T_SPARSE, "expert_layer_period", 2, "expert_layer_offset", 1)},
    {ALL_LAYERS(T_SPARSE), .clears = true, .when = T_A},
    {0},
};

static const char *const jamba_architectures[] = {"JambaForCausalLM", "JambaModel", NULL};
static const char *const jamba_ignored[] = {"use_mamba_kernels", NULL};

const struct family family_jamba = {
    .name = "jamba",
    .model_types = {"jamba"},
    LATE_NORM_NAMES,
    .rows = jamba_rows,
    .settings = jamba_settings,
    .rules = jamba_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = jamba_architectures,
    .limits = limits,
    .ignored_keys = jamba_ignored,
};
