/* SPDX-License-Identifier: Apache-2.0 */
/* DBRX: q, k and v in one linear and within a bound; the experts' weights one below the other,
 * those of the last linear stored [k, n]. Defaults: transformers' DbrxConfig, DbrxAttentionConfig
 * and DbrxFFNConfig. */
#include "models/families/tables.h"

/* By themselves they have the names that the model has for all of them. */
static const struct node expert[] = {
    {LINEAR(GATE, E, EXPERT_FFN, "w1"), .storage = STORED_STACK, .stack = "ffn.experts.mlp.w1",
     .flat = true},
    {LINEAR(UP, E, EXPERT_FFN, "v1"), .storage = STORED_STACK, .stack = "ffn.experts.mlp.v1",
     .flat = true},
    {GLU(MID, GATE, UP)},
    {LINEAR(E_OUT, MID, HIDDEN, "w2"), .storage = STORED_STACK_T, .stack = "ffn.experts.mlp.w2",
     .flat = true},
    {END},
};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "norm_attn_norm.norm_1")},
    {LINEAR(QKV, ATTN_IN, QKV, "norm_attn_norm.attn.Wqkv")},
    {CLIP(QKV_CLIP, QKV)},
    SPLIT_QKV_ROW(QKV_CLIP, ONE),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "norm_attn_norm.attn.out_proj")},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "norm_attn_norm.norm_2")},
    {ROUTER(ROUTE, MLP_IN, "ffn.router.layer")},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "ffn.experts.mlp.%d.", expert)},
    {ADD(Z, Y, ROUTED)},
    {END},
};

static const struct setting settings[] = {
    DIM(VOCAB, "vocab_size", 32000),
    DIM(HIDDEN, "d_model|hidden_size", 2048),
    DIM(LAYERS, "n_layers|num_hidden_layers", 24),
    DIM(HEADS, "n_heads|num_attention_heads", 16),
    DIM(POSITIONS, "max_seq_len|max_position_embeddings", 2048),
    DIM(KV_HEADS, "attn_config.kv_n_heads|num_key_value_heads", 1),
    {.set = SET_DIM, .what = DIM_HEAD, .same = DIM_HIDDEN, .over = DIM_HEADS},
    DIM(EXPERT_FFN, "ffn_config.ffn_hidden_size", 3584),
    NUMBER(THETA, "attn_config.rope_theta", 10000),
    NUMBER(CLIP, "attn_config.clip_qkv", 0),
    FLAG_IF(T_CLIP, "attn_config.clip_qkv"),
    NUMBER(EPS, NULL, 1e-5),
    TIED(false),
    WORD(0, "ffn_config.ffn_act_fn.name", "silu"),
    DIM(EXPERTS, "ffn_config.moe_num_experts", 4),
    DIM(TOP_K, "ffn_config.moe_top_k", 1),
    /* the sum of absolute weights, to 1 */
    {.set = SET_TRAIT_IF,
     .what = T_NORM_TOPK,
     .key = "ffn_config.moe_normalize_expert_weights",
     .absent = 1,
     .is = 1,
     .null_is_off = true},
    {0},
};

static const struct family_limit limits[] = {
    {"vLLM", NULL, true, "has no packed form for the experts of this model"},
    {"vLLM (before mid-2026)", NULL, true, "has no packed form for the experts of this model"},
    STACKED_LIMITS,
    {.stack = NULL},
};

static const char *const architectures[] = {"DbrxForCausalLM", "DbrxModel", NULL};

const struct family family_dbrx = {
    .name = "dbrx",
    .model_types = {"dbrx"},
    .embedding = "transformer.wte.weight",
    .block_prefix = "transformer.blocks.%lld.",
    .final_norm = "transformer.norm_f",
    .head = "lm_head.weight",
    .rows = rows,
    .settings = settings,
    .norm = NORM_LAYER_W,
    .act = ACT_SILU,
    .architectures = architectures,
    .limits = limits,
};
