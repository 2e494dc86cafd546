/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma 1, 2 and 3 (text): norms that store their weight minus 1, the embedding times
 * sqrt(hidden_size), GELU by its tanh. Gemma 1's files name exact GELU under hidden_act, which no
 * loader follows; hidden_activation is what counts. Defaults: transformers' GemmaConfig,
 * Gemma2Config, Gemma3TextConfig and VaultGemmaConfig. */
#include "models/families/tables.h"

/* clang-format off */
#define GEMMA_SETTINGS                                    \
    HEAD_DIM(256),                                        \
    RMS_EPS(1e-6),                                        \
    TIED(true),                                           \
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),      \
    {.set = SET_NUMBER, .what = NUM_EMBED, .same = DIM_HIDDEN, .power = 0.5}
#define WINDOWED_GEMMA_SETTINGS                           \
    GEMMA_SETTINGS,                                       \
    KV_HEADS(4),                                          \
    FFN(9216),                                            \
    WINDOW(4096),                                         \
    NUMBER_POW(ATTN_SCALE, "query_pre_attn_scalar", 256, -0.5)
/* clang-format on */

static const char *const ignored[] = {"hidden_act", NULL};

/* --- Gemma 1 ---------------------------------------------------------------------------------- */

static const struct node gemma_rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, T_ATTENTION_BIAS, 0),
    {END},
};

static const struct setting gemma_settings[] = {
    SIZES(256000, 3072, 28, 16, 8192), KV_HEADS(16), FFN(24576), THETA(10000), GEMMA_SETTINGS, {0},
};

static const char *const gemma_architectures[] = {"GemmaForCausalLM", "GemmaModel", NULL};

const struct family family_gemma = {
    .name = "gemma",
    .model_types = {"gemma"},
    LLAMA_TENSOR_NAMES,
    .rows = gemma_rows,
    .settings = gemma_settings,
    .norm = NORM_RMS1,
    .act_key = "hidden_activation",
    .act = ACT_GELU_TANH,
    .gguf = "gemma",
    .architectures = gemma_architectures,
    .ignored_keys = ignored,
};

/* --- Gemma 2 and 3: a norm before and behind each branch, windows in turn --------------------- */

static const struct node windowed_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    {NORM(Q_NORM, Q, "self_attn.q_norm"), .groups = DIM_HEADS, .when = T_QK_NORM},
    {NORM(K_NORM, K, "self_attn.k_norm"), .groups = DIM_KV_HEADS, .when = T_QK_NORM},
    ATTEND_ROWS(Q_NORM, K_NORM, T_ATTENTION_BIAS),
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm")},
    {ADD(Y, X, ATTN_POST)},
    {NORM(MLP_IN, Y, "pre_feedforward_layernorm")},
    GATED_ROWS(MLP_IN, 0),
    {NORM(MLP_POST, MLP_OUT, "post_feedforward_layernorm")},
    {ADD(Z, Y, MLP_POST)},
    {END},
};

static const struct setting gemma2_settings[] = {
    SIZES(256000, 2304, 26, 8, 8192),
    THETA(10000),
    WINDOWED_GEMMA_SETTINGS,
    CAP(SOFT_CAP, "attn_logit_softcapping", 50),
    CAP(FINAL_CAP, "final_logit_softcapping", 30),
    {0},
};

static const struct layer_rule gemma2_rules[] = {
    {NOT_EVERY(T_WINDOW, NULL, 2)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const char *const gemma2_architectures[] = {"Gemma2ForCausalLM", "Gemma2Model", NULL};

const struct family family_gemma2 = {
    .name = "gemma2",
    .model_types = {"gemma2"},
    LLAMA_TENSOR_NAMES,
    .rows = windowed_rows,
    .settings = gemma2_settings,
    .rules = gemma2_rules,
    .norm = NORM_RMS1,
    .act_key = "hidden_activation",
    .act = ACT_GELU_TANH,
    .gguf = "gemma2",
    .architectures = gemma2_architectures,
    .ignored_keys = ignored,
};

static const struct setting gemma3_settings[] = {
    SIZES(262208, 2304, 26, 8, 131072),
    THETA(1000000),
    NUMBER(LOCAL_THETA, "rope_local_base_freq", 10000),
    WINDOWED_GEMMA_SETTINGS,
    CAP(FINAL_CAP, "final_logit_softcapping", 0),
    {0},
};

static const struct layer_rule gemma3_rules[] = {
    {NOT_EVERY(T_WINDOW, WINDOW_PATTERN, 6)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const char *const gemma3_architectures[] = {"Gemma3ForCausalLM", "Gemma3TextModel", NULL};
static const char *const gemma3_inherent[] = {"qk_norm", "use_qk_norm", NULL};

const struct family family_gemma3 = {
    .name = "gemma3",
    .model_types = {"gemma3_text"},
    LLAMA_TENSOR_NAMES,
    .rows = windowed_rows,
    .settings = gemma3_settings,
    .rules = gemma3_rules,
    .norm = NORM_RMS1,
    .act_key = "hidden_activation",
    .act = ACT_GELU_TANH,
    .traits = T_QK_NORM | T_LOCAL_ROPE,
    .gguf = "gemma3",
    .architectures = gemma3_architectures,
    .inherent_keys = gemma3_inherent,
    .ignored_keys = ignored,
};

/* --- VaultGemma: Gemma 2 without the norms behind the branches -------------------------------- */

static const struct node vault_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "pre_feedforward_layernorm")},
    GATED_ROWS(MLP_IN, 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const char *const vault_architectures[] = {"VaultGemmaForCausalLM", "VaultGemmaModel", NULL};

const struct family family_vaultgemma = {
    .name = "vaultgemma",
    .model_types = {"vaultgemma"},
    LLAMA_TENSOR_NAMES,
    .rows = vault_rows,
    .settings = gemma2_settings,
    .rules = gemma2_rules,
    .norm = NORM_RMS1,
    .act_key = "hidden_activation",
    .act = ACT_GELU_TANH,
    .architectures = vault_architectures,
    .ignored_keys = ignored,
};
