/* SPDX-License-Identifier: Apache-2.0 */
/* See tune_held.h. */
#include "tune/tune_held.h"

#include <math.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/int64.h"

/* Tokens at a time: the head is loaded once for them. */
enum { ROWS = 4096 };

struct held {
    const struct eval_job *job;
    struct acts hidden;
    struct loss_head head;
    struct arena *arena;
    float *x;
    int32_t *label;
    double *loss;
};

uint64_t tune_held_bytes(const struct model *m) {
    return loss_bytes(m, ROWS) +
           ROWS * ((uint64_t)m->config.hidden * sizeof(float) + sizeof(int32_t) + sizeof(double));
}

static enum llmq_status create(struct held *h, const struct loss *loss, llmq_error *err) {
    const struct model *m = h->job->m;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(arena_create("windows held back", &h->arena, err));
    h->x = arena_alloc(h->arena, ROWS * (size_t)m->config.hidden, sizeof *h->x, err);
    h->label = arena_alloc(h->arena, ROWS, sizeof *h->label, err);
    h->loss = arena_alloc(h->arena, ROWS, sizeof *h->loss, err);
    if (!h->x || !h->label || !h->loss)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(loss_create(m, loss, ROWS, &h->head, err));
cleanup:
    return status;
}

/* The token that follows each of some, within its window; *window is that of the first. */
static void find_labels(const struct held *h, int64_t begin, int64_t rows, int64_t *window) {
    const struct corpus *c = h->job->corpus;
    for (int64_t t = begin; t < begin + rows; t++) {
        while (t >= c->offsets[*window + 1])
            ++*window;
        h->label[t - begin] = t + 1 < c->offsets[*window + 1] ? c->ids[t + 1] : -1;
    }
}

static enum llmq_status sum_losses(struct held *h, double *sum, llmq_error *err) {
    int64_t window = 0;
    enum llmq_status status = LLMQ_OK;
    for (int64_t at = 0; at < h->hidden.rows; at += ROWS) {
        struct loss_rows r = {.begin = at,
                              .rows = min_i64(ROWS, h->hidden.rows - at),
                              .label = h->label,
                              .loss = h->loss};
        float *x = NULL;
        LLMQ_TRY(acts_load(&h->hidden, at, r.rows, h->x, &x, err));
        r.x = x;
        find_labels(h, at, r.rows, &window);
        LLMQ_TRY(loss_back(&h->head, &r, err));
        for (int64_t i = 0; i < r.rows; i++)
            *sum += h->loss[i];
    }
cleanup:
    return status;
}

enum llmq_status tune_held_loss(const struct eval_job *job, const struct loss *loss, double *out,
                                llmq_error *err) {
    struct held h = {.job = job, .hidden = {.file = {.fd = -1}}};
    enum llmq_status status = LLMQ_OK;
    double sum = 0;
    LLMQ_TRY(eval_hidden(job, &h.hidden, err));
    LLMQ_TRY(create(&h, loss, err));
    LLMQ_TRY(sum_losses(&h, &sum, err));
    *out = sum / (double)(job->corpus->tokens_used - job->corpus->count);
    if (!isfinite(*out))
        status = error_set(err, LLMQ_E_NUMERIC, "the divergence from the original is not finite");
cleanup:
    acts_free(&h.hidden);
    loss_free(&h.head);
    arena_free(&h.arena);
    return status;
}
