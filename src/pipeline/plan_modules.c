/* SPDX-License-Identifier: Apache-2.0 */
/* The modules of a plan and their groups: see plan.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "pipeline/plan.h"
#include "quant/quant.h"

static int64_t common_divisor(int64_t a, int64_t b) {
    return b == 0 ? a : common_divisor(b, a % b);
}

/* What a group must divide: the columns of all linears that loaders keep in one layer. Those that
 * they merge read the same value; all linears of all experts are one layer. */
static int64_t fused_columns(const struct model *m, struct linear_place at, int64_t columns) {
    const struct graph *g = blocks_graph_of(m->blocks, at);
    for (int i = 0; at.expert >= 0 && i < g->linear_count; i++)
        columns = common_divisor(columns, g->width[g->node[g->linear[i]].in[0]]);
    return columns;
}

int64_t plan_group(const struct model *m, struct linear_place at, int64_t k, int64_t wish,
                   bool fit) {
    return fit ? quant_fit_group(fused_columns(m, at, k), wish) : wish;
}

enum llmq_status plan_add_modules(const struct model *m, const llmq_quantize_options *o,
                                  struct plan *p, llmq_error *err) {
    int64_t count = blocks_linear_count(m->blocks);
    p->modules = calloc((size_t)count + 2, sizeof *p->modules); /* the ends may come */
    if (!p->modules)
        return error_memory(err, "the plan");
    for (int64_t i = 0; i < count; i++) {
        const struct linear_place at = blocks_linear_at(m->blocks, i);
        struct plan_module *module = &p->modules[p->module_count];
        char name[MODEL_NAME_MAX];
        module->at = at;
        module->name = strdup(blocks_node_name(m->blocks, at, "", name));
        if (!module->name)
            return error_memory(err, "the plan");
        p->module_count++;
        struct quant_shape *s = &module->shape;
        *s = (struct quant_shape){.bits = o->bits, .group = o->group, .sym = o->sym};
        blocks_linear_shape(m->blocks, at, &s->n, &s->k);
        s->group = plan_group(m, at, s->k, o->group, o->group_auto_fit);
        module->manner = plan_manner(o);
    }
    return LLMQ_OK;
}

/* Is the module of the first block of its kind, and if it is an expert's, of the first one? */
static bool is_first_alike(const struct blocks *b, struct linear_place at) {
    for (int64_t earlier = 0; earlier < at.block; earlier++)
        if (b->kind_of[earlier] == b->kind_of[at.block])
            return false;
    return at.expert <= 0;
}

/* Does its group not divide the module's in_features? */
static bool is_odd(const struct plan_module *module) {
    const struct quant_shape *s = &module->shape;
    return module->fate == MODULE_QUANTIZED && s->group > 0 && s->k % s->group != 0;
}

/* A rule need not be of every block. */
static enum llmq_status refuse_ruled(const struct plan_module *module, llmq_error *err) {
    return error_set(err, LLMQ_E_USAGE,
                     "%s: group %" PRId64 " does not divide in_features %" PRId64, module->name,
                     module->shape.group, module->shape.k);
}

/* The modules whose in_features the group does not divide, once for each kind of block. */
enum llmq_status plan_check_groups(const struct model *m, const struct plan *p, llmq_error *err) {
    struct strbuf bad = {0};
    const bool alike = m->blocks->kind_count == 1;
    int64_t group = 0;
    if (p->layout->rows > 0) /* blocks may be cut off */
        return LLMQ_OK;
    for (int64_t i = 0; i < p->module_count; i++)
        if (is_odd(&p->modules[i]) && p->modules[i].rule &&
            p->modules[i].rule->given & RECIPE_GROUP)
            return refuse_ruled(&p->modules[i], err);
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        const struct quant_shape *s = &module->shape;
        if (is_odd(module))
            group = s->group;
        if (is_odd(module) && is_first_alike(m->blocks, module->at))
            strbuf_printf(&bad, "%s%s (%" PRId64 ")", bad.len ? ", " : "",
                          alike && module->at.expert < 0 && module->at.node >= 0
                              ? blocks_node(m->blocks, module->at)->row->name
                              : module->name,
                          s->k);
    }
    if (group == 0)
        return LLMQ_OK;
    if (!strbuf_ok(&bad))
        return error_memory(err, "a list of modules");
    error_set(err, LLMQ_E_USAGE, "group %" PRId64 " does not divide in_features of %s%s", group,
              bad.data ? bad.data : "modules of later blocks",
              !bad.data ? ""
              : alike   ? " in each block"
                        : " and of those like them");
    strbuf_free(&bad);
    return LLMQ_E_USAGE;
}
