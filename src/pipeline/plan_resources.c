/* SPDX-License-Identifier: Apache-2.0 */
/* What a run takes, of work and of memory: see plan.h. */
#include "pipeline/plan.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/int64.h"
#include "formats/encodings/encoding.h"
#include "pipeline/block_fold.h"
#include "pipeline/plan_ranks.h"
#include "pipeline/store.h"
#include "quant/correct.h"
#include "quant/quant.h"

/* Share of the memory available at the start that a run may take when --max-mem is not given. */
#define DEFAULT_MEMORY_SHARE 0.8

/* What checking the result may take in any case. */
#define CHECKING_BYTES (UINT64_C(512) << 20)

/* --- work ------------------------------------------------------------------------------------- */

/* Candidates whose loss AWQ's search computes in full, n k^2 each: of 39 about half are given up
 * early. */
#define FOLD_LOSSES 20.0

/* Factors that the choice of a damping takes, mostly. */
#define FACTORS_TRIED 3

bool plan_chooses_damping(const llmq_quantize_options *o, const struct plan *p, double tokens,
                          int64_t k) {
    const bool own = p->gradients.weights > 0 && o->curvature_tokens == 0;
    return o->damp <= 0 && (own || tokens < PLAN_TOKENS_PER_INPUT * (double)k);
}

double plan_factor_flops(int64_t k, bool choosing) {
    return (choosing ? FACTORS_TRIED : 1) * 2.0 / 3.0 * (double)k * (double)k * (double)k;
}

double plan_rounding_flops(const struct module_manner *manner, int64_t n, int64_t k) {
    double descent = manner->descent > 0 ? 2 * manner->descent + 1 : 0; /* and its error */
    double again = manner->rounds * (2 + 2 * manner->descent);
    return (2 + descent + again) * (double)n * (double)k * (double)k;
}

double plan_judging_flops(int64_t n, int64_t k, int64_t held, bool squared) {
    return 3 * (double)n * (double)k * (squared ? (double)k : 2 * (double)held);
}

/* W D and two products with a triangle; where W D is a moment, two more of those, for the stream.
 * On tokens held back what the linear lacks and what the correction adds. */
double plan_correction_flops(int64_t n, int64_t k, int64_t held) {
    return (double)n * (double)k * (4 * (double)k + 4 * (double)correct_judges(held));
}

double plan_search_flops(int64_t n, int64_t k) {
    return FOLD_LOSSES * (double)n * (double)k * (double)k;
}

/* Tokens of a pass: through a block's own linears, and through those of one of its experts. */
struct token_count {
    double all, expert;
};

static struct token_count count_tokens(const struct graph *g, const llmq_quantize_options *o,
                                       const struct calib_tokens *tokens) {
    const double all = tokens ? (double)tokens->offsets[tokens->count] : 0;
    const double routed =
        g->body ? all * (double)g->facts.dims[DIM_TOP_K] / (double)g->facts.dims[DIM_CHOICES] : 0;
    return (struct token_count){all, fmax(routed, fmin((double)o->expert_tokens, all))};
}

/* Does --curvature auto ask for the gradients of a module, which sees many tokens? */
static bool gradients_pay(const struct plan_module *module, const llmq_quantize_options *o,
                          double tokens) {
    const double from =
        o->curvature_tokens > 0 ? fmin((double)o->curvature_tokens, tokens) : tokens;
    return !plan_folds(o) && (double)module->shape.n <= PLAN_OUTPUTS_PER_TOKEN * from;
}

/* A pass of descent and a sweep by the predictions are about 17 n k^2 operations and the searches
 * of groups, three passes and two rounds 20 n k^2, where everything else is 4 n k T and more. */
void plan_settle_passes(const struct model *m, const llmq_quantize_options *o,
                        const struct calib_tokens *tokens, struct plan *p) {
    for (int64_t i = 0; i < p->module_count; i++) {
        struct plan_module *module = &p->modules[i];
        const struct token_count T = count_tokens(model_graph(m, module->at.block), o, tokens);
        const double seen = module->at.expert >= 0 ? T.expert : T.all;
        const bool many = seen >= PLAN_TOKENS_PER_INPUT * (double)module->shape.k;
        struct module_manner *manner = &module->manner;
        if (manner->curvature == LLMQ_CURVATURE_AUTO)
            manner->curvature =
                many && gradients_pay(module, o, T.all) ? LLMQ_CURVATURE_ON : LLMQ_CURVATURE_OFF;
        const bool curved = manner->curvature == LLMQ_CURVATURE_ON;
        if (manner->descent == LLMQ_BY_TOKENS)
            manner->descent = many && !curved ? 3 : 1;
        if (manner->rounds == LLMQ_BY_TOKENS)
            manner->rounds = many && !curved && manner->descent > 0 ? 2 : 0;
    }
}

