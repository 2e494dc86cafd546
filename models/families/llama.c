/* SPDX-License-Identifier: Apache-2.0 */
/* Llama 1, 2, 3 and the many checkpoints of its shape, and CWM, which has windows in three of four
 * layers. Defaults: transformers' LlamaConfig and CwmConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, T_ATTENTION_BIAS, T_MLP_BIAS),
    {END},
};

static const struct setting settings[] = {
    SIZES(32000, 4096, 32, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    {0},
};

static const char *const architectures[] = {"LlamaForCausalLM", "LlamaModel", "LLaMAForCausalLM",
                                            "LLaMaForCausalLM", NULL};

const struct family family_llama = {
    .name = "llama",
    .model_types = {"llama"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "llama",
    .architectures = architectures,
};

static const struct node cwm_rows[] = {
    LLAMA_ROWS(0, 0, T_MLP_BIAS),
    {END},
};

static const struct setting cwm_settings[] = {
    SIZES(128256, 6144, 64, 48, 131072),
    KV_HEADS(8),
    HEAD_DIM(128),
    FFN(21504),
    WINDOW(8192),
    THETA(1000000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    {0},
};

static const struct layer_rule cwm_rules[] = {
    {NOT_EVERY(T_WINDOW, NULL, 4), .begin = 1},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const char *const cwm_architectures[] = {"CwmForCausalLM", "CwmModel", NULL};

const struct family family_cwm = {
    .name = "cwm",
    .model_types = {"cwm"},
    LLAMA_TENSOR_NAMES,
    .rows = cwm_rows,
    .settings = cwm_settings,
    .rules = cwm_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .rotary = "{\"rope_type\": \"llama3\", \"rope_theta\": 1000000, \"factor\": 16, "
              "\"high_freq_factor\": 4, \"low_freq_factor\": 1, "
              "\"original_max_position_embeddings\": 8192}",
    .architectures = cwm_architectures,
};
