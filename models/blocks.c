/* See blocks.h. */
#include "models/blocks.h"

#include <stdlib.h>

#include "base/error.h"

static void read_dims(const struct model_config *c, int64_t dims[DIM_COUNT]) {
    const int64_t attention = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    for (int d = 0; d < DIM_COUNT; d++)
        dims[d] = 0;
    dims[DIM_ONE] = 1;
    dims[DIM_HIDDEN] = c->hidden;
    dims[DIM_HEADS] = c->heads;
    dims[DIM_KV_HEADS] = c->kv_heads;
    dims[DIM_HEAD] = c->head_dim;
    dims[DIM_ATTN] = attention;
    dims[DIM_KV] = kv;
    dims[DIM_FFN] = c->intermediate;
}

static unsigned traits_of(const struct model_config *c, int64_t block) {
    return T_ALWAYS | (c->attention_bias ? T_ATTENTION_BIAS : 0u) |
           (c->mlp_bias ? T_MLP_BIAS : 0u) | (c->slides[block] ? T_WINDOW : 0u);
}

static int find_kind(const struct blocks *b, unsigned traits) {
    int kind = 0;
    while (kind < b->kind_count && b->kinds[kind].traits != traits)
        kind++;
    return kind;
}

static enum llmq_status sort_block(const struct model_config *c, const int64_t dims[DIM_COUNT],
                                   int64_t block, struct blocks *b, llmq_error *err) {
    const unsigned traits = traits_of(c, block);
    const int kind = find_kind(b, traits);
    b->kind_of[block] = (uint8_t)kind;
    if (kind < b->kind_count)
        return LLMQ_OK;
    if (kind == BLOCKS_MAX_KINDS)
        return error_set(err, LLMQ_E_UNSUPPORTED, "%s: more than %d kinds of blocks",
                         c->family->name, BLOCKS_MAX_KINDS);
    b->kind_count++;
    return graph_make(c->family->rows, traits, dims, V_X, &b->kinds[kind], err);
}

enum llmq_status blocks_create(const struct model_config *c, struct blocks **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int64_t dims[DIM_COUNT];
    *out = calloc(1, sizeof **out);
    if (!*out)
        return error_memory(err, "the blocks' graphs");
    read_dims(c, dims);
    for (int64_t b = 0; status == LLMQ_OK && b < c->blocks; b++)
        status = sort_block(c, dims, b, *out, err);
    if (status == LLMQ_OK)
        return LLMQ_OK;
    free(*out);
    *out = NULL;
    return error_prefix(err, status, "%s", c->family->name);
}
