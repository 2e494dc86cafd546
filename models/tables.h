/* The families' tables, one file each. */
#ifndef LLMQ_MODELS_TABLES_H
#define LLMQ_MODELS_TABLES_H

#include "models/family.h"
#include "models/rows.h"

extern const struct family family_llama;
extern const struct family family_mistral;
extern const struct family family_qwen2;
extern const struct family family_qwen3;

/* The names that Llama gave its tensors and that most families kept. */
/* clang-format off */
#define LLAMA_TENSOR_NAMES                                 \
    .embedding      = "model.embed_tokens.weight",         \
    .block_prefix   = "model.layers.%lld.",                \
    .final_norm     = "model.norm.weight",                 \
    .head           = "lm_head.weight",                    \
    .attention_norm = "input_layernorm.weight",            \
    .mlp_norm       = "post_attention_layernorm.weight"

/* The seven linears under Llama's names; the families differ in their biases. */
#define LLAMA_LINEARS(qkv_bias, o_bias, mlp_bias)                              \
    .linears = {                                                               \
        [LINEAR_Q]    = {"self_attn.q_proj", STAGE_ATTENTION_IN,  qkv_bias},   \
        [LINEAR_K]    = {"self_attn.k_proj", STAGE_ATTENTION_IN,  qkv_bias},   \
        [LINEAR_V]    = {"self_attn.v_proj", STAGE_ATTENTION_IN,  qkv_bias},   \
        [LINEAR_O]    = {"self_attn.o_proj", STAGE_ATTENTION_OUT, o_bias},     \
        [LINEAR_GATE] = {"mlp.gate_proj",    STAGE_MLP_IN,        mlp_bias},   \
        [LINEAR_UP]   = {"mlp.up_proj",      STAGE_MLP_IN,        mlp_bias},   \
        [LINEAR_DOWN] = {"mlp.down_proj",    STAGE_MLP_OUT,       mlp_bias},   \
    }

/* What feeds what in Llama's block: the norms, and the two linears whose output reaches the next
 * one by sums and products alone, v through attention's weighted means and up through the gate. */
#define LLAMA_FOLDS                                                                                \
    .folds = {                                                                                     \
        [STAGE_ATTENTION_IN]  = {.producer = FOLD_ATTENTION_NORM,                                  \
                                 .consumers = FOLD_ROLE(LINEAR_Q) | FOLD_ROLE(LINEAR_K) |          \
                                              FOLD_ROLE(LINEAR_V)},                                \
        [STAGE_ATTENTION_OUT] = {.producer = FOLD_LINEAR, .linear = LINEAR_V, .map = FOLD_BY_HEAD, \
                                 .consumers = FOLD_ROLE(LINEAR_O)},                                \
        [STAGE_MLP_IN]        = {.producer = FOLD_MLP_NORM,                                        \
                                 .consumers = FOLD_ROLE(LINEAR_GATE) | FOLD_ROLE(LINEAR_UP)},      \
        [STAGE_MLP_OUT]       = {.producer = FOLD_LINEAR, .linear = LINEAR_UP,                     \
                                 .consumers = FOLD_ROLE(LINEAR_DOWN)},                             \
    }
/* clang-format on */

#endif
