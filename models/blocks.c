/* SPDX-License-Identifier: Apache-2.0 */
/* See blocks.h. */
#include "models/blocks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int find_kind(const struct blocks *b, trait_set traits) {
    int kind = 0;
    while (kind < b->kind_count && b->kinds[kind].traits != traits)
        kind++;
    return kind;
}

/* The experts of a kind of block are blocks of their own. */
static enum llmq_status make_body(struct blocks *b, int kind, llmq_error *err) {
    struct graph *g = &b->kinds[kind];
    if (g->experts < 0)
        return LLMQ_OK;
    b->bodies[kind] = malloc(sizeof *b->bodies[kind]);
    if (!b->bodies[kind])
        return error_memory(err, "the experts' graph");
    g->body = b->bodies[kind];
    return graph_make(g->node[g->experts].row->body, g->traits, &g->facts, V_E, b->bodies[kind],
                      err);
}

static enum llmq_status sort_block(const struct model_config *c, int64_t block, struct blocks *b,
                                   llmq_error *err) {
    const trait_set traits = c->layers[block];
    const int kind = find_kind(b, traits);
    b->kind_of[block] = (uint8_t)kind;
    if (kind < b->kind_count)
        return LLMQ_OK;
    if (kind == BLOCKS_MAX_KINDS)
        return error_set(err, LLMQ_E_UNSUPPORTED, "more than %d kinds of blocks", BLOCKS_MAX_KINDS);
    b->kind_count++;
    enum llmq_status status =
        graph_make(c->family->rows, traits, config_facts(c, traits), V_X, &b->kinds[kind], err);
    return status == LLMQ_OK ? make_body(b, kind, err) : status;
}

/* Whose tensors the block shares. */
static void find_home(struct blocks *b, int64_t block, int64_t *sharing) {
    const struct model_config *c = b->config;
    const int64_t sets = c->facts.dims[DIM_SHARES] > 0 ? c->facts.dims[DIM_SHARES] : 1;
    b->home[block] = -1;
    if (!(c->layers[block] & c->family->shared))
        return;
    b->turn[block] = (*sharing)++;
    b->home[block] = block;
    for (int64_t i = 0; i < block; i++)
        if (b->home[i] == i && b->turn[i] == b->turn[block] % sets)
            b->home[block] = i;
}

