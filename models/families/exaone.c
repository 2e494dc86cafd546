/* SPDX-License-Identifier: Apache-2.0 */
/* EXAONE 3 and 3.5: Llama under other names. EXAONE 4: norms of heads and behind the branches;
 * where windows are in use, the layers without one do not rotate. K-EXAONE: the same rotation,
 * DeepSeek-V3's experts. Defaults: the ExaoneConfig that EXAONE 3 brings, transformers'
 * Exaone4Config and ExaoneMoeConfig. */
#include "models/families/tables.h"

/* --- EXAONE 3 ----------------------------------------------------------------------------------
 */

static const struct node v3_rows[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    {LINEAR(Q, ATTN_IN, ATTN, "attn.attention.q_proj")},
    {LINEAR(K, ATTN_IN, KV, "attn.attention.k_proj")},
    {LINEAR(V, ATTN_IN, KV, "attn.attention.v_proj")},
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attn.attention.out_proj")},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "ln_2")},
    {LINEAR(GATE, MLP_IN, FFN, "mlp.c_fc_0")},
    {LINEAR(UP, MLP_IN, FFN, "mlp.c_fc_1")},
    {GLU(MID, GATE, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.c_proj")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting v3_settings[] = {
    DIM(VOCAB, "vocab_size", 102400),
    DIM(HIDDEN, "hidden_size", 2048),
    DIM(LAYERS, "num_layers|num_hidden_layers", 32),
    DIM(HEADS, "num_attention_heads", 32),
    DIM(POSITIONS, "max_position_embeddings", 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN_4("intermediate_size"),
    THETA(10000),
    LAYER_EPS("layer_norm_epsilon"),
    TIED(true),
    {0},
};

static const char *const v3_architectures[] = {"ExaoneForCausalLM", "ExaoneModel", NULL};

const struct family family_exaone = {
    .name = "exaone",
    .model_types = {"exaone"},
    GPT_TENSOR_NAMES,
    .rows = v3_rows,
    .settings = v3_settings,
    .norm = NORM_RMS,
    .act_key = "activation_function",
    .act = ACT_SILU,
    .architectures = v3_architectures,
};

/* --- EXAONE 4 ----------------------------------------------------------------------------------
 */

static const struct node v4_rows[] = {
    QKV_OF_ROWS(X, 0),
    HEAD_NORM_ROWS,
    ATTEND_ROWS(Q_NORM, K_NORM, 0),
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm")},
    {ADD(Y, X, ATTN_POST)},
    GATED_ROWS(Y, 0),
    {NORM(MLP_POST, MLP_OUT, "post_feedforward_layernorm")},
    {ADD(Z, Y, MLP_POST)},
    {END},
};

static const struct setting v4_settings[] = {
    SIZES(102400, 4096, 32, 32, 2048),
    KV_HEADS(32),
    HEAD_DIM(0),
    FFN(16384),
    WINDOW(4096),
    FLAG_UNLESS_NULL(T_SLIDING, "sliding_window"),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    {0},
};

static const struct layer_rule v4_rules[] = {
    {NOT_EVERY(T_WINDOW, WINDOW_PATTERN, 4), .when = T_SLIDING},
    {EVERY(T_NO_ROPE, WINDOW_PATTERN, 4), .when = T_SLIDING},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention"), .when = T_SLIDING},
    {BY_WORD(T_NO_ROPE, "layer_types", "full_attention"), .when = T_SLIDING},
    {0},
};

static const char *const v4_architectures[] = {"Exaone4ForCausalLM", "Exaone4Model", NULL};
static const char *const v4_inherent[] = {"qk_norm",    "use_qk_norm",    "post_norm",
                                          "norm_after", "reordered_norm", NULL};

const struct family family_exaone4 = {
    .name = "exaone4",
    .model_types = {"exaone4"},
    LLAMA_TENSOR_NAMES,
    .rows = v4_rows,
    .settings = v4_settings,
    .rules = v4_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = v4_architectures,
    .inherent_keys = v4_inherent,
};

/* --- K-EXAONE ----------------------------------------------------------------------------------
 */

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node rows[] = {
    NORMED_HEADS_ROWS(0),
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mlp.e_score_correction_bias", .when = T_SPARSE},
    V3_ROUTED_ROWS(expert),
    {END},
};

static const struct setting settings[] = {
    SIZES(102400, 4096, 32, 32, 2048),
    KV_HEADS(32),
    HEAD_DIM(0),
    FFN(16384),
    WINDOW(4096),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    V3_SCORES,
    DIM(EXPERTS, "num_experts", 64),
    DIM(TOP_K, "num_experts_per_tok", 8),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1024),
    DIM_OR_NONE(N_SHARED, "num_shared_experts", 1),
    V3_CHOICE(1, 1, 2.5),
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_WINDOW, WINDOW_PATTERN, 4)},
    {EVERY(T_NO_ROPE, WINDOW_PATTERN, 4)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_WORD(T_NO_ROPE, "layer_types", "full_attention")},
    {FROM(T_SPARSE, "first_k_dense_replace", 1)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const architectures[] = {"ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM",
                                            "ExaoneMoeModel", NULL};

static const char *const beside[] = {"mtp.", NULL};

const struct family family_exaone_moe = {
    .name = "exaone_moe",
    .model_types = {"exaone_moe"},
    LLAMA_TENSOR_NAMES,
    .beside = beside,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
};
