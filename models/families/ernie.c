/* SPDX-License-Identifier: Apache-2.0 */
/* ERNIE 4.5: Llama whose rotary pairs are neighbours; the dense models with one key for all biases,
 * the others with experts that a bias helps to choose, beside some that every token passes.
 * Defaults: transformers' Ernie4_5Config and Ernie4_5_MoeConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    LLAMA_ROWS(T_ATTENTION_BIAS, T_ATTENTION_BIAS, T_MLP_BIAS),
    {END},
};

static const struct setting settings[] = {
    SIZES(103424, 1024, 18, 16, 131072),
    KV_HEADS(2),
    HEAD_DIM(128),
    FFN(3072),
    THETA(500000),
    RMS_EPS(1e-5),
    TIED(true),
    FLAG(T_ATTENTION_BIAS, "use_bias", false),
    FLAG(T_MLP_BIAS, "use_bias", false),
    {0},
};

/* The first files name the class of the code that they brought. */
static const char *const architectures[] = {"Ernie4_5ForCausalLM", "Ernie4_5Model",
                                            "Ernie4_5_ForCausalLM", "Ernie4_5_Model", NULL};

const struct family family_ernie4_5 = {
    .name = "ernie4_5",
    .model_types = {"ernie4_5"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .traits = T_INTERLEAVED,
    .architectures = architectures,
};

/* --- with experts ------------------------------------------------------------------------------
 */

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node moe_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(0),
    ATTEND_ROWS(Q, K, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .choice_bias = "mlp.moe_statics.e_score_correction_bias",
     .choice_row = true, .when = T_SPARSE},
    V3_ROUTED_ROWS(expert),
    {END},
};

static const struct setting moe_settings[] = {
    SIZES(103424, 2560, 28, 20, 131072),
    KV_HEADS(4),
    HEAD_DIM(0),
    FFN(12288),
    THETA(500000),
    RMS_EPS(1e-5),
    TIED(true),
    DIM(EXPERTS, "moe_num_experts", 64),
    DIM(TOP_K, "moe_k", 6),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1536),
    DIM(N_SHARED, "moe_num_shared_experts", 2),
    {0},
};

static const struct layer_rule moe_rules[] = {
    {EVERY(T_SPARSE, "moe_layer_interval", 1)},
    {BEFORE(T_SPARSE, "moe_layer_start_index", 1), .clears = true},
    {BEHIND(T_SPARSE, "moe_layer_end_index", -1), .clears = true},
    {0},
};

static const char *const moe_architectures[] = {"Ernie4_5_MoeForCausalLM", "Ernie4_5_MoeModel",
                                                NULL};
static const char *const moe_beside[] = {"model.mtp_", "mtp.", NULL};

const struct family family_ernie4_5_moe = {
    .name = "ernie4_5_moe",
    .model_types = {"ernie4_5_moe"},
    LLAMA_TENSOR_NAMES,
    .beside = moe_beside,
    .rows = moe_rows,
    .settings = moe_settings,
    .rules = moe_rules,
    .norm = NORM_RMS,
    .traits = T_INTERLEAVED | T_NORM_TOPK,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = moe_architectures,
};
