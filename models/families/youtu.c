/* SPDX-License-Identifier: Apache-2.0 */
/* Youtu-LLM: DeepSeek's latents before Llama's MLP. Defaults: transformers' YoutuConfig. */
#include "models/families/latent.h"

static const struct node rows[] = {
    LATENT_ROWS,           {ADD(Y, X, ATTN_OUT)}, {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(MLP_IN, 0), {ADD(Z, Y, MLP_OUT)},  {END},
};

static const struct setting settings[] = {
    SIZES(128256, 2048, 32, 16, 131072),
    FFN(6144),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(true),
    LATENT_SETTINGS(1536, 512, 128, 64),
    DIM(V_HEAD, "v_head_dim", 128),
    FLAG(T_INTERLEAVED, "rope_interleave", true),
    {0},
};

static const struct family_limit limits[] = {LATENT_LIMITS, {.stack = NULL}};
static const char *const architectures[] = {"YoutuForCausalLM", "YoutuModel", NULL};

const struct family family_youtu = {
    .name = "youtu",
    .model_types = {"youtu"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .traits = T_MSCALE,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .limits = limits,
};
