/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen2, Qwen2.5 and Qwen3 dense models: Llama with biases on q, k, v (Qwen2) or RMSNorm on the
 * heads of q and k (Qwen3), alone and inside of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, and MiMo-7B.
 * Defaults: transformers' Qwen2Config, Qwen3Config, Qwen2VLTextConfig, Qwen2_5_VLTextConfig and
 * Qwen3VLTextConfig. */
#include "models/families/tables.h"

/* clang-format off */
#define QWEN_SETTINGS                                     \
    SIZES(151936, 4096, 32, 32, 32768),                   \
    KV_HEADS(32),                                         \
    FFN(22016),                                           \
    FLAG(T_SLIDING, "use_sliding_window", false),         \
    {.set = SET_DIM, .what = DIM_WINDOW, .key = "sliding_window", .null_is_off = true, .when = T_SLIDING}, \
    THETA(10000),                                         \
    RMS_EPS(1e-6),                                        \
    TIED(false)
/* clang-format on */

static const struct layer_rule rules[] = {
    {FROM(T_WINDOW, "max_window_layers", 28), .when = T_SLIDING},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const struct node qwen2_rows[] = {
    LLAMA_ROWS(T_ALWAYS, 0, 0),
    {END},
};

static const struct setting qwen2_settings[] = {QWEN_SETTINGS, HEAD_DIM(0), {0}};

static const char *const qwen2_architectures[] = {"Qwen2ForCausalLM", "Qwen2Model", NULL};
static const char *const qwen2_inherent[] = {"attention_bias", "qkv_bias", "use_qkv_bias",
                                             "add_qkv_bias", NULL};

const struct family family_qwen2 = {
    .name = "qwen2",
    .model_types = {"qwen2"},
    LLAMA_TENSOR_NAMES,
    .rows = qwen2_rows,
    .settings = qwen2_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "qwen2",
    .architectures = qwen2_architectures,
    .inherent_keys = qwen2_inherent,
};

/* MiMo-7B: Qwen2 with layers that predict further tokens. */
static const char *const mimo_architectures[] = {"MiMoForCausalLM", "MiMoModel", NULL};
static const char *const mimo_beside[] = {"model.mtp_layers.", NULL};

/* Before the model's last norm (vLLM 0bb55d60, model_executor/models/mimo_mtp.py, and 055e47c2,
 * mimo.py). vLLM calls the block model.layers.N, so that no list of what is not quantized finds it:
 * it loads with the others packed only if it is packed, too. */
static const struct draft_wiring mimo_draft = {.prefix = "model.mtp_layers.%lld.",
                                               .token_norm = "token_layernorm",
                                               .hidden_norm = "hidden_layernorm",
                                               .projection = "input_proj",
                                               .out_norm = "final_layernorm",
                                               .hidden_first = true};

const struct family family_mimo = {
    .name = "mimo",
    .model_types = {"mimo"},
    LLAMA_TENSOR_NAMES,
    .beside = mimo_beside,
    .draft = &mimo_draft,
    .rows = qwen2_rows,
    .settings = qwen2_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = mimo_architectures,
    .inherent_keys = qwen2_inherent,
};

static const struct setting qwen2_5_vl_settings[] = {
    SIZES(152064, 8192, 80, 64, 32768),
    KV_HEADS(8),
    HEAD_DIM(0),
    FFN(29568),
    FLAG(T_SLIDING, "use_sliding_window", false),
    {.set = SET_DIM,
     .what = DIM_WINDOW,
     .key = "sliding_window",
     .absent = 4096,
     .null_is_off = true,
     .when = T_SLIDING},
    THETA(1000000),
    RMS_EPS(1e-5),
    TIED(false),
    {0},
};

static const struct layer_rule qwen2_5_vl_rules[] = {
    {FROM(T_WINDOW, "max_window_layers", 80), .when = T_SLIDING},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const char *const qwen2_5_vl_architectures[] = {"Qwen2_5_VLTextModel", "Qwen2VLTextModel",
                                                       NULL};

/* No GGUF: files of its architecture there want the parts of the rotation for pictures. */
const struct family family_qwen2_5_vl_text = {
    .name = "qwen2_5_vl_text",
    .model_types = {"qwen2_5_vl_text", "qwen2_vl_text"}, /* whose defaults are the same */
    LLAMA_TENSOR_NAMES,
    .rows = qwen2_rows,
    .settings = qwen2_5_vl_settings,
    .rules = qwen2_5_vl_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = qwen2_5_vl_architectures,
    .inherent_keys = qwen2_inherent,
};

static const struct node qwen3_rows[] = {
    NORMED_HEADS_ROWS(T_ATTENTION_BIAS),
    GATED_ROWS(MLP_IN, 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting qwen3_settings[] = {
    QWEN_SETTINGS, HEAD_DIM(128), FLAG(T_ATTENTION_BIAS, "attention_bias", false), {0}};

static const char *const qwen3_architectures[] = {"Qwen3ForCausalLM", "Qwen3Model", NULL};
static const char *const qwen3_inherent[] = {"qk_norm",          "use_qk_norm",    "qk_layernorm",
                                             "use_qk_layernorm", "query_key_norm", NULL};

const struct family family_qwen3 = {
    .name = "qwen3",
    .model_types = {"qwen3"},
    LLAMA_TENSOR_NAMES,
    .rows = qwen3_rows,
    .settings = qwen3_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "qwen3",
    .architectures = qwen3_architectures,
    .inherent_keys = qwen3_inherent,
};

static const struct setting qwen3_vl_settings[] = {
    SIZES(151936, 4096, 32, 32, 128000),
    KV_HEADS(32),
    HEAD_DIM(128),
    FFN(22016),
    THETA(5000000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    {0},
};

static const char *const qwen3_vl_architectures[] = {"Qwen3VLTextModel", NULL};

const struct family family_qwen3_vl_text = {
    .name = "qwen3_vl_text",
    .model_types = {"qwen3_vl_text"},
    LLAMA_TENSOR_NAMES,
    .rows = qwen3_rows,
    .settings = qwen3_vl_settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = qwen3_vl_architectures,
    .inherent_keys = qwen3_inherent,
};
