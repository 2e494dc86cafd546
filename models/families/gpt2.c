/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-2 and what was built on it: learned positions, LayerNorm, biases, an MLP without a gate.
 * Defaults: transformers' GPT2Config, GPTBigCodeConfig and GPTNeoConfig. */
#include "models/families/tables.h"

/* Files are there with "transformer." before the names and without. */
/* clang-format off */
#define GPT2_TENSOR_NAMES                       \
    GPT_TENSOR_NAMES,                           \
    .positions    = "transformer.wpe.weight"
/* clang-format on */

/* --- GPT-2: weights lie as [in, out] ---------------------------------------------------------- */

static const struct node gpt2_rows[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    {LINEAR(QKV, ATTN_IN, QKV, "attn.c_attn"), .bias = T_ALWAYS, .storage = STORED_CONV1D},
    SPLIT_QKV_ROW(QKV, ONE),
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attn.c_proj"), .bias = T_ALWAYS, .storage = STORED_CONV1D},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "ln_2")},
    {LINEAR(UP, MLP_IN, FFN, "mlp.c_fc"), .bias = T_ALWAYS, .storage = STORED_CONV1D},
    {ACT(MID, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.c_proj"), .bias = T_ALWAYS, .storage = STORED_CONV1D},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting gpt2_settings[] = {
    GPT_SIZES(50257, 768, 12, 12, 1024), EQUAL_HEADS, FFN_4("n_inner"),
    LAYER_EPS("layer_norm_epsilon"),     TIED(true),  {0},
};

static const char *const gpt2_architectures[] = {"GPT2LMHeadModel", "GPT2Model", NULL};

const struct family family_gpt2 = {
    .name = "gpt2",
    .model_types = {"gpt2"},
    GPT2_TENSOR_NAMES,
    .rows = gpt2_rows,
    .settings = gpt2_settings,
    .norm = NORM_LAYER,
    .act_key = "activation_function",
    .act = ACT_GELU_TANH,
    .architectures = gpt2_architectures,
};

/* --- GPTBigCode (SantaCoder, StarCoder): one head of keys and values -------------------------- */

static const struct node bigcode_rows[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    {LINEAR(QKV, ATTN_IN, QKV, "attn.c_attn"), .bias = T_ALWAYS},
    SPLIT_QKV_ROW(QKV, KV_HEADS),
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attn.c_proj"), .bias = T_ALWAYS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "ln_2")},
    MLP_ROWS(MLP_IN, "mlp.c_fc", "mlp.c_proj", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting bigcode_settings[] = {
    GPT_SIZES(50257, 768, 12, 12, 1024),
    EQUAL_HEADS,
    FLAG(T_A, "multi_query", true),
    {.set = SET_DIM, .what = DIM_KV_HEADS, .absent = 1, .when = T_A},
    FFN_4("n_inner"),
    LAYER_EPS("layer_norm_epsilon"),
    TIED(true),
    {0},
};

static const char *const bigcode_architectures[] = {"GPTBigCodeForCausalLM", "GPTBigCodeModel",
                                                    NULL};

const struct family family_gpt_bigcode = {
    .name = "gpt_bigcode",
    .model_types = {"gpt_bigcode"},
    GPT2_TENSOR_NAMES,
    .rows = bigcode_rows,
    .settings = bigcode_settings,
    .norm = NORM_LAYER,
    .act_key = "activation_function",
    .act = ACT_GELU_TANH,
    .architectures = bigcode_architectures,
};

/* --- GPT-Neo: every other layer looks back a window, and scores are not scaled ---------------- */

static const struct node neo_rows[] = {
    {NORM(ATTN_IN, X, "ln_1")},
    {LINEAR(Q, ATTN_IN, ATTN, "attn.attention.q_proj")},
    {LINEAR(K, ATTN_IN, KV, "attn.attention.k_proj")},
    {LINEAR(V, ATTN_IN, KV, "attn.attention.v_proj")},
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attn.attention.out_proj"), .bias = T_ALWAYS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "ln_2")},
    MLP_ROWS(MLP_IN, "mlp.c_fc", "mlp.c_proj", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting neo_settings[] = {
    DIM(VOCAB, "vocab_size", 50257),
    DIM(HIDDEN, "hidden_size", 2048),
    DIM(LAYERS, "num_layers|num_hidden_layers", 24),
    DIM(HEADS, "num_heads|num_attention_heads", 16),
    DIM(POSITIONS, "max_position_embeddings", 2048),
    EQUAL_HEADS,
    FFN_4("intermediate_size"),
    DIM(WINDOW, "window_size", 256),
    NUMBER(ATTN_SCALE, NULL, 1),
    LAYER_EPS("layer_norm_epsilon"),
    TIED(true),
    {0},
};

/* attention_types is what attention_layers is made of where it is missing. */
static const struct layer_rule neo_rules[] = {
    {EVERY(T_WINDOW, NULL, 2)},
    {BY_RUNS(T_WINDOW, "attention_types", "local")},
    {BY_WORD(T_WINDOW, "attention_layers", "local")},
    {BY_WORD(T_WINDOW, "attention_layers", "global"), .clears = true},
    {0},
};

static const char *const neo_architectures[] = {"GPTNeoForCausalLM", "GPTNeoModel", NULL};

const struct family family_gpt_neo = {
    .name = "gpt_neo",
    .model_types = {"gpt_neo"},
    GPT2_TENSOR_NAMES,
    .rows = neo_rows,
    .settings = neo_settings,
    .rules = neo_rules,
    .norm = NORM_LAYER,
    .act_key = "activation_function",
    .act = ACT_GELU_TANH,
    .architectures = neo_architectures,
};
