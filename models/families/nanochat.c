/* SPDX-License-Identifier: Apache-2.0 */
/* nanochat: norms without weights, of the embedding and of rotated queries and keys as well; heads
 * rotate the other way round; an MLP of two linears. Defaults: transformers' NanoChatConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, NULL)},
    QKV_ROWS(T_ATTENTION_BIAS),
    ROTATE_ROWS(Q, K),
    {NORM(Q_NORM, Q_ROT, NULL), .groups = DIM_HEADS},
    {NORM(K_NORM, K_ROT, NULL), .groups = DIM_KV_HEADS},
    {ATTENTION(CONTEXT, Q_NORM, K_NORM, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, NULL)},
    MLP_ROWS(MLP_IN, "mlp.fc1", "mlp.fc2", 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(50304, 768, 12, 6, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(8192),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    CAP(FINAL_CAP, "final_logit_softcapping", 15),
    {0},
};

static const char *const architectures[] = {"NanoChatForCausalLM", "NanoChatModel", NULL};

const struct family family_nanochat = {
    .name = "nanochat",
    .model_types = {"nanochat"},
    LLAMA_TENSOR_NAMES,
    .embedding_norm = "model.embed_norm",
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS_BARE,
    .traits = T_BACKWARDS,
    .act_key = "hidden_act",
    .act = ACT_RELU2,
    .architectures = architectures,
};
