/* SPDX-License-Identifier: Apache-2.0 */
/* SmolLM3: Llama with layers that rotate nothing. `no_rope_layers` has a 1 for each layer that does
 * rotate. Where a window is in use, it is that of the layers that do not. Defaults: transformers'
 * SmolLM3Config. */
#include "models/families/tables.h"

static const struct node rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, T_ATTENTION_BIAS, T_MLP_BIAS),
    {END},
};

static const struct setting settings[] = {
    SIZES(128256, 2048, 36, 16, 32768),
    KV_HEADS(4),
    HEAD_DIM(0),
    FFN(11008),
    FLAG(T_SLIDING, "use_sliding_window", false),
    {.set = SET_DIM,
     .what = DIM_WINDOW,
     .key = "sliding_window",
     .null_is_off = true,
     .when = T_SLIDING},
    THETA(2000000),
    RMS_EPS(1e-6),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    {0},
};

static const struct layer_rule rules[] = {
    {EVERY(T_NO_ROPE, "no_rope_layer_interval", 4)},
    {BY_NUMBER(T_NO_ROPE, "no_rope_layers", 0)},
    {EVERY(T_WINDOW, "no_rope_layer_interval", 4), .when = T_SLIDING},
    {BY_NUMBER(T_WINDOW, "no_rope_layers", 0), .when = T_SLIDING},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const char *const architectures[] = {"SmolLM3ForCausalLM", "SmolLM3Model", NULL};

const struct family family_smollm3 = {
    .name = "smollm3",
    .model_types = {"smollm3"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
};
