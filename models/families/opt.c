/* SPDX-License-Identifier: Apache-2.0 */
/* OPT: GPT with relu and learned positions, of which the first two are for padding. The smallest of
 * the large ones, 350m, has its norms after the branches and an embedding narrower than the model:
 * refused. Defaults: transformers' OPTConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "self_attn_layer_norm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.out_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "final_layer_norm")},
    MLP_ROWS(MLP_IN, "fc1", "fc2", T_ATTENTION_BIAS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

/* The epsilon of the norms is no setting. */
static const struct setting settings[] = {
    SIZES(50272, 768, 12, 12, 2048),
    EQUAL_HEADS,
    DIM(FFN, "ffn_dim", 3072),
    LAYER_EPS(NULL),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "enable_bias", true),
    {0},
};

static const char *const architectures[] = {"OPTForCausalLM", "OPTModel", NULL};

const struct family family_opt = {
    .name = "opt",
    .model_types = {"opt"},
    .embedding = "model.decoder.embed_tokens.weight",
    .positions = "model.decoder.embed_positions.weight",
    .position_offset = 2,
    .block_prefix = "model.decoder.layers.%lld.",
    .final_norm = "model.decoder.final_layer_norm",
    .head = "lm_head.weight",
    .rows = rows,
    .settings = settings,
    .norm = NORM_LAYER,
    .act_key = "activation_function",
    .act = ACT_RELU,
    .architectures = architectures,
};
