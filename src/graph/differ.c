/* SPDX-License-Identifier: Apache-2.0 */
/* What one half of the heads sees beyond the other: see differ.h. */
#include "graph/differ.h"

#include <math.h>

/* exp(q k) of the first or the second pair. */
static double pair_of(const struct differ *d, int pair) {
    const float *q = d->vector[2 * pair], *k = d->vector[2 * pair + 1];
    double sum = 0;
    for (int64_t i = 0; i < d->size; i++)
        sum += (double)q[i] * (double)k[i];
    return exp(sum);
}

/* l, and w. */
static double start_of(const struct differ *d) {
    return 0.8 - 0.6 * exp(-0.3 * (double)d->block);
}

static double weight_of(const struct differ *d) {
    return pair_of(d, 0) - pair_of(d, 1) + start_of(d);
}

/* 1 / sqrt(mean(y^2) + eps) of a piece. */
static double scale_of(const struct differ *d, double weight, const float *a, const float *b) {
    double squares = 0;
    for (int64_t i = 0; i < d->width; i++) {
        const double y = (double)a[i] - weight * (double)b[i];
        squares += y * y;
    }
    return 1 / sqrt(squares / (double)d->width + d->eps);
}

void differ_rows(const struct differ *d, int64_t rows, const float *a, const float *b, float *out) {
    const double weight = weight_of(d), rest = 1 - start_of(d);
#pragma omp parallel for schedule(static) default(none) shared(d, rows, a, b, out, weight, rest)
    for (int64_t p = 0; p < rows * d->groups; p++) {
        const int64_t at = p * d->width;
        const double scale = rest * scale_of(d, weight, a + at, b + at);
        for (int64_t i = at; i < at + d->width; i++)
            out[i] = (float)(scale * ((double)a[i] - weight * (double)b[i]));
    }
}

/* --- the way back ----------------------------------------------------------------------------- */

/* One piece, which begins at entry `at`; returns the gradient towards w. */
static double piece_back(const struct differ *d, int64_t at, double weight, double rest,
                         const struct differ_back *back) {
    const float *a = back->a + at, *b = back->b + at, *dy = back->dy + at;
    float *da = back->da + at, *db = back->db + at;
    const double scale = scale_of(d, weight, a, b);
    double along = 0, slope = 0;
    for (int64_t i = 0; i < d->width; i++)
        along += (double)dy[i] * ((double)a[i] - weight * (double)b[i]);
    along *= scale * scale / (double)d->width;
    for (int64_t i = 0; i < d->width; i++) {
        const double y = (double)a[i] - weight * (double)b[i];
        const double g = rest * scale * ((double)dy[i] - along * y);
        da[i] += (float)g;
        db[i] -= (float)(weight * g);
        slope -= g * (double)b[i];
    }
    return slope;
}

/* From the gradient towards w to those towards the vectors. */
static void add_vector_slopes(const struct differ *d, double slope,
                              const struct differ_back *back) {
    for (int v = 0; v < DIFFER_VECTORS; v++) {
        const float *other = d->vector[v ^ 1];
        const double factor = (v < 2 ? slope : -slope) * pair_of(d, v / 2);
        for (int64_t i = 0; back->vector[v] && i < d->size; i++)
            back->vector[v][i] += factor * (double)other[i];
    }
}

void differ_back(const struct differ *d, int64_t rows, const struct differ_back *back) {
    const double weight = weight_of(d), rest = 1 - start_of(d);
    double slope = 0;
#pragma omp parallel for schedule(static) default(none) shared(d, rows, back, weight, rest)
    for (int64_t p = 0; p < rows * d->groups; p++)
        back->scratch[p] = (float)piece_back(d, p * d->width, weight, rest, back);
    for (int64_t p = 0; p < rows * d->groups; p++)
        slope += (double)back->scratch[p];
    add_vector_slopes(d, slope, back);
}
