/* SPDX-License-Identifier: Apache-2.0 */
/* ChatGLM 3 and GLM-4-9B as it was first released: what glm is under other names, with q, k, v in
 * one linear and a factor on the rotary base. Defaults: the ChatGLMConfig that the models bring. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(QKV, ATTN_IN, QKV, "self_attention.query_key_value"), .bias = T_ATTENTION_BIAS},
    SPLIT_QKV_ROW(QKV, ONE),
    ROTATE_ROWS(Q, K),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attention.dense")},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    {LINEAR(GATE_UP, MLP_IN, FFN2, "mlp.dense_h_to_4h")},
    {SPLIT(GATE_UP, ONE), .out = {V_GATE, V_UP}, .width = {DIM_FFN, DIM_FFN}},
    {GLU(MID, GATE, UP)},
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.dense_4h_to_h")},
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

#define ONE_FOR_ALL T_A /* fewer heads of keys than of queries */

static const struct setting settings[] = {
    DIM(VOCAB, "padded_vocab_size|vocab_size", 65024),
    DIM(HIDDEN, "hidden_size", 4096),
    DIM(LAYERS, "num_layers|num_hidden_layers", 28),
    DIM(HEADS, "num_attention_heads", 32),
    DIM(POSITIONS, "seq_length", 2048),
    FLAG(ONE_FOR_ALL, "multi_query_attention", false),
    DIM_AS(KV_HEADS, NULL, HEADS),
    {.set = SET_DIM,
     .what = DIM_KV_HEADS,
     .key = "multi_query_group_num",
     .absent = 1,
     .when = ONE_FOR_ALL},
    DIM(HEAD, "kv_channels", 128),
    DIM(FFN, "ffn_hidden_size", 13696),
    {.set = SET_NUMBER, .what = NUM_THETA, .key = "rope_ratio", .absent = 10000, .times = 10000},
    NUMBER(ROTARY, NULL, 0.5),
    LAYER_EPS("layernorm_epsilon"),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "add_qkv_bias", false),
    {0},
};

static const char *const architectures[] = {"ChatGLMModel", "ChatGLMForConditionalGeneration",
                                            NULL};
static const char *const inherent[] = {"rmsnorm", "post_layer_norm", NULL};
static const char *const beside[] = {"transformer.rotary_pos_emb.", NULL};

const struct family family_chatglm = {
    .name = "chatglm",
    .model_types = {"chatglm"},
    .embedding = "transformer.embedding.word_embeddings.weight",
    .block_prefix = "transformer.encoder.layers.%lld.",
    .final_norm = "transformer.encoder.final_layernorm",
    .head = "transformer.output_layer.weight",
    .beside = beside,
    .rows = rows,
    .settings = settings,
    .norm = NORM_RMS,
    .traits = T_INTERLEAVED,
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
};
