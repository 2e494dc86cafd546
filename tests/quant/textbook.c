/* SPDX-License-Identifier: Apache-2.0 */
/* See textbook.h. Written to be read beside the paper, not to be fast. */
#include "textbook.h"

#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static double *zeros_of(int64_t count) {
    double *A = calloc((size_t)count, sizeof *A);
    ck_assert_ptr_nonnull(A);
    return A;
}

/* Does column a come before column b when ordered by descending diagonal? */
static bool before(const double *H, int64_t k, int64_t a, int64_t b) {
    double da = H[a * k + a], db = H[b * k + b];
    return da > db || (da == db && a < b);
}

static double group_max(const struct textbook *t, int64_t g) {
    double best = 0;
    for (int64_t c = g * t->group; c < (g + 1) * t->group; c++)
        best = fmax(best, t->H[c * t->k + c]);
    return best;
}

/* Group-aware: whole groups by their largest diagonal, then columns inside a group. */
static bool before_in_groups(const struct textbook *t, int64_t a, int64_t b) {
    int64_t ga = a / t->group, gb = b / t->group;
    double ma = group_max(t, ga), mb = group_max(t, gb);
    if (ga != gb)
        return ma > mb || (ma == mb && ga < gb);
    return before(t->H, t->k, a, b);
}

static bool column_before(const struct textbook *t, int64_t a, int64_t b) {
    switch (t->order) {
    case ACT_ORDER_STATIC:
        return before(t->H, t->k, a, b);
    case ACT_ORDER_GROUP_AWARE:
        return before_in_groups(t, a, b);
    case ACT_ORDER_NONE:
        break;
    }
    return a < b;
}

/* Insertion sort. */
static void order_columns(struct textbook *t) {
    for (int64_t c = 0; c < t->k; c++) {
        int64_t p = c;
        for (; p > 0 && column_before(t, c, t->column[p - 1]); p--)
            t->column[p] = t->column[p - 1];
        t->column[p] = c;
    }
}

/* A = A^-1 by Gauss-Jordan elimination without pivoting (A is positive definite). */
static void invert(double *A, int64_t k) {
    for (int64_t p = 0; p < k; p++) {
        double pivot = 1 / A[p * k + p];
        A[p * k + p] = 1;
        for (int64_t j = 0; j < k; j++)
            A[p * k + j] *= pivot;
        for (int64_t i = 0; i < k; i++) {
            double f = A[i * k + p];
            if (i == p || f == 0)
                continue;
            A[i * k + p] = 0;
            for (int64_t j = 0; j < k; j++)
                A[i * k + j] -= f * A[p * k + j];
        }
    }
}

/* U upper with U^T U = A: row by row. */
static void cholesky_upper(const double *A, int64_t k, double *U) {
    for (int64_t i = 0; i < k; i++) {
        for (int64_t j = i; j < k; j++)
            U[i * k + j] = A[i * k + j];
        for (int64_t l = 0; l < i; l++)
            for (int64_t j = i; j < k; j++)
                U[i * k + j] -= U[l * k + i] * U[l * k + j];
        double root = sqrt(U[i * k + i]);
        for (int64_t j = i; j < k; j++)
            U[i * k + j] /= root;
    }
}

void textbook_init(struct textbook *t, const double *H, int64_t k, int64_t group,
                   enum act_order order, double damp) {
    *t = (struct textbook){.k = k, .group = group == -1 ? k : group, .order = order};
    t->H = zeros_of(k * k);
    t->U = zeros_of(k * k);
    t->column = calloc((size_t)k, sizeof *t->column);
    ck_assert_ptr_nonnull(t->column);
    memcpy(t->H, H, (size_t)(k * k) * sizeof *H);
    order_columns(t);
    double mean = 0, *A = zeros_of(k * k);
    for (int64_t i = 0; i < k; i++)
        mean += (H[i * k + i] == 0 ? 1 : H[i * k + i]) / (double)k;
    for (int64_t i = 0; i < k; i++) {
        int64_t c = t->column[i];
        for (int64_t j = 0; j < k; j++)
            A[i * k + j] = H[c * k + t->column[j]];
        A[i * k + i] += damp * mean + (H[c * k + c] == 0 ? 1 : 0);
    }
    invert(A, k);
    cholesky_upper(A, k, t->U);
    free(A);
}

void textbook_free(struct textbook *t) {
    free(t->H);
    free(t->U);
    free(t->column);
}

/* One row on its way. */
struct walk {
    const struct textbook *t;
    const struct quant_grid *grid;
    double *w;               /* [k] weights, dequantized once their column is done */
    double largest;          /* magnitude among them before the walk */
    double *scales, *zeros;  /* [groups] */
    uint8_t *codes;          /* [k] the choices */
    const struct qlinear *q; /* whose row `row` is followed; NULL: own choices */
    int64_t row;
    struct textbook_trail *trail; /* with q */
};

