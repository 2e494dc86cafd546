/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a block's weights: see block.h. */
#include "graph/block.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/hugemem.h"
#include "graph/model_private.h"

static uint64_t bit(int node) {
    return UINT64_C(1) << node;
}

/* Memory for a weight: its own, where the block's pieces come and go, or the arena's. */
static enum llmq_status weight_alloc(struct block *b, int node, bool own, llmq_error *err) {
    struct linear *l = &b->node[node].linear;
    size_t bytes = 0;
    if (!own) {
        l->w = arena_alloc(b->arena, (size_t)l->n * (size_t)l->k, sizeof *l->w, err);
        return l->w ? LLMQ_OK : LLMQ_E_MEMORY;
    }
    if (checked_mul_size((size_t)l->n * sizeof *l->w, (size_t)l->k, &bytes))
        l->w = huge_malloc(bytes);
    if (!l->w)
        return error_memory(err, "a linear's weight");
    b->owned |= bit(node);
    return LLMQ_OK;
}

static enum llmq_status load_packed(struct block *b, int node, const char *name, llmq_error *err) {
    struct linear *l = &b->node[node].linear;
    if (b->mode == LOAD_PACKED_INT8)
        l->activations = LLMQ_ACTIVATIONS_INT8;
    return model_load_packed(b->model, name, l->n, l->k, &l->packed, err);
}

static enum llmq_status load_weight(struct block *b, int node, bool own, llmq_error *err) {
    const struct linear_place at = {b->index, node, b->expert};
    struct linear *l = &b->node[node].linear;
    char name[MODEL_NAME_MAX];
    if (l->w || l->packed)
        return LLMQ_OK;
    blocks_linear_shape(b->model->blocks, at, &l->n, &l->k);
    if (b->mode != LOAD_PLAIN && model_linear_packed(b->model, at))
        return load_packed(b, node, blocks_node_name(b->model->blocks, at, "", name), err);
    enum llmq_status status = weight_alloc(b, node, own, err);
    return status == LLMQ_OK ? model_load_weight(b->model, at, l->w, err) : status;
}

/* Where a parameter that is no linear's weight goes. */
static float **place_of(const struct graph_node *n, const struct graph_param *p,
                        struct params *out) {
    const bool is_bias = strcmp(p->suffix, ".bias") == 0;
    if (p->vector)
        return &out->vector[p->vector - 1];
    if (n->row->op == OP_NORM || n->row->op == OP_CONV || n->row->op == OP_SCALE)
        return is_bias ? &out->bias : &out->weight;
    if (n->row->op == OP_ATTENTION)
        return &out->sinks;
    /* a linear has no other, whatever the tensor is called */
    return is_bias || n->row->op == OP_LINEAR ? &out->linear.bias : &out->choice_bias;
}

static bool is_weight(const struct graph_node *n, const struct graph_param *p) {
    if (n->row->op != OP_LINEAR && n->row->op != OP_ROUTER)
        return false;
    return p->quantized || strcmp(p->suffix, ".weight") == 0;
}

static enum llmq_status load_vector(const struct block *b, const struct graph_param *p,
                                    struct params *out, llmq_error *err) {
    const struct linear_place at = {b->index, p->node, b->expert};
    const struct st_tensor *t = NULL;
    float **place = place_of(&b->graph->node[p->node], p, out);
    *place = arena_alloc(b->arena, (size_t)graph_param_entries(p), sizeof **place, err);
    if (!*place)
        return LLMQ_E_MEMORY;
    if (p->experts)
        return model_load_stack_bias(b->model, at, *place, err);
    enum llmq_status status = model_require_param(b->model, b->index, b->expert, p, &t, err);
    return status == LLMQ_OK ? model_read_vector(b->model, t, *place, err) : status;
}

/* What the nodes take and is not there yet, in the order of the checkpoint. */
static enum llmq_status load(struct block *b, uint64_t nodes, bool own, llmq_error *err) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(b->graph, params);
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < count; i++) {
        const int node = params[i].node;
        if (!(nodes & bit(node)))
            continue;
        if (is_weight(&b->graph->node[node], &params[i]))
            status = load_weight(b, node, own, err);
        else if (!(b->vectors & bit(node)))
            status = load_vector(b, &params[i], &b->node[node], err);
    }
    if (status == LLMQ_OK)
        b->vectors |= nodes;
    return status;
}

void block_open(const struct model *m, int64_t index, enum load_mode mode, struct arena *arena,
                struct block *out) {
    *out = (struct block){.model = m,
                          .index = index,
                          .expert = -1,
                          .graph = model_graph(m, index),
                          .mode = mode,
                          .arena = arena};
}

enum llmq_status block_need(struct block *b, uint64_t nodes, llmq_error *err) {
    return load(b, nodes, true, err);
}

static enum llmq_status load_all(struct block *b, llmq_error *err) {
    enum llmq_status status = load(b, UINT64_MAX, false, err);
    if (status != LLMQ_OK)
        block_release(b);
    return status;
}

enum llmq_status block_load(const struct model *m, int64_t index, enum load_mode mode,
                            struct arena *arena, struct block *out, llmq_error *err) {
    block_open(m, index, mode, arena, out);
    enum llmq_status status = load_all(out, err);
    if (status == LLMQ_OK)
        model_read_ahead(m, index + 1);
    return status;
}

enum llmq_status expert_load(const struct model *m, int64_t index, int64_t expert,
                             enum load_mode mode, struct arena *arena, struct block *out,
                             llmq_error *err) {
    block_open(m, index, mode, arena, out);
    out->expert = expert;
    out->graph = out->graph->body;
    return load_all(out, err);
}

void expert_scale(struct block *expert, const float *scales) {
    const struct graph *body = expert->graph;
    for (int i = 0; scales && i < body->count; i++) {
        struct linear *l = &expert->node[i].linear;
        if (body->node[i].in[0] != body->input || !l->w)
            continue;
        for (int64_t row = 0; row < l->n; row++)
            for (int64_t k = 0; k < l->k; k++)
                l->w[row * l->k + k] *= scales[k];
    }
}

void block_keep(struct block *b, uint64_t nodes) {
    for (int i = 0; b->graph && i < b->graph->count; i++) {
        if (!(b->owned & ~nodes & bit(i)))
            continue;
        free(b->node[i].linear.w);
        b->node[i].linear.w = NULL;
    }
    b->owned &= nodes;
}

void block_release(struct block *b) {
    block_keep(b, 0);
    for (int i = 0; b->graph && i < b->graph->count; i++)
        llmq_qmat_free(&b->node[i].linear.packed);
    *b = (struct block){0};
}

uint64_t block_bytes_of(const struct graph *g, uint64_t nodes) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(g, params);
    uint64_t elements = 0;
    for (int i = 0; i < count; i++)
        if (nodes & bit(params[i].node))
            elements += (uint64_t)graph_param_entries(&params[i]);
    return elements * sizeof(float);
}

uint64_t block_bytes(const struct graph *g) {
    return block_bytes_of(g, UINT64_MAX);
}
