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
