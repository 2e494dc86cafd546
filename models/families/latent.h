/* SPDX-License-Identifier: Apache-2.0 */
/* Attention through latents (DeepSeek-AI, arXiv:2405.04434, section 2.1), for the tables of the
 * families that have it. */
#ifndef LLMQ_MODELS_FAMILIES_LATENT_H
#define LLMQ_MODELS_FAMILIES_LATENT_H

#include "models/families/tables.h"

/* clang-format off */
/* From X to ATTN_OUT. */
#define LATENT_ROWS                                                                                 \
    LATENT_QUERY_ROWS(T_Q_LORA),                                                                    \
    {LINEAR(Q, ATTN_IN, MLA_Q, "self_attn.q_proj"), .unless = T_Q_LORA},                            \
    LATENT_ROTATED_ROWS,                                                                            \
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},                                                          \
    LATENT_OUT_ROW

/* The same where each token sees the keys that an index chooses; `in_halves`: how the index turns. */
#define LATENT_INDEXED_ROWS(in_halves)                                                              \
    LATENT_QUERY_ROWS(0),                                                                           \
    LATENT_ROTATED_ROWS,                                                                            \
    {LINEAR(INDEX_Q, Q_A_NORM, INDEX_Q, "self_attn.indexer.wq_b"), .plain = true, .when = T_INDEXED}, \
    {LINEAR(INDEX_K, ATTN_IN, INDEX_HEAD, "self_attn.indexer.wk"), .plain = true, .when = T_INDEXED}, \
    {NORM(INDEX_K_NORM, INDEX_K, "self_attn.indexer.k_norm"), .norm = NORM_LAYER, .eps = 1e-6,      \
     .when = T_INDEXED},                                                                            \
    {LINEAR(INDEX_GAIN, ATTN_IN, INDEX_HEADS, "self_attn.indexer.weights_proj"), .plain = true,     \
     .when = T_INDEXED},                                                                            \
    {TURN(INDEX_Q_ROT, INDEX_Q, INDEX_HEADS), .halves = in_halves, .when = T_INDEXED},              \
    {TURN(INDEX_K_ROT, INDEX_K_NORM, ONE), .halves = in_halves, .when = T_INDEXED},                 \
    {INDEX(CHOICE, INDEX_Q_ROT, INDEX_K_ROT, INDEX_GAIN), .when = T_INDEXED},                       \
    {CHOSEN_ATTENTION(CONTEXT, Q_ROT, K_ROT, V, CHOICE), .when = T_INDEXED},                        \
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .unless = T_INDEXED},                                     \
    LATENT_OUT_ROW

#define INDEX_SETTINGS(heads, width, top)                                                           \
    DIM(INDEX_HEADS, "index_n_heads", heads),                                                       \
    DIM(INDEX_HEAD, "index_head_dim", width),                                                       \
    DIM(INDEX_TOP, "index_topk", top)

/* Layers that take another's choice have no index of their own: not known. */
#define INDEX_RULES                                                                                 \
    {ALL_LAYERS(T_INDEXED)},                                                                        \
    {BY_WORD(T_INDEXED, "layer_types", "deepseek_sparse_attention")},                               \
    {BY_WORD(T_INDEXED, "indexer_types", "full"), .only = true}

#define LATENT_QUERY_ROWS(w)                                                                        \
    {NORM(ATTN_IN, X, "input_layernorm")},                                                          \
    {LINEAR(Q_A, ATTN_IN, Q_LORA, "self_attn.q_a_proj"), .bias = T_ATTENTION_BIAS, .when = w},      \
    {NORM(Q_A_NORM, Q_A, "self_attn.q_a_layernorm"), .eps = 1e-6, .when = w},                       \
    {LINEAR(Q, Q_A_NORM, MLA_Q, "self_attn.q_b_proj"), .when = w}

#define LATENT_ROTATED_ROWS                                                                         \
    /* one latent for all heads, and the one part of the keys that is rotated */                    \
    {LINEAR(KV_A, ATTN_IN, KV_A, "self_attn.kv_a_proj_with_mqa"), .bias = T_ATTENTION_BIAS},        \
    {SPLIT(KV_A, ONE), .out = {V_KV_C, V_K_PE}, .width = {DIM_KV_LORA, DIM_PE}},                    \
    {NORM(KV_C_NORM, KV_C, "self_attn.kv_a_layernorm"), .eps = 1e-6},                               \
    {LINEAR(KV_B, KV_C_NORM, KV_B, "self_attn.kv_b_proj")},                                         \
    {SPLIT(KV_B, HEADS), .out = {V_K_NOPE, V_V}, .width = {DIM_MLA_NOPE, DIM_MLA_V}},               \
    {JOIN(K, K_NOPE, K_PE, HEADS)},                                                                 \
    {ROPE(Q_ROT, Q, HEADS), .skip = DIM_NOPE},                                                      \
    {ROPE(K_ROT, K, HEADS), .skip = DIM_NOPE}

#define LATENT_OUT_ROW                                                                              \
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS}

/* What is missing is: the latent of the queries, that of keys and values, a head without its
 * rotated part, and that part. */
#define LATENT_SETTINGS(q, kv, nope, pe)                                                            \
    DIM_OR_NONE(Q_LORA, "q_lora_rank", q),                                                          \
    FLAG_UNLESS_NULL(T_Q_LORA, "q_lora_rank"),                                                      \
    LATENT_KEY_SETTINGS(kv, nope, pe)
#define LATENT_KEY_SETTINGS(kv, nope, pe)                                                           \
    KV_HEADS(0),                                                                                    \
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),                                                \
    DIM(KV_LORA, "kv_lora_rank", kv),                                                               \
    DIM(NOPE, "qk_nope_head_dim", nope),                                                            \
    DIM(PE, "qk_rope_head_dim", pe),                                                                \
    DIM(HEAD, "qk_rope_head_dim", pe)

#define LATENT_LIMITS                                                                               \
    {"SGLang", "awq", true, "takes packed latents (q_a_proj, kv_a_proj, kv_b_proj) from awq only"}
/* clang-format on */

#endif
