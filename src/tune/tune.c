/* SPDX-License-Identifier: Apache-2.0 */
/* See tune.h. */
#include "tune/tune.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "graph/backward.h"
#include "linalg/linalg.h"
#include "tune/teacher.h"
#include "tune/tune_held.h"
#include "tune/tune_part.h"

/* Steps in which the rate rises. */
enum { RISING = 4 };

/* How much higher the divergence has to be for steps to be undone, and what the rate is then
 * multiplied by. Less may be what Adam's first steps cost, before it knows sizes of slopes. */
#define WORSE   1.02
#define SHORTER (1.0 / 3)

struct tuner {
    const struct tune_job *job;
    struct model student; /* the quantized model with the scales as they are now */
    struct weight_edit edit;
    struct tune_part *parts; /* of the modules, then of the norms */
    int64_t part_count;
    int64_t *part_of;   /* [linears]; -1: it stays as it is */
    double *last_slope; /* [hidden], towards the weight of the last norm */
    float *w, *dw;      /* of the largest linear */
    struct teacher teacher;
    struct loss loss;
    double *losses;     /* [tokens of a step] */
    llmq_context quiet; /* the passes tell no progress of their own */
    struct arena *arena;
    int64_t steps;
    double rate;
};

/* --- one linear ------------------------------------------------------------------------------- */

static struct tune_part *part_at(const struct tuner *t, struct linear_place at) {
    const struct graph *g = blocks_graph_of(t->student.blocks, at);
    for (int i = 0; i < g->linear_count; i++)
        if (g->linear[i] == at.node) {
            const int64_t part = t->part_of[blocks_linear_number(t->student.blocks, at)];
            return part < 0 ? NULL : &t->parts[part];
        }
    return NULL;
}

static enum llmq_status apply(void *of, struct linear_place at, float *w, llmq_error *err) {
    const struct tune_part *p = part_at(of, at);
    (void)err;
    if (p)
        tune_part_apply(p, w);
    return LLMQ_OK;
}

static enum llmq_status see(void *of, const struct linear_slope *l, llmq_error *err) {
    struct tuner *t = of;
    const struct linear_place at = {l->block, l->node, l->expert};
    struct tune_part *p = part_at(t, at);
    if (!p)
        return LLMQ_OK;
    const enum llmq_status status = model_load_weight(&t->student, at, t->w, err);
    if (status != LLMQ_OK)
        return status;
    linalg_gemm_tn(l->n, l->k, l->rows, 1, l->g, l->n, l->x, l->k, 0, t->dw, l->k);
    tune_part_see(p, t->w, t->dw);
    return LLMQ_OK;
}

/* --- one norm --------------------------------------------------------------------------------- */

/* NULL: it stays as it is. */
static struct tune_part *norm_part(const struct tuner *t, const struct st_tensor *tensor) {
    for (int64_t i = t->job->count; tensor && i < t->part_count; i++)
        if (t->parts[i].norm->at.tensor == tensor)
            return &t->parts[i];
    return NULL;
}

static void apply_norm(void *of, const struct st_tensor *tensor, float *values) {
    const struct tune_part *p = norm_part(of, tensor);
    if (p)
        memcpy(values, p->now, (size_t)p->count * sizeof *values);
}

static enum llmq_status see_param(void *of, const struct param_slope *s, llmq_error *err) {
    const struct tuner *t = of;
    struct tune_part *p = norm_part(t, model_norm_tensor(&t->student, s->block, s->param));
    (void)err;
    if (p)
        tune_part_see_norm(p, s->sum);
    return LLMQ_OK;
}

static void see_last_norm(const struct tuner *t) {
    struct tune_part *p = norm_part(t, model_last_norm_tensor(&t->student));
    if (p)
        tune_part_see_norm(p, t->last_slope);
}

/* --- windows held back ------------------------------------------------------------------------ */

/* The first windows of the job, as a corpus of their own. */
static struct corpus held_back(const struct tune_job *job) {
    struct corpus c = *job->windows;
    c.count = job->held;
    c.tokens_used = c.offsets[job->held];
    return c;
}