/* What a run does: 1 or 0. */
struct passes {
    double looks, pairs;
    double backs; /* part of the tokens that gradients are of */
    const llmq_quantize_options *options;
    const struct plan *plan;
    double held, fitted; /* parts of the tokens that are only judged on and that are fitted to */
    double share;        /* part of the tokens that is run on the rank with most; 1: one rank */
};

/* Rows that are judged on, of the T tokens of a linear. */
static int64_t judged_rows(const struct passes *run, double T) {
    const int64_t offsets[] = {0, (int64_t)T};
    return run->held > 0 ? (int64_t)(run->held * T)
                         : calib_held_most(&(struct calib_tokens){NULL, offsets, 1, 0});
}

/* The searches that a linear takes part in: of what all experts read a few are asked. */
static double searches_of(const struct graph *g, const struct plan_module *module) {
    const bool expert = module->at.expert >= 0;
    const struct graph *own = expert ? g->body : g;
    const enum value source = own->node[module->at.node].in[0];
    if (graph_fold_of(g, expert, source).why)
        return 0;
    const double experts = expert ? (double)g->facts.dims[DIM_EXPERTS] : 1;
    return expert && source == own->input ? fmin(1, BLOCK_FOLD_ASKED / experts) : 1;
}

/* Is a linear judged by X^T X of `held` rows? */
static bool judged_by_square(const struct graph *g, const struct plan_module *module, int64_t held,
                             const struct passes *run) {
    const struct graph *own = module->at.expert >= 0 ? g->body : g;
    for (int t = 0; run->pairs > 0 && t < own->task_count; t++)
        if (own->task[t].nodes >> module->at.node & 1)
            return calib_squares_held(own, &own->task[t], held);
    return false;
}

/* A linear's forward products and what is made of its moments, of its rows the part `rows`. `g`:
 * the block's. */
static double module_flops(const struct graph *g, const struct plan_module *module, double T,
                           double rows, const struct passes *run) {
    const int64_t n = module->shape.n, k = module->shape.k;
    const double share = module->at.expert < 0 ? run->share : 1; /* experts are done whole */
    double flops = 2 * (double)n * (double)k * T * share * (1 + run->pairs + run->looks);
    flops += plan_curvature_flops(module, run->backs * T);
    if (module->fate != MODULE_QUANTIZED)
        return flops;
    const int64_t held = judged_rows(run, T);
    flops += plan_refining_flops(module);
    if (T > 0)
        flops += rows * (plan_rounding_flops(&module->manner, n, k) +
                         plan_judging_flops(n, k, held, judged_by_square(g, module, held, run)));
    flops += rows * run->pairs * plan_correction_flops(n, k, held);
    if (run->looks > 0)
        flops += searches_of(g, module) * plan_search_flops(n, k);
    return flops;
}

static double head_flops(const struct plan_module *head, const struct calib_tokens *tokens,
                         const struct passes *run) {
    const double T = tokens ? (double)calib_total_tokens(tokens) : 0;
    const double k = (double)head->shape.k;
    if (head->fate != MODULE_QUANTIZED || T <= 0)
        return 0;
    return k * k * T * run->share * run->fitted +
           plan_factor_flops(head->shape.k, run->options->damp <= 0) +
           plan_rounding_flops(&head->manner, head->shape.n, head->shape.k) +
           plan_judging_flops(head->shape.n, head->shape.k, judged_rows(run, T), false);
}

/* The triangles of X^T X of a graph's tasks, their factors, and the cross moments. A look makes
 * triangles only, but not of what an expert is given. */
static double tasks_flops(const struct graph *g, double T, const struct passes *run) {
    double flops = 0;
    for (int t = 0; T > 0 && t < g->task_count; t++) {
        const double k = (double)g->width[g->task[t].source];
        const bool looks = run->looks > 0 && (g->input != V_E || g->task[t].source != g->input);
        const bool choosing =
            plan_chooses_damping(run->options, run->plan, run->fitted * T, (int64_t)k) &&
            !(g->input == V_E);
        const double share = g->input == V_E ? 1 : run->share;
        flops += k * k * T * share * run->fitted * (looks ? 2 : 1);
        flops += plan_factor_flops((int64_t)k, choosing);
        flops += run->pairs * calib_cross_flops(g, &g->task[t]) * T * share * run->fitted;
        if (run->pairs > 0 && calib_squares_held(g, &g->task[t], judged_rows(run, T)))
            flops += 2 * k * k * (double)judged_rows(run, T);
    }
    return flops;
}

