/* SPDX-License-Identifier: Apache-2.0 */
/* KL divergence of two models: see divergence.h. */
#include "eval/divergence.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "eval/head.h"
#include "eval/hidden.h"
#include "eval/outputs.h"

enum side { REFERENCE, MODEL, SIDES };

/* Running sums of one token's two distributions over the ids visited so far. */
struct token_sums {
    double high[SIDES]; /* largest logit */
    double sum[SIDES];  /* of exp(logit - high) */
    double cross;       /* of exp(a - high[REFERENCE]) (a - b), a and b the two logits */
    double back;        /* of exp(b - high[MODEL]) (b - a) */
    int64_t top[SIDES]; /* first id with the largest logit */
};

/* What eval_divergence holds while it runs. */
struct run {
    const struct acts *hidden[SIDES];
    struct head heads[SIDES];
    struct outputs outputs; /* of the model; none where blocks are not comparable */
    struct arena *arena;
    struct token_sums *sums; /* [tokens_used] */
};

/* --- from logits to divergence ---------------------------------------------------------------- */

/* Scale a side's sums to the largest logit once this row is part of them. */
static void raise_high(struct token_sums *s, enum side side, const struct head_tile *t,
                       const float *row) {
    double high = s->high[side];
    for (int64_t j = 0; j < t->columns; j++)
        if ((double)row[j] > high) {
            high = (double)row[j];
            s->top[side] = t->first + j;
        }
    double scale = exp(s->high[side] - high);
    s->sum[side] *= scale;
    *(side == REFERENCE ? &s->cross : &s->back) *= scale;
    s->high[side] = high;
}

/* rows[side] [columns]: the tile's logits of one token. */
static void fold_row(struct token_sums *s, const struct head_tile *t,
                     const float *const rows[SIDES]) {
    for (enum side side = REFERENCE; side < SIDES; side++)
        raise_high(s, side, t, rows[side]);
    for (int64_t j = 0; j < t->columns; j++) {
        double a = (double)rows[REFERENCE][j], b = (double)rows[MODEL][j];
        double weight = exp(a - s->high[REFERENCE]), other = exp(b - s->high[MODEL]);
        s->sum[REFERENCE] += weight;
        s->sum[MODEL] += other;
        s->cross += weight * (a - b);
        s->back += other * (b - a);
    }
}

static void fold_tile(struct run *r, const struct head_tile *t) {
    struct token_sums *sums = r->sums + t->begin;
    const float *reference = r->heads[REFERENCE].logits, *model = r->heads[MODEL].logits;
#pragma omp parallel for schedule(static) default(none) shared(sums, t, reference, model)
    for (int64_t i = 0; i < t->rows; i++) {
        const float *rows[SIDES] = {reference + i * t->columns, model + i * t->columns};
        if (t->first == 0)
            sums[i] = (struct token_sums){.high = {-HUGE_VAL, -HUGE_VAL}};
        fold_row(&sums[i], t, rows);
    }
}

/* Rounding leaves sums that cancel to a hair below 0 for equal distributions; a NaN stays one. */
static double not_below_zero(double kl) {
    return kl < 0 ? 0 : kl;
}

/* log sum exp of the model's logits - that of the reference's */
static double lse_difference(const struct token_sums *s) {
    return s->high[MODEL] + log(s->sum[MODEL]) - (s->high[REFERENCE] + log(s->sum[REFERENCE]));
}

static double kl_of(const struct token_sums *s) {
    return not_below_zero(s->cross / s->sum[REFERENCE] + lse_difference(s));
}

static double reverse_of(const struct token_sums *s) {
    return not_below_zero(s->back / s->sum[MODEL] - lse_difference(s));
}

static enum llmq_status finish(const struct run *r, const struct corpus *corpus,
                               struct divergence *d, llmq_error *err) {
    for (int64_t w = 0; w < corpus->count; w++)
        for (int64_t t = corpus->offsets[w]; t < corpus->offsets[w + 1]; t++) {
            bool counts = t + 1 < corpus->offsets[w + 1];
            d->kl[t] = counts ? kl_of(&r->sums[t]) : 0.0;
            d->reverse[t] = counts ? reverse_of(&r->sums[t]) : 0.0;
            d->agree[t] = counts && r->sums[t].top[MODEL] == r->sums[t].top[REFERENCE];
            if (isfinite(d->kl[t]))
                continue;
            (void)error_set(err, LLMQ_E_NUMERIC,
                            "window %" PRId64 ", token %" PRId64
                            ": divergence is not finite: weights are not, or activations overflow",
                            w, t - corpus->offsets[w]);
            error_hint(err, "llmq verify names the weights that are not finite");
            return LLMQ_E_NUMERIC;
        }
    return LLMQ_OK;
}

/* --- both models ------------------------------------------------------------------------------ */

