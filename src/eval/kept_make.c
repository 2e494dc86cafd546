/* SPDX-License-Identifier: Apache-2.0 */
/* Sampling a reference's predictions: see kept.h. The head runs twice: for the logarithms of sums
 * first, then, some tokens at a time, to choose what is kept. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "eval/head.h"
#include "eval/kept_entries.h"
#include "graph/head_panel.h"

/* Rows of the head and of activations in memory at a time, and tokens between two passes over it.
 */
#define HEAD_ROWS  8192
#define LOGIT_ROWS 256
#define GROUP      1024

/* Those of one token: the certain ones are KEPT_DENSITY at most, and so are masses of that size
 * together; rounding may add a few. */
#define ENTRIES_MOST (KEPT_DENSITY + 16)

/* What is chosen of one token's distribution, over the ids visited so far. */
struct choice {
    double lse, high, tail; /* of all its ids, and the mass of those that are not certain */
    int64_t count, top;
    struct kept_entry *entries; /* [ENTRIES_MOST] */
};

struct make {
    const struct model *m;
    const struct corpus *corpus;
    const struct acts *hidden;
    const llmq_context *ctx;
    struct head_panel panel;
    double *lse;            /* [tokens_used] */
    float *rows;            /* [LOGIT_ROWS, hidden] where `hidden` is in a file */
    float *logits;          /* [LOGIT_ROWS, columns] */
    struct choice *choices; /* [GROUP] */
    struct arena *arena;
    struct kept_reference *out;
};

/* --- choosing --------------------------------------------------------------------------------- */

