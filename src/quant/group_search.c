/* SPDX-License-Identifier: Apache-2.0 */
/* See group_search.h. All candidates of some rows are lanes of the same loops: with u = t + x,
 *
 *     sum over i of e_i^2,   e = R^T x:   e_i = R_ii x_i + sum over m < i of R_mi x_m
 *
 * is what they cost, and column by column the code is the one nearest to where e_i is 0. As in
 * gptq_solve.c the columns are halved again and again, so that most of the sums are products of
 * matrices. For the codes that result the best scale needs no further look at M: with
 * y = R^T levels = (e + R^T t) / s it is y . R^T t / y . y. */
#include "quant/group_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "quant/grid.h"

enum { ZEROS = 3, ROWS_MIN = 16 };
static const float multiples[] = {0.88F, 0.92F, 0.96F, 1, 1.04F, 1.08F};
enum { MULTIPLES = sizeof multiples / sizeof *multiples, CANDIDATES = MULTIPLES * ZEROS };

/* Entries of an array of all candidates: two of them stay in a second-level cache. */
#define LANE_FLOATS (INT64_C(1) << 17)

/* Another choice is taken when the group's error falls by this part: less may be rounding. */
#define MARGIN 1e-4F

/* --- factors ---------------------------------------------------------------------------------- */

bool group_searchable(const struct quant_grid *grid, int64_t k) {
    return grid->number == NUMBER_INT && grid->rows <= 1 &&
           grid_group(grid, k) <= GROUP_SEARCH_MOST;
}

static void order_group(const struct metric *m, int64_t k, int64_t group, int64_t first,
                        int32_t *order) {
    for (int64_t i = 0; i < group; i++) {
        const float key = m->H[(first + i) * (k + 1)];
        int64_t at = i;
        for (; at > 0 && m->H[(first + order[at - 1]) * (k + 1)] < key; at--)
            order[at] = order[at - 1];
        order[at] = (int32_t)i;
    }
}

/* R from its last column to its first. */
static void factor_group(const struct metric *m, int64_t k, int64_t group, int64_t first,
                         const int32_t *order, float *R) {
    for (int64_t j = group - 1; j >= 0; j--)
        for (int64_t i = j; i >= 0; i--) {
            const double own = (double)m->H[(first + order[i]) * k + first + order[j]];
            const double whole = own + (i == j ? m->damping : 0);
            const double rest =
                whole - linalg_dot(group - 1 - j, R + i * group + j + 1, R + j * group + j + 1);
            R[i * group + j] = i == j ? (float)sqrt(fmax(rest, fmax(1e-7 * whole, 1e-30)))
                                      : (float)(rest / (double)R[j * (group + 1)]);
        }
}

void group_factors_free(struct group_factors *f) {
    free(f->order);
    free(f->R);
    *f = (struct group_factors){0};
}

enum llmq_status group_factors_create(const struct metric *metric, int64_t k, int64_t group,
                                      struct group_factors *out, llmq_error *err) {
    *out = (struct group_factors){.k = k, .group = group};
    out->order = malloc((size_t)k * sizeof *out->order);
    out->R = calloc((size_t)k * (size_t)group, sizeof *out->R);
    if (!out->order || !out->R) {
        group_factors_free(out);
        return error_memory(err, "the factors of groups");
    }
    const struct group_factors f = *out;
#pragma omp parallel for schedule(dynamic) default(none) shared(metric, k, group, f)
    for (int64_t first = 0; first < k; first += group) {
        order_group(metric, k, group, first, f.order + first);
        factor_group(metric, k, group, first, f.order + first, f.R + first * group);
    }
    return LLMQ_OK;
}

/* --- a strip of rows -------------------------------------------------------------------------- */

struct strip {
    const struct quant_grid *grid;
    const int32_t *order;
    const float *R;
    int64_t group, rows, candidates, lanes;
    float *t, *tau; /* [group, rows] in order: see above; R^T t */
    float *x, *e;   /* [group, lanes], a candidate's rows one after the other */
    /* [lanes] of each candidate; its error, and the sums for its best scale. */
    float *scale, *zero, *loss, *slope, *curve;
    float *least; /* [rows] the error now */
};