static enum llmq_status allocate(int64_t tokens, struct run *r, struct divergence *d,
                                 llmq_error *err) {
    size_t n = (size_t)tokens;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(arena_create("a comparison's result", &d->arena, err));
    LLMQ_TRY(arena_create("a comparison", &r->arena, err));
    r->sums = arena_alloc(r->arena, n, sizeof *r->sums, err);
    d->kl = arena_alloc(d->arena, n, sizeof *d->kl, err);
    d->reverse = arena_alloc(d->arena, n, sizeof *d->reverse, err);
    d->agree = arena_alloc(d->arena, n, sizeof *d->agree, err);
    d->logprobs = arena_alloc(d->arena, n, sizeof *d->logprobs, err);
    d->reference_logprobs = arena_alloc(d->arena, n, sizeof *d->reference_logprobs, err);
    if (!r->sums || !d->kl || !d->reverse || !d->agree || !d->logprobs || !d->reference_logprobs)
        status = LLMQ_E_MEMORY;
cleanup:
    return status;
}

static int64_t reference_blocks(const struct eval_pair *pair) {
    return pair->reference ? pair->reference->config.blocks : 0;
}

static struct eval_job reference_job(const struct eval_pair *pair) {
    const int64_t models = pair->total ? 0 : pair->model->config.blocks + 1;
    return (struct eval_job){.m = pair->reference,
                             .corpus = pair->corpus,
                             .numbers = {.mode = LOAD_PACKED},
                             .ctx = pair->ctx,
                             .name = "reference: ",
                             .spill_dir = pair->spill_dir,
                             .divided = pair->divided,
                             .total = pair->total ? pair->total : reference_blocks(pair) + models};
}

struct eval_job eval_model_job(const struct eval_pair *pair, char name[EVAL_NAME_ROOM]) {
    struct eval_job job = reference_job(pair);
    snprintf(name, EVAL_NAME_ROOM, "%s: ", pair->name ? pair->name : "model");
    job.m = pair->model;
    job.numbers = pair->numbers;
    job.name = name;
    job.done = pair->total ? pair->done : reference_blocks(pair);
    return job;
}

enum llmq_status eval_divergence_room(const struct eval_pair *pair, struct eval_room rooms[SIDES],
                                      uint64_t *tables, llmq_error *err) {
    const struct divergence *d = NULL;
    char name[EVAL_NAME_ROOM];
    const struct eval_job jobs[SIDES] = {reference_job(pair), eval_model_job(pair, name)};
    enum llmq_status status = LLMQ_OK;
    *tables = outputs_bytes(pair->reference, pair->corpus->tokens_used) +
              (uint64_t)pair->corpus->tokens_used *
                  (sizeof(struct token_sums) + sizeof *d->kl + sizeof *d->reverse +
                   sizeof *d->agree + sizeof *d->logprobs + sizeof *d->reference_logprobs);
    for (enum side side = REFERENCE; side < SIDES && status == LLMQ_OK; side++)
        status = eval_room(&jobs[side], &rooms[side], err);
    return status;
}

enum llmq_status eval_reference_run(const struct eval_pair *pair, struct eval_reference *out,
                                    llmq_error *err) {
    struct eval_job job = reference_job(pair);
    enum llmq_status status = LLMQ_OK;
    *out = (struct eval_reference){0};
    LLMQ_TRY(arena_create("what the reference's blocks put out", &out->arena, err));
    LLMQ_TRY(
        outputs_create(job.m, pair->corpus->tokens_used, NULL, out->arena, &out->outputs, err));
    job.outputs = &out->outputs;
    LLMQ_TRY(eval_hidden(&job, &out->hidden, err));
cleanup:
    return status;
}

void eval_reference_free(struct eval_reference *r) {
    acts_free(&r->hidden);
    arena_free(&r->arena);
    *r = (struct eval_reference){0};
}

static enum llmq_status run_model(const struct eval_pair *pair,
                                  const struct eval_reference *reference, struct run *r,
                                  struct acts *hidden, llmq_error *err) {
    char name[EVAL_NAME_ROOM];
    struct eval_job job = eval_model_job(pair, name);
    enum llmq_status status = LLMQ_OK;
    if (outputs_comparable(pair->model, pair->reference)) {
        LLMQ_TRY(outputs_create(job.m, pair->corpus->tokens_used, &reference->outputs, r->arena,
                                &r->outputs, err));
        job.outputs = &r->outputs;
    }
    LLMQ_TRY(eval_hidden(&job, hidden, err));
    r->hidden[REFERENCE] = &reference->hidden;
    r->hidden[MODEL] = hidden;
cleanup:
    return status;
}

/* --- block by block --------------------------------------------------------------------------- */

static enum llmq_status list_blocks(const struct outputs *model, const struct outputs *reference,
                                    struct divergence *d, llmq_error *err) {
    if (!model->block)
        return LLMQ_OK;
    d->blocks = arena_alloc(d->arena, (size_t)model->blocks, sizeof *d->blocks, err);
    if (!d->blocks)
        return LLMQ_E_MEMORY;
    d->block_count = model->blocks;
    for (int64_t b = 0; b < model->blocks; b++)
        d->blocks[b] = (llmq_block_drift){.model = model->block[b],
                                          .reference = reference->block[b],
                                          .error = model->errors[b] / (double)model->sampled};
    return LLMQ_OK;
}