double plan_pass_flops(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                       const struct calib_tokens *tokens) {
    double flops = 0;
    for (int64_t i = 0; tokens && i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (module->at.node < 0)
            continue;
        const struct token_count T = count_tokens(model_graph(m, module->at.block), o, tokens);
        flops += 2 * (double)module->shape.n * (double)module->shape.k *
                 (module->at.expert >= 0 ? T.expert : T.all);
    }
    return flops;
}

/* Arithmetic of a run. A pair of streams doubles the forward products and adds the cross moments
 * and the corrected targets; AWQ takes a pass of its own, with the triangles, and its search. */
static double flops_of(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                       const struct calib_tokens *tokens, int ranks) {
    const double all = tokens ? (double)calib_total_tokens(tokens) : 0;
    const double fitted = all > 0 ? (double)calib_fitted_tokens(tokens) / all : 1;
    const struct passes run = {plan_folds(o) && tokens ? 1 : 0,
                               p->paired ? 1 : 0,
                               p->curved ? (double)p->gradients.offsets[p->gradients.count] / all
                                         : 0,
                               o,
                               p,
                               1 - fitted,
                               fitted,
                               all > 0 ? (double)calib_most_tokens(tokens, ranks) / all : 1};
    double flops = plan_curvature_head_flops(m, run.backs * all);
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct linear_place at = p->modules[i].at;
        if (at.node < 0) { /* the head: its moments, factor and rounding */
            flops += head_flops(&p->modules[i], tokens, &run);
            continue;
        }
        const struct graph *g = model_graph(m, at.block);
        const struct token_count T = count_tokens(g, o, tokens);
        const double part = at.expert >= 0 ? plan_expert_share(g, o, ranks) : 1;
        flops += part * module_flops(g, &p->modules[i], at.expert >= 0 ? T.expert : T.all,
                                     plan_row_share(m, o, p, &p->modules[i], ranks), &run);
    }
    for (int64_t b = 0; b < m->blocks->count; b++) {
        const struct graph *g = model_graph(m, b);
        const struct token_count T = count_tokens(g, o, tokens);
        flops += tasks_flops(g, T.all, &run);
        if (g->body)
            flops += (double)g->facts.dims[DIM_EXPERTS] * plan_expert_share(g, o, ranks) *
                     tasks_flops(g->body, T.expert, &run);
    }
    return flops + plan_draft_flops(m, p, tokens) * run.share;
}

double plan_flops(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                  const struct calib_tokens *tokens) {
    return flops_of(m, o, p, tokens, 1);
}

double plan_rank_flops(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                       const struct calib_tokens *tokens) {
    return flops_of(m, o, p, tokens, p->ranks);
}

/* --- memory ----------------------------------------------------------------------------------- */

/* The panels of every thread: of weights and what is made of them. */
static uint64_t panel_bytes(uint64_t n, uint64_t k) {
    enum { PANELS = 4, PANEL_ROWS = 256 };
    const uint64_t rows = n < PANEL_ROWS ? n : PANEL_ROWS;
    return PANELS * rows * k * sizeof(float) * (uint64_t)omp_get_max_threads();
}

/* What the solver of a module [n, k] needs at once: two candidates' codes and the packed tensors;
 * of a pair what corrects the weights, before there are codes; with AWQ the weights once more, to
 * round them unscaled. */
static uint64_t solver_bytes(const struct plan *p, const llmq_quantize_options *o, uint64_t n,
                             uint64_t k, bool multiplied) {
    enum { CODES = 2, PACKED = 1 };
    uint64_t each = CODES + PACKED + (plan_folds(o) ? sizeof(float) : 0);
    if (p->paired && !multiplied && each < sizeof(float))
        each = sizeof(float);
    return n * k * each + panel_bytes(n, k) + plan_refining_bytes(p, o, (int64_t)n, (int64_t)k);
}

/* The largest of what reading a module takes, beside its weight. */
static uint64_t reading_bytes(const struct model *m, const struct plan *p) {
    uint64_t most = 0;
    for (int64_t i = 0; i < p->module_count; i++)
        if (p->modules[i].at.node >= 0) /* see plan_head_bytes */
            most = max_u64(most, plan_reading_bytes(m, &p->modules[i]));
    return most;
}

