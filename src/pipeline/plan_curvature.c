/* SPDX-License-Identifier: Apache-2.0 */
/* What runs take that choose codes by the model's predictions: see plan.h. */
#include <omp.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/curvature.h"
#include "pipeline/plan.h"
#include "quant/coupled.h"
#include "quant/group_search.h"

bool plan_refines(const struct plan_module *module) {
    const struct module_manner *manner = &module->manner;
    return module->fate == MODULE_QUANTIZED && module->at.node >= 0 &&
           manner->method == LLMQ_METHOD_GPTQ && (manner->curvature || manner->restarts > 0);
}

enum llmq_status plan_settle_curvature(const llmq_quantize_options *o,
                                       const struct calib_tokens *tokens, struct plan *p,
                                       llmq_error *err) {
    bool curved = o->method == LLMQ_METHOD_GPTQ && o->token_weights > 0;
    for (int64_t i = 0; i < p->module_count; i++)
        curved = curved || (plan_refines(&p->modules[i]) && p->modules[i].manner.curvature);
    if (curved && plan_folds(o)) {
        error_set(err, LLMQ_E_USAGE,
                  "--awq moves scales from one linear to another: the original model's gradients "
                  "are those of other weights");
        error_hint(err, "give --curvature off --token-weights 0, or leave out --awq");
        return LLMQ_E_USAGE;
    }
    p->curved = curved && tokens;
    return LLMQ_OK;
}

double plan_refining_flops(const struct plan_module *module) {
    const struct quant_shape *s = &module->shape;
    return plan_refines(module) ? coupled_flops(s->n, s->k, s->group, module->manner.restarts) : 0;
}

/* The metric, rows in turn, and every thread's search of a group. */
uint64_t plan_refining_bytes(const struct plan *p, const llmq_quantize_options *o, int64_t n,
                             int64_t k) {
    const int64_t group = o->group < 0 ? k : min_i64(o->group, k);
    bool any = false;
    for (int64_t i = 0; i < p->module_count; i++)
        any = any || plan_refines(&p->modules[i]);
    if (!any)
        return 0;
    const uint64_t search =
        group <= GROUP_SEARCH_MOST ? (uint64_t)group_search_floats(group) * sizeof(float) : 0;
    return coupled_bytes(n, k, group) + (uint64_t)n * (uint64_t)n * sizeof(float) +
           search * (uint64_t)omp_get_max_threads();
}

uint64_t plan_curvature_bytes(const struct model *m, const struct calib_tokens *tokens,
                              uint64_t room, struct plan *p) {
    if (!p->curved)
        return 0;
    const uint64_t whole = curvature_bytes(m, tokens->offsets, tokens->count, false).memory;
    p->curvature_spills = whole > room;
    return p->curvature_spills ? curvature_bytes(m, tokens->offsets, tokens->count, true).memory
                               : whole;
}

/* Forth, once more for what is between, and two products back; then B. */
double plan_curvature_flops(const struct plan_module *module, double T) {
    enum { PASSES = 4 };
    const double n = (double)module->shape.n, k = (double)module->shape.k;
    return (PASSES * 2 * k + n) * n * T;
}

double plan_curvature_head_flops(const struct model *m, double T) {
    enum { PRODUCTS = 3 };
    return PRODUCTS * 2 * (double)m->config.vocab * (double)m->config.hidden * T;
}
