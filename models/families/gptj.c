/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-J and CodeGen: attention and MLP side by side on one LayerNorm, the first part of a head
 * rotated in pairs of neighbours, a bias at the output head. Defaults: transformers' GPTJConfig and
 * CodeGenConfig. */
#include "models/families/tables.h"

static const struct node gptj_rows[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    {LINEAR(Q, ATTN_IN, ATTN, "attn.q_proj")},
    {LINEAR(K, ATTN_IN, KV, "attn.k_proj")},
    {LINEAR(V, ATTN_IN, KV, "attn.v_proj")},
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attn.out_proj")},
    {ADD(Y, X, ATTN_OUT)},
    MLP_ROWS(ATTN_IN, "mlp.fc_in", "mlp.fc_out", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

/* The base of the rotation is no setting. */
static const struct setting settings[] = {
    GPT_SIZES(50400, 4096, 28, 16, 2048),
    EQUAL_HEADS,
    FFN_4("n_inner"),
    {.set = SET_DIM, .what = DIM_ROT, .key = "rotary_dim", .absent = 64, .null_is_off = true},
    NUMBER(THETA, NULL, 10000),
    LAYER_EPS("layer_norm_epsilon"),
    TIED(false),
    {0},
};

/* clang-format off */
#define GPTJ_FAMILY                                         \
    GPT_TENSOR_NAMES,                                       \
    .settings = settings,                                   \
    .norm = NORM_LAYER,                                     \
    .act_key = "activation_function",                       \
    .act = ACT_GELU_TANH,                                   \
    .traits = T_PARALLEL | T_INTERLEAVED | T_HEAD_BIAS
/* clang-format on */

static const char *const gptj_architectures[] = {"GPTJForCausalLM", "GPTJModel", NULL};

const struct family family_gptj = {
    .name = "gptj",
    .model_types = {"gptj"},
    GPTJ_FAMILY,
    .rows = gptj_rows,
    .architectures = gptj_architectures,
};

/* Queries, values and keys in one linear, cut for the four cores of a TPU. */
static const struct node codegen_rows[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    {LINEAR(QKV, ATTN_IN, QKV, "attn.qkv_proj")},
    {SPLIT(QKV, FOUR), .out = {V_Q, V_V, V_K}, .width = {DIM_ATTN, DIM_KV, DIM_KV}},
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attn.out_proj")},
    {ADD(Y, X, ATTN_OUT)},
    MLP_ROWS(ATTN_IN, "mlp.fc_in", "mlp.fc_out", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const char *const codegen_architectures[] = {"CodeGenForCausalLM", "CodeGenModel", NULL};

const struct family family_codegen = {
    .name = "codegen",
    .model_types = {"codegen"},
    GPTJ_FAMILY,
    .rows = codegen_rows,
    .architectures = codegen_architectures,
};
