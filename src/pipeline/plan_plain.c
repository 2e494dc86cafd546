/* SPDX-License-Identifier: Apache-2.0 */
/* Linears of a result that are not quantized, which its config has to name: see plan.h. */
#include "base/error.h"
#include "pipeline/plan.h"

enum llmq_status plan_add_plain(struct plan *p, const char *name, llmq_error *err) {
    enum llmq_status status = plan_list_add(&p->plain, &p->plain_count, &p->plain_cap, name, err);
    if (status != LLMQ_OK)
        return status;
    p->layout_config.plain = (const char *const *)p->plain;
    p->layout_config.plain_count = (int64_t)p->plain_count;
    return LLMQ_OK;
}

enum llmq_status plan_add_plain_modules(struct plan *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; status == LLMQ_OK && i < p->module_count; i++)
        if (p->modules[i].fate == MODULE_PLAIN && p->modules[i].at.node >= 0)
            status = plan_add_plain(p, p->modules[i].name, err);
    return status;
}

/* Routers are linears to loaders. One that several blocks share has one name. */
static bool stays_plain(const struct blocks *blocks, int64_t block, const struct graph_node *n) {
    const struct graph_param p = {.name = n->row->name, .shared = n->row->shared};
    return n->row->name &&
           (n->row->op == OP_ROUTER || (n->row->op == OP_LINEAR && n->row->plain)) &&
           blocks_param_owned(blocks, block, &p);
}

enum llmq_status plan_add_plain_rows(const struct model *m, struct plan *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char name[MODEL_NAME_MAX];
    if (m->config.facts.traits & T_TOKEN) /* a linear outside of the blocks */
        LLMQ_TRY(plan_add_plain(p, m->config.family->token_projection, err));
    for (int64_t b = 0; b < m->blocks->count; b++) {
        const struct graph *g = model_graph(m, b);
        for (int i = 0; i < g->count; i++)
            if (stays_plain(m->blocks, b, &g->node[i]))
                LLMQ_TRY(plan_add_plain(p, model_node_name(m, b, i, "", name), err));
    }
cleanup:
    return status;
}