/* Where a token's systematic sample starts, in [0, 1): scrambled (splitmix64) from its place. */
static double start_of(int64_t token) {
    uint64_t x = ((uint64_t)token + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static void keep(struct choice *c, int64_t id, uint16_t code) {
    if (c->count < ENTRIES_MOST)
        c->entries[c->count++] = (struct kept_entry){(int32_t)id, code};
}

/* One is drawn wherever the mass gone by, in units of what one stands for, passes a whole number.
 */
static void choose_row(struct choice *c, int64_t token, int64_t first, int64_t columns,
                       const float *logits) {
    const double start = start_of(token);
    for (int64_t j = 0; j < columns; j++) {
        const double x = c->lse - (double)logits[j];
        const uint16_t code = kept_code(x);
        if ((double)logits[j] > c->high) {
            c->high = (double)logits[j];
            c->top = first + j;
        }
        if (kept_certain(code)) {
            keep(c, first + j, code);
            continue;
        }
        const double before = KEPT_DENSITY * c->tail + start;
        c->tail += exp(-x);
        if (floor(KEPT_DENSITY * c->tail + start) > floor(before))
            keep(c, first + j, code);
    }
}

static enum llmq_status choose_tile(struct make *k, int64_t group, int64_t begin, int64_t rows,
                                    llmq_error *err) {
    const int64_t first = k->panel.first, columns = k->panel.columns;
    struct choice *choices = k->choices + (begin - group);
    float *x = NULL, *logits = k->logits;
    enum llmq_status status = acts_load(k->hidden, begin, rows, k->rows, &x, err);
    if (status != LLMQ_OK)
        return status;
    head_panel_logits(&k->panel, rows, x, logits);
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(choices, logits, begin, rows, first, columns)
    for (int64_t i = 0; i < rows; i++)
        choose_row(&choices[i], begin + i, first, columns, logits + i * columns);
    return LLMQ_OK;
}

static enum llmq_status choose_group(struct make *k, int64_t group, int64_t rows, llmq_error *err) {
    const int64_t vocab = k->m->config.vocab;
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < rows; i++) {
        struct kept_entry *entries = k->choices[i].entries;
        k->choices[i] =
            (struct choice){.lse = k->lse[group + i], .high = -HUGE_VAL, .entries = entries};
    }
    for (int64_t first = 0; first < vocab; first += HEAD_ROWS) {
        LLMQ_TRY(interrupt_check(k->ctx, err));
        LLMQ_TRY(head_panel_load(&k->panel, first, min_i64(vocab - first, HEAD_ROWS), err));
        for (int64_t at = 0; at < rows; at += LOGIT_ROWS)
            LLMQ_TRY(choose_tile(k, group, group + at, min_i64(rows - at, LOGIT_ROWS), err));
    }
cleanup:
    return status;
}

/* --- all tokens ------------------------------------------------------------------------------- */

static enum llmq_status allocate(struct make *k, llmq_error *err) {
    const size_t tokens = (size_t)k->corpus->tokens_used, width = (size_t)k->m->config.hidden;
    const int64_t columns = min_i64(k->m->config.vocab, HEAD_ROWS);
    struct kept_reference *out = k->out;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(arena_create("a kept reference", &out->arena, err));
    LLMQ_TRY(arena_create("keeping a reference", &k->arena, err));
    LLMQ_TRY(head_panel_create(k->m, columns, k->arena, &k->panel, err));
    out->tops = arena_zalloc(out->arena, tokens, sizeof *out->tops, err);
    out->logprobs = arena_zalloc(out->arena, tokens, sizeof *out->logprobs, err);
    out->tails = arena_zalloc(out->arena, tokens, sizeof *out->tails, err);
    out->begins = arena_zalloc(out->arena, tokens + 1, sizeof *out->begins, err);
    k->lse = arena_alloc(k->arena, tokens, sizeof *k->lse, err);
    k->logits = arena_alloc(k->arena, (size_t)columns * LOGIT_ROWS, sizeof *k->logits, err);
    k->choices = arena_zalloc(k->arena, GROUP, sizeof *k->choices, err);
    struct kept_entry *entries =
        arena_alloc(k->arena, (size_t)GROUP * ENTRIES_MOST, sizeof *entries, err);
    if (!k->hidden->data)
        k->rows = arena_alloc(k->arena, LOGIT_ROWS * width, sizeof *k->rows, err);
    if (!out->tops || !out->logprobs || !out->tails || !out->begins || !k->lse || !k->logits ||
        !k->choices || !entries || (!k->hidden->data && !k->rows)) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    for (int64_t i = 0; i < GROUP; i++)
        k->choices[i].entries = entries + i * ENTRIES_MOST;
cleanup:
    return status;
}

/* Log-probabilities of next tokens, and the logarithms of sums. */
static enum llmq_status measure_sums(struct make *k, llmq_error *err) {
    struct head head = {0};
    double *logprobs = NULL;
    const size_t tokens = (size_t)k->corpus->tokens_used;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(head_create(k->m, k->corpus, k->hidden, false, &head, err));
    logprobs = arena_zalloc(k->arena, tokens, sizeof *logprobs, err);
    if (!logprobs) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    for (struct head_tile tile = {0}; head_next(&head, &tile);) {
        LLMQ_TRY(interrupt_check(k->ctx, err));
        LLMQ_TRY(head_visit(&head, &tile, logprobs, err));
    }
    LLMQ_TRY(head_finish(&head, logprobs, k->ctx, err));
    memcpy(k->lse, head.lse, tokens * sizeof *k->lse);
    for (size_t t = 0; t < tokens; t++)
        k->out->logprobs[t] = (float)logprobs[t];
cleanup:
    head_free(&head);
    return status;
}

/* The group's choices become entries; nothing is predicted behind a window's last token. */
static void take_group(struct make *k, int64_t group, int64_t rows, int64_t *window) {
    struct kept_reference *out = k->out;
    for (int64_t i = 0; i < rows; i++) {
        const struct choice *c = &k->choices[i];
        const int64_t t = group + i;
        while (t >= k->corpus->offsets[*window + 1])
            (*window)++;
        const bool last = t + 1 == k->corpus->offsets[*window + 1];
        kept_append(&out->made, c->entries, last ? 0 : c->count);
        out->begins[t + 1] = out->made.len;
        out->tops[t] = last ? 0 : (int32_t)c->top;
        out->tails[t] = last ? 0 : (float)fmin(c->tail, 1);
    }
}

enum llmq_status kept_make(const struct model *m, const struct corpus *corpus,
                           const struct acts *hidden, const llmq_context *ctx,
                           struct kept_reference *out, llmq_error *err) {
    struct make k = {.m = m, .corpus = corpus, .hidden = hidden, .ctx = ctx, .out = out};
    enum llmq_status status = LLMQ_OK;
    int64_t window = 0;
    *out = (struct kept_reference){.tokens = corpus->tokens_used, .vocab = m->config.vocab};
    LLMQ_TRY(allocate(&k, err));
    LLMQ_TRY(measure_sums(&k, err));
    for (int64_t group = 0; group < corpus->tokens_used; group += GROUP) {
        const int64_t rows = min_i64(corpus->tokens_used - group, GROUP);
        LLMQ_TRY(choose_group(&k, group, rows, err));
        take_group(&k, group, rows, &window);
    }
    if (!strbuf_ok(&out->made))
        LLMQ_TRY(error_memory(err, "a kept reference"));
    out->bytes = (unsigned char *)out->made.data;
cleanup:
    head_panel_free(&k.panel);
    arena_free(&k.arena);
    return status;
}

uint64_t kept_bytes(const struct model *m, const struct corpus *corpus) {
    enum { ENTRIES_BYTES = 1024 }; /* of a token: measured, twice what most models take */
    const struct kept_reference *k = NULL;
    const int64_t columns = min_i64(m->config.vocab, HEAD_ROWS);
    const uint64_t token = sizeof *k->tops + sizeof *k->logprobs + sizeof *k->tails +
                           sizeof *k->begins + 2 * sizeof(double) + ENTRIES_BYTES;
    return (uint64_t)corpus->tokens_used * token + head_bytes(m, corpus) +
           head_panel_bytes(m, columns) + (uint64_t)columns * LOGIT_ROWS * sizeof(float) +
           (uint64_t)GROUP * ENTRIES_MOST * sizeof(struct kept_entry);
}

void kept_free(struct kept_reference *k) {
    arena_free(&k->arena);
    strbuf_free(&k->made);
    *k = (struct kept_reference){0};
}
