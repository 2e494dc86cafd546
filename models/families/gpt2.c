/* GPT-2 and what was built on it: learned positions, LayerNorm, biases, an MLP without a gate.
 * Defaults: transformers' GPT2Config, GPTBigCodeConfig and GPTNeoConfig. */
#include "models/families/tables.h"

/* Files are there with "transformer." before the names and without. */
/* clang-format off */
#define GPT2_TENSOR_NAMES                       \
    .embedding    = "transformer.wte.weight",   \
    .positions    = "transformer.wpe.weight",   \
    .block_prefix = "transformer.h.%lld.",      \
    .final_norm   = "transformer.ln_f",         \
    .head         = "lm_head.weight"
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