/* Scale and zero of group g from the weights as they are. */
static void fit_group(struct walk *s, int64_t g) {
    double lo = 0, hi = 0, top = (1 << s->grid->bits) - 1;
    for (int64_t c = g * s->t->group; c < (g + 1) * s->t->group; c++) {
        lo = fmin(lo, s->w[c]);
        hi = fmax(hi, s->w[c]);
    }
    if (lo == 0 && hi == 0) {
        lo = -1;
        hi = 1;
    }
    double scale = s->grid->sym ? 2 * fmax(-lo, hi) / top : (hi - lo) / top;
    double zero = s->grid->sym ? (top + 1) / 2 : -lo / scale;
    s->scales[g] = scale;
    s->zeros[g] = rint(zero);
    if (!s->q)
        return;
    int64_t at = s->row * s->q->groups + g;
    s->scales[g] = (double)s->q->scales[at];
    s->zeros[g] = s->q->zeros[at];
    double step = scale / s->largest;
    s->trail->scale_gap = fmax(s->trail->scale_gap, fabs(s->scales[g] - scale) * top / s->largest);
    s->trail->zero_gap = fmax(s->trail->zero_gap, (fabs(s->zeros[g] - zero) - 0.5) * step);
}

/* Level (code - zero) for the weight in column c; q's own where it differs. */
static double choose_level(struct walk *s, int64_t c, double scale, double zero) {
    double top = (1 << s->grid->bits) - 1;
    double x = s->w[c] / scale, level = fmin(fmax(rint(x), -zero), top - zero);
    if (s->q) {
        double other = s->q->codes[s->row * s->t->k + c] - zero;
        if (level != other) {
            s->trail->other_codes++;
            /* Beyond the half step that any choice may be off. Of a weight that is 0 but for
             * rounding in a group of its own, all of it is: codes far apart, gap 0. */
            double within = fmin(fmax(x, -zero), top - zero);
            double gap = fabs(within - other) - 0.5;
            s->trail->code_gap = fmax(s->trail->code_gap, gap * scale / s->largest);
        }
        level = other;
    }
    s->codes[c] = (uint8_t)(level + zero);
    return level;
}

static void column_loop(struct walk *s) {
    const struct textbook *t = s->t;
    for (int64_t c = 0; c < t->k; c++)
        s->largest = fmax(s->largest, fabs(s->w[c]));
    for (int64_t g = 0; t->order == ACT_ORDER_STATIC && g < t->k / t->group; g++)
        fit_group(s, g);
    for (int64_t i = 0; i < t->k; i++) {
        int64_t c = t->column[i], g = c / t->group;
        if (t->order != ACT_ORDER_STATIC && i % t->group == 0)
            fit_group(s, g);
        double level = choose_level(s, c, s->scales[g], s->zeros[g]);
        double error = (s->w[c] - level * s->scales[g]) / t->U[i * t->k + i];
        s->w[c] = level * s->scales[g];
        for (int64_t j = i + 1; j < t->k; j++)
            s->w[t->column[j]] -= error * t->U[i * t->k + j];
    }
}

static double *load_row(const struct textbook *t, const float *w) {
    double *row = zeros_of(t->k);
    for (int64_t c = 0; c < t->k; c++)
        row[c] = t->H[c * t->k + c] == 0 ? 0 : (double)w[c];
    return row;
}

static double form(const struct textbook *t, const double *d) {
    double sum = 0;
    for (int64_t i = 0; i < t->k; i++) {
        double dot = 0;
        for (int64_t j = 0; j < t->k; j++)
            dot += t->H[i * t->k + j] * d[j];
        sum += d[i] * dot;
    }
    return sum;
}

double textbook_row(const struct textbook *t, const struct quant_grid *grid, const float *w,
                    uint8_t *codes) {
    double *row = load_row(t, w), *params = zeros_of(2 * t->k);
    column_loop(&(struct walk){.t = t,
                               .grid = grid,
                               .w = row,
                               .scales = params,
                               .zeros = params + t->k / t->group,
                               .codes = codes});
    for (int64_t c = 0; c < t->k; c++)
        row[c] = (double)w[c] - row[c];
    double error = form(t, row);
    free(params);
    free(row);
    return error;
}

void textbook_follow(const struct textbook *t, const struct quant_grid *grid, const float *w,
                     const struct qlinear *q, int64_t row, struct textbook_trail *trail) {
    double *values = load_row(t, w), *params = zeros_of(2 * t->k);
    uint8_t *codes = malloc((size_t)t->k);
    ck_assert_ptr_nonnull(codes);
    column_loop(&(struct walk){.t = t,
                               .grid = grid,
                               .w = values,
                               .scales = params,
                               .zeros = params + t->k / t->group,
                               .codes = codes,
                               .q = q,
                               .row = row,
                               .trail = trail});
    free(codes);
    free(params);
    free(values);
}

double textbook_error(const struct textbook *t, const float *w, const struct qlinear *q,
                      int64_t row) {
    double *d = load_row(t, w);
    for (int64_t c = 0; c < t->k; c++) {
        int64_t at = row * q->groups + c / q->group;
        d[c] = (double)w[c] - (q->codes[row * t->k + c] - q->zeros[at]) * (double)q->scales[at];
    }
    double error = form(t, d);
    free(d);
    return error;
}
