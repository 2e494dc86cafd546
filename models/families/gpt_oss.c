/* SPDX-License-Identifier: Apache-2.0 */
/* gpt-oss: experts stacked in two tensors, stored the other way round, with the rows of gate and up
 * in turn and with biases; a clamped gate; sinks; a window in every other layer. Defaults:
 * transformers' GptOssConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {
    {LINEAR(GATE, E, FFN, "gate_proj"), .bias = T_ALWAYS, .storage = STORED_STACK_T,
     .stack = "mlp.experts.gate_up_proj", .stack_bias = "mlp.experts.gate_up_proj_bias",
     .part = PART_EVEN},
    {LINEAR(UP, E, FFN, "up_proj"), .bias = T_ALWAYS, .storage = STORED_STACK_T,
     .stack = "mlp.experts.gate_up_proj", .stack_bias = "mlp.experts.gate_up_proj_bias",
     .part = PART_ODD},
    {GLU(MID, GATE, UP), .act = ACT_CLAMPED},
    {LINEAR(E_OUT, MID, HIDDEN, "down_proj"), .bias = T_ALWAYS, .storage = STORED_STACK_T,
     .stack = "mlp.experts.down_proj", .stack_bias = "mlp.experts.down_proj_bias"},
    {END},
};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V), .name = "self_attn.sinks"},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {ROUTER(ROUTE, MLP_IN, "mlp.router"), .bias = T_ALWAYS},
    {EXPERTS(ROUTED, MLP_IN, ROUTE, "mlp.experts.%d.", expert)},
    {ADD(Z, Y, ROUTED)},
    {END},
};

static const struct setting settings[] = {
    SIZES(201088, 2880, 36, 64, 131072),
    KV_HEADS(8),
    HEAD_DIM(64),
    FFN(2880),
    WINDOW(128),
    THETA(150000),
    RMS_EPS(1e-5),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", true),
    NUMBER(GLU_LIMIT, "swiglu_limit", 7),
    NUMBER(GLU_SLOPE, NULL, 1.702),
    DIM(EXPERTS, "num_local_experts", 128),
    DIM(TOP_K, "num_experts_per_tok|experts_per_token", 4),
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_WINDOW, NULL, 2)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const struct family_limit limits[] = {
    {"vLLM", NULL, true, "takes the experts of this model plain or as mxfp4 only"},
    {"vLLM (before mid-2026)", NULL, true,
     "takes the experts of this model plain or as mxfp4 only"},
    {"SGLang", NULL, true, "takes the experts of this model plain or as mxfp4 only"},
    {"transformers", "gptq", true, "takes the experts of this model through GPTQModel only"},
    {.stack = NULL},
};

static const char *const architectures[] = {"GptOssForCausalLM", "GptOssModel", NULL};
static const char *const inherent[] = {"norm_topk_prob", "attention_sinks", "use_attention_sinks",
                                       NULL};

const struct family family_gpt_oss = {
    .name = "gpt_oss",
    .model_types = {"gpt_oss"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_NORM_TOPK,
    .act = ACT_SILU,
    .rotary = "{\"rope_type\": \"yarn\", \"factor\": 32, \"beta_fast\": 32, \"beta_slow\": 1, "
              "\"original_max_position_embeddings\": 4096, \"truncate\": false}",
    .architectures = architectures,
    .inherent_keys = inherent,
    .limits = limits,
};
