/* SPDX-License-Identifier: Apache-2.0 */
/* The search for a group's scale and zero point: see range_search.h.
 *
 * Scales are tried from the largest any convention uses down to a fraction of it, with the zero
 * point of the whole range. Then zero points next to it are tried, each with scales around the best
 * so far, as clipping the two ends unequally would give them. Last, the scale that minimises the
 * error for the best codes is known in closed form (weighted least squares),
 *     s = sum of importance w level / sum of importance level^2,
 * after which codes change again: a few times in turn. Every step keeps a candidate only where its
 * measured error is less. */
#include "quant/range_search.h"

#include <string.h>

#include "base/int64.h"
#include "kernels/kernels.h"
#include "quant/grid.h"
#include "quant/panels.h"

#define ROWS RANGE_ROWS

/* Scales tried, as fractions of the whole range's; steps between two of them tried on either side
 * of the best; scales tried with a moved zero point. Twice as many of each gain less than 0.2 % of
 * GPTQ's error. */
#define COARSE_STEPS 16
#define COARSE_LOW   0.4F
#define FINE_STEPS   2
#define ZERO_SHRINK  0.05F
#define REFITS       2

/* Floats: fractions of the whole range's scale, which ends the range at the largest number. Above
 * it the range ends at the next smaller numbers, which lie closer; where numbers are spaced by
 * their exponents, twice the scale is the same grid but for its ends. */
static const struct {
    float high, low;
} float_scales[NUMBER_COUNT] = {[NUMBER_E4M3] = {2, 0.9F}, [NUMBER_E2M1] = {1.6F, 0.6F}};

/* A scale and zero point for each row and the error they lead to. */
struct candidate {
    float scale[ROWS], zero[ROWS], error[ROWS];
};

/* Level of a weight given the reciprocal of the scale. At a tie, the only place where this may
 * differ from grid_level, both neighbours are equally far. */
static inline float level_of(float w, float inverse, float lowest, float highest) {
    const float magic = 12582912.0F; /* see grid_level */
    float level = w * inverse;
    level = level > lowest ? level : lowest;
    level = level < highest ? level : highest;
    return (level + magic) - magic;
}

/* How weights become levels. */
struct rulers {
    struct range_grids grids;
    const struct number_form *form; /* NULL: integers */
};

static struct rulers rulers_of(const struct quant_grid *grid, const struct candidate *c) {
    const float top = grid_max_code(grid);
    struct rulers r = {.form = grid_form(grid)};
    for (int i = 0; i < ROWS; i++) {
        r.grids.inverse[i] = 1 / c->scale[i];
        r.grids.lowest[i] = -c->zero[i];
        r.grids.highest[i] = top - c->zero[i];
        r.grids.scale[i] = c->scale[i];
    }
    return r;
}

/* The levels of a column. */
static inline void levels_of(const struct rulers *r, const float *w, float *levels) {
    const struct range_grids *g = &r->grids;
    if (r->form)
        for (int l = 0; l < ROWS; l++)
            levels[l] = number_nearest(r->form, w[l] * g->inverse[l]);
    else
        for (int l = 0; l < ROWS; l++)
            levels[l] = level_of(w[l], g->inverse[l], g->lowest[l], g->highest[l]);
}

/* What the kernel range_errors does, of floats. */
static void float_errors(const struct range_group *g, const struct rulers *r, struct candidate *c) {
    for (int l = 0; l < ROWS; l++)
        c->error[l] = 0;
    for (int64_t begin = 0; begin < g->count; begin += RANGE_SUM) {
        float sum[ROWS] = {0}, levels[ROWS];
        for (int64_t i = begin; i < min_i64(begin + RANGE_SUM, g->count); i++) {
            const float *w = g->w + i * ROWS;
            const float importance = g->importance ? g->importance[i] : 1;
            levels_of(r, w, levels);
            for (int l = 0; l < ROWS; l++) {
                float d = w[l] - levels[l] * c->scale[l];
                sum[l] += importance * d * d;
            }
        }
        for (int l = 0; l < ROWS; l++)
            c->error[l] += sum[l];
    }
}

/* c->error, by the kernel where the grid is one of integers: this is most of a search. */
static void measure(const struct quant_grid *grid, const struct range_group *g,
                    struct candidate *c) {
    const struct rulers r = rulers_of(grid, c);
    if (r.form)
        float_errors(g, &r, c);
    else
        kernels_get()->range_errors(g->w, g->importance, g->count, &r.grids, c->error);
}

