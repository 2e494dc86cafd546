/* SPDX-License-Identifier: Apache-2.0 */
/* What runs take that choose codes by the model's predictions: see plan.h. */
#include <omp.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/curvature.h"
#include "pipeline/plan.h"
#include "quant/coupled.h"
#include "quant/group_search.h"

bool plan_refines(const struct plan_module *module) {
    const struct module_manner *manner = &module->manner;
    return module->fate == MODULE_QUANTIZED && module->at.node >= 0 &&
           manner->method == LLMQ_METHOD_GPTQ &&
           (manner->curvature == LLMQ_CURVATURE_ON || manner->restarts > 0);
}

static bool asks_gradient(const struct plan_module *module) {
    return plan_refines(module) && module->manner.curvature == LLMQ_CURVATURE_ON;
}

/* --- gradients -------------------------------------------------------------------------------- */

/* Any expert asks for those of all. */
static bool wants(const void *c, struct linear_place at) {
    const struct plan_asked *asked = c;
    const struct graph *g = model_graph(asked->m, at.block);
    const int64_t experts = at.expert < 0 ? 1 : g->facts.dims[DIM_EXPERTS];
    bool any = asked->p->gradients.weights > 0;
    for (int64_t e = 0; !any && e < experts; e++, at.expert++)
        any = asks_gradient(plan_module_of(asked->m, asked->p, at));
    return any;
}

struct curvature_job plan_curvature_job(const struct plan_asked *asked) {
    const struct plan_gradients *g = &asked->p->gradients;
    return (struct curvature_job){
        .m = asked->m, .offsets = g->offsets, .count = g->count, .wants = wants, .c = asked};
}

/* Of a part of the tokens each window's first PIECE are read, so that they are of many texts, or
 * more where windows are few. */
enum { PIECE = 256 };

/* Windows that hold `wanted` tokens of those that are fitted to, from one end of them to the other;
 * 0: all there are, the others too. */
static enum llmq_status cut_windows(const struct calib_tokens *tokens, int64_t wanted,
                                    struct plan_gradients *out, llmq_error *err) {
    const int64_t windows = tokens->count - (wanted > 0 ? tokens->held : 0);
    const int64_t all = tokens->offsets[windows], mean = ceil_div(all, windows);
    const int64_t length = wanted > 0 ? max_i64(PIECE, ceil_div(wanted, windows)) : all;
    const int64_t count =
        wanted > 0 ? min_i64(windows, ceil_div(wanted, min_i64(length, mean))) : windows;
    out->begin = calloc((size_t)count, sizeof *out->begin);
    out->offsets = calloc((size_t)count + 1, sizeof *out->offsets);
    if (!out->begin || !out->offsets)
        return error_memory(err, "windows for gradients");
    for (int64_t i = 0; i < count; i++) {
        const int64_t *window = tokens->offsets + i * windows / count;
        out->begin[i] = window[0];
        out->offsets[i + 1] = out->offsets[i] + min_i64(length, window[1] - window[0]);
    }
    out->count = count;
    return LLMQ_OK;
}

/* Of --token-weights auto: src/quant/FIDELITY.md, "Weights by place". */
#define WEIGHTS_POWER 0.5

enum llmq_status plan_settle_curvature(const struct model *m, const llmq_quantize_options *o,
                                       const struct calib_tokens *tokens, struct plan *p,
                                       llmq_error *err) {
    const struct plan_asked asked = {m, p};
    enum llmq_status status = LLMQ_OK;
    bool curved = o->method == LLMQ_METHOD_GPTQ && o->token_weights > 0;
    for (int64_t i = 0; i < p->module_count; i++)
        curved = curved || asks_gradient(&p->modules[i]);
    if (curved && plan_folds(o)) {
        error_set(err, LLMQ_E_USAGE,
                  "--awq moves scales from one linear to another: the original model's gradients "
                  "are those of other weights");
        error_hint(err, "give --curvature off --token-weights 0, or leave out --awq");
        return LLMQ_E_USAGE;
    }
    p->curved = curved && tokens;
    if (!p->curved)
        return LLMQ_OK;
    p->gradients.weights = o->token_weights < 0 ? WEIGHTS_POWER : o->token_weights;
    LLMQ_TRY(cut_windows(tokens, o->curvature_tokens, &p->gradients, err));
    const struct curvature_job job = plan_curvature_job(&asked);
    p->gradients.bytes = curvature_bytes(&job, false);
cleanup:
    return status;
}

/* --- what it takes ---------------------------------------------------------------------------- */

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
        any = any || (plan_refines(&p->modules[i]) && p->modules[i].shape.n == n &&
                      p->modules[i].shape.k == k);
    if (!any)
        return 0;
    const uint64_t search =
        group <= GROUP_SEARCH_MOST ? (uint64_t)group_search_floats(group) * sizeof(float) : 0;
    const uint64_t metric = (uint64_t)n * (uint64_t)n * sizeof(float);
    const uint64_t solving = coupled_bytes(n, k, group) + search * (uint64_t)omp_get_max_threads();
    return metric + max_u64(solving, p->gradients.bytes.reading);
}

uint64_t plan_curvature_bytes(const struct model *m, uint64_t room, struct plan *p) {
    const struct plan_asked asked = {m, p};
    if (!p->curved)
        return 0;
    const struct curvature_job job = plan_curvature_job(&asked);
    p->gradients.spills = p->gradients.bytes.memory > room;
    return p->gradients.spills ? curvature_bytes(&job, true).memory : p->gradients.bytes.memory;
}

/* Forth, once more for what is between, and two products back; then B. */
double plan_curvature_flops(const struct plan_module *module, double T) {
    enum { PASSES = 4 };
    const double n = (double)module->shape.n, k = (double)module->shape.k;
    return (PASSES * 2 * k + n) * n * T;
}

double plan_curvature_head_flops(const struct model *m, double T) {
    enum { PRODUCTS = 2 };
    return PRODUCTS * 2 * (double)m->config.vocab * (double)m->config.hidden * T;
}
