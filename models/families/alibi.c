/* SPDX-License-Identifier: Apache-2.0 */
/* BLOOM and MPT: a bias by distance in place of positions (Press et al., arXiv:2108.12409).
 * Defaults: transformers' BloomConfig and MptConfig. */
#include "models/families/tables.h"

/* --- BLOOM: q, k, v in one linear, head by head; a norm behind the embedding ------------------ */

static const struct node bloom_rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    {LINEAR(QKV, ATTN_IN, QKV, "self_attention.query_key_value"), .bias = T_ALWAYS},
    SPLIT_QKV_ROW(QKV, HEADS),
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attention.dense"), .bias = T_ALWAYS},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    MLP_ROWS(MLP_IN, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", T_ALWAYS),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

/* seq_length is what it was trained with; the bias goes on beyond. */
static const struct setting bloom_settings[] = {
    DIM(VOCAB, "vocab_size", 250880),
    DIM(HIDDEN, "n_embed|hidden_size", 64),
    DIM(LAYERS, "n_layer|num_hidden_layers", 2),
    DIM(HEADS, "n_head|num_attention_heads", 8),
    DIM(POSITIONS, "seq_length", 2048),
    EQUAL_HEADS,
    FFN_4(NULL),
    LAYER_EPS("layer_norm_epsilon"),
    TIED(true),
    {0},
};

static const char *const bloom_architectures[] = {"BloomForCausalLM", "BloomModel", NULL};
static const char *const bloom_ignored[] = {"offset_alibi", NULL};

const struct family family_bloom = {
    .name = "bloom",
    .model_types = {"bloom"},
    .embedding = "transformer.word_embeddings.weight",
    .embedding_norm = "transformer.word_embeddings_layernorm",
    .block_prefix = "transformer.h.%lld.",
    .final_norm = "transformer.ln_f",
    .head = "lm_head.weight",
    .rows = bloom_rows,
    .settings = bloom_settings,
    .norm = NORM_LAYER,
    .act = ACT_GELU_TANH,
    .traits = T_ALIBI,
    .architectures = bloom_architectures,
    .ignored_keys = bloom_ignored,
};

/* --- MPT: no biases, not in the norms either; queries, keys and values may be clipped --------- */

static const struct node mpt_rows[] = {
    {NORM(ATTN_IN, X, "norm_1")},
    {LINEAR(QKV, ATTN_IN, QKV, "attn.Wqkv")},
    {CLIP(QKV_CLIP, QKV)},
    SPLIT_QKV_ROW(QKV_CLIP, ONE),
    {ATTENTION(CONTEXT, Q, K, V)},
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "attn.out_proj")},
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "norm_2")},
    MLP_ROWS(MLP_IN, "ffn.up_proj", "ffn.down_proj", 0),
    {ADD(Z, Y, MLP_OUT)},
    {END},
};

static const struct setting mpt_settings[] = {
    DIM(VOCAB, "vocab_size", 50368),
    DIM(HIDDEN, "d_model|hidden_size", 2048),
    DIM(LAYERS, "n_layers|num_hidden_layers", 24),
    DIM(HEADS, "n_heads|num_attention_heads", 16),
    DIM(POSITIONS, "max_seq_len", 2048),
    EQUAL_HEADS,
    FFN_4(NULL),
    NUMBER(CLIP, "attn_config.clip_qkv", 0),
    FLAG_IF(T_CLIP, "attn_config.clip_qkv"),
    NUMBER(ATTN_SCALE, "attn_config.softmax_scale", 0),
    LAYER_EPS("layer_norm_epsilon"),
    TIED(true),
    {0},
};

static const char *const mpt_architectures[] = {"MptForCausalLM", "MPTForCausalLM", "MptModel",
                                                NULL};
/* With ALiBi there are no learned positions, whatever this says. */
static const char *const mpt_ignored[] = {"learned_pos_emb", NULL};

const struct family family_mpt = {
    .name = "mpt",
    .model_types = {"mpt"},
    .embedding = "transformer.wte.weight",
    .block_prefix = "transformer.blocks.%lld.",
    .final_norm = "transformer.norm_f",
    .head = "lm_head.weight",
    .rows = mpt_rows,
    .settings = mpt_settings,
    .norm = NORM_LAYER_W,
    .act = ACT_GELU,
    .traits = T_ALIBI,
    .architectures = mpt_architectures,
    .ignored_keys = mpt_ignored,
};
