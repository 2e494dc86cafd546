/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-NeoX 20B, Pythia, and the many that were trained with their code: attention and MLP side by
 * side, each on a LayerNorm of its own; q, k, v in one linear, head by head. Defaults:
 * transformers' GPTNeoXConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(QKV, ATTN_IN, QKV, "attention.query_key_value"), .bias = T_ATTENTION_BIAS},
    SPLIT_QKV_ROW(QKV, HEADS),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attention.dense"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, X, "post_attention_layernorm"), .when = T_PARALLEL},
    {NORM(MLP_IN, Y, "post_attention_layernorm"), .unless = T_PARALLEL},
    MLP_ROWS(MLP_IN, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(50432, 6144, 44, 64, 2048),
    EQUAL_HEADS,
    FFN(24576),
    NUMBER(THETA, "rope_theta|rotary_emb_base", 10000),
    ROTARY("partial_rotary_factor|rotary_pct", 0.25),
    LAYER_EPS("layer_norm_eps"),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", true),
    FLAG(T_PARALLEL, "use_parallel_residual", true),
    {0},
};

static const char *const architectures[] = {"GPTNeoXForCausalLM", "GPTNeoXModel", NULL};

const struct family family_gpt_neox = {
    .name = "gpt_neox",
    .model_types = {"gpt_neox"},
    .embedding = "gpt_neox.embed_in.weight",
    .block_prefix = "gpt_neox.layers.%lld.",
    .final_norm = "gpt_neox.final_layer_norm",
    .head = "embed_out.weight",
    .rows = rows,
    .settings = settings,
    .norm = NORM_LAYER,
    .act_key = "hidden_act",
    .act = ACT_GELU,
    .architectures = architectures,
};