static int64_t strip_rows(int64_t group) {
    return min_i64(256, max_i64(ROWS_MIN, LANE_FLOATS / (group * CANDIDATES)));
}

int64_t group_search_floats(int64_t group) {
    const int64_t rows = strip_rows(group), lanes = rows * CANDIDATES;
    return 2 * group * (rows + lanes) + 5 * lanes + rows;
}

static struct strip strip_of(const struct quant_grid *grid, const struct group_factors *f,
                             int64_t index, int64_t rows, float *scratch) {
    struct strip s = {.grid = grid,
                      .order = f->order + index * f->group,
                      .R = f->R + index * f->group * f->group,
                      .group = f->group,
                      .rows = rows,
                      .candidates = grid->sym ? MULTIPLES : CANDIDATES};
    s.lanes = rows * s.candidates;
    s.t = scratch;
    s.tau = s.t + s.group * rows;
    s.x = s.tau + s.group * rows;
    s.e = s.x + s.group * s.lanes;
    s.scale = s.e + s.group * s.lanes;
    s.zero = s.scale + s.lanes;
    s.loss = s.zero + s.lanes;
    s.slope = s.loss + s.lanes;
    s.curve = s.slope + s.lanes;
    s.least = s.curve + s.lanes;
    return s;
}

static void scale_by(int64_t count, float a, float *x) {
    for (int64_t i = 0; i < count; i++)
        x[i] *= a;
}

/* t, tau and least of the rows from `at` on. With z = R^-1 g: what the weights lack is R^-T z, and
 * their error z . z. */
static void find_target(const struct strip *s, const struct group_rows *in, int64_t at) {
    const struct llmq_kernels *kernels = kernels_get();
    const int64_t n = s->group, m = s->rows;
    float *z = s->tau, *v = s->e; /* which is free */
    memset(s->least, 0, (size_t)m * sizeof *s->least);
    for (int64_t i = n - 1; i >= 0; i--) {
        memcpy(z + i * m, in->g + s->order[i] * in->rows + at, (size_t)m * sizeof *z);
        for (int64_t j = i + 1; j < n; j++)
            kernels->add_scaled(m, -s->R[i * n + j], z + j * m, z + i * m);
        scale_by(m, 1 / s->R[i * (n + 1)], z + i * m);
        for (int64_t r = 0; r < m; r++)
            s->least[r] += z[i * m + r] * z[i * m + r];
    }
    memcpy(s->t, z, (size_t)(n * m) * sizeof *z);
    for (int64_t i = 0; i < n; i++) {
        const float *level = in->levels + s->order[i] * in->rows + at;
        for (int64_t j = 0; j < i; j++)
            kernels->add_scaled(m, -s->R[j * n + i], s->t + j * m, s->t + i * m);
        scale_by(m, 1 / s->R[i * (n + 1)], s->t + i * m);
        for (int64_t r = 0; r < m; r++)
            v[i * m + r] = level[r] * in->scales[at + r];
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++)
            kernels->add_scaled(m, s->R[j * n + i], v + j * m, s->tau + i * m);
    for (int64_t i = 0; i < n * m; i++)
        s->t[i] += v[i];
}

/* A zero point beyond the grid's is the nearest of them. */
static float zero_near(const struct quant_grid *grid, float zero, int step) {
    const float wanted = zero + (float)step;
    return wanted < (float)grid->zmin   ? (float)grid->zmin
           : wanted > (float)grid->zmax ? (float)grid->zmax
                                        : wanted;
}

static void list_candidates(const struct strip *s, const struct group_rows *in, int64_t at) {
    const int zeros = s->grid->sym ? 1 : ZEROS;
    for (int64_t c = 0; c < s->candidates; c++)
        for (int64_t r = 0; r < s->rows; r++) {
            const float zero = in->zeros[at + r];
            s->scale[c * s->rows + r] =
                grid_stored_scale(s->grid, in->scales[at + r] * multiples[c / zeros]);
            s->zero[c * s->rows + r] =
                zeros > 1 ? zero_near(s->grid, zero, (int)(c % zeros) - 1) : zero;
        }
    memset(s->loss, 0, (size_t)(3 * s->lanes) * sizeof *s->loss);
    memset(s->e, 0, (size_t)(s->group * s->lanes) * sizeof *s->e);
}

