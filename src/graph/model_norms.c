/* SPDX-License-Identifier: Apache-2.0 */
/* See model_norms.h. */
#include "graph/model_norms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/model_private.h"

const struct st_tensor *model_norm_tensor(const struct model *m, int64_t block,
                                          const struct graph_param *p) {
    const struct graph_node *n = &model_graph(m, block)->node[p->node];
    const struct st_tensor *t = NULL;
    if (n->row->op != OP_NORM || strcmp(p->suffix, ".bias") == 0 ||
        model_require_param(m, block, -1, p, &t, NULL) != LLMQ_OK)
        return NULL;
    return t;
}

const struct st_tensor *model_last_norm_tensor(const struct model *m) {
    char name[FAMILY_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s.weight", m->config.family->final_norm);
    return norm_has_weight(ends_last_norm(&m->config)) ? st_find(m->tensors, name) : NULL;
}

static bool is_listed(const struct model_norm *list, int64_t count, const struct st_tensor *t) {
    for (int64_t i = 0; i < count; i++)
        if (list[i].tensor == t)
            return true;
    return false;
}

/* Add a norm of this kind, unless it is there already or in another type. */
static void add(struct model_norm *list, int64_t *count, enum norm kind,
                const struct st_tensor *t) {
    if (!t || t->coded || is_listed(list, *count, t) ||
        (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_BF16))
        return;
    list[(*count)++] = (struct model_norm){.tensor = t,
                                           .name = t->name,
                                           .dtype = t->dtype,
                                           .count = (int64_t)(t->nbytes * 8 / dtype_bits(t->dtype)),
                                           .added = norm_adds_one(kind) ? 1 : 0};
}

static void add_block(const struct model *m, int64_t block, struct model_norm *list,
                      int64_t *count) {
    const struct graph *g = model_graph(m, block);
    struct graph_param params[GRAPH_PARAMS];
    const int many = graph_params(g, params);
    for (int i = 0; i < many; i++)
        if (g->node[params[i].node].row->op == OP_NORM)
            add(list, count, g->node[params[i].node].norm, model_norm_tensor(m, block, &params[i]));
}

enum llmq_status model_list_norms(const struct model *m, struct model_norm **out, int64_t *count,
                                  llmq_error *err) {
    const enum norm last = ends_last_norm(&m->config);
    *count = 0;
    *out = calloc((size_t)m->blocks->count * GRAPH_NODES + 1, sizeof **out);
    if (!*out)
        return error_memory(err, "the norms");
    for (int64_t b = 0; b < m->blocks->count; b++)
        add_block(m, b, *out, count);
    add(*out, count, last, model_last_norm_tensor(m));
    return LLMQ_OK;
}
