/* SPDX-License-Identifier: Apache-2.0 */
/* The cost of a run over R ranks, by a model whose counts are those of the run.
 *
 * Work. What depends on tokens (products, moments) falls to a rank by its batches, of which one has
 * ceil(B / R) of B; what depends on rows (targets, rounding, GPTQ, descent, errors) by its panels;
 * experts by their number, but for those whose damping is chosen; all else every rank does for
 * itself, the factor of H above all. At the end of each of these steps ranks wait for each other,
 * so that a step takes what the rank with most of it takes. Operations as plan_resources.c counts
 * them, at the rate g of products that was measured, or is given:
 *
 *     compute = (tokens' share x by token + rows' share x by row + the rest) / g
 *
 * Files. Every rank reads the source and rank 0 writes the result, over its link; with one rank,
 * too, so that what is compared differs in the number of ranks alone.
 *
 *     files = (source + result) / bandwidth
 *
 * Exchanges. Messages and bytes are counted as they are sent, piece by piece (calib/share.h,
 * solve_module.h), and not estimated: a run tells the same numbers with -v. Two exceptions: a
 * module whose scales come near their limits, which needs its targets on all ranks; and experts, of
 * which no plan knows how many tokens each is sent: of each the mean. The time is that of the rank
 * which sends most, alpha-beta:
 *
 *     exchange = messages x latency + bytes / bandwidth
 *
 * as if messages to several ranks went one after the other, which they do not. Nothing is taken to
 * overlap, which is what the run does: a rank that waits computes nothing. Not in the model: links
 * that are shared by ranks of one machine, a file server that all read from at once, ranks of
 * different speed. */
#include "pipeline/plan_ranks.h"

#include "base/error.h"
#include "base/int64.h"
#include "formats/safetensors/safetensors.h"
#include "pipeline/journal.h"
#include "pipeline/run_experts.h"
#include "pipeline/solve_module.h"
#include "pipeline/task_factor.h"
#include "quant/correct.h"
#include "quant/judge.h"

/* --- what is divided -------------------------------------------------------------------------- */

bool plan_divides_rows(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                       int64_t block, const struct graph_task *linears) {
    const struct graph *g = model_graph(m, block);
    if (plan_folds(o))
        return false;
    for (int i = 0; i < g->count; i++) {
        const struct linear_place at = {block, i, -1};
        if (!(linears->nodes >> i & 1))
            continue;
        const struct plan_module *module = plan_module_of(m, p, at);
        const struct quant_grid grid = {.rows = p->layout->rows,
                                        .search = (enum range_search)module->manner.search};
        if (!quant_divides(&grid))
            return false;
    }
    return true;
}

/* The task of a linear of a block; NULL: no linear of the block, or an expert's. */
static const struct graph_task *task_of(const struct model *m, const struct plan_module *module) {
    if (module->at.node < 0 || module->at.expert >= 0)
        return NULL;
    const struct graph *g = model_graph(m, module->at.block);
    for (int t = 0; t < g->task_count; t++)
        if (g->task[t].nodes >> module->at.node & 1)
            return &g->task[t];
    return NULL;
}

static bool divides(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                    const struct plan_module *module) {
    const struct graph_task *t = task_of(m, module);
    return t && module->fate == MODULE_QUANTIZED && plan_divides_rows(m, o, p, module->at.block, t);
}

double plan_row_share(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                      const struct plan_module *module, int ranks) {
    const int64_t n = module->shape.n;
    int64_t most = 0;
    if (ranks == 1 || !divides(m, o, p, module))
        return 1;
    for (int r = 0; r < ranks; r++)
        most = max_i64(most, solve_share_begin(n, r + 1, ranks) - solve_share_begin(n, r, ranks));
    return (double)most / (double)n;
}

/* Experts that every rank does: see run_experts.c. */
static int64_t experts_asked(const struct graph *g, const llmq_quantize_options *o) {
    return o->damp > 0 ? 0 : min_i64(TASK_EXPERTS_ASKED, g->facts.dims[DIM_EXPERTS]);
}

double plan_expert_share(const struct graph *g, const llmq_quantize_options *o, int ranks) {
    const int64_t experts = g->facts.dims[DIM_EXPERTS], asked = experts_asked(g, o);
    return ranks == 1 ? 1 : (double)(asked + ceil_div(experts - asked, ranks)) / (double)experts;
}

/* --- what is sent ----------------------------------------------------------------------------- */

/* A rank of so many. */
struct place {
    int rank, ranks;
};

static void to_all(const struct place *at, size_t bytes, struct ranks_traffic *sent) {
    ranks_count_pieces(sent, bytes, at->ranks - 1);
}

