/* SPDX-License-Identifier: Apache-2.0 */
/* MiniMax M2: experts in every layer, chosen as DeepSeek-V3's without groups; norms over all heads
 * of queries and keys, of which a part rotates. Released files say it as rotary_dim. M3, the model
 * of text: norms of heads, of 1 + weight; clamped gates everywhere; a shared expert. Its layers
 * with sparse attention are not here. Defaults: transformers' MiniMaxM2Config and
 * MiniMaxM3VLTextConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "w1", "w3", "w2")};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(0),
    {NORM(Q_NORM, Q, "self_attn.q_norm")},
    {NORM(K_NORM, K, "self_attn.k_norm")},
    ATTEND_ROWS(Q_NORM, K_NORM, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {ROUTER(ROUTE, MLP_IN, "block_sparse_moe.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "block_sparse_moe.e_score_correction_bias"},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "block_sparse_moe.experts.%d.", expert)},
    {ADD(Z, Y, ROUTED)},
    {END},
};

static const struct setting settings[] = {
    SIZES(200064, 3072, 62, 48, 196608),
    KV_HEADS(8),
    HEAD_DIM(128),
    DIM(EXPERT_FFN, "intermediate_size", 1536),
    THETA(5000000),
    ROTARY("partial_rotary_factor", 1),
    DIM(ROT, "rotary_dim", 0),
    RMS_EPS(1e-6),
    TIED(false),
    WORD(0, "qk_norm_type", "per_layer"),
    WORD(0, "scoring_func", "sigmoid"),
    DIM(EXPERTS, "num_local_experts|num_experts", 256),
    DIM(TOP_K, "num_experts_per_tok", 8),
    {0},
};

static const char *const architectures[] = {"MiniMaxM2ForCausalLM", "MiniMaxM2Model", NULL};
static const char *const inherent[] = {"use_qk_norm", "use_routing_bias", "norm_topk_prob", NULL};

const struct family family_minimax_m2 = {
    .name = "minimax_m2",
    .model_types = {"minimax_m2"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
};

/* --- M3 --------------------------------------------------------------------------------------- */

static const struct node m3_rows[] = {
    NORMED_HEADS_ROWS(0),
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "block_sparse_moe.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "block_sparse_moe.e_score_correction_bias", .when = T_SPARSE},
    ROUTED_AND_SHARED_ROWS("block_sparse_moe.experts.%d.", expert,
                           "block_sparse_moe.shared_experts"),
    {END},
};

static const struct setting m3_settings[] = {
    SIZES(200064, 6144, 60, 64, 524288),
    KV_HEADS(4),
    HEAD_DIM(128),
    DIM(FFN, "dense_intermediate_size", 12288),
    DIM(EXPERT_FFN, "intermediate_size", 3072),
    DIM(SHARED_FFN, "shared_intermediate_size", 3072),
    THETA(5000000),
    ROTARY("partial_rotary_factor", 1),
    DIM(ROT, "rotary_dim", 64),
    RMS_EPS(1e-6),
    TIED(false),
    NUMBER(GLU_LIMIT, "swiglu_limit", 7),
    NUMBER(GLU_SLOPE, "swiglu_alpha", 1.702),
    WORD(0, "scoring_func", "sigmoid"),
    DIM(EXPERTS, "num_local_experts|num_experts", 128),
    DIM(TOP_K, "num_experts_per_tok", 4),
    NUMBER(ROUTED, "routed_scaling_factor", 2),
    {0},
};

static const struct layer_rule m3_rules[] = {
    {ALL_LAYERS(T_SPARSE)},
    {BY_NUMBER(T_SPARSE, "moe_layer_freq", 1)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const m3_architectures[] = {"MiniMaxM3VLForCausalLM", "MiniMaxM3VLTextModel",
                                               NULL};
/* swigluoai in released files, silu in those that transformers 5 writes: it is the clamped unit */
static const char *const m3_ignored[] = {"hidden_act", NULL};

static const char *const beside[] = {"mtp.", NULL};

const struct family family_minimax_m3_vl_text = {
    .name = "minimax_m3_vl_text",
    .model_types = {"minimax_m3_vl_text"},
    LLAMA_TENSOR_NAMES,
    .beside = beside,
    .rows = m3_rows,
    .settings = m3_settings,
    .rules = m3_rules,
    .norm = NORM_RMS1,
    .act = ACT_CLAMPED,
    .traits = T_NORM_TOPK,
    .architectures = m3_architectures,
    .inherent_keys = inherent,
    .ignored_keys = m3_ignored,
};