static struct eval_job eval_of(const struct tuner *t, const struct model *m,
                               const struct corpus *c) {
    return (struct eval_job){.m = m,
                             .corpus = c,
                             .numbers = {LOAD_PLAIN, LLMQ_COMPUTE_F32},
                             .ctx = &t->quiet,
                             .name = "",
                             .spill_dir = t->job->spill_dir};
}

static enum llmq_status measure(const struct tuner *t, double *out, llmq_error *err) {
    const struct corpus held = held_back(t->job);
    const struct eval_job job = eval_of(t, &t->student, &held);
    return tune_held_loss(&job, &t->loss, out, err);
}

/* --- steps ------------------------------------------------------------------------------------ */

int64_t tune_step_windows(int64_t length) {
    return max_i64(1, BACKWARD_ROWS / max_i64(1, length));
}

static double rate_of(const struct tuner *t, int64_t step) {
    const double left = 1 - (double)(step - 1) / (double)t->steps;
    return t->rate * left * fmin(1, (double)step / RISING);
}

static enum llmq_status take_step(struct tuner *t, int64_t step, llmq_error *err) {
    const struct corpus *c = t->job->windows;
    const int64_t many = tune_step_windows(c->max_len), first = t->job->held + (step - 1) * many;
    const bool norms = t->job->norm_count > 0;
    struct backward_result result = {.loss = t->losses, .final_norm = norms ? t->last_slope : NULL};
    const struct backward_job job = {.m = &t->student,
                                     .ids = c->ids,
                                     .offsets = c->offsets + first,
                                     .count = min_i64(many, c->count - first),
                                     .loss = &t->loss,
                                     .taps = {t, see, norms ? see_param : NULL},
                                     .spill_dir = t->job->spill_dir,
                                     .ctx = &t->quiet,
                                     .tally = t->job->tally};
    const enum llmq_status status = backward_run(&job, &result, err);
    if (status != LLMQ_OK)
        return status;
    if (norms)
        see_last_norm(t);
    for (int64_t i = 0; i < t->part_count; i++)
        tune_part_step(&t->parts[i], step, rate_of(t, step));
    return LLMQ_OK;
}

/* What was measured after a step: the best so far is kept; what is clearly worse is undone, and
 * steps are shorter from there on. How long they may be falls with the number of scales that all
 * move at a time, and is not known beforehand. */
static void judge(struct tuner *t, int64_t step, double found, struct tune_result *out) {
    const bool better = found < out->after;
    const bool worse = found > WORSE * out->after;
    for (int64_t i = 0; i < t->part_count && better; i++)
        tune_part_keep(&t->parts[i]);
    for (int64_t i = 0; i < t->part_count && worse; i++)
        tune_part_return(&t->parts[i]);
    t->rate *= worse ? SHORTER : 1;
    out->after = better ? found : out->after;
    out->steps = better ? step : out->steps;
    log_message(t->job->ctx, LLMQ_LOG_DETAIL,
                "tuning: divergence on the windows held back %.5f after %lld steps, %.5f before%s",
                found, (long long)step, out->before,
                worse ? ": undone, and on with shorter steps" : "");
}

static enum llmq_status all_steps(struct tuner *t, struct tune_result *out, llmq_error *err) {
    const int64_t between = max_i64(1, (t->steps + TUNE_MEASURED - 1) / TUNE_MEASURED);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(measure(t, &out->before, err));
    out->after = out->before;
    for (int64_t step = 1; step <= t->steps; step++) {
        double found = 0;
        log_progress(t->job->ctx, step - 1, t->steps,
                     "tuning scales, divergence %.4f (%.4f before)", out->after, out->before);
        LLMQ_TRY(interrupt_check(t->job->ctx, err));
        LLMQ_TRY(take_step(t, step, err));
        if (step % between != 0 && step != t->steps)
            continue;
        LLMQ_TRY(measure(t, &found, err));
        judge(t, step, found, out);
    }
    log_progress(t->job->ctx, t->steps, t->steps, "tuning scales, divergence %.4f (%.4f before)",
                 out->after, out->before);
cleanup:
    return status;
}

