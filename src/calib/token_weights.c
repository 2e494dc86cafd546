/* SPDX-License-Identifier: Apache-2.0 */
/* How much tokens count: see struct token_weighing. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "calib/calib_private.h"
#include "calib/places.h"
#include "graph/curvature.h"

/* The most that a token counts, the mean being 1; and the least part of the mean before the power,
 * so that none is quite forgotten. */
#define WEIGHT_MOST  20.0
#define WEIGHT_LEAST 1e-6

static bool weighs(const struct calib *c) {
    return c->weighing.curvature && c->weighing.power > 0;
}

int64_t calib_weighing_tokens(const struct token_weighing *w, const struct calib_tokens *t) {
    return w->offsets ? w->offsets[w->count] : calib_total_tokens(t);
}

enum llmq_status calib_weights_create(struct calib *c, int64_t width, llmq_error *err) {
    const int64_t known = calib_weighing_tokens(&c->weighing, c->tokens);
    if (!weighs(c))
        return LLMQ_OK;
    c->places = calib_longest_window(c->tokens);
    const struct {
        float **out;
        int64_t count;
    } arrays[] = {{&c->weight, calib_total_tokens(c->tokens)},
                  {&c->gradient, known},
                  {&c->gradients, known},
                  {&c->place, c->places},
                  {&c->root, c->max_rows},
                  {&c->weighed, c->max_rows * width}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i].out = arena_alloc(c->scratch, (size_t)arrays[i].count, sizeof(float), err);
        if (!*arrays[i].out)
            return LLMQ_E_MEMORY;
    }
    return LLMQ_OK;
}

/* y += x / mean(x) */
static void add_normalized(int64_t count, const float *x, float *y) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i];
    for (int64_t i = 0; sum > 0 && i < count; i++)
        y[i] += (float)((double)x[i] * (double)count / sum);
}

static void temper(int64_t count, double power, float *w) {
    for (int64_t i = 0; i < count; i++)
        w[i] = (float)pow(fmax((double)w[i], WEIGHT_LEAST), power);
}

/* To roots of weights of mean 1. */
static void find_roots(int64_t count, float *w) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)w[i];
    for (int64_t i = 0; i < count; i++)
        w[i] = (float)sqrt(fmin((double)w[i] * (double)count / sum, WEIGHT_MOST));
}

/* c->gradients: those at the task's linears, of the tokens that have some. */
static enum llmq_status add_gradients(struct calib *c, const struct graph *g,
                                      const struct graph_task *t, int64_t expert, llmq_error *err) {
    const int64_t known = calib_weighing_tokens(&c->weighing, c->tokens);
    memset(c->gradients, 0, (size_t)known * sizeof *c->gradients);
    for (int i = 0; i < g->count; i++) {
        const struct linear_place at = {c->block->index, i, expert};
        if (!(t->nodes >> i & 1))
            continue;
        const struct curvature_out out = {.weights = c->gradient, .tokens = known};
        const enum llmq_status status = curvature_read(c->weighing.curvature, c->m, at, &out, err);
        if (status != LLMQ_OK)
            return status;
        add_normalized(known, c->gradient, c->gradients);
    }
    return LLMQ_OK;
}

/* The weights of all tokens, each by its own gradients. */
static void weigh_each(const struct calib *c) {
    const int64_t tokens = calib_total_tokens(c->tokens);
    memcpy(c->weight, c->gradients, (size_t)tokens * sizeof *c->weight);
    temper(tokens, c->weighing.power, c->weight);
}

/* ... by what is known of its place. */
static void weigh_places(const struct calib *c) {
    const struct calib_tokens *t = c->tokens;
    const struct token_weighing *w = &c->weighing;
    const struct place_trend trend = place_trend_fit(c->gradients, w->offsets, w->count);
    for (int64_t i = 0; i < c->places; i++)
        c->place[i] = (float)place_trend_at(&trend, i);
    temper(c->places, w->power, c->place);
    for (int64_t i = 0; i < t->count; i++)
        memcpy(c->weight + t->offsets[i], c->place,
               (size_t)(t->offsets[i + 1] - t->offsets[i]) * sizeof *c->place);
}

enum llmq_status calib_weigh(struct calib *c, const struct graph *g, const struct graph_task *t,
                             int64_t expert, llmq_error *err) {
    const int64_t tokens = calib_total_tokens(c->tokens);
    enum llmq_status status = LLMQ_OK;
    if (!weighs(c))
        return LLMQ_OK;
    if (c->block->index >= c->m->config.blocks) {
        for (int64_t i = 0; i < tokens; i++)
            c->weight[i] = 1;
        return LLMQ_OK;
    }
    LLMQ_TRY(add_gradients(c, g, t, expert, err));
    if (c->weighing.offsets)
        weigh_places(c);
    else
        weigh_each(c);
    find_roots(tokens, c->weight);
cleanup:
    return status;
}

void calib_scale_rows(const float *root, int64_t rows, int64_t width, const float *x, float *out) {
#pragma omp parallel for schedule(static) default(none) shared(root, rows, width, x, out)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = r * width; i < (r + 1) * width; i++)
            out[i] = x[i] * root[r];
}
