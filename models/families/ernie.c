/* ERNIE 4.5, the dense models: Llama whose rotary pairs are neighbours, with one key for all
 * biases. Defaults: transformers' Ernie4_5Config. */
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
