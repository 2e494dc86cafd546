/* SPDX-License-Identifier: Apache-2.0 */
/* Moving columns: see columns.h. */
#include "graph/columns.h"

#include <math.h>
#include <string.h>

#include "base/int64.h"

/* Entries of a run that are the part's. */
static int64_t piece_width(const struct part *part, int64_t groups) {
    return part->repeated ? part->width : part->width / groups;
}

static int64_t run_width(const struct part *parts, int count, int64_t groups) {
    int64_t width = 0;
    for (int p = 0; p < count; p++)
        width += piece_width(&parts[p], groups);
    return width;
}

/* The part's piece in run `group` of a row. */
static float *piece_at(const struct part *part, int64_t groups, int64_t row, int64_t group) {
    const int64_t begin = part->repeated ? 0 : group * piece_width(part, groups);
    return part->data + row * part->width + begin;
}

static void put_piece(bool adding, int64_t width, const float *x, float *out) {
    if (!adding) {
        memcpy(out, x, (size_t)width * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < width; i++)
        out[i] += x[i];
}

static void split(bool adding, const struct part *parts, int count, int64_t groups, int64_t rows,
                  const float *x) {
    const int64_t run = run_width(parts, count, groups);
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(adding, parts, count, groups, rows, x, run)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t g = 0; g < groups; g++) {
            const float *from = x + (r * groups + g) * run;
            for (int p = 0; p < count; p++) {
                const int64_t width = piece_width(&parts[p], groups);
                if (parts[p].data)
                    put_piece(adding, width, from, piece_at(&parts[p], groups, r, g));
                from += width;
            }
        }
}

static void join(bool adding, const struct part *parts, int count, int64_t groups, int64_t rows,
                 float *out) {
    const int64_t run = run_width(parts, count, groups);
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(adding, parts, count, groups, rows, out, run)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t g = 0; g < groups; g++) {
            float *to = out + (r * groups + g) * run;
            for (int p = 0; p < count; p++) {
                const int64_t width = piece_width(&parts[p], groups);
                if (parts[p].data)
                    put_piece(adding, width, piece_at(&parts[p], groups, r, g), to);
                to += width;
            }
        }
}

void columns_split(const struct part *parts, int count, int64_t groups, int64_t rows,
                   const float *x) {
    split(false, parts, count, groups, rows, x);
}

void columns_join(const struct part *parts, int count, int64_t groups, int64_t rows, float *out) {
    join(false, parts, count, groups, rows, out);
}

void columns_add_split(const struct part *parts, int count, int64_t groups, int64_t rows,
                       const float *x) {
    split(true, parts, count, groups, rows, x);
}

void columns_add_join(const struct part *parts, int count, int64_t groups, int64_t rows,
                      float *out) {
    join(true, parts, count, groups, rows, out);
}

void columns_resize(int64_t rows, int64_t from, int64_t to, float *x) {
    for (int64_t r = 1; r < rows && to < from; r++)
        memmove(x + r * to, x + r * from, (size_t)to * sizeof *x);
    for (int64_t r = rows; r-- > 0 && to > from;) {
        memmove(x + r * to, x + r * from, (size_t)from * sizeof *x);
        memset(x + r * to + from, 0, (size_t)(to - from) * sizeof *x);
    }
}

void columns_clip(float bound, int64_t count, const float *x, float *out) {
#pragma omp parallel for schedule(static) default(none) shared(bound, count, x, out)
    for (int64_t i = 0; i < count; i++) {
        const float raised = x[i] < -bound ? -bound : x[i];
        out[i] = raised > bound ? bound : raised;
    }
}

void columns_clip_back(float bound, int64_t count, const float *x, const float *dy, float *dx) {
#pragma omp parallel for schedule(static) default(none) shared(bound, count, x, dy, dx)
    for (int64_t i = 0; i < count; i++)
        dx[i] += x[i] < -bound || x[i] > bound ? 0 : dy[i];
}

void columns_total(int64_t groups, int64_t rows, int64_t width, const float *x, float *out) {
    const int64_t piece = width / groups;
#pragma omp parallel for schedule(static) default(none) shared(groups, rows, x, out, piece)
    for (int64_t p = 0; p < rows * groups; p++) {
        double sum = 0;
        for (int64_t i = 0; i < piece; i++)
            sum += (double)x[p * piece + i];
        out[p] = (float)sum;
    }
}

void columns_total_back(int64_t groups, int64_t rows, int64_t width, const float *dy, float *dx) {
    const int64_t piece = width / groups;
#pragma omp parallel for schedule(static) default(none) shared(groups, rows, dy, dx, piece)
    for (int64_t p = 0; p < rows * groups; p++)
        for (int64_t i = 0; i < piece; i++)
            dx[p * piece + i] += dy[p];
}

void columns_weigh(int64_t rows, int64_t width, const float *factors, const float *x, float *out) {
#pragma omp parallel for schedule(static) default(none) shared(rows, width, factors, x, out)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++)
            out[r * width + i] = factors[i] * x[r * width + i];
}

void columns_weigh_back(int64_t rows, int64_t width, const struct columns_weigh_back *b) {
#pragma omp parallel for schedule(static) default(none) shared(rows, width, b)
    for (int64_t i = 0; i < width; i++) {
        double slope = 0;
        for (int64_t r = 0; r < rows; r++) {
            const int64_t at = r * width + i;
            b->dx[at] += b->factors[i] * b->dy[at];
            slope += (double)b->x[at] * (double)b->dy[at];
        }
        if (b->slopes)
            b->slopes[i] += slope;
    }
}

void columns_scale(float factor, int64_t count, float *x) {
#pragma omp parallel for schedule(static) default(none) shared(factor, count, x)
    for (int64_t i = 0; i < count; i++)
        x[i] *= factor;
}

void columns_add(float kept, float factor, int64_t count, const float *a, const float *b,
                 float *out) {
#pragma omp parallel for schedule(static) default(none) shared(kept, factor, count, a, b, out)
    for (int64_t i = 0; i < count; i++)
        out[i] = kept * a[i] + factor * b[i];
}

void columns_add_to(float factor, int64_t count, const float *x, float *sum) {
#pragma omp parallel for schedule(static) default(none) shared(factor, count, x, sum)
    for (int64_t i = 0; i < count; i++)
        sum[i] += factor * x[i];
}

enum { COLUMNS = 64 }; /* that a thread adds up at a time */

void columns_sum(int64_t rows, int64_t width, const float *x, double *sum) {
#pragma omp parallel for schedule(static) default(none) shared(rows, width, x, sum)
    for (int64_t first = 0; first < width; first += COLUMNS)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = first; i < min_i64(first + COLUMNS, width); i++)
                sum[i] += (double)x[r * width + i];
}

void columns_add_sinusoids(int64_t first, int64_t length, int64_t width, float *x) {
    const int64_t half = width / 2;
    const float step = (float)(log(10000) / (double)(half > 1 ? half - 1 : 1));
    for (int64_t p = 0; p < length; p++)
        for (int64_t i = 0; i < half; i++) {
            const float angle = (float)(first + p) * expf(-step * (float)i);
            x[p * width + i] += sinf(angle);
            x[p * width + half + i] += cosf(angle);
        }
}
