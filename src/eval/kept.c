/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing with a kept reference: see kept.h. */
#include "eval/kept.h"

#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/log.h"
#include "eval/head.h"
#include "eval/kept_entries.h"

/* --- what a file may hold ----------------------------------------------------------------------
 */

/* The token's entries: ids ascend and are of the vocabulary. */
static bool sound_entries(const struct kept_reference *k, struct kept_cursor *c, bool last) {
    bool sound = kept_begin(c->at, c->end, c) && (!last || c->id == INT64_MAX);
    while (sound && c->id != INT64_MAX)
        sound = c->id < k->vocab && kept_next(c);
    return sound;
}

static bool sound_values(const struct kept_reference *k, int64_t t) {
    return k->tops[t] >= 0 && k->tops[t] < k->vocab && k->logprobs[t] <= 0 &&
           isfinite(k->logprobs[t]) && k->tails[t] >= 0 && k->tails[t] <= 1;
}

enum llmq_status kept_check(struct kept_reference *k, uint64_t byte_count,
                            const struct corpus *corpus, llmq_error *err) {
    struct kept_cursor c = {.at = k->bytes, .end = k->bytes + byte_count};
    k->begins = arena_alloc(k->arena, (size_t)k->tokens + 1, sizeof *k->begins, err);
    if (!k->begins)
        return LLMQ_E_MEMORY;
    for (int64_t w = 0; w < corpus->count; w++)
        for (int64_t t = corpus->offsets[w]; t < corpus->offsets[w + 1]; t++) {
            k->begins[t] = (uint64_t)(c.at - k->bytes);
            if (!sound_values(k, t))
                return error_set(err, LLMQ_E_INPUT,
                                 "token %" PRId64 ": its figures are those of no prediction", t);
            if (!sound_entries(k, &c, t + 1 == corpus->offsets[w + 1]))
                return error_set(err, LLMQ_E_INPUT, "token %" PRId64 ": its entries are damaged",
                                 t);
        }
    k->begins[k->tokens] = (uint64_t)(c.at - k->bytes);
    if (c.at != c.end)
        return error_set(err, LLMQ_E_INPUT, "%td bytes follow the last token's entries",
                         c.end - c.at);
    return LLMQ_OK;
}

void kept_candidates(const struct kept_reference *k, int64_t token, struct candidates *out) {
    struct kept_cursor c;
    bool more = kept_begin(k->bytes + k->begins[token], k->bytes + k->begins[token + 1], &c);
    *out = (struct candidates){0};
    for (; more && c.id != INT64_MAX; more = kept_next(&c))
        if (kept_certain(c.code))
            candidates_offer(out, (int32_t)c.id, exp(-kept_value(c.code)));
}

/* --- one token -------------------------------------------------------------------------------- */

/* Running sums of one token over the ids visited so far; b is the model's logit. */
struct sums {
    double high, sum;        /* as of eval_divergence, of the model */
    double certain;          /* of exp(b - high) over the certain ids */
    double mass, own, cross; /* over them: of p, p log p and p b */
    double drawn, squares;   /* over the drawn ids: of log p - b and its square */
    int64_t count, top;      /* of these; the model's first id with the largest logit */
    struct kept_cursor at;
};

static void raise_high(struct sums *s, const struct head_tile *t, const float *row) {
    double high = s->high;
    for (int64_t j = 0; j < t->columns; j++)
        if ((double)row[j] > high) {
            high = (double)row[j];
            s->top = t->first + j;
        }
    const double scale = exp(s->high - high);
    s->sum *= scale;
    s->certain *= scale;
    s->high = high;
}

static void take_entry(struct sums *s, double b) {
    const double log_p = -kept_value(s->at.code);
    if (kept_certain(s->at.code)) {
        const double p = exp(log_p);
        s->certain += exp(b - s->high);
        s->mass += p;
        s->own += p * log_p;
        s->cross += p * b;
    } else {
        s->drawn += log_p - b;
        s->squares += (log_p - b) * (log_p - b);
        s->count++;
    }
}

static void fold_row(struct sums *s, const struct head_tile *t, const float *row) {
    raise_high(s, t, row);
    for (int64_t j = 0; j < t->columns; j++)
        s->sum += exp((double)row[j] - s->high);
    while (s->at.id < t->first + t->columns) {
        take_entry(s, (double)row[s->at.id - t->first]);
        if (!kept_next(&s->at)) /* kept_check has seen that this does not happen */
            s->at.id = INT64_MAX;
    }
}

static double kl_of(const struct sums *s, double tail) {
    const double lse = s->high + log(s->sum), count = (double)s->count;
    const double certain = s->own - s->cross + lse * s->mass;
    if (!(tail > 0))
        return certain;
    const double other = fmax(1 - s->certain / s->sum, 1e-300), ratio = log(tail / other);
    return certain + tail * ratio + (s->drawn + count * (lse - ratio)) / KEPT_DENSITY;
}