/* Four steps that all have to agree on (the plan, what is left to do, values, files) and, where
 * gradients are asked for, these; the identity and the journal compared: a word each. Then what
 * rank 0 tells: the task, how many blocks are done, and of every module and block a hash. */
static void count_agreement(const struct planned_run *run, const struct place *at,
                            struct ranks_traffic *sent) {
    enum { AGREED = 4, COMPARED = 2 };
    const struct journal_blocks *b = NULL;
    for (int i = 0; i < AGREED + COMPARED + run->plan->curved; i++)
        to_all(at, sizeof(uint64_t), sent);
    if (at->rank > 0)
        return;
    to_all(at, sizeof(int32_t), sent);
    to_all(at, sizeof b->done, sent);
    to_all(at, (size_t)run->plan->module_count * sizeof *b->hashes, sent);
    to_all(at, (size_t)run->model->blocks->count * sizeof *b->folded, sent);
}

/* Errors of the panels of a target, where its strength is chosen; how many rows GPTQ refined;
 * codes, scales and zero points; where these are refined, targets; three errors of each row. */
static void count_module(const struct planned_run *run, const struct place *at,
                         const struct plan_module *module, struct ranks_traffic *sent) {
    const struct module_manner *manner = &module->manner;
    const int64_t n = module->shape.n, k = module->shape.k, high = correct_panel_rows(n);
    const int64_t begin = solve_share_begin(n, at->rank, at->ranks);
    const int64_t end = solve_share_begin(n, at->rank + 1, at->ranks);
    const int64_t group = module->shape.group > 0 ? module->shape.group : k;
    const size_t rows = (size_t)(end - begin), groups = (size_t)ceil_div(k, group);
    const bool chosen = run->plan->paired && manner->correct.mode == LLMQ_CORRECT_AUTO;
    if (chosen && calib_held_most(run->tokens) > 0)
        to_all(at,
               (size_t)(ceil_div(end, high) - ceil_div(begin, high)) * sizeof(struct correct_error),
               sent);
    if (manner->method == LLMQ_METHOD_GPTQ)
        to_all(at, sizeof(int64_t), sent);
    for (int i = 0; i < 3; i++)
        to_all(at, rows * sizeof(double), sent);
    to_all(at, rows * (size_t)k, sent);
    to_all(at, rows * groups * sizeof(float), sent);
    to_all(at, rows * groups, sent);
    if (plan_refines(module))
        to_all(at, rows * (size_t)k * sizeof(float), sent);
}

/* The codes of an expert that is the rank's, to rank 0. */
static void count_expert_module(const struct planned_run *run, const struct place *at,
                                const struct plan_module *m, struct ranks_traffic *sent) {
    const struct graph *g = model_graph(run->model, m->at.block);
    const int64_t behind = m->at.expert - experts_asked(g, run->options);
    const bool first = m == run->plan->modules || m[-1].at.expert != m->at.expert;
    if (at->rank == 0 || behind < 0 || behind % at->ranks != at->rank)
        return;
    sent->bytes += run_experts_module_bytes(run->plan, m);
    sent->messages += first;
}

/* Moments of a block's tasks; where blocks are looked at first, those of one stream before. */
static enum llmq_status count_block(const struct planned_run *run, const struct calib_part *part,
                                    const struct graph *g, struct ranks_traffic *sent,
                                    llmq_error *err) {
    const bool pair = run->plan->paired;
    enum llmq_status status = LLMQ_OK;
    for (int t = 0; t < g->task_count && status == LLMQ_OK; t++) {
        if (g->body && g->task[t].nodes >> g->experts & 1) {
            status = calib_count_experts(part, g, run->tokens, experts_asked(g, run->options), pair,
                                         sent, err);
            continue;
        }
        if (plan_folds(run->options))
            calib_count_task(part, g, &g->task[t], false, sent);
        calib_count_task(part, g, &g->task[t], pair, sent);
    }
    return status;
}

static int64_t blocks_of_kind(const struct blocks *b, int kind) {
    int64_t count = 0;
    for (int64_t i = 0; i < b->count; i++)
        count += b->kind_of[i] == kind;
    return count;
}

