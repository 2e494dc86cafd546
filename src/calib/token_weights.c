/* SPDX-License-Identifier: Apache-2.0 */
/* How much tokens count: see struct token_weighing. */
#include <math.h>

#include "calib/calib_private.h"
#include "graph/curvature.h"

/* The most that a token counts, the mean being 1; and the least part of the mean before the power,
 * so that none is quite forgotten. */
#define WEIGHT_MOST  20.0
#define WEIGHT_LEAST 1e-6

static bool weighs(const struct calib *c) {
    return c->weighing.curvature && c->weighing.power > 0;
}

enum llmq_status calib_weights_create(struct calib *c, int64_t width, llmq_error *err) {
    const size_t tokens = (size_t)calib_total_tokens(c->tokens), rows = (size_t)c->max_rows;
    if (!weighs(c))
        return LLMQ_OK;
    c->weight = arena_alloc(c->scratch, tokens, sizeof *c->weight, err);
    c->gradient = arena_alloc(c->scratch, tokens, sizeof *c->gradient, err);
    c->root = arena_alloc(c->scratch, rows, sizeof *c->root, err);
    c->weighed = arena_alloc(c->scratch, rows * (size_t)width, sizeof *c->weighed, err);
    return c->weight && c->gradient && c->root && c->weighed ? LLMQ_OK : LLMQ_E_MEMORY;
}

/* y += x / mean(x) */
static void add_normalized(int64_t count, const float *x, float *y) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i];
    for (int64_t i = 0; sum > 0 && i < count; i++)
        y[i] += (float)((double)x[i] * (double)count / sum);
}

/* Sums of gradients to roots of weights. */
static void temper(int64_t count, double power, float *w) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        w[i] = (float)pow(fmax((double)w[i], WEIGHT_LEAST), power);
        sum += (double)w[i];
    }
    for (int64_t i = 0; i < count; i++)
        w[i] = (float)sqrt(fmin((double)w[i] * (double)count / sum, WEIGHT_MOST));
}

enum llmq_status calib_weigh(struct calib *c, const struct graph *g, const struct graph_task *t,
                             int64_t expert, llmq_error *err) {
    const int64_t tokens = calib_total_tokens(c->tokens), block = c->block->index;
    const bool known = block < c->m->config.blocks;
    if (!weighs(c))
        return LLMQ_OK;
    for (int64_t i = 0; i < tokens; i++)
        c->weight[i] = known ? 0 : 1;
    for (int i = 0; known && i < g->count; i++) {
        const struct linear_place at = {block, i, expert};
        if (!(t->nodes >> i & 1))
            continue;
        const struct curvature_out out = {.weights = c->gradient, .tokens = tokens};
        const enum llmq_status status = curvature_read(c->weighing.curvature, c->m, at, &out, err);
        if (status != LLMQ_OK)
            return status;
        add_normalized(tokens, c->gradient, c->weight);
    }
    if (known)
        temper(tokens, c->weighing.power, c->weight);
    return LLMQ_OK;
}

void calib_scale_rows(const float *root, int64_t rows, int64_t width, const float *x, float *out) {
#pragma omp parallel for schedule(static) default(none) shared(root, rows, width, x, out)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = r * width; i < (r + 1) * width; i++)
            out[i] = x[i] * root[r];
}
