/* SPDX-License-Identifier: Apache-2.0 */
/* Linears that loaders merge, for the layouts: see plan.h. */
#include <string.h>

#include "models/parts.h"
#include "pipeline/plan.h"

static const char *last_part(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* The layer's place, which may be the first free one; NULL: there is none. */
static struct layout_fusion *fusion_named(struct layout_fusion *fusions, const char *layer) {
    int f = 0;
    while (f < LAYOUT_FUSIONS && fusions[f].layer && strcmp(fusions[f].layer, layer) != 0)
        f++;
    return f < LAYOUT_FUSIONS ? &fusions[f] : NULL;
}

static void add_member(struct layout_fusion *f, const char *member) {
    int m = 0;
    while (m < LAYOUT_FUSION_MEMBERS && f->members[m] && strcmp(f->members[m], member) != 0)
        m++;
    if (m < LAYOUT_FUSION_MEMBERS)
        f->members[m] = member;
}

static void add_linear(struct layout_fusion *fusions, const struct graph *g,
                       const struct graph_node *n) {
    const char *layer = part_fused(g, n);
    struct layout_fusion *f = layer ? fusion_named(fusions, layer) : NULL;
    if (!f)
        return;
    f->layer = layer;
    add_member(f, last_part(n->row->name));
}

/* Those that are quantized in their order, then those that stay plain, whose layers are named too.
 */
void plan_name_fusions(const struct model *m, struct plan *p) {
    struct layout_fusion *fusions = p->layout_config.fusions;
    for (int kind = 0; kind < m->blocks->kind_count; kind++) {
        const struct graph *g = &m->blocks->kinds[kind];
        for (int i = 0; i < g->linear_count; i++)
            add_linear(fusions, g, &g->node[g->linear[i]]);
        for (int i = 0; i < g->count; i++)
            if (g->node[i].row->op == OP_LINEAR && g->node[i].row->plain)
                add_linear(fusions, g, &g->node[i]);
    }
}
