/* SPDX-License-Identifier: Apache-2.0 */
/* See tune_windows.h. */
#include "pipeline/tune_windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/int64.h"
#include "pipeline/calibration.h"
#include "pipeline/run.h"
#include "pipeline/run_tune.h"

/* A part of the windows that there are is held back, TUNE_HELD at most. */
enum { HELD_PART = 8 };

/* Windows of two corpora, in the order in which they are taken. */
struct pool {
    const struct corpus **of;
    int64_t *window;
    int64_t count, fresh;
};

static uint64_t window_hash(const struct corpus *c, int64_t window) {
    const int64_t begin = c->offsets[window], count = c->offsets[window + 1] - begin;
    return hash_array(HASH_INIT, c->ids + begin, (size_t)count * sizeof *c->ids);
}

static int by_value(const void *left, const void *right) {
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* A permutation of windows [first, count) that depends on the seed alone (splitmix64). */
static void shuffle(struct pool *p, int64_t first, uint64_t seed) {
    for (int64_t i = p->count - 1; i > first; i--) {
        uint64_t x = seed + (uint64_t)(i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        const int64_t other = first + (int64_t)((x ^ x >> 31) % (uint64_t)(i - first + 1));
        const int64_t window = p->window[i];
        p->window[i] = p->window[other];
        p->window[other] = window;
    }
}

static void add(struct pool *p, const struct corpus *of, int64_t window) {
    p->of[p->count] = of;
    p->window[p->count++] = window;
}

/* Those of `more` that the calibration has not seen, then the calibration's; what is held back of
 * it is learnt from no more than it was fitted to. */
static void fill(struct pool *p, const struct run *run, const struct corpus *more,
                 uint64_t *hashes) {
    const struct corpus *seen = &run->corpus;
    for (int64_t i = 0; i < seen->count; i++)
        hashes[i] = window_hash(seen, i);
    qsort(hashes, (size_t)seen->count, sizeof *hashes, by_value);
    for (int64_t i = 0; i < more->count - more->held; i++) {
        const uint64_t hash = window_hash(more, i);
        if (!bsearch(&hash, hashes, (size_t)seen->count, sizeof *hashes, by_value))
            add(p, more, i);
    }
    p->fresh = p->count;
    shuffle(p, 0, run->options->seed);
    for (int64_t i = 0; i < seen->count - seen->held; i++)
        add(p, seen, i);
    shuffle(p, p->fresh, run->options->seed);
}

static enum llmq_status copy(const struct pool *p, int64_t count, struct corpus *out,
                             llmq_error *err) {
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; i++)
        tokens += p->of[i]->offsets[p->window[i] + 1] - p->of[i]->offsets[p->window[i]];
    out->ids = malloc((size_t)tokens * sizeof *out->ids);
    out->offsets = calloc((size_t)count + 1, sizeof *out->offsets);
    if (!out->ids || !out->offsets)
        return error_memory(err, "windows to tune on");
    for (; out->count < count; out->count++) {
        const struct corpus *from = p->of[out->count];
        const int64_t begin = from->offsets[p->window[out->count]];
        const int64_t length = from->offsets[p->window[out->count] + 1] - begin;
        memcpy(out->ids + out->tokens_used, from->ids + begin, (size_t)length * sizeof *out->ids);
        out->tokens_used += length;
        out->offsets[out->count + 1] = out->tokens_used;
        out->max_len = max_i64(out->max_len, length);
    }
    return LLMQ_OK;
}

static enum llmq_status choose(const struct pool *p, int64_t wanted, struct tune_windows *out,
                               llmq_error *err) {
    out->held = max_i64(1, min_i64(TUNE_HELD, p->count / HELD_PART));
    const int64_t count = min_i64(p->count, out->held + wanted);
    out->fresh = min_i64(count, p->fresh);
    if (p->count < 2) {
        error_set(err, LLMQ_E_USAGE,
                  "--tune: one window to learn from and one to judge by are the "
                  "least, and there is one");
        error_hint(err, "give more text with --calib, or --tune off");
        return LLMQ_E_USAGE;
    }
    return copy(p, count, &out->corpus, err);
}

enum llmq_status tune_windows_load(const struct run *run, struct tune_windows *out,
                                   llmq_error *err) {
    const int64_t wanted = plan_tune_windows(run->options, run->corpus.max_len);
    const int64_t seen = run->corpus.count;
    const llmq_context mute = {.interrupt = run->ctx ? run->ctx->interrupt : NULL,
                               .threads = run->ctx ? run->ctx->threads : 0};
    struct run quiet = *run; /* what became of the texts was told */
    struct corpus more = {0};
    struct pool pool = {0};
    uint64_t *hashes = NULL;
    enum llmq_status status = LLMQ_OK;
    *out = (struct tune_windows){0};
    quiet.ctx = &mute;
    LLMQ_TRY(calibration_read(&quiet, seen - run->corpus.held + wanted + TUNE_HELD, &more, err));
    pool.of = calloc((size_t)(more.count + seen), sizeof *pool.of);
    pool.window = calloc((size_t)(more.count + seen), sizeof *pool.window);
    hashes = calloc((size_t)seen, sizeof *hashes);
    if (!pool.of || !pool.window || !hashes)
        LLMQ_TRY(error_memory(err, "windows to tune on"));
    fill(&pool, run, &more, hashes);
    LLMQ_TRY(choose(&pool, wanted, out, err));
cleanup:
    free(pool.of);
    free(pool.window);
    free(hashes);
    corpus_free(&more);
    if (status != LLMQ_OK)
        corpus_free(&out->corpus);
    return status;
}
