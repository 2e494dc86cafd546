/* KL divergence of two models and its summary: see divergence.h. */
#include "eval/divergence.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

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
    int64_t top[SIDES]; /* first id with the largest logit */
};

/* What eval_divergence holds while it runs. */
struct run {
    struct acts made[SIDES];          /* by running both models, or */
    const struct acts *hidden[SIDES]; /* the caller's */
    struct head heads[SIDES];
    struct outputs outputs[SIDES];
    bool comparable; /* block by block */
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
    if (side == REFERENCE)
        s->cross *= scale;
    s->high[side] = high;
}

/* rows[side] [columns]: the tile's logits of one token. */
static void fold_row(struct token_sums *s, const struct head_tile *t,
                     const float *const rows[SIDES]) {
    for (enum side side = REFERENCE; side < SIDES; side++)
        raise_high(s, side, t, rows[side]);
    for (int64_t j = 0; j < t->columns; j++) {
        double a = (double)rows[REFERENCE][j], b = (double)rows[MODEL][j];
        double weight = exp(a - s->high[REFERENCE]);
        s->sum[REFERENCE] += weight;
        s->sum[MODEL] += exp(b - s->high[MODEL]);
        s->cross += weight * (a - b);
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
static double kl_of(const struct token_sums *s) {
    double reference_lse = s->high[REFERENCE] + log(s->sum[REFERENCE]);
    double model_lse = s->high[MODEL] + log(s->sum[MODEL]);
    double kl = s->cross / s->sum[REFERENCE] + (model_lse - reference_lse);
    return kl < 0 ? 0 : kl;
}

static enum llmq_status finish(const struct run *r, const struct corpus *corpus,
                               struct divergence *d, llmq_error *err) {
    for (int64_t w = 0; w < corpus->count; w++)
        for (int64_t t = corpus->offsets[w]; t < corpus->offsets[w + 1]; t++) {
            bool counts = t + 1 < corpus->offsets[w + 1];
            d->kl[t] = counts ? kl_of(&r->sums[t]) : 0.0;
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
    d->agree = arena_alloc(d->arena, n, sizeof *d->agree, err);
    d->logprobs = arena_alloc(d->arena, n, sizeof *d->logprobs, err);
    d->reference_logprobs = arena_alloc(d->arena, n, sizeof *d->reference_logprobs, err);
    if (!r->sums || !d->kl || !d->agree || !d->logprobs || !d->reference_logprobs)
        status = LLMQ_E_MEMORY;
cleanup:
    return status;
}

static void list_jobs(const struct eval_pair *pair, struct eval_job jobs[SIDES]) {
    const int64_t before = pair->reference->config.blocks;
    const struct eval_job shared = {.corpus = pair->corpus,
                                    .ctx = pair->ctx,
                                    .spill_dir = pair->spill_dir,
                                    .total = before + pair->model->config.blocks + 1};
    jobs[REFERENCE] = jobs[MODEL] = shared;
    jobs[REFERENCE].m = pair->reference;
    jobs[REFERENCE].numbers = (struct eval_numbers){.mode = LOAD_PACKED};
    jobs[REFERENCE].name = "reference: ";
    jobs[MODEL].m = pair->model;
    jobs[MODEL].numbers = pair->numbers;
    jobs[MODEL].name = "model: ";
    jobs[MODEL].done = before;
}

enum llmq_status eval_divergence_room(const struct eval_pair *pair, struct eval_room rooms[SIDES],
                                      uint64_t *tables, llmq_error *err) {
    const struct divergence *d = NULL;
    struct eval_job jobs[SIDES];
    enum llmq_status status = LLMQ_OK;
    list_jobs(pair, jobs);
    *tables = (uint64_t)pair->corpus->tokens_used *
              (sizeof(struct token_sums) + sizeof *d->kl + sizeof *d->agree + sizeof *d->logprobs +
               sizeof *d->reference_logprobs);
    if (outputs_comparable(pair->model, pair->reference))
        *tables += outputs_bytes(pair->reference, pair->corpus->tokens_used);
    for (enum side side = REFERENCE; side < SIDES && status == LLMQ_OK; side++)
        status = eval_room(&jobs[side], &rooms[side], err);
    return status;
}

static enum llmq_status run_models(const struct eval_pair *pair, struct run *r, llmq_error *err) {
    struct eval_job jobs[SIDES];
    enum llmq_status status = LLMQ_OK;
    list_jobs(pair, jobs);
    r->comparable = outputs_comparable(pair->model, pair->reference);
    for (enum side side = REFERENCE; side < SIDES; side++) {
        const struct outputs *against = side == MODEL ? &r->outputs[REFERENCE] : NULL;
        if (r->comparable) {
            LLMQ_TRY(outputs_create(jobs[side].m, pair->corpus->tokens_used, against, r->arena,
                                    &r->outputs[side], err));
            jobs[side].outputs = &r->outputs[side];
        }
        LLMQ_TRY(eval_hidden(&jobs[side], &r->made[side], err));
        r->hidden[side] = &r->made[side];
    }
cleanup:
    return status;
}

/* --- block by block --------------------------------------------------------------------------- */

static enum llmq_status list_blocks(const struct run *r, struct divergence *d, llmq_error *err) {
    const struct outputs *model = &r->outputs[MODEL], *reference = &r->outputs[REFERENCE];
    if (!r->comparable)
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
        LLMQ_TRY(head_create(models[side], pair->corpus, r->hidden[side], &r->heads[side], err));
    for (struct head_tile tile = {0}; head_next(&r->heads[REFERENCE], &tile);) {
        LLMQ_TRY(interrupt_check(pair->ctx, err));
        for (enum side side = REFERENCE; side < SIDES; side++)
            LLMQ_TRY(head_visit(&r->heads[side], &tile, logprobs[side], err));
        fold_tile(r, &tile);
    }
    for (enum side side = REFERENCE; side < SIDES; side++) {
        status = head_finish(&r->heads[side], logprobs[side], err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "%s", models[side]->dir);
    }
cleanup:
    return status;
}

enum llmq_status eval_divergence(const struct eval_pair *pair, struct divergence *out,
                                 llmq_error *err) {
    int64_t steps = pair->reference->config.blocks + pair->model->config.blocks + 1;
    struct run r = {0};
    enum llmq_status status = LLMQ_OK;
    *out = (struct divergence){0};
    LLMQ_TRY(allocate(pair->corpus->tokens_used, &r, out, err));
    LLMQ_TRY(run_models(pair, &r, err));
    LLMQ_TRY(list_blocks(&r, out, err));
    log_progress(pair->ctx, steps - 1, steps, "output heads");
    LLMQ_TRY(run_heads(pair, &r, out, err));
    LLMQ_TRY(finish(&r, pair->corpus, out, err));
    log_progress(pair->ctx, steps, steps, "done");
cleanup:
    if (status == LLMQ_E_NUMERIC)
        status = first_not_finite(pair, out, err);
    for (enum side side = REFERENCE; side < SIDES; side++) {
        head_free(&r.heads[side]);
        acts_free(&r.made[side]);
    }
    arena_free(&r.arena);
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
    arena_free(&d->arena);
    *d = (struct divergence){0};
}

/* --- summary ---------------------------------------------------------------------------------- */

/* Smallest divergence first; of equal ones the later token first, so that reading from the end
 * gives the worst in order of appearance. */
static int by_kl(const void *left, const void *right) {
    const llmq_divergent_token *a = left, *b = right;
    if (a->kl != b->kl)
        return a->kl < b->kl ? -1 : 1;
    if (a->window != b->window)
        return a->window > b->window ? -1 : 1;
    return (a->position < b->position) - (a->position > b->position);
}

/* Of tokens [count] in order of size. Linear interpolation, as numpy.quantile does by default. */
static double quantile(const llmq_divergent_token *tokens, int64_t count, double q) {
    double at = q * (double)(count - 1);
    int64_t below = (int64_t)at;
    double low = tokens[below].kl;
    double high = tokens[below + 1 < count ? below + 1 : below].kl;
    return low + (at - (double)below) * (high - low);
}

/* The tokens that count, and how many of them agree. */
static int64_t list_scored(const struct corpus *corpus, const struct divergence *d,
                           enum eval_convention convention, llmq_divergent_token *out) {
    int64_t count = 0, agree = 0;
    for (int64_t w = 0; w < corpus->count; w++) {
        int64_t begin = corpus->offsets[w], length = corpus->offsets[w + 1] - begin;
        for (int64_t t = eval_first_scored(length, convention); t < length - 1; t++) {
            out[count++] = (llmq_divergent_token){.window = w,
                                                  .position = t + 1,
                                                  .token = corpus->ids[begin + t + 1],
                                                  .kl = d->kl[begin + t]};
            agree += d->agree[begin + t];
        }
    }
    return agree;
}

static void fill_means(const struct corpus *corpus, const struct divergence *d,
                       enum eval_convention convention, double *scratch,
                       struct divergence_summary *out) {
    out->model = eval_mean_nll(corpus, d->logprobs, convention);
    out->reference = eval_mean_nll(corpus, d->reference_logprobs, convention);
    for (int64_t t = 0; t < corpus->tokens_used; t++)
        scratch[t] = d->logprobs[t] - d->reference_logprobs[t];
    out->delta = eval_mean_nll(corpus, scratch, convention);
    for (int64_t t = 0; t < corpus->tokens_used; t++)
        scratch[t] = -d->kl[t];
    out->kl = eval_mean_nll(corpus, scratch, convention);
}

enum llmq_status divergence_summarize(const struct corpus *corpus, const struct divergence *d,
                                      enum eval_convention convention,
                                      struct divergence_summary *out, llmq_error *err) {
    size_t used = (size_t)corpus->tokens_used;
    struct arena *arena = NULL;
    enum llmq_status status = LLMQ_OK;
    *out = (struct divergence_summary){0};
    LLMQ_TRY(arena_create("a comparison's summary", &arena, err));
    double *scratch = arena_alloc(arena, used, sizeof *scratch, err);
    llmq_divergent_token *tokens = arena_alloc(arena, used, sizeof *tokens, err);
    if (!scratch || !tokens) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    fill_means(corpus, d, convention, scratch, out);
    int64_t count = out->kl.tokens;
    if (count == 0) {
        status = error_set(err, LLMQ_E_USAGE, "no token counts: the windows are too short");
        goto cleanup;
    }
    out->top1_agreement = (double)list_scored(corpus, d, convention, tokens) / (double)count;
    qsort(tokens, (size_t)count, sizeof *tokens, by_kl);
    out->kl_median = quantile(tokens, count, 0.5);
    out->kl_p99 = quantile(tokens, count, 0.99);
    while (out->worst_count < LLMQ_COMPARE_WORST && (int64_t)out->worst_count < count) {
        out->worst[out->worst_count] = tokens[count - 1 - (int64_t)out->worst_count];
        out->worst_count++;
    }
cleanup:
    arena_free(&arena);
    return status;
}
