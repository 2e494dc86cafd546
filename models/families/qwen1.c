/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen 1: q, k, v in one linear with a bias, and an MLP whose second linear is the gate. Defaults:
 * the QWenConfig that the models bring. What it does beyond seq_length tokens, no loader follows.
 */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    {LINEAR(QKV, ATTN_IN, QKV, "attn.c_attn"), .bias = T_ALWAYS},
    SPLIT_QKV_ROW(QKV, ONE),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attn.c_proj")},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "ln_2")},
    {LINEAR(GATE, MLP_IN, FFN, "mlp.w2")},
    {LINEAR(UP, MLP_IN, FFN, "mlp.w1")},
    {GLU(MID, GATE, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.c_proj")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting settings[] = {
    SIZES(151936, 4096, 32, 32, 8192),
    /* from here on its positions and scores change */
    DIM(POSITIONS, "seq_length", 8192),
    DIM_AS(KV_HEADS, NULL, HEADS),
    DIM(HEAD, "kv_channels", 128),
    /* gate and value together */
    DIM(FFN_STEP, "intermediate_size", 22016),
    {.set = SET_DIM, .what = DIM_FFN, .same = DIM_FFN_STEP, .per = 2},
    NUMBER(THETA, "rotary_emb_base", 10000),
    ROTARY("rotary_pct", 1),
    NUMBER(EPS, "layer_norm_epsilon", 1e-6),
    TIED(false),
    {0},
};

static const char *const architectures[] = {"QWenLMHeadModel", "QWenModel", NULL};
static const char *const inherent[] = {"qkv_bias", NULL};
static const char *const ignored[] = {"use_dynamic_ntk", "use_logn_attn", "max_position_embeddings",
                                      NULL};

const struct family family_qwen = {
    .name = "qwen",
    .model_types = {"qwen"},
    GPT_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
    .ignored_keys = ignored,
};