/* Add to an error about values that are not finite where the first of them are. */
static enum llmq_status first_not_finite(const struct eval_pair *pair, const struct divergence *d,
                                         llmq_error *err) {
    for (int64_t b = 0; b < d->block_count; b++)
        for (enum side side = REFERENCE; side < SIDES; side++) {
            const llmq_block_output *o =
                side == MODEL ? &d->blocks[b].model : &d->blocks[b].reference;
            const char *dir = side == MODEL ? pair->model->dir : pair->reference->dir;
            if (o->nan + o->infinite > 0)
                return error_prefix(err, LLMQ_E_NUMERIC,
                                    "%s: block %" PRId64 " is the first to put out NaN (%" PRId64
                                    " values) or infinity (%" PRId64 ")",
                                    dir, b, o->nan, o->infinite);
        }
    return LLMQ_E_NUMERIC;
}

static enum llmq_status run_heads(const struct eval_pair *pair, struct run *r, struct divergence *d,
                                  llmq_error *err) {
    const struct model *models[SIDES] = {[REFERENCE] = pair->reference, [MODEL] = pair->model};
    double *logprobs[SIDES] = {[REFERENCE] = d->reference_logprobs, [MODEL] = d->logprobs};
    enum llmq_status status = LLMQ_OK;
    for (enum side side = REFERENCE; side < SIDES; side++)
        LLMQ_TRY(head_create(models[side], pair->corpus, r->hidden[side], pair->divided,
                             &r->heads[side], err));
    for (struct head_tile tile = {0}; head_next(&r->heads[REFERENCE], &tile);) {
        LLMQ_TRY(interrupt_check(pair->ctx, err));
        for (enum side side = REFERENCE; side < SIDES; side++)
            LLMQ_TRY(head_visit(&r->heads[side], &tile, logprobs[side], err));
        fold_tile(r, &tile);
    }
    for (enum side side = REFERENCE; side < SIDES; side++) {
        status = head_finish(&r->heads[side], logprobs[side], pair->ctx, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "%s", models[side]->dir);
    }
    status = parts_gather(&r->heads[MODEL].parts, r->sums, sizeof *r->sums, pair->ctx, err);
cleanup:
    return status;
}

enum llmq_status eval_divergence_from(const struct eval_pair *pair,
                                      const struct eval_reference *reference,
                                      struct divergence *out, llmq_error *err) {
    char name[EVAL_NAME_ROOM];
    const struct eval_job job = eval_model_job(pair, name);
    const int64_t heads = job.done + pair->model->config.blocks;
    struct run r = {0};
    enum llmq_status status = LLMQ_OK;
    *out = (struct divergence){0};
    LLMQ_TRY(allocate(pair->corpus->tokens_used, &r, out, err));
    LLMQ_TRY(run_model(pair, reference, &r, &out->hidden, err));
    LLMQ_TRY(list_blocks(&r.outputs, &reference->outputs, out, err));
    log_progress(pair->ctx, heads, job.total, "output heads");
    LLMQ_TRY(run_heads(pair, &r, out, err));
    LLMQ_TRY(finish(&r, pair->corpus, out, err));
    if (heads + 1 == job.total)
        log_progress(pair->ctx, job.total, job.total, "done");
cleanup:
    if (status == LLMQ_E_NUMERIC)
        status = first_not_finite(pair, out, err);
    for (enum side side = REFERENCE; side < SIDES; side++)
        head_free(&r.heads[side]);
    arena_free(&r.arena);
    return status;
}

enum llmq_status eval_divergence(const struct eval_pair *pair, struct divergence *out,
                                 llmq_error *err) {
    struct eval_reference reference = {0};
    *out = (struct divergence){0};
    enum llmq_status status = eval_reference_run(pair, &reference, err);
    if (status == LLMQ_OK)
        status = eval_divergence_from(pair, &reference, out, err);
    eval_reference_free(&reference);
    return status;
}

enum llmq_status eval_divergence_of(const struct eval_pair *pair,
                                    const struct acts *const hidden[SIDES], struct divergence *out,
                                    llmq_error *err) {
    struct run r = {.hidden = {hidden[REFERENCE], hidden[MODEL]}};
    enum llmq_status status = LLMQ_OK;
    *out = (struct divergence){0};
    LLMQ_TRY(allocate(pair->corpus->tokens_used, &r, out, err));
    LLMQ_TRY(run_heads(pair, &r, out, err));
    LLMQ_TRY(finish(&r, pair->corpus, out, err));
cleanup:
    for (enum side side = REFERENCE; side < SIDES; side++)
        head_free(&r.heads[side]);
    arena_free(&r.arena);
    return status;
}

void divergence_free(struct divergence *d) {
    acts_free(&d->hidden);
    arena_free(&d->arena);
    *d = (struct divergence){0};
}