/* What the C library keeps of memory that was freed, for the next module's weights, codes and
 * packed tensors: blocks below 1 MiB, as the program sets it (mallopt(3), M_MMAP_THRESHOLD), of a
 * few modules, since those of one may not fit where another's were. In a host that sets nothing
 * glibc keeps blocks below 32 MiB. */
static uint64_t freed_bytes(const struct plan *p) {
    enum { MODULES = 4 };
    const uint64_t block = UINT64_C(1) << 20;
    uint64_t most = 0;
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct quant_shape *s = &p->modules[i].shape;
        const uint64_t codes = (uint64_t)s->n * (uint64_t)s->k, weights = codes * sizeof(float);
        const uint64_t kept = (weights < block ? weights : 0) + (codes < block ? 2 * codes : 0);
        most = max_u64(most, kept);
    }
    return MODULES * most;
}

/* A module's codes and packed tensors, and what a group has in both: scale, zero point, storage. */
static uint64_t coded_bytes(const struct quant_shape *s) {
    enum { OF_GROUP = 8 };
    const uint64_t codes = (uint64_t)s->n * (uint64_t)s->k;
    const uint64_t groups = codes / (uint64_t)(s->group > 0 ? s->group : s->k);
    return codes + codes * (uint64_t)s->bits / 8 + groups * OF_GROUP;
}

/* Without calibration one linear after the other is read and rounded: its weights, codes and packed
 * tensors. The memory of weights is that of the largest. */
static uint64_t rounding_bytes(const struct model *m, const struct plan *p) {
    uint64_t weights = 0, work = 0;
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct quant_shape *s = &p->modules[i].shape;
        const uint64_t codes = (uint64_t)s->n * (uint64_t)s->k;
        if (p->modules[i].at.node < 0) /* see plan_head_bytes */
            continue;
        const uint64_t reading = plan_reading_bytes(m, &p->modules[i]);
        weights = max_u64(weights, codes * sizeof(float));
        work = max_u64(work, max_u64(reading, coded_bytes(s)));
    }
    return weights + work;
}

/* The factor of a task's Hessian and what the largest of its linears takes. */
static uint64_t solving_bytes(const struct plan *p, const llmq_quantize_options *o,
                              const struct graph *g, const struct graph_task *t) {
    const int64_t k = g->width[t->source];
    uint64_t most = 0;
    for (int i = 0; i < g->count; i++)
        if (t->nodes >> i & 1)
            most = max_u64(most, solver_bytes(p, o, (uint64_t)g->node[i].width[0], (uint64_t)k,
                                              calib_multiplies(g, t)));
    return gptq_factor_bytes(k) + most;
}

/* The most that the weights of a block and the work on its linears take at once; while experts are
 * worked on, which calibration counts, the block's weights are those that are needed on. Weights
 * are read, which takes `reading` besides, when nothing is solved. */
static enum llmq_status block_peak(const struct plan *p, const llmq_quantize_options *o,
                                   const struct graph *g, uint64_t reading, uint64_t *peak,
                                   llmq_error *err) {
    struct calib_weights weights;
    uint64_t experts = reading;
    enum llmq_status status = calib_weights(g, p->paired, plan_folds(o), &weights, err);
    for (int t = 0; g->body && t < g->body->task_count; t++)
        experts = max_u64(experts, solving_bytes(p, o, g->body, &g->body->task[t]));
    for (int t = 0; status == LLMQ_OK && t < weights.count; t++) {
        uint64_t solving = weights.task[t].solving + experts;
        if (t < g->task_count)
            solving =
                max_u64(solving, weights.task[t].solving + solving_bytes(p, o, g, &g->task[t]));
        *peak = max_u64(*peak, max_u64(weights.task[t].passing + reading, solving));
    }
    if (o->resume) /* finished blocks are replayed in one pass */
        *peak = max_u64(*peak, (p->paired ? 2 : 1) * block_bytes(g) + reading);
    return status;
}

/* The program with its libraries and buffers that tensors are copied through: measured. */
#define OWN_BYTES (UINT64_C(16) << 20)

/* The tables of the model, the plan, the writer and the report, for each of their entries, and
 * those of the result while it is checked, when no module is worked on any more: measured. */
enum { OF_TENSOR = 300, OF_DECODED = 350, OF_RESULT = 460, OF_MODULE = 380, OF_CHECKED = 380 };

static uint64_t table_bytes(const struct model *m, const struct plan *p) {
    return st_count(m->tensors) * OF_TENSOR + encoding_count(m->tensors) * OF_DECODED +
           p->spec_count * OF_RESULT + (uint64_t)p->module_count * OF_MODULE;
}

