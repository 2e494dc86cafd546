/* Loading a block's weights: see block.h. */
#include "graph/block.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "formats/loaders/layout_load.h"

static enum llmq_status load_packed(const struct model *m, const char *name, enum load_mode mode,
                                    struct arena *arena, struct linear *l, llmq_error *err) {
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(model_load_qlinear(m, name, l->n, l->k, &q, err));
    if (mode != LOAD_PLAIN) {
        llmq_qmat_desc desc = {q.n, q.k, q.bits, q.group, q.codes, q.scales, q.zeros, q.group_of};
        LLMQ_TRY(llmq_qmat_create(&desc, &l->packed, err));
        if (mode == LOAD_PACKED_INT8)
            l->activations = LLMQ_ACTIVATIONS_INT8;
    } else {
        l->w = arena_alloc(arena, (size_t)q.n * (size_t)q.k, sizeof *l->w, err);
        if (l->w)
            qlinear_dequantize(&q, 0, q.n, l->w);
        status = l->w ? LLMQ_OK : LLMQ_E_MEMORY;
    }
cleanup:
    qlinear_free(&q);
    return status;
}

/* Where nodes of a block are loaded to. */
struct loader {
    const struct model *m;
    int64_t index;
    enum load_mode mode;
    struct arena *arena;
    const struct graph *graph;
};

static const char *node_name(const struct loader *b, const struct graph_node *n, const char *suffix,
                             char buf[MODEL_NAME_MAX]) {
    return family_block_name(b->m->config.family, b->index, n->row->name, suffix, buf);
}

static enum llmq_status load_weight(const struct loader *b, const struct graph_node *n,
                                    struct linear *l, llmq_error *err) {
    char name[MODEL_NAME_MAX];
    node_name(b, n, "", name);
    if (layout_has_module(b->m->tensors, b->m->layout, name))
        return load_packed(b->m, name, b->mode, b->arena, l, err);
    l->w = arena_alloc(b->arena, (size_t)l->n * (size_t)l->k, sizeof *l->w, err);
    const struct linear_place at = {b->index, (int)(n - b->graph->node)};
    return l->w ? model_load_weight(b->m, at, l->w, err) : LLMQ_E_MEMORY;
}

/* Where a parameter that is no linear's weight goes. */
static float **place_of(const struct graph_node *n, const struct graph_param *p,
                        struct params *out) {
    const bool is_bias = strcmp(p->suffix, ".bias") == 0;
    if (n->row->op == OP_NORM)
        return is_bias ? &out->bias : &out->weight;
    if (n->row->op == OP_ATTENTION)
        return &out->sinks;
    return is_bias ? &out->linear.bias : &out->choice_bias;
}

static enum llmq_status load_param(const struct loader *b, const struct graph_param *p,
                                   struct params *out, llmq_error *err) {
    const struct graph_node *n = &b->graph->node[p->node];
    char name[MODEL_NAME_MAX];
    if ((n->row->op == OP_LINEAR || n->row->op == OP_ROUTER) && strcmp(p->suffix, ".weight") == 0) {
        out->linear.n = n->width[0];
        out->linear.k = b->graph->width[n->in[0]];
        return load_weight(b, n, &out->linear, err);
    }
    family_block_name(b->m->config.family, b->index, p->name, p->suffix, name);
    return model_load_f32(b->m, name, p->rows, p->columns, b->arena, place_of(n, p, out), err);
}

enum llmq_status block_load(const struct model *m, int64_t index, enum load_mode mode,
                            struct arena *arena, struct block *out, llmq_error *err) {
    const struct graph *g = model_graph(m, index);
    const struct loader loader = {m, index, mode, arena, g};
    enum llmq_status status = LLMQ_OK;
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(g, params);
    *out = (struct block){.index = index, .graph = g};
    for (int i = 0; status == LLMQ_OK && i < count; i++)
        status = load_param(&loader, &params[i], &out->node[params[i].node], err);
    if (status != LLMQ_OK)
        block_release(out);
    else
        model_read_ahead(m, index + 1);
    return status;
}

void block_release(struct block *b) {
    for (int i = 0; b->graph && i < b->graph->count; i++)
        llmq_qmat_free(&b->node[i].linear.packed);
    *b = (struct block){0};
}

uint64_t block_bytes(const struct graph *g) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(g, params);
    uint64_t elements = 0;
    for (int i = 0; i < count; i++)
        elements += (uint64_t)(params[i].rows ? params[i].rows : 1) * (uint64_t)params[i].columns;
    return elements * sizeof(float);
}
