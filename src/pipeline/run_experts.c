/* SPDX-License-Identifier: Apache-2.0 */
/* See run_experts.h.
 *
 * Experts whose damping is chosen come first, and every rank does them: the choice for those that
 * follow is the mean of theirs. Then each expert is one rank's, as many at a time as there are
 * ranks. What became of its modules goes to rank 0, which stores and reports them in the order of
 * the experts, as one rank does: codes, scales and zero points of n k (1 + 5 / group) bytes. */
#include "pipeline/run_experts.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/strbuf.h"
#include "pipeline/module_report.h"
#include "pipeline/run_ranks.h"
#include "pipeline/task_factor.h"
#include "quant/grid.h"
#include "ranks/ranks.h"

/* --- when they are divided -------------------------------------------------------------------- */

/* Does any expert's module that reads the task's input need a factor? */
static bool needs_factor(const struct run *run, int64_t block, const struct graph_task *t) {
    const struct graph *g = model_graph(&run->model, block);
    for (int64_t e = 0; e < g->facts.dims[DIM_EXPERTS]; e++)
        for (int i = 0; i < g->body->count; i++) {
            if (!(t->nodes >> i & 1))
                continue;
            const struct plan_module *m =
                plan_module_of(&run->model, &run->plan, (struct linear_place){block, i, e});
            if (m->fate == MODULE_QUANTIZED &&
                (m->manner.method == LLMQ_METHOD_GPTQ || solve_corrects(run, m)))
                return true;
        }
    return false;
}

/* Nothing of an expert depends on the experts before it any more. */
static bool are_settled(const struct run *run, int64_t block) {
    const struct graph *body = model_graph(&run->model, block)->body;
    for (int t = 0; t < body->task_count && run->options->damp <= 0; t++)
        if (run->expert_damping[t].count < TASK_EXPERTS_ASKED &&
            needs_factor(run, block, &body->task[t]))
            return false;
    return true;
}

void run_experts_begin(struct run *run, int64_t block) {
    if (llmq_ranks_count() > 1 && model_graph(&run->model, block)->body && are_settled(run, block))
        calib_divide_experts(run->calib);
}

/* --- modules on their way to rank 0 ----------------------------------------------------------- */

/* What is sent of a module before its codes, scales and zero points. */
struct module_head {
    struct quant_outcome outcome;
    struct correction strength;
    struct module_tokens seen;
    float unit;
    bool gptq; /* outcome.method, which is an address */
};

size_t run_experts_module_bytes(const struct plan *p, const struct plan_module *m) {
    const int64_t k = m->shape.k;
    const struct quant_grid grid = {.group = m->shape.group, .rows = p->layout->rows};
    const size_t n = (size_t)m->shape.n, groups = (size_t)ceil_div(k, grid_group(&grid, k));
    return sizeof(struct module_head) + n * (size_t)k + n * groups * (sizeof(float) + 1);
}

enum llmq_status run_experts_keep(struct run *run, const struct solved_module *s,
                                  const struct module_tokens *seen, llmq_error *err) {
    const size_t n = (size_t)s->q.n, groups = (size_t)s->q.groups;
    struct strbuf *to = &run->expert_modules;
    struct module_head head;
    memset(&head, 0, sizeof head);
    head.outcome = s->outcome;
    head.outcome.method = NULL;
    head.outcome.unscaled = NULL; /* AWQ's, which is refused */
    head.gptq = strcmp(s->outcome.method, "gptq") == 0;
    head.strength = s->strength;
    head.seen = *seen;
    head.unit = s->q.unit;
    strbuf_append(to, (const char *)&head, sizeof head);
    strbuf_append(to, (const char *)s->q.codes, n * (size_t)s->q.k);
    strbuf_append(to, (const char *)s->q.scales, n * groups * sizeof *s->q.scales);
    strbuf_append(to, (const char *)s->q.zeros, n * groups);
    return strbuf_ok(to) ? LLMQ_OK : error_memory(err, "an expert's modules");
}

/* Store and report the module at `from`. */
static enum llmq_status take_module(struct run *run, const struct plan_module *m, const char *from,
                                    llmq_error *err) {
    const struct quant_grid grid = run_grid(run, m);
    struct solved_module s = {.q = {.n = 0}};
    struct module_head head;
    enum llmq_status status = LLMQ_OK;
    memcpy(&head, from, sizeof head);
    from += sizeof head;
    LLMQ_TRY(qlinear_alloc(m->shape.n, m->shape.k, grid.bits, grid.group, &s.q, err));
    const size_t codes = (size_t)(s.q.n * s.q.k), params = (size_t)(s.q.n * s.q.groups);
    s.q.sym = grid.sym;
    s.q.number = grid.number;
    s.q.unit = head.unit;
    memcpy(s.q.codes, from, codes);
    memcpy(s.q.scales, from + codes, params * sizeof *s.q.scales);
    memcpy(s.q.zeros, from + codes + params * sizeof *s.q.scales, params);
    s.outcome = head.outcome;
    s.outcome.method = head.gptq ? "gptq" : "rtn";
    s.strength = head.strength;
    status = run_store_module(run, m, NULL, &s, &head.seen, err);
cleanup:
    qlinear_free(&s.q);
    return status;
}

