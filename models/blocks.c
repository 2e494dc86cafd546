/* See blocks.h. */
#include "models/blocks.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int find_kind(const struct blocks *b, unsigned traits) {
    int kind = 0;
    while (kind < b->kind_count && b->kinds[kind].traits != traits)
        kind++;
    return kind;
}

static enum llmq_status sort_block(const struct model_config *c, int64_t block, struct blocks *b,
                                   llmq_error *err) {
    const unsigned traits = c->layers[block];
    const int kind = find_kind(b, traits);
    b->kind_of[block] = (uint8_t)kind;
    if (kind < b->kind_count)
        return LLMQ_OK;
    if (kind == BLOCKS_MAX_KINDS)
        return error_set(err, LLMQ_E_UNSUPPORTED, "more than %d kinds of blocks", BLOCKS_MAX_KINDS);
    b->kind_count++;
    return graph_make(c->family->rows, traits, &c->facts, V_X, &b->kinds[kind], err);
}

static enum llmq_status sort_blocks(const struct model_config *c, struct blocks *b,
                                    llmq_error *err) {
    b->family = c->family;
    b->config = c;
    b->kind_of = calloc((size_t)c->blocks, sizeof *b->kind_of);
    b->first = calloc((size_t)c->blocks + 1, sizeof *b->first);
    if (!b->kind_of || !b->first)
        return error_memory(err, "the blocks' kinds");
    for (int64_t i = 0; i < c->blocks; i++) {
        enum llmq_status status = sort_block(c, i, b, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "%s", c->family->name);
        b->count = i + 1;
        b->first[i + 1] = b->first[i] + blocks_graph(b, i)->linear_count;
    }
    return LLMQ_OK;
}

enum llmq_status blocks_create(const struct model_config *c, struct blocks **out, llmq_error *err) {
    *out = calloc(1, sizeof **out);
    if (!*out)
        return error_memory(err, "the blocks' graphs");
    enum llmq_status status = sort_blocks(c, *out, err);
    if (status != LLMQ_OK)
        blocks_free(out);
    return status;
}

void blocks_free(struct blocks **b) {
    if (!*b)
        return;
    free((*b)->kind_of);
    free((*b)->first);
    free(*b);
    *b = NULL;
}

const struct graph *blocks_graph(const struct blocks *b, int64_t block) {
    return &b->kinds[b->kind_of[block]];
}

/* --- linears ---------------------------------------------------------------------------------- */

int64_t blocks_linear_count(const struct blocks *b) {
    return b->first[b->count];
}

struct linear_place blocks_linear_at(const struct blocks *b, int64_t index) {
    int64_t low = 0, high = b->count;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (b->first[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    return (struct linear_place){low, blocks_graph(b, low)->linear[index - b->first[low]]};
}

int64_t blocks_linear_number(const struct blocks *b, int64_t block, int node) {
    return b->first[block] + blocks_graph(b, block)->ordinal[node];
}

void blocks_linear_shape(const struct blocks *b, struct linear_place at, int64_t *n, int64_t *k) {
    const struct graph *g = blocks_graph(b, at.block);
    *n = g->node[at.node].width[0];
    *k = g->width[g->node[at.node].in[0]];
}

const char *blocks_node_name(const struct blocks *b, struct linear_place at, const char *suffix,
                             char buf[FAMILY_NAME_MAX]) {
    const char *module = blocks_graph(b, at.block)->node[at.node].row->name;
    return family_block_name(b->family, at.block, module, suffix, buf);
}

bool blocks_find_linear(const struct blocks *b, const char *name, struct linear_place *out) {
    const char *rest = NULL;
    if (!family_block_of(b->family, name, &out->block, &rest) || out->block >= b->count)
        return false;
    const struct graph *g = blocks_graph(b, out->block);
    out->node = graph_find_module(g, rest, strlen(rest));
    return out->node >= 0 && g->ordinal[out->node] >= 0;
}