static enum llmq_status calibrated_memory(const struct model *m, const llmq_quantize_options *o,
                                          const struct calib_tokens *tokens, const struct plan *p,
                                          struct calib_memory *out, llmq_error *err) {
    const struct calib_options calib = plan_calib_options(o, p);
    const uint64_t reading = reading_bytes(m, p);
    uint64_t peak = 0;
    enum llmq_status status = calib_memory(m, tokens, &calib, out, err);
    for (int kind = 0; status == LLMQ_OK && kind < m->blocks->kind_count; kind++)
        status = block_peak(p, o, &m->blocks->kinds[kind], reading, &peak, err);
    out->fixed += plan_draft_bytes(m, p, tokens, &peak);
    out->fixed += peak;
    if (plan_folds(o)) {
        out->fixed += block_fold_bytes(m, tokens);
        out->activations += calib_start_bytes(m, tokens, p->ranks);
    }
    return status;
}

static uint64_t memory_limit(const llmq_quantize_options *o) {
    if (o->max_mem > 0)
        return o->max_mem;
    return memory_available() > 0 ? (uint64_t)(DEFAULT_MEMORY_SHARE * (double)memory_available())
                                  : UINT64_MAX;
}

/* What checking the largest module of the result takes. */
static uint64_t checked_bytes(const struct plan *p) {
    uint64_t most = 1;
    for (int64_t i = 0; i < p->module_count; i++)
        if (p->modules[i].fate != MODULE_PLAIN)
            most = max_u64(most, coded_bytes(&p->modules[i].shape));
    return most;
}

/* As many modules are checked at a time as there are threads, but not in more memory than making
 * them took or, where there is so much, half a GiB. Returns what that takes. */
static uint64_t plan_checking(struct plan *p, uint64_t made, uint64_t left) {
    const uint64_t each = checked_bytes(p), threads = (uint64_t)omp_get_max_threads();
    const uint64_t room = max_u64(made, left < CHECKING_BYTES ? left : CHECKING_BYTES) / each;
    const uint64_t count = room < threads ? room : threads;
    p->checkers = count > 1 ? (int)count : 1;
    return (uint64_t)p->checkers * each + p->spec_count * OF_CHECKED;
}

enum llmq_status plan_memory(const struct model *m, const llmq_quantize_options *o,
                             const struct calib_tokens *tokens, struct plan *p, llmq_error *err) {
    struct calib_memory memory = {0};
    enum llmq_status status = LLMQ_OK;
    if (tokens)
        status = calibrated_memory(m, o, tokens, p, &memory, err);
    else
        memory.fixed = rounding_bytes(m, p);
    const uint64_t work = memory.fixed + freed_bytes(p);
    const uint64_t held =
        OWN_BYTES + table_bytes(m, p) + (p->gguf ? gguf_export_bytes(p->gguf) : 0);
    const uint64_t limit = memory_limit(o), room = limit > held ? limit - held : 0;
    const uint64_t fixed = held + work, checking = plan_checking(p, work, room);
    p->spill = fixed + memory.activations > limit;
    p->spill_bytes = p->spill ? memory.activations : 0;
    p->ram_bytes = fixed + (p->spill ? memory.buffers : memory.activations);
    p->ram_bytes = max_u64(p->ram_bytes, held + checking);
    if (status == LLMQ_OK)
        status = plan_tuning(m, o, tokens, room, p, err);
    p->ram_bytes = max_u64(p->ram_bytes, held + p->tune_bytes);
    p->ram_bytes = max_u64(p->ram_bytes, held + plan_head_bytes(m, p, tokens));
    p->ram_bytes = max_u64(p->ram_bytes, held + plan_curvature_bytes(m, room, p));
    p->ram_bytes = max_u64(p->ram_bytes, held + store_kept_bytes(p, m->tensors));
    return status;
}

enum llmq_status plan_check_memory(const struct plan *p, uint64_t limit, llmq_error *err) {
    if (limit == 0 || p->ram_bytes <= limit)
        return LLMQ_OK;
    error_set(err, LLMQ_E_MEMORY,
              "--max-mem %" PRIu64 " bytes: one block of this model needs %" PRIu64
              " bytes, activations in a file not counted",
              limit, p->ram_bytes);
    error_hint(err, "give at least --max-mem %" PRIu64 "M", (p->ram_bytes >> 20) + 1);
    return LLMQ_E_MEMORY;
}
