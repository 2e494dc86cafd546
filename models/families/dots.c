/* SPDX-License-Identifier: Apache-2.0 */
/* dots.llm1: Qwen 3's attention before DeepSeek-V3's experts. Defaults: transformers' Dots1Config,
 * and where that has none, what the released model says. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node rows[] = {
    NORMED_HEADS_ROWS(T_ATTENTION_BIAS),
    DENSE_ROWS("mlp"),
    V3_ROUTER_ROW,
    V3_ROUTED_ROWS(expert),
    {END},
};

static const struct setting settings[] = {
    SIZES(152064, 4608, 62, 32, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(10944),
    WINDOW(4096),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    V3_SCORES,
    /* what the released model's file says of the same scores */
    WORD(0, "scoring_func", "noaux_tc"),
    V3_EXPERTS(128, 6, 1408),
    DIM(N_GROUPS, "n_group", 1),
    DIM(TOP_GROUPS, "topk_group", 1),
    FLAG(T_NORM_TOPK, "norm_topk_prob", false),
    NUMBER(ROUTED, "routed_scaling_factor", 1),
    {0},
};

static const struct layer_rule rules[] = {
    {FROM(T_WINDOW, "max_window_layers", 62)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {FROM(T_SPARSE, "first_k_dense_replace", 0)},
    {0},
};

static const char *const architectures[] = {"Dots1ForCausalLM", "Dots1Model", NULL};
static const char *const inherent[] = {"qk_norm", "use_qk_norm", "qk_layernorm", NULL};

const struct family family_dots1 = {
    .name = "dots1",
    .model_types = {"dots1"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
};
