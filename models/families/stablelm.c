/* SPDX-License-Identifier: Apache-2.0 */
/* StableLM 3B, Zephyr, StableLM 2: LayerNorms, a part of each head rotated, and by its config
 * biases of q, k, v, or attention and MLP side by side on one norm. Those with norms of their own
 * for every head (qk_layernorm: StableLM 2 12B) are not supported. Defaults: transformers'
 * StableLmConfig, whose heads always share the hidden size. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ATTEND_ROWS(Q, K, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm"), .unless = T_PARALLEL},
    {SAME(MLP_IN, ATTN_IN), .when = T_PARALLEL},
    GATED_ROWS(MLP_IN, 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(50304, 2560, 32, 32, 4096),
    KV_HEADS(32),
    {.set = SET_DIM, .what = DIM_HEAD, .same = DIM_HIDDEN, .over = DIM_HEADS},
    FFN(6912),
    ROTARY("partial_rotary_factor", 0.25),
    THETA(10000),
    NUMBER(EPS, "layer_norm_eps", 1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "use_qkv_bias", false),
    FLAG(T_PARALLEL, "use_parallel_residual", false),
    {0},
};

static const char *const architectures[] = {"StableLmForCausalLM", "StableLmModel",
                                            "StableLMEpochForCausalLM", NULL};

const struct family family_stablelm = {
    .name = "stablelm",
    .model_types = {"stablelm"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_LAYER,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
};
