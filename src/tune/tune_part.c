/* SPDX-License-Identifier: Apache-2.0 */
/* See tune_part.h. */
#include "tune/tune_part.h"

#include <math.h>
#include <string.h>

#include "base/int64.h"
#include "quant/grid.h"
#include "tensor/dtype.h"

/* Adam's: how fast moments forget. The second one's is shorter than the usual, there are few steps.
 */
#define FIRST_KEPT  0.9
#define SECOND_KEPT 0.95
#define LEAST_SLOPE 1e-12

static enum llmq_status create(struct tune_part *p, const float *from, struct arena *arena,
                               llmq_error *err) {
    float **const arrays[TUNE_ARRAYS] = {&p->now,   &p->moved,  &p->slope,
                                         &p->first, &p->second, &p->best};
    const size_t count = (size_t)p->count;
    float *all = arena_zalloc(arena, count * TUNE_ARRAYS, sizeof *all, err);
    if (!all)
        return LLMQ_E_MEMORY;
    for (size_t i = 0; i < TUNE_ARRAYS; i++)
        *arrays[i] = all + i * count;
    memcpy(p->now, from, count * sizeof *p->now);
    return LLMQ_OK;
}

enum llmq_status tune_part_create(const struct tune_module *m, struct arena *arena,
                                  struct tune_part *out, llmq_error *err) {
    *out = (struct tune_part){.module = m, .count = m->n * m->groups};
    return create(out, m->scales, arena, err);
}

enum llmq_status tune_part_create_norm(const struct tune_norm *n, struct arena *arena,
                                       struct tune_part *out, llmq_error *err) {
    *out = (struct tune_part){.norm = n, .count = n->at.count};
    for (int64_t i = 0; i < out->count; i++)
        out->unit += fabs((double)n->values[i] + (double)n->at.added) / (double)out->count;
    return create(out, n->values, arena, err);
}

/* Weights as stored are level * scale, rounded: the level is the integer next to their quotient. */
static void apply_group(float *w, int64_t count, float from, float to) {
    for (int64_t i = 0; i < count; i++)
        w[i] = rintf(w[i] / from) * to;
}

void tune_part_apply(const struct tune_part *p, float *w) {
    const struct tune_module *m = p->module;
    const float *from = m->scales, *to = p->now;
#pragma omp parallel for schedule(static) default(none) shared(m, from, to, w)
    for (int64_t r = 0; r < m->n; r++)
        for (int64_t g = 0; g < m->groups; g++) {
            const int64_t at = r * m->groups + g, begin = g * m->group;
            if (to[at] != from[at])
                apply_group(w + r * m->k + begin, min_i64(m->group, m->k - begin), from[at],
                            to[at]);
        }
}

static double product(const float *a, const float *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

void tune_part_see(struct tune_part *p, const float *w, const float *dw) {
    const struct tune_module *m = p->module;
    float *slope = p->slope;
#pragma omp parallel for schedule(static) default(none) shared(m, slope, w, dw)
    for (int64_t r = 0; r < m->n; r++)
        for (int64_t g = 0; g < m->groups; g++) {
            const int64_t begin = g * m->group, at = r * m->k + begin;
            slope[r * m->groups + g] +=
                (float)product(w + at, dw + at, min_i64(m->group, m->k - begin));
        }
}

void tune_part_see_norm(struct tune_part *p, const double *dw) {
    for (int64_t i = 0; i < p->count; i++)
        p->slope[i] += (float)(p->unit * dw[i]);
}

/* No scale goes further than to twice or half of what it was. */
#define MOST_MOVED 0.69

static float stored_as(enum dtype dtype, float value) {
    uint64_t stored = 0;
    dtype_from_f32(dtype, &value, 1, &stored);
    dtype_to_f32(dtype, &stored, 1, &value);
    return value;
}

static void find_now(struct tune_part *p, int64_t i) {
    const double moved = (double)p->moved[i];
    if (p->norm)
        p->now[i] =
            stored_as(p->norm->at.dtype, (float)((double)p->norm->values[i] + p->unit * moved));
    else
        p->now[i] =
            grid_stored_scale(&p->module->grid, (float)((double)p->module->scales[i] * exp(moved)));
}

void tune_part_keep(struct tune_part *p) {
    memcpy(p->best, p->moved, (size_t)p->count * sizeof *p->best);
}

void tune_part_return(struct tune_part *p) {
    for (int64_t i = 0; i < p->count; i++) {
        p->moved[i] = p->best[i];
        p->first[i] = 0;
        find_now(p, i);
    }
}

void tune_part_step(struct tune_part *p, int64_t step, double rate) {
    const double first_sum = 1 - pow(FIRST_KEPT, (double)step);
    const double second_sum = 1 - pow(SECOND_KEPT, (double)step);
    for (int64_t i = 0; i < p->count; i++) {
        const double slope = (double)p->slope[i];
        p->first[i] = (float)(FIRST_KEPT * (double)p->first[i] + (1 - FIRST_KEPT) * slope);
        p->second[i] =
            (float)(SECOND_KEPT * (double)p->second[i] + (1 - SECOND_KEPT) * slope * slope);
        const double size = sqrt((double)p->second[i] / second_sum) + LEAST_SLOPE;
        const double moved = (double)p->moved[i] - rate * ((double)p->first[i] / first_sum) / size;
        p->moved[i] = (float)fmax(-MOST_MOVED, fmin(moved, MOST_MOVED));
        p->slope[i] = 0;
        find_now(p, i);
    }
}
