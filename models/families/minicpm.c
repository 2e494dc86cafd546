/* SPDX-License-Identifier: Apache-2.0 */
/* MiniCPM 1, 2 and 4: Llama with factors of the embedding, the branches and the logits. Defaults:
 * the MiniCPMConfig that the models bring. */
#include "models/families/tables.h"

static const struct node rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, T_ATTENTION_BIAS, 0),
    {END},
};

static const struct setting settings[] = {
    SIZES(32000, 4096, 32, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(11008),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    NUMBER_POW(EMBED, "scale_emb", 1, 1),
    NUMBER_BY(RESIDUAL, "scale_depth", 1, LAYERS, -0.5),
    NUMBER_BY(LOGITS, "dim_model_base", 1, HIDDEN, -1),
    {0},
};

static const char *const architectures[] = {"MiniCPMForCausalLM", "MiniCPMModel", NULL};

const struct family family_minicpm = {
    .name = "minicpm",
    .model_types = {"minicpm"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
};
