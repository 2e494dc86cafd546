/* SPDX-License-Identifier: Apache-2.0 */
/* Modules that loaders keep in one layer: see plan.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "models/parts.h"
#include "pipeline/plan.h"

/* The linear of the first expert whose tensor the module shares. */
static int64_t first_expert(const struct model *m, struct linear_place at) {
    at.expert = at.expert > 0 ? 0 : at.expert;
    return blocks_linear_number(m->blocks, at);
}

int64_t *plan_layers(const struct model *m, const struct plan *p) {
    const int64_t linears = blocks_linear_count(m->blocks);
    int64_t *leader = calloc((size_t)p->module_count + 1, sizeof *leader);
    for (int64_t i = 0; leader && i < p->module_count; i++) {
        leader[i] = i;
        if (i >= linears)
            continue;
        if (p->layout->merges == LAYOUT_MERGES_EXPERTS)
            leader[i] = first_expert(m, p->modules[i].at);
        else if (p->layout->merges == LAYOUT_MERGES_LAYERS && i > 0 &&
                 part_merged_with_next(m->blocks, i - 1))
            leader[i] = leader[i - 1];
    }
    return leader;
}

/* A group of a whole row has two spellings. */
static bool alike(const struct plan *p, const struct plan_module *a, const struct plan_module *b) {
    const struct quant_shape *x = &a->shape, *y = &b->shape;
    if ((a->fate == MODULE_PLAIN) != (b->fate == MODULE_PLAIN))
        return false;
    return a->fate == MODULE_PLAIN ||
           (x->bits == y->bits && (p->layout->any_symmetry || x->sym == y->sym) &&
            (x->group == y->group ||
             ((x->group == -1 || x->group == x->k) && (y->group == -1 || y->group == y->k))));
}

enum { SETTINGS_SHOWN = 64 };

/* "8 bits in groups of 64, symmetric" */
static const char *settings_of(const struct plan_module *module, char buf[SETTINGS_SHOWN]) {
    const struct quant_shape *s = &module->shape;
    char group[32] = "one group per row";
    if (s->group != -1)
        (void)snprintf(group, sizeof group, "groups of %" PRId64, s->group);
    if (module->fate == MODULE_PLAIN)
        (void)snprintf(buf, SETTINGS_SHOWN, "no quantization");
    else
        (void)snprintf(buf, SETTINGS_SHOWN, "%d bits, %s, %s", s->bits, group,
                       s->sym ? "symmetric" : "asymmetric");
    return buf;
}

/* The rule to change is one that matches either module and not both. */
static void hint_rule(const struct plan_module *a, const struct plan_module *b, llmq_error *err) {
    const struct recipe_rule *rule = b->rule ? b->rule : a->rule;
    char text[RECIPE_SHOWN];
    if (a->fate == MODULE_PACKED || b->fate == MODULE_PACKED)
        error_hint(err, "one is packed in the source already: quantize the other like it, or give "
                        "--source-quantized requantize");
    else if (rule)
        error_hint(err,
                   "let rule %s match all of them, or none; --format gguf and --format onnx keep "
                   "linears apart",
                   recipe_show(rule, text));
}

static enum llmq_status refuse(const struct model *m, const struct plan *p,
                               const struct plan_module *a, const struct plan_module *b,
                               llmq_error *err) {
    const struct graph *g = blocks_graph_of(m->blocks, b->at);
    const char *layer = part_fused(g, &g->node[b->at.node]);
    char x[SETTINGS_SHOWN], y[SETTINGS_SHOWN];
    const char *why = p->layout->merges == LAYOUT_MERGES_EXPERTS ? "GGUF files hold one tensor of"
                      : b->at.expert >= 0                        ? "servers keep in one layer"
                                          : "servers merge, with others, into";
    error_set(err, LLMQ_E_UNSUPPORTED,
              "%s: %s; expected the settings of %s: %s. Both are parts of what %s %s", b->name,
              settings_of(b, y), a->name, settings_of(a, x), why,
              b->at.expert >= 0 ? "all experts of a block"
              : layer           ? layer
                                : "a layer");
    hint_rule(a, b, err);
    return LLMQ_E_UNSUPPORTED;
}

enum llmq_status plan_check_merged(const struct model *m, const struct plan *p, llmq_error *err) {
    int64_t *leader = plan_layers(m, p);
    enum llmq_status status = leader ? LLMQ_OK : error_memory(err, "the plan");
    for (int64_t i = 0; status == LLMQ_OK && i < p->module_count; i++)
        if (!alike(p, &p->modules[leader[i]], &p->modules[i]))
            status = refuse(m, p, &p->modules[leader[i]], &p->modules[i], err);
    free(leader);
    return status;
}

/* --- what does not fit stays plain ------------------------------------------------------------ */

static bool fits(const struct plan *p, const struct plan_module *module) {
    const struct quant_shape *s = &module->shape;
    return (s->group <= 0 || s->k % s->group == 0) && p->layout->accepts(s, NULL) == LLMQ_OK;
}

/* Twice: a layer whose last part does not fit has to give up its first. */
enum llmq_status plan_keep_unfit(const struct model *m, const llmq_quantize_options *o,
                                 struct plan *p, llmq_error *err) {
    if (!o->group_keep)
        return LLMQ_OK;
    int64_t *leader = plan_layers(m, p);
    if (!leader)
        return error_memory(err, "the plan");
    for (int64_t i = 0; i < p->module_count; i++) {
        struct plan_module *module = &p->modules[i], *first = &p->modules[leader[i]];
        if (module->fate != MODULE_QUANTIZED || fits(p, module))
            continue;
        module->fate = MODULE_PLAIN;
        first->fate = first->fate == MODULE_QUANTIZED ? MODULE_PLAIN : first->fate;
    }
    for (int64_t i = 0; i < p->module_count; i++)
        if (p->modules[leader[i]].fate == MODULE_PLAIN && p->modules[i].fate == MODULE_QUANTIZED)
            p->modules[i].fate = MODULE_PLAIN;
    free(leader);
    return LLMQ_OK;
}