/* Of that, by the spread of what was drawn. */
static double variance_of(const struct sums *s) {
    if (s->count < 2)
        return 0;
    const double spread = s->squares - s->drawn * s->drawn / (double)s->count;
    return fmax(spread, 0) / ((double)KEPT_DENSITY * KEPT_DENSITY);
}

/* --- all -------------------------------------------------------------------------------------- */

static struct sums *create_sums(const struct kept_reference *k, struct arena *arena,
                                llmq_error *err) {
    struct sums *sums = arena_zalloc(arena, (size_t)k->tokens, sizeof *sums, err);
    for (int64_t t = 0; sums && t < k->tokens; t++) {
        sums[t].high = -HUGE_VAL;
        (void)kept_begin(k->bytes + k->begins[t], k->bytes + k->begins[t + 1], &sums[t].at);
    }
    return sums;
}

static enum llmq_status run_head(const struct eval_pair *pair, const struct acts *hidden,
                                 struct sums *sums, double *logprobs, llmq_error *err) {
    struct head head = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(head_create(pair->model, pair->corpus, hidden, pair->divided, &head, err));
    for (struct head_tile tile = {0}; head_next(&head, &tile);) {
        LLMQ_TRY(interrupt_check(pair->ctx, err));
        LLMQ_TRY(head_visit(&head, &tile, logprobs, err));
        const float *logits = head.logits;
#pragma omp parallel for schedule(static) default(none) shared(sums, tile, logits)
        for (int64_t i = 0; i < tile.rows; i++)
            fold_row(&sums[tile.begin + i], &tile, logits + i * tile.columns);
    }
    status = head_finish(&head, logprobs, pair->ctx, err);
    if (status != LLMQ_OK)
        status = error_prefix(err, status, "%s", pair->model->dir);
    else /* with the cursors of others, which have come to their ends */
        status = parts_gather(&head.parts, sums, sizeof *sums, pair->ctx, err);
cleanup:
    head_free(&head);
    return status;
}

static void finish(const struct sums *sums, const struct kept_reference *k,
                   const struct corpus *corpus, struct divergence *d) {
    for (int64_t w = 0; w < corpus->count; w++)
        for (int64_t t = corpus->offsets[w]; t < corpus->offsets[w + 1]; t++) {
            const bool counts = t + 1 < corpus->offsets[w + 1];
            d->kl[t] = counts ? kl_of(&sums[t], (double)k->tails[t]) : 0.0;
            d->agree[t] = counts && sums[t].top == k->tops[t];
            d->reference_logprobs[t] = counts ? (double)k->logprobs[t] : 0.0;
            d->sampling_variance += counts ? variance_of(&sums[t]) : 0.0;
        }
}

enum llmq_status eval_divergence_kept(const struct eval_pair *pair, const struct kept_reference *k,
                                      struct divergence *out, llmq_error *err) {
    char name[EVAL_NAME_ROOM];
    const struct eval_job job = eval_model_job(pair, name);
    const size_t n = (size_t)k->tokens;
    struct arena *arena = NULL;
    enum llmq_status status = LLMQ_OK;
    *out = (struct divergence){0};
    LLMQ_TRY(arena_create("a comparison's result", &out->arena, err));
    LLMQ_TRY(arena_create("a comparison", &arena, err));
    struct sums *sums = create_sums(k, arena, err);
    out->kl = arena_alloc(out->arena, n, sizeof *out->kl, err);
    out->agree = arena_alloc(out->arena, n, sizeof *out->agree, err);
    out->logprobs = arena_alloc(out->arena, n, sizeof *out->logprobs, err);
    out->reference_logprobs = arena_alloc(out->arena, n, sizeof *out->reference_logprobs, err);
    if (!sums || !out->kl || !out->agree || !out->logprobs || !out->reference_logprobs) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    LLMQ_TRY(eval_hidden(&job, &out->hidden, err));
    log_progress(pair->ctx, job.done + pair->model->config.blocks, job.total, "output head");
    LLMQ_TRY(run_head(pair, &out->hidden, sums, out->logprobs, err));
    finish(sums, k, pair->corpus, out);
cleanup:
    arena_free(&arena);
    return status;
}

enum llmq_status eval_divergence_kept_room(const struct eval_pair *pair, struct eval_room *room,
                                           uint64_t *tables, llmq_error *err) {
    const struct divergence *d = NULL;
    char name[EVAL_NAME_ROOM];
    const struct eval_job job = eval_model_job(pair, name);
    *tables = (uint64_t)pair->corpus->tokens_used *
              (sizeof(struct sums) + sizeof *d->kl + sizeof *d->agree + sizeof *d->logprobs +
               sizeof *d->reference_logprobs);
    return eval_room(&job, room, err);
}
