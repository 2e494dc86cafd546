/* SPDX-License-Identifier: Apache-2.0 */
/* Seed-OSS: Llama with heads of a width of their own, and a key for each kind of bias. Defaults:
 * transformers' SeedOssConfig. */
#include "models/families/tables.h"

#define OUT_BIAS T_A

static const struct node rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, OUT_BIAS, T_MLP_BIAS),
    {END},
};

static const struct setting settings[] = {
    SIZES(155136, 4096, 64, 80, 524288),
    KV_HEADS(8),
    HEAD_DIM(128),
    FFN(27648),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", true),
    FLAG(OUT_BIAS, "attention_out_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    {0},
};

static const char *const architectures[] = {"SeedOssForCausalLM", "SeedOssModel", NULL};

const struct family family_seed_oss = {
    .name = "seed_oss",
    .model_types = {"seed_oss"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
};
