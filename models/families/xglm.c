/* SPDX-License-Identifier: Apache-2.0 */
/* XGLM: OPT with positions that are sines and cosines, and the embedding times sqrt(hidden).
 * Defaults: transformers' XGLMConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "self_attn_layer_norm")},
    QKV_ROWS(T_ALWAYS),
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.out_proj"), .bias = T_ALWAYS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "final_layer_norm")},
    MLP_ROWS(MLP_IN, "fc1", "fc2", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

/* The epsilon of the norms is no setting. */
static const struct setting settings[] = {
    DIM(VOCAB, "vocab_size", 256008),
    DIM(HIDDEN, "d_model|hidden_size", 1024),
    DIM(LAYERS, "num_layers|num_hidden_layers", 24),
    DIM(HEADS, "attention_heads|num_attention_heads", 16),
    DIM(POSITIONS, "max_position_embeddings", 2048),
    EQUAL_HEADS,
    DIM(FFN, "ffn_dim", 4096),
    LAYER_EPS(NULL),
    TIED(true),
    FLAG(T_A, "scale_embedding", true),
    {.set = SET_NUMBER, .what = NUM_EMBED, .same = DIM_HIDDEN, .power = 0.5, .when = T_A},
    {0},
};

static const char *const architectures[] = {"XGLMForCausalLM", "XGLMModel", NULL};

const struct family family_xglm = {
    .name = "xglm",
    .model_types = {"xglm"},
    .embedding = "model.embed_tokens.weight",
    .sinusoids = true,
    .position_offset = 2,
    .block_prefix = "model.layers.%lld.",
    .final_norm = "model.layer_norm",
    .head = "lm_head.weight",
    .rows = rows,
    .settings = settings,
    .norm = NORM_LAYER,
    .act_key = "activation_function",
    .act = ACT_GELU,
    .architectures = architectures,
};
