/* SPDX-License-Identifier: Apache-2.0 */
/* Helium 1: Llama whose rotary pairs are neighbours, and whose output projection has no bias.
 * Defaults: transformers' HeliumConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, 0, T_MLP_BIAS),
    {END},
};

static const struct setting settings[] = {
    SIZES(48000, 2560, 24, 20, 4096),
    KV_HEADS(20),
    HEAD_DIM(128),
    FFN(7040),
    THETA(100000),
    RMS_EPS(1e-8),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    {0},
};

static const char *const architectures[] = {"HeliumForCausalLM", "HeliumModel", NULL};

const struct family family_helium = {
    .name = "helium",
    .model_types = {"helium"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .traits = T_INTERLEAVED,
    .architectures = architectures,
};