static void keep_better(struct candidate *best, const struct candidate *c) {
    for (int l = 0; l < ROWS; l++) {
        if (!(c->error[l] < best->error[l]))
            continue;
        best->scale[l] = c->scale[l];
        best->zero[l] = c->zero[l];
        best->error[l] = c->error[l];
    }
}

/* Try the scales of `base` times `ratio`, its zero points moved by `step` where the grid has them.
 */
static void try_scales(const struct quant_grid *grid, const struct range_group *g,
                       const struct candidate *base, float ratio, float step,
                       struct candidate *best) {
    struct candidate c;
    for (int l = 0; l < ROWS; l++) {
        float zero = base->zero[l] + step;
        bool held = step == 0 || (zero >= (float)grid->zmin && zero <= (float)grid->zmax);
        c.zero[l] = held ? zero : base->zero[l];
        c.scale[l] = grid_stored_scale(grid, base->scale[l] * ratio);
    }
    measure(grid, g, &c);
    keep_better(best, &c);
}

/* The scale of least error for the codes that `best` leads to. */
static void try_refit(const struct quant_grid *grid, const struct range_group *g,
                      struct candidate *best) {
    struct candidate c = *best;
    struct rulers r = rulers_of(grid, &c);
    float product[ROWS] = {0}, square[ROWS] = {0};
    for (int64_t i = 0; i < g->count; i++) {
        const float *w = g->w + i * ROWS;
        float importance = g->importance ? g->importance[i] : 1, levels[ROWS];
        levels_of(&r, w, levels);
        for (int l = 0; l < ROWS; l++) {
            product[l] += importance * levels[l] * w[l];
            square[l] += importance * levels[l] * levels[l];
        }
    }
    for (int l = 0; l < ROWS; l++)
        if (square[l] > 0 && product[l] > 0)
            c.scale[l] = grid_stored_scale(grid, product[l] / square[l]);
    measure(grid, g, &c);
    keep_better(best, &c);
}

/* Scales from `high` times the whole range's downwards, then closer around the best. */
static void search_scale(const struct quant_grid *grid, const struct range_group *g,
                         const struct candidate *whole, struct candidate *best) {
    /* The largest symmetric scale in use has both extremes on the grid: 2^(b-1) - 1 steps reach
     * amax where grid_params lets it lie half a step beyond. */
    float top = grid_max_code(grid), high = grid->sym ? top / (top - 1) : 1, low = COARSE_LOW;
    if (grid->number != NUMBER_INT) {
        high = float_scales[grid->number].high;
        low = float_scales[grid->number].low;
    }
    float width = (high - low) / (COARSE_STEPS - 1);
    for (int i = 0; i < COARSE_STEPS; i++)
        try_scales(grid, g, whole, high - width * (float)i, 0, best);
    const struct candidate coarse = *best;
    for (int i = 1; i <= FINE_STEPS; i++) {
        float part = width * (float)i / (FINE_STEPS + 1);
        try_scales(grid, g, &coarse, 1 + part, 0, best);
        try_scales(grid, g, &coarse, 1 - part, 0, best);
    }
}

/* Zero points on either side: ranges clipped more at one end than at the other. */
static void search_zero(const struct quant_grid *grid, const struct range_group *g,
                        struct candidate *best) {
    const struct candidate centre = *best;
    for (int step = -1; step <= 1; step += 2)
        for (int i = -1; i <= 1; i++)
            try_scales(grid, g, &centre, 1 + ZERO_SHRINK * (float)i, (float)step, best);
    try_refit(grid, g, best);
}

void range_search(const struct quant_grid *grid, const struct range_group *group, float *scale,
                  float *zero) {
    struct candidate whole, best;
    memcpy(whole.scale, scale, sizeof whole.scale);
    memcpy(whole.zero, zero, sizeof whole.zero);
    measure(grid, group, &whole);
    best = whole;
    if (grid->storage == SCALE_E8M0) { /* there is no other near it */
        try_scales(grid, group, &whole, 2, 0, &best);
        try_scales(grid, group, &whole, 0.5F, 0, &best);
    } else {
        search_scale(grid, group, &whole, &best);
    }
    for (int i = 0; i < REFITS; i++)
        try_refit(grid, group, &best);
    if (!grid->sym)
        search_zero(grid, group, &best);
    memcpy(scale, best.scale, sizeof best.scale);
    memcpy(zero, best.zero, sizeof best.zero);
}
