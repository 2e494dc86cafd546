/* Loading a block's weights: see block.h. */
#include "graph/block.h"

#include <inttypes.h>

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

static enum llmq_status load_linear(const struct loader *b, const struct graph_node *n,
                                    struct linear *l, llmq_error *err) {
    char name[MODEL_NAME_MAX];
    enum llmq_status status = LLMQ_OK;
    l->n = n->width[0];
    l->k = b->graph->width[n->in[0]];
    if (graph_node_biased(b->graph, n)) {
        node_name(b, n, ".bias", name);
        LLMQ_TRY(model_load_f32(b->m, name, 0, l->n, b->arena, &l->bias, err));
    }
    node_name(b, n, "", name);
    if (layout_has_module(b->m->tensors, b->m->layout, name)) {
        LLMQ_TRY(load_packed(b->m, name, b->mode, b->arena, l, err));
    } else {
        node_name(b, n, ".weight", name);
        LLMQ_TRY(model_load_f32(b->m, name, l->n, l->k, b->arena, &l->w, err));
    }
cleanup:
    return status;
}

static enum llmq_status load_node(const struct loader *b, const struct graph_node *n,
                                  struct params *out, llmq_error *err) {
    char name[MODEL_NAME_MAX];
    if (n->row->op == OP_LINEAR)
        return load_linear(b, n, &out->linear, err);
    if (n->row->op != OP_NORM)
        return LLMQ_OK;
    node_name(b, n, ".weight", name);
    return model_load_f32(b->m, name, 0, n->width[0] / n->groups, b->arena, &out->weight, err);
}

enum llmq_status block_load(const struct model *m, int64_t index, enum load_mode mode,
                            struct arena *arena, struct block *out, llmq_error *err) {
    const struct graph *g = model_graph(m, index);
    const struct loader loader = {m, index, mode, arena, g};
    enum llmq_status status = LLMQ_OK;
    *out = (struct block){.index = index, .graph = g};
    for (int i = 0; status == LLMQ_OK && i < g->count; i++)
        status = load_node(&loader, &g->node[i], &out->node[i], err);
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
    uint64_t elements = 0;
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        if (n->row->op == OP_LINEAR)
            elements += (uint64_t)n->width[0] * (uint64_t)g->width[n->in[0]] +
                        (graph_node_biased(g, n) ? (uint64_t)n->width[0] : 0);
        if (n->row->op == OP_NORM)
            elements += (uint64_t)(n->width[0] / n->groups);
    }
    return elements * sizeof(float);
}
