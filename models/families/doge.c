/* SPDX-License-Identifier: Apache-2.0 */
/* Doge: Llama with norms of heads, where keys are seen better or worse by what their values say,
 * and every channel of the stream goes on with a weight of its own. Defaults: transformers'
 * DogeConfig.
 *
 * Plain: dt_proj, one row for each head of keys. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    HEAD_NORM_ROWS,
    {TURN(Q_ROT, Q_NORM, HEADS)},
    {TURN(K_ROT, K_NORM, KV_HEADS)},
    {LINEAR(STEP_IN, V, KV_HEADS, "self_attn.dt_proj"), .bias = T_ATTENTION_BIAS, .plain = true},
    {ACT(STEP_NORM, STEP_IN), .act = ACT_SOFTPLUS},
    {SCALE(FADE, STEP_NORM, "self_attn.A"), .each = true},
    {ACT(LIFT, FADE), .act = ACT_EXP},
    {LIFTED_ATTENTION(CONTEXT, Q_ROT, K_ROT, V, LIFT)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {SCALE(X_KEPT, X, "input_residual"), .each = true},
    {ADD(Y, X_KEPT, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    GATED_ROWS(MLP_IN, T_MLP_BIAS),
    {SCALE(Y_KEPT, Y, "post_attention_residual"), .each = true},
    {ADD(Z, Y_KEPT, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(32768, 1024, 32, 8, 2048),
    KV_HEADS(0),
    HEAD_DIM(0),
    FFN(2048),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    FLAG(T_MLP_BIAS, "mlp_bias", false),
    DIM(LIFTED, "keep_window_size", 2048),
    {0},
};

static const char *const architectures[] = {"DogeForCausalLM", "DogeModel", NULL};
/* of the experts that a model has with is_moe, which is refused */
static const char *const ignored[] = {"num_experts", "norm_topk_prob", NULL};
static const char *const inherent[] = {"qk_norm", "use_qk_norm", NULL};

const struct family family_doge = {
    .name = "doge",
    .model_types = {"doge"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
    .ignored_keys = ignored,
};
