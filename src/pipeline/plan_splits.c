/* Tensor parallelism that a plan rules out: see plan.h. Servers split the output and down
 * projections along their inputs, and refuse where a group straddles two parts. */
#include <inttypes.h>

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

/* `node` divides its columns. */
static struct split least_split(const struct plan *p, int node) {
    struct split least = {USUAL_SPLIT, NULL};
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *m = &p->modules[i];
        const struct quant_shape *s = &m->shape;
        if (m->at.node != node || m->at.expert >= 0 || s->group == -1)
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

void plan_warn_of_splits(const struct plan *p, const struct model *m, const llmq_context *ctx) {
    const struct graph *g = model_graph(m, 0);
    if (!compat_has_fast_kernels(p->layout->name))
        return;
    for (int i = 0; i < g->linear_count; i++) {
        const struct split least = part_splits_columns(g, &g->node[g->linear[i]])
                                       ? least_split(p, g->linear[i])
                                       : (struct split){0};
        struct strbuf text = {0};
        if (!least.module)
            continue;
        strbuf_printf(&text,
                      "tensor parallelism of %s ends at %" PRId64 ": %" PRId64
                      " inputs in groups of %" PRId64,
                      g->node[g->linear[i]].row->name, least.parts, least.module->shape.k,
                      least.module->shape.group);
        put_better_groups(&text, &least);
        if (strbuf_ok(&text))
            log_message(ctx, LLMQ_LOG_WARNING, "%s", text.data);
        strbuf_free(&text);
    }
}
