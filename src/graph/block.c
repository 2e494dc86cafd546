/* Loading a block's weights: see block.h. */
#include "graph/block.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "graph/model_private.h"

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

/* Where a block or an expert is loaded to. */
struct loader {
    const struct model *m;
    int64_t index, expert;
    enum load_mode mode;
    struct arena *arena;
    const struct graph *graph;
};

static enum llmq_status load_weight(const struct loader *b, int node, struct linear *l,
                                    llmq_error *err) {
    const struct linear_place at = {b->index, node, b->expert};
    char name[MODEL_NAME_MAX];
    blocks_linear_shape(b->m->blocks, at, &l->n, &l->k);
    if (model_linear_packed(b->m, at))
        return load_packed(b->m, blocks_node_name(b->m->blocks, at, "", name), b->mode, b->arena, l,
                           err);
    l->w = arena_alloc(b->arena, (size_t)l->n * (size_t)l->k, sizeof *l->w, err);
    return l->w ? model_load_weight(b->m, at, l->w, err) : LLMQ_E_MEMORY;
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

static enum llmq_status load_param(const struct loader *b, const struct graph_param *p,
                                   struct params *out, llmq_error *err) {
    const struct graph_node *n = &b->graph->node[p->node];
    const struct linear_place at = {b->index, p->node, b->expert};
    const struct st_tensor *t = NULL;
    if (is_weight(n, p))
        return load_weight(b, p->node, &out->linear, err);
    float **place = place_of(n, p, out);
    *place = arena_alloc(b->arena, (size_t)graph_param_entries(p), sizeof **place, err);
    if (!*place)
        return LLMQ_E_MEMORY;
    if (p->experts)
        return model_load_stack_bias(b->m, at, *place, err);
    enum llmq_status status = model_require_param(b->m, b->index, b->expert, p, &t, err);
    return status == LLMQ_OK ? st_read_f32(b->m->tensors, t, *place, err) : status;
}

static enum llmq_status load(const struct loader *b, struct block *out, llmq_error *err) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(b->graph, params);
    enum llmq_status status = LLMQ_OK;
    *out = (struct block){.model = b->m, .index = b->index, .expert = b->expert, .graph = b->graph};
    for (int i = 0; status == LLMQ_OK && i < count; i++)
        status = load_param(b, &params[i], &out->node[params[i].node], err);
    if (status != LLMQ_OK)
        block_release(out);
    return status;
}

enum llmq_status block_load(const struct model *m, int64_t index, enum load_mode mode,
                            struct arena *arena, struct block *out, llmq_error *err) {
    const struct loader loader = {m, index, -1, mode, arena, model_graph(m, index)};
    enum llmq_status status = load(&loader, out, err);
    if (status == LLMQ_OK)
        model_read_ahead(m, index + 1);
    return status;
}

enum llmq_status expert_load(const struct model *m, int64_t index, int64_t expert,
                             enum load_mode mode, struct arena *arena, struct block *out,
                             llmq_error *err) {
    const struct loader loader = {m, index, expert, mode, arena, model_graph(m, index)->body};
    return load(&loader, out, err);
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
        elements += (uint64_t)graph_param_entries(&params[i]);
    return elements * sizeof(float);
}