/* --- all -------------------------------------------------------------------------------------- */

static enum llmq_status create_parts(struct tuner *t, llmq_error *err) {
    const struct tune_job *job = t->job;
    const size_t linears = (size_t)blocks_linear_count(t->student.blocks);
    size_t largest = 0;
    t->part_count = job->count + job->norm_count;
    t->parts = arena_alloc(t->arena, (size_t)t->part_count, sizeof *t->parts, err);
    t->part_of = arena_alloc(t->arena, linears, sizeof *t->part_of, err);
    if (!t->parts || !t->part_of)
        return LLMQ_E_MEMORY;
    memset(t->part_of, 0xff, linears * sizeof *t->part_of);
    for (int64_t i = 0; i < job->count; i++) {
        const struct tune_module *m = &job->modules[i];
        const enum llmq_status status = tune_part_create(m, t->arena, &t->parts[i], err);
        if (status != LLMQ_OK)
            return status;
        t->part_of[blocks_linear_number(t->student.blocks, m->at)] = i;
        largest = m->n * m->k > (int64_t)largest ? (size_t)(m->n * m->k) : largest;
    }
    for (int64_t i = job->count; i < t->part_count; i++) {
        const enum llmq_status status =
            tune_part_create_norm(&job->norms[i - job->count], t->arena, &t->parts[i], err);
        if (status != LLMQ_OK)
            return status;
    }
    t->w = arena_alloc(t->arena, largest, sizeof *t->w, err);
    t->dw = arena_alloc(t->arena, largest, sizeof *t->dw, err);
    return t->w && t->dw ? LLMQ_OK : LLMQ_E_MEMORY;
}

static enum llmq_status create(struct tuner *t, llmq_error *err) {
    const struct tune_job *job = t->job;
    const struct corpus *c = job->windows;
    const int64_t many = tune_step_windows(c->max_len);
    const struct eval_job original = eval_of(t, job->original, c);
    enum llmq_status status = LLMQ_OK;
    t->steps = (c->count - job->held + many - 1) / many;
    LLMQ_TRY(arena_create("tuning scales", &t->arena, err));
    LLMQ_TRY(create_parts(t, err));
    t->losses = arena_alloc(t->arena, (size_t)(many * c->max_len), sizeof *t->losses, err);
    t->last_slope =
        arena_alloc(t->arena, (size_t)t->student.config.hidden, sizeof *t->last_slope, err);
    if (!t->losses || !t->last_slope)
        LLMQ_TRY(LLMQ_E_MEMORY);
    log_progress(job->ctx, 0, t->steps, "tuning scales, the original's predictions");
    LLMQ_TRY(teacher_create(&original, &t->teacher, err));
cleanup:
    return status;
}

static void take_best(struct tuner *t) {
    for (int64_t i = 0; i < t->part_count; i++) {
        const struct tune_part *p = &t->parts[i];
        tune_part_return(&t->parts[i]);
        memcpy(p->norm ? p->norm->values : p->module->scales, p->now,
               (size_t)p->count * sizeof *p->now);
    }
}

enum llmq_status tune_scales(const struct tune_job *job, struct tune_result *out, llmq_error *err) {
    struct tuner t = {.job = job, .student = *job->quantized, .rate = job->rate};
    enum llmq_status status = LLMQ_OK;
    *out = (struct tune_result){0};
    if (job->ctx)
        t.quiet = (llmq_context){.interrupt = job->ctx->interrupt, .threads = job->ctx->threads};
    t.edit = (struct weight_edit){&t, apply, apply_norm};
    t.student.edit = &t.edit;
    t.loss = (struct loss){.kind = LOSS_TEACHER, .c = &t.teacher, .teacher = teacher_logprobs};
    LLMQ_TRY(create(&t, err));
    LLMQ_TRY(all_steps(&t, out, err));
    take_best(&t);
cleanup:
    teacher_free(&t.teacher);
    arena_free(&t.arena);
    return status;
}
