/* SPDX-License-Identifier: Apache-2.0 */
/* Apertus: Llama with norms of heads and an MLP of two linears, between them a curve that every
 * layer has learned. Defaults: transformers' ApertusConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "attention_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    HEAD_NORM_ROWS,
    ATTEND_ROWS(Q_NORM, K_NORM, T_ATTENTION_BIAS),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "feedforward_layernorm")},
    {LINEAR(UP, MLP_IN, FFN, "mlp.up_proj")},
    {ACT(MID, UP), .act = ACT_XIELU, .name = "mlp.act_fn"},
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.down_proj")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(131072, 4096, 32, 32, 65536),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(14336),
    THETA(12000000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    WORD(0, "hidden_act", "xielu"),
    {0},
};

static const char *const architectures[] = {"ApertusForCausalLM", "ApertusModel", NULL};
static const char *const inherent[] = {"qk_norm", "use_qk_norm", NULL};

const struct family family_apertus = {
    .name = "apertus",
    .model_types = {"apertus"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act = ACT_XIELU,
    .rotary = "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
              "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}",
    .architectures = architectures,
    .inherent_keys = inherent,
};