static enum llmq_status count_calibration(const struct planned_run *run, const struct place *at,
                                          const struct calib_part *part, struct ranks_traffic *sent,
                                          llmq_error *err) {
    const struct plan *p = run->plan;
    const struct blocks *b = run->model->blocks;
    const struct plan_module *head = plan_head(p);
    for (int kind = 0; kind < b->kind_count; kind++) {
        const uint64_t times = (uint64_t)blocks_of_kind(b, kind);
        struct ranks_traffic once = {0};
        const enum llmq_status status = count_block(run, part, &b->kinds[kind], &once, err);
        if (status != LLMQ_OK)
            return status;
        sent->messages += times * once.messages;
        sent->bytes += times * once.bytes;
    }
    for (int64_t i = 0; i < p->module_count; i++)
        if (divides(run->model, run->options, p, &p->modules[i]))
            count_module(run, at, &p->modules[i], sent);
        else if (p->modules[i].at.expert >= 0 && p->modules[i].fate == MODULE_QUANTIZED)
            count_expert_module(run, at, &p->modules[i], sent);
    if (head && head->fate == MODULE_QUANTIZED)
        calib_count_head(part, head->shape.k, sent);
    return LLMQ_OK;
}

enum llmq_status plan_rank_sends(const struct planned_run *run, int rank, int ranks,
                                 struct ranks_traffic *sent, llmq_error *err) {
    const struct place at = {rank, ranks};
    struct calib_part part;
    *sent = (struct ranks_traffic){0};
    if (ranks == 1)
        return LLMQ_OK;
    count_agreement(run, &at, sent);
    if (!run->tokens)
        return LLMQ_OK;
    enum llmq_status status =
        calib_part_of(run->tokens, calib_held_most(run->tokens), rank, ranks, &part, err);
    if (status == LLMQ_OK)
        status = count_calibration(run, &at, &part, sent, err);
    return status;
}

/* --- what it takes ---------------------------------------------------------------------------- */

static uint64_t source_bytes(const struct st_set *tensors) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < st_count(tensors); i++)
        bytes += st_stored_bytes(st_at(tensors, i));
    return bytes;
}

/* Messages of all ranks, and the time of the one that sends most. */
static enum llmq_status count_ranks(const struct planned_run *run, llmq_ranks_plan *out,
                                    llmq_error *err) {
    const llmq_ranks_question *q = run->options->ranks;
    for (int r = 0; r < out->ranks; r++) {
        struct ranks_traffic sent;
        const enum llmq_status status = plan_rank_sends(run, r, out->ranks, &sent, err);
        if (status != LLMQ_OK)
            return status;
        const double seconds =
            (double)sent.messages * q->latency + (double)sent.bytes * 8 / q->bits;
        if (r == 0) {
            out->messages = sent.messages;
            out->bytes = sent.bytes;
        }
        out->all_messages += sent.messages;
        out->all_bytes += sent.bytes;
        out->exchange_seconds = seconds > out->exchange_seconds ? seconds : out->exchange_seconds;
    }
    return LLMQ_OK;
}

/* Memory and work of a rank: those of the plan, if there were so many. */
static enum llmq_status plan_shared(const struct planned_run *run, llmq_ranks_plan *out,
                                    llmq_error *err) {
    struct plan shared = *run->plan; /* what it points at stays the plan's */
    shared.ranks = out->ranks;
    const enum llmq_status status =
        plan_memory(run->model, run->options, run->tokens, &shared, err);
    out->ram_bytes = shared.ram_bytes;
    out->spill_bytes = shared.spill_bytes;
    out->flops = plan_rank_flops(run->model, run->options, &shared, run->tokens);
    return status;
}

static enum llmq_status answer(const struct planned_run *run, int ranks, double gflops,
                               llmq_ranks_plan *out, llmq_error *err) {
    const llmq_ranks_question *q = run->options->ranks;
    const double rate = (q->gflops > 0 ? q->gflops : gflops) * 1e9;
    enum llmq_status status = LLMQ_OK;
    *out = (llmq_ranks_plan){.ranks = ranks};
    LLMQ_TRY(plan_shared(run, out, err));
    LLMQ_TRY(count_ranks(run, out, err));
    out->compute_seconds = rate > 0 ? out->flops / rate : 0;
    out->file_seconds =
        (double)(source_bytes(run->model->tensors) + run->plan->disk_bytes) * 8 / q->bits;
    out->seconds = out->compute_seconds + out->file_seconds + out->exchange_seconds;
cleanup:
    return status;
}

enum llmq_status plan_ranks(const struct planned_run *run, int ranks, double gflops,
                            llmq_ranks_plan *out, llmq_error *err) {
    llmq_ranks_plan alone;
    enum llmq_status status = answer(run, 1, gflops, &alone, err);
    if (status == LLMQ_OK)
        status = answer(run, ranks, gflops, out, err);
    if (status == LLMQ_OK)
        out->efficiency = out->seconds > 0 ? alone.seconds / (ranks * out->seconds) : 1;
    return status;
}
