/* SPDX-License-Identifier: Apache-2.0 */
/* Falcon: three architectures under one name. 7B: one key-value head, attention and MLP side by
 * side on one norm. 40B, 180B and 11B, the "new decoder architecture": groups of heads, and side by
 * side on a norm each, or on one. RW: ALiBi, one after the other. Defaults: transformers'
 * FalconConfig. */
#include "models/families/tables.h"

#define T_NEW   T_A /* the new decoder architecture, ... */
#define T_NORMS T_B /* ... with a norm for attention and one for the MLP */
#define T_MULTI T_C /* one key-value head, in the old one */

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "ln_attn"), .when = T_NORMS},
    {NORM(ATTN_IN, X, "input_layernorm"), .unless = T_NORMS},
    {LINEAR(QKV, ATTN_IN, QKV, "self_attention.query_key_value"), .bias = T_ATTENTION_BIAS},
    SPLIT_QKV_ROW(QKV, KV_HEADS),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attention.dense"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, X, "ln_mlp"), .when = T_NORMS},
    {NORM(MLP_IN, Y, "post_attention_layernorm"), .unless = T_PARALLEL},
    {SAME(MLP_IN, ATTN_IN), .when = T_PARALLEL, .unless = T_NORMS},
    MLP_ROWS(MLP_IN, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", T_ATTENTION_BIAS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(65024, 4544, 32, 71, 2048),
    EQUAL_HEADS,
    FLAG(T_NEW, "new_decoder_architecture", false),
    FLAG(T_PARALLEL, "parallel_attn", true),
    {.set = SET_TRAIT, .what = T_PARALLEL, .absent = 1, .when = T_NEW},
    {.set = SET_TRAIT_IF,
     .what = T_NORMS,
     .key = "num_ln_in_parallel_attn",
     .is = 2,
     .absent = 1,
     .when = T_NEW},
    FLAG(T_MULTI, "multi_query", true),
    {.set = SET_DIM, .what = DIM_KV_HEADS, .key = "num_kv_heads", .same = DIM_HEADS, .when = T_NEW},
    {.set = SET_DIM, .what = DIM_KV_HEADS, .absent = 1, .when = T_MULTI, .unless = T_NEW},
    FFN_4("ffn_hidden_size"),
    THETA(10000),
    LAYER_EPS("layer_norm_epsilon"),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "bias", false),
    FLAG(T_ALIBI, "alibi", false),
    {0},
};

static const struct layer_rule rules[] = {{ALL_LAYERS(T_NO_ROPE), .when = T_ALIBI}, {0}};

static const char *const architectures[] = {"FalconForCausalLM", "FalconModel", NULL};

const struct family family_falcon = {
    .name = "falcon",
    .model_types = {"falcon"},
    .embedding = "transformer.word_embeddings.weight",
    .block_prefix = "transformer.h.%lld.",
    .final_norm = "transformer.ln_f",
    .head = "lm_head.weight",
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_LAYER,
    .act_key = "activation",
    .act = ACT_GELU,
    .traits = T_ALIBI_SCALED,
    .architectures = architectures,
};
