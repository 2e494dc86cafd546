/* SPDX-License-Identifier: Apache-2.0 */
/* MiniCPM3: DeepSeek's latents before Llama's MLP, with factors of the embedding, the branches and
 * the logits; the halves of what rotates. Defaults: transformers' MiniCPM3Config. */
#include "models/families/latent.h"

static const struct node rows[] = {
    LATENT_ROWS,
    {ADD(Y, X, ATTN_OUT), .number = NUM_RESIDUAL},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(MLP_IN, 0),
    {ADD(Z, Y, MLP_OUT), .number = NUM_RESIDUAL},
    {END},
};

static const struct setting settings[] = {
    SIZES(73448, 2560, 62, 40, 32768),
    FFN(6400),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(true),
    LATENT_SETTINGS(768, 256, 64, 32),
    {.set = SET_DIM,
     .what = DIM_V_HEAD,
     .key = "v_head_dim",
     .same = DIM_HIDDEN,
     .over = DIM_HEADS},
    NUMBER_POW(EMBED, "scale_emb", 12, 1),
    NUMBER_BY(RESIDUAL, "scale_depth", 1.4, LAYERS, -0.5),
    NUMBER_BY(LOGITS, "dim_model_base", 256, HIDDEN, -1),
    {0},
};

static const struct family_limit limits[] = {LATENT_LIMITS, {.stack = NULL}};
static const char *const architectures[] = {"MiniCPM3ForCausalLM", "MiniCPM3Model", NULL};

const struct family family_minicpm3 = {
    .name = "minicpm3",
    .model_types = {"minicpm3"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .limits = limits,
};