/* The modules of an expert in the order of its tasks, those that are quantized from `from` on. */
static enum llmq_status take_expert(struct run *run, int64_t block, int64_t expert,
                                    const char *from, llmq_error *err) {
    const struct graph *body = model_graph(&run->model, block)->body;
    enum llmq_status status = LLMQ_OK;
    for (int t = 0; t < body->task_count; t++)
        for (int i = 0; i < body->count; i++) {
            if (!(body->task[t].nodes >> i & 1))
                continue;
            const struct plan_module *m =
                plan_module_of(&run->model, &run->plan, (struct linear_place){block, i, expert});
            if (m->fate != MODULE_QUANTIZED) {
                LLMQ_TRY(run_keep_module(run, m, err));
                continue;
            }
            LLMQ_TRY(take_module(run, m, from, err));
            from += run_experts_module_bytes(&run->plan, m);
        }
cleanup:
    return status;
}

/* --- turns ------------------------------------------------------------------------------------ */

/* What an expert's modules are sent in; 0: there is no such expert. */
static size_t expert_bytes(const struct run *run, int64_t block, int64_t expert) {
    const struct graph *g = model_graph(&run->model, block);
    size_t bytes = 0;
    if (expert >= g->facts.dims[DIM_EXPERTS])
        return 0;
    for (int t = 0; t < g->body->task_count; t++)
        for (int i = 0; i < g->body->count; i++) {
            if (!(g->body->task[t].nodes >> i & 1))
                continue;
            const struct plan_module *m =
                plan_module_of(&run->model, &run->plan, (struct linear_place){block, i, expert});
            bytes += m->fate == MODULE_QUANTIZED ? run_experts_module_bytes(&run->plan, m) : 0;
        }
    return bytes;
}

/* with [ranks]: all to rank 0; what comes lies in `all`, begin [ranks + 1]. */
static enum llmq_status send_modules(const struct run *run, int64_t block, int64_t first,
                                     size_t *begin, char **all, llmq_error *err) {
    const int ranks = llmq_ranks_count(), own = llmq_ranks_own();
    const struct strbuf *mine = &run->expert_modules;
    struct ranks_piece *with = calloc((size_t)ranks, sizeof *with);
    enum llmq_status status = LLMQ_OK;
    for (int r = 0; r < ranks; r++)
        begin[r + 1] = begin[r] + (run_writes() ? expert_bytes(run, block, first + r) : 0);
    *all = malloc(begin[ranks] + 1);
    if (!with || !*all)
        LLMQ_TRY(error_memory(err, "an exchange between ranks"));
    with[0] = (struct ranks_piece){.out = mine->data, .out_bytes = mine->len};
    for (int r = 0; r < ranks && own == 0; r++) {
        with[r].in = *all + begin[r];
        with[r].in_bytes = begin[r + 1] - begin[r];
    }
    status = ranks_exchange(with, run->ctx, err);
cleanup:
    free(with);
    return status;
}

static enum llmq_status end_divided(struct run *run, int64_t block, int64_t first,
                                    llmq_error *err) {
    const int ranks = llmq_ranks_count();
    const int64_t experts = model_graph(&run->model, block)->facts.dims[DIM_EXPERTS];
    size_t *begin = calloc((size_t)ranks + 1, sizeof *begin);
    char *all = NULL;
    enum llmq_status status = begin ? LLMQ_OK : error_memory(err, "an exchange between ranks");
    if (status == LLMQ_OK)
        status = send_modules(run, block, first, begin, &all, err);
    for (int r = 0; r < ranks && run_writes() && status == LLMQ_OK && first + r < experts; r++)
        status = take_expert(run, block, first + r, all + begin[r], err);
    strbuf_free(&run->expert_modules);
    free(begin);
    free(all);
    return status;
}

enum llmq_status run_experts_end_turn(struct run *run, int64_t block, const struct calib_task *task,
                                      llmq_error *err) {
    if (task->divided)
        return end_divided(run, block, task->expert, err);
    if (are_settled(run, block))
        calib_divide_experts(run->calib);
    return LLMQ_OK;
}
