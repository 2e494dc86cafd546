/* SPDX-License-Identifier: Apache-2.0 */
/* See tune_part.h. */
#include "tune/tune_part.h"

#include <math.h>
#include <string.h>

#include "base/int64.h"
#include "quant/grid.h"

/* Adam's: how fast moments forget. The second one's is shorter than the usual, there are few steps.
 */
#define FIRST_KEPT  0.9
#define SECOND_KEPT 0.95
#define LEAST_SLOPE 1e-12

enum llmq_status tune_part_create(const struct tune_module *m, struct arena *arena,
                                  struct tune_part *out, llmq_error *err) {
    const size_t count = (size_t)(m->n * m->groups);
    float *all = arena_zalloc(arena, count * TUNE_ARRAYS, sizeof *all, err);
    if (!all)
        return LLMQ_E_MEMORY;
    *out = (struct tune_part){
        m, all, all + count, all + 2 * count, all + 3 * count, all + 4 * count, all + 5 * count};
    memcpy(out->now, m->scales, count * sizeof *out->now);
    return LLMQ_OK;
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

/* No scale goes further than to twice or half of what it was. */
#define MOST_MOVED 0.69

static void find_now(struct tune_part *p, int64_t i) {
    const double scale = (double)p->module->scales[i] * exp((double)p->moved[i]);
    p->now[i] = grid_stored_scale(&p->module->grid, (float)scale);
}

void tune_part_keep(struct tune_part *p) {
    memcpy(p->best, p->moved, (size_t)(p->module->n * p->module->groups) * sizeof *p->best);
}

void tune_part_return(struct tune_part *p) {
    for (int64_t i = 0; i < p->module->n * p->module->groups; i++) {
        p->moved[i] = p->best[i];
        p->first[i] = 0;
        find_now(p, i);
    }
}

void tune_part_step(struct tune_part *p, int64_t step, double rate) {
    const struct tune_module *m = p->module;
    const double first_sum = 1 - pow(FIRST_KEPT, (double)step);
    const double second_sum = 1 - pow(SECOND_KEPT, (double)step);
    for (int64_t i = 0; i < m->n * m->groups; i++) {
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