/* --- codes of all candidates ------------------------------------------------------------------ */

/* Rows of one candidate, whose arrays begin at `lane`, in columns [begin, end). */
static void round_lanes(const struct strip *s, int64_t begin, int64_t end, int64_t lane) {
    kernels_get()->round_planes(&(struct plane_columns){.count = end - begin,
                                                        .rows = s->rows,
                                                        .R = s->R + begin * (s->group + 1),
                                                        .ldr = s->group,
                                                        .t = s->t + begin * s->rows,
                                                        .tau = s->tau + begin * s->rows,
                                                        .scale = s->scale + lane,
                                                        .zero = s->zero + lane,
                                                        .top = grid_max_code(s->grid),
                                                        .x = s->x + begin * s->lanes + lane,
                                                        .e = s->e + begin * s->lanes + lane,
                                                        .stride = s->lanes,
                                                        .loss = s->loss + lane,
                                                        .slope = s->slope + lane,
                                                        .curve = s->curve + lane});
}

/* NOLINTNEXTLINE(misc-no-recursion) */
static void round_range(const struct strip *s, int64_t begin, int64_t end) {
    const int64_t n = s->group, mid = begin + (end - begin) / 2;
    if (end - begin > PLANE_COLUMNS) {
        round_range(s, begin, mid);
        linalg_gemm_tn(end - mid, s->lanes, mid - begin, 1, s->R + begin * n + mid, n,
                       s->x + begin * s->lanes, s->lanes, 1, s->e + mid * s->lanes, s->lanes);
        round_range(s, mid, end);
        return;
    }
    for (int64_t c = 0; c < s->candidates; c++)
        round_lanes(s, begin, end, c * s->rows);
}

/* --- the choice ------------------------------------------------------------------------------- */

/* A candidate with the stored scale that is best for its codes, as far as that is better. */
struct choice {
    int64_t lane; /* -1: what there was */
    float scale, error;
};

static void consider(const struct strip *s, int64_t lane, struct choice *best) {
    const float scale = s->scale[lane], ratio = s->slope[lane] / s->curve[lane], was = 1 - ratio;
    if (s->loss[lane] < best->error)
        *best = (struct choice){lane, scale, s->loss[lane]};
    const float least =
        s->loss[lane] - s->curve[lane] * (was * was); /* the best scale's, unstored */
    if (!(ratio > 0) || !isfinite(ratio) || !(least < best->error))
        return;
    const float other = grid_stored_scale(s->grid, scale * ratio);
    const float off = other / scale - ratio;
    const float error = s->loss[lane] + s->curve[lane] * (off * off - was * was);
    if (error < best->error)
        *best = (struct choice){lane, other, error};
}

static int64_t take_choices(const struct strip *s, const struct group_rows *in, int64_t at) {
    int64_t changed = 0;
    for (int64_t r = 0; r < s->rows; r++) {
        struct choice best = {-1, in->scales[at + r], s->least[r] * (1 - MARGIN)};
        for (int64_t c = 0; c < s->candidates; c++)
            consider(s, c * s->rows + r, &best);
        for (int64_t i = 0; i < s->group; i++) {
            const int64_t to = s->order[i] * in->rows + at + r;
            const float level = in->levels[to];
            if (best.lane >= 0)
                in->levels[to] = rintf((s->x[i * s->lanes + best.lane] + s->t[i * s->rows + r]) /
                                       s->scale[best.lane]);
            in->moves[to] = level * in->scales[at + r] - in->levels[to] * best.scale;
        }
        if (best.lane >= 0) {
            in->scales[at + r] = best.scale;
            in->zeros[at + r] = s->zero[best.lane];
            changed++;
        }
    }
    return changed;
}

int64_t group_search(const struct quant_grid *grid, const struct group_factors *factors,
                     int64_t index, const struct group_rows *rows, float *scratch) {
    const int64_t most = strip_rows(factors->group);
    int64_t changed = 0;
    for (int64_t at = 0; at < rows->rows; at += most) {
        const struct strip s =
            strip_of(grid, factors, index, min_i64(most, rows->rows - at), scratch);
        find_target(&s, rows, at);
        list_candidates(&s, rows, at);
        round_range(&s, 0, s.group);
        changed += take_choices(&s, rows, at);
    }
    return changed;
}
