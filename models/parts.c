/* See parts.h. The merged layers are those of vLLM's and SGLang's model files
 * (packed_modules_mapping). */
#include "models/parts.h"

#include <stddef.h>
#include <string.h>

static const char *fused_layer(enum value v) {
    static const struct {
        enum value makes;
        const char *fused;
    } parts[] = {
        {V_Q, "qkv_proj"},
        {V_K, "qkv_proj"},
        {V_V, "qkv_proj"},
        {V_GATE, "gate_up_proj"},
        {V_UP, "gate_up_proj"},
        {V_SHARED_GATE, "gate_up_proj"},
        {V_SHARED_UP, "gate_up_proj"},
        {V_Q_A, "fused_qkv_a_proj"},
        {V_KV_A, "fused_qkv_a_proj"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].makes == v)
            return parts[i].fused;
    return NULL;
}

const char *part_fused(const struct graph *g, const struct graph_node *linear) {
    const char *layer = fused_layer(linear->out[0]);
    int members = 0;
    for (int i = 0; layer && i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        const char *other = n->row->op == OP_LINEAR ? fused_layer(n->out[0]) : NULL;
        members += other && strcmp(other, layer) == 0;
    }
    return members > 1 ? layer : NULL;
}

/* Through a norm or a switch, if need be: what ends in the stream. */
bool part_splits_columns(const struct graph *g, const struct graph_node *linear) {
    enum value v = linear->out[0];
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        const bool reads = n->in[0] == v || n->in[1] == v;
        if (reads && n->row->op == OP_ADD)
            return true;
        if (reads && (n->row->op == OP_NORM || n->row->op == OP_GLU) &&
            n->width[0] == g->width[g->input])
            v = n->out[0];
    }
    return false;
}
