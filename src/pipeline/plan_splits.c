/* SPDX-License-Identifier: Apache-2.0 */
/* Tensor parallelism that a plan rules out: see plan.h. Servers split the output and down
 * projections along their inputs, and refuse where a group straddles two parts. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "formats/loaders/compat.h"
#include "models/parts.h"
#include "pipeline/plan.h"

/* Splits that people use: what is said ends here. */
enum { USUAL_SPLIT = 8 };

/* How far one kind of linear can be split, and its module that can be least. */
struct split {
    int64_t parts;
    const struct plan_module *module;
};

/* Of the linear that is this node of the blocks of a kind, or of their experts. */
static struct split least_split(const struct plan *p, const struct blocks *b, int kind, int node,
                                bool expert) {
    struct split least = {USUAL_SPLIT, NULL};
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *m = &p->modules[i];
        const struct quant_shape *s = &m->shape;
        if (m->fate == MODULE_PLAIN || m->at.node != node || b->kind_of[m->at.block] != kind ||
            s->group == -1 || (m->at.expert >= 0) != expert)
            continue;
        const int64_t parts = compat_tensor_parallel(true, s->n, s->k, s->group);
        if (parts < least.parts)
            least = (struct split){parts, m};
    }
    return least;
}

/* "; groups of 64 would allow 4, groups of 32 8": smaller ones that have kernels and go further. */
static void put_better_groups(struct strbuf *out, const struct split *least) {
    const struct quant_shape *s = &least->module->shape;
    int64_t most = least->parts;
    for (int64_t group = 64; group >= 32; group /= 2) {
        if (group >= s->group || s->k % group != 0)
            continue;
        const int64_t parts = compat_tensor_parallel(true, s->n, s->k, group);
        if (parts > most)
            strbuf_printf(out, "%s groups of %" PRId64 " %s%" PRId64,
                          most == least->parts ? ";" : ",", group,
                          most == least->parts ? "would allow " : "",
                          parts < USUAL_SPLIT ? parts : USUAL_SPLIT);
        most = parts > most ? parts : most;
    }
}

static void warn(const struct split *least, const char *module, const llmq_context *ctx) {
    struct strbuf text = {0};
    strbuf_printf(&text,
                  "tensor parallelism of %s ends at %" PRId64 ": %" PRId64
                  " inputs in groups of %" PRId64,
                  module, least->parts, least->module->shape.k, least->module->shape.group);
    put_better_groups(&text, least);
    if (strbuf_ok(&text))
        log_message(ctx, LLMQ_LOG_WARNING, "%s", text.data);
    strbuf_free(&text);
}

/* Have blocks of a kind before this one a linear by that name? Then it was told of. */
static bool is_known(const struct blocks *b, int kind, const char *module) {
    bool known = false;
    for (int earlier = 0; earlier < kind; earlier++) {
        const struct graph *g = &b->kinds[earlier];
        const int node = graph_find_module(g, module, strlen(module));
        known = known || (node >= 0 && g->ordinal[node] >= 0);
    }
    return known;
}

static void warn_of_experts(const struct plan *p, const struct blocks *b, int kind,
                            const llmq_context *ctx) {
    const struct graph *g = &b->kinds[kind], *body = g->body;
    char module[GRAPH_NAME_MAX];
    for (int i = 0; body && i < body->linear_count; i++) {
        const struct graph_node *n = &body->node[body->linear[i]];
        const struct split least = least_split(p, b, kind, body->linear[i], true);
        if (n->out[0] != body->output || !least.module)
            continue;
        (void)snprintf(module, sizeof module, "%s of each expert", n->row->name);
        warn(&least, module, ctx);
        return;
    }
}

static void warn_of_kind(const struct plan *p, const struct blocks *b, int kind,
                         const llmq_context *ctx) {
    const struct graph *g = &b->kinds[kind];
    for (int i = 0; i < g->linear_count; i++) {
        const struct graph_node *n = &g->node[g->linear[i]];
        const struct split least = least_split(p, b, kind, g->linear[i], false);
        if (part_splits_columns(g, n) && least.module && !is_known(b, kind, n->row->name))
            warn(&least, n->row->name, ctx);
    }
}

void plan_warn_of_splits(const struct plan *p, const struct model *m, const llmq_context *ctx) {
    if (!compat_has_fast_kernels(p->layout->name))
        return;
    bool told = false; /* of experts */
    for (int kind = 0; kind < m->blocks->kind_count; kind++) {
        warn_of_kind(p, m->blocks, kind, ctx);
        if (!told)
            warn_of_experts(p, m->blocks, kind, ctx);
        told = told || m->blocks->kinds[kind].body;
    }
}