static enum llmq_status sort_blocks(const struct model_config *c, struct blocks *b,
                                    llmq_error *err) {
    b->config = c;
    const int64_t count = c->blocks + c->drafts;
    b->kind_of = calloc((size_t)count, sizeof *b->kind_of);
    b->first = calloc((size_t)count + 1, sizeof *b->first);
    b->home = calloc((size_t)count, sizeof *b->home);
    b->turn = calloc((size_t)count, sizeof *b->turn);
    if (!b->kind_of || !b->first || !b->home || !b->turn)
        return error_memory(err, "the blocks' kinds");
    int64_t sharing = 0;
    for (int64_t i = 0; i < count; i++)
        find_home(b, i, &sharing);
    for (int64_t i = 0; i < count; i++) {
        enum llmq_status status = sort_block(c, i, b, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "%s", c->family->name);
        b->count = i + 1;
        b->first[i + 1] = b->first[i] + graph_module_count(blocks_graph(b, i));
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
    for (int kind = 0; kind < BLOCKS_MAX_KINDS; kind++)
        free((*b)->bodies[kind]);
    free((*b)->kind_of);
    free((*b)->first);
    free((*b)->home);
    free((*b)->turn);
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

/* The block with the module of that number. */
static int64_t block_with(const struct blocks *b, int64_t index) {
    int64_t low = 0, high = b->count;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (b->first[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Own linears, then those of one expert after the other, then the other own ones. */
struct linear_place blocks_linear_at(const struct blocks *b, int64_t index) {
    const int64_t block = block_with(b, index);
    const struct graph *g = blocks_graph(b, block);
    const int64_t of_experts = graph_module_count(g) - g->linear_count;
    int64_t i = index - b->first[block];
    if (g->body && i >= g->experts_at && i < g->experts_at + of_experts) {
        i -= g->experts_at;
        return (struct linear_place){block, g->body->linear[i % g->body->linear_count],
                                     i / g->body->linear_count};
    }
    i -= i < g->experts_at ? 0 : of_experts;
    return (struct linear_place){block, g->linear[i], -1};
}

int64_t blocks_linear_number(const struct blocks *b, struct linear_place at) {
    const struct graph *g = blocks_graph(b, at.block);
    const int64_t first = b->first[at.block];
    if (at.expert >= 0)
        return first + g->experts_at + at.expert * g->body->linear_count +
               g->body->ordinal[at.node];
    const int own = g->ordinal[at.node];
    return first + own + (own < g->experts_at ? 0 : graph_module_count(g) - g->linear_count);
}

const struct graph *blocks_graph_of(const struct blocks *b, struct linear_place at) {
    const struct graph *g = blocks_graph(b, at.block);
    return at.expert >= 0 ? g->body : g;
}

const struct graph_node *blocks_node(const struct blocks *b, struct linear_place at) {
    return &blocks_graph_of(b, at)->node[at.node];
}

void blocks_linear_shape(const struct blocks *b, struct linear_place at, int64_t *n, int64_t *k) {
    const struct graph *g = blocks_graph_of(b, at);
    *n = g->node[at.node].width[0];
    *k = g->width[g->node[at.node].in[0]];
}

/* --- names ------------------------------------------------------------------------------------ */

static const char turn_mark[] = "%d"; /* in the names of rows that are shared */

/* Those of a row that is shared lie in the block's home, some of them with its turn. */
static const char *shared_name(const struct blocks *b, int64_t block, const struct graph_param *p,
                               char buf[FAMILY_NAME_MAX]) {
    const char *mark = strstr(p->name, turn_mark);
    char name[FAMILY_NAME_MAX];
    if (mark)
        (void)snprintf(name, sizeof name, "%.*s%" PRId64 "%s", (int)(mark - p->name), p->name,
                       b->turn[block], mark + sizeof turn_mark - 1);
    return family_block_name(b->config->family, b->home[block], mark ? name : p->name, p->suffix,
                             buf);
}

bool blocks_param_owned(const struct blocks *b, int64_t block, const struct graph_param *p) {
    return !p->shared || b->home[block] == block || strstr(p->name, turn_mark);
}

const char *blocks_param_name(const struct blocks *b, int64_t block, int64_t expert,
                              const struct graph_param *p, char buf[FAMILY_NAME_MAX]) {
    char name[FAMILY_NAME_MAX], prefix[GRAPH_NAME_MAX] = "";
    if (p->shared)
        return shared_name(b, block, p, buf);
    if (expert >= 0 && p->experts == 0)
        graph_expert_name(blocks_graph(b, block), expert, prefix);
    (void)snprintf(name, sizeof name, "%s%s", prefix, p->name);
    return family_block_name(b->config->family, block, name, p->suffix, buf);
}

const char *blocks_node_name(const struct blocks *b, struct linear_place at, const char *suffix,
                             char buf[FAMILY_NAME_MAX]) {
    const struct node *row = blocks_node(b, at)->row;
    const struct graph_param p = {.name = row->name, .suffix = suffix, .shared = row->shared};
    return blocks_param_name(b, at.block, at.expert, &p, buf);
}

bool blocks_linear_turned(const struct blocks *b, struct linear_place at) {
    return blocks_node(b, at)->row->storage == STORED_CONV1D;
}

bool blocks_find_linear(const struct blocks *b, const char *name, struct linear_place *out) {
    const char *rest = NULL;
    out->expert = -1;
    if (!family_block_of(b->config->family, name, &out->block, &rest) || out->block >= b->count)
        return false;
    const struct graph *g = blocks_graph(b, out->block);
    if (graph_expert_of(g, rest, &out->expert, &rest))
        g = g->body;
    out->node = graph_find_module(g, rest, strlen(rest));
    return out->node >= 0 && g->ordinal[out->node] >= 0;
}

/* The same for a stack: expert after expert, each with all its linears of it. */
static bool linear_in_stack(const struct graph *g, const char *rest, int64_t index,
                            struct linear_place *out) {
    int nodes[GRAPH_NODES], count = 0;
    for (int i = 0; g->body && i < g->body->count; i++) {
        const char *stack = g->body->node[i].row->stack;
        if (stack && strcmp(stack, rest) == 0)
            nodes[count++] = i;
    }
    if (count == 0 || index >= count * g->facts.dims[DIM_EXPERTS])
        return false;
    out->expert = index / count;
    out->node = nodes[index % count];
    return true;
}

bool blocks_linear_in(const struct blocks *b, const char *tensor, int64_t index,
                      struct linear_place *out) {
    static const char suffix[] = ".weight";
    const char *rest = NULL;
    char module[FAMILY_NAME_MAX];
    const size_t len = strlen(tensor), end = sizeof suffix - 1;
    if (!family_block_of(b->config->family, tensor, &out->block, &rest) || out->block >= b->count)
        return false;
    if (linear_in_stack(blocks_graph(b, out->block), rest, index, out))
        return true;
    if (index > 0 || len <= end || strcmp(tensor + len - end, suffix) != 0)
        return false;
    (void)snprintf(module, sizeof module, "%.*s", (int)(len - end), tensor);
    return blocks_find_linear(b, module, out);
}
