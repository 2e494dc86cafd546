/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through norms: see norm.h. With x^ = (x - mean) scale, scale = 1 / sqrt(spread /
 * share
 * + eps):
 *
 *     dx = scale (w dy - mean(w dy) - x^ sum(w dy x^) / share)        dw = sum over rows of dy x^
 *
 * where kinds without a mean have none to take away, and `share` is what the sum of squares is
 * divided by. */
#include <math.h>

#include "base/int64.h"
#include "graph/norm.h"

enum { COLUMNS = 64 }; /* of a weight that a thread adds up at a time */

/* Of a group of a row: what norm_rows takes away from x and multiplies it by. */
static void measure(const struct norm_rule *rule, const float *x, double *mean, double *scale) {
    const int64_t n = rule->width;
    double sum = 0, spread = 0;
    for (int64_t i = 0; norm_has_mean(rule->kind) && i < n; i++)
        sum += (double)x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        spread += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *scale =
        1 / sqrt(rule->kind == NORM_LENGTH ? spread + rule->eps : spread / (double)n + rule->eps);
}

static void add_piece(const struct norm_rule *rule, const float *x, const float *weight,
                      const float *dy, float *dx, float stats[2]) {
    const int64_t n = rule->width;
    double mean = 0, scale = 0, along = 0, level = 0;
    measure(rule, x, &mean, &scale);
    for (int64_t i = 0; i < n; i++) {
        const double g = (double)weight[i] * (double)dy[i];
        along += g * ((double)x[i] - mean) * scale;
        level += g;
    }
    along /= rule->kind == NORM_LENGTH ? 1 : (double)n;
    level = norm_has_mean(rule->kind) ? level / (double)n : 0;
    for (int64_t i = 0; i < n; i++) {
        const double unit = ((double)x[i] - mean) * scale;
        dx[i] += (float)(scale * ((double)weight[i] * (double)dy[i] - level - unit * along));
    }
    stats[0] = (float)mean;
    stats[1] = (float)scale;
}

/* Columns [first, last) of the weight and the bias of one group, or of all that share them. */
static void add_columns(const struct norm_rule *rule, int64_t rows, int64_t group, int64_t first,
                        const struct norm_back *b) {
    const int64_t own = rule->each ? group * rule->width : 0, step = rule->each ? rule->groups : 1;
    const int64_t count = min_i64(COLUMNS, rule->width - first);
    double weight[COLUMNS] = {0}, bias[COLUMNS] = {0};
    for (int64_t p = group; p < rows * rule->groups; p += step) {
        const float *x = b->x + p * rule->width + first, *dy = b->dy + p * rule->width + first;
        const float mean = b->stats[2 * p], scale = b->stats[2 * p + 1];
        for (int64_t i = 0; i < count; i++) {
            weight[i] += (double)(dy[i] * ((x[i] - mean) * scale));
            bias[i] += (double)dy[i];
        }
    }
    for (int64_t i = 0; i < count; i++) {
        if (b->weight)
            b->weight[own + first + i] += weight[i];
        if (b->bias)
            b->bias[own + first + i] += bias[i];
    }
}

void norm_back(const struct norm_rule *rule, int64_t rows, const struct norm_back *b) {
    const int64_t width = rule->width, pieces = rows * rule->groups;
#pragma omp parallel for schedule(static) default(none) shared(rule, b, width, pieces)
    for (int64_t p = 0; p < pieces; p++) {
        const float *weight = rule->weight + (rule->each ? p % rule->groups * width : 0);
        add_piece(rule, b->x + p * width, weight, b->dy + p * width, b->dx + p * width,
                  b->stats + 2 * p);
    }
    const int64_t blocks = ceil_div(width, COLUMNS);
    const int64_t work = b->weight || b->bias ? blocks * (rule->each ? rule->groups : 1) : 0;
#pragma omp parallel for schedule(static) default(none) shared(rule, rows, b, blocks, work)
    for (int64_t i = 0; i < work; i++)
        add_columns(rule, rows, i / blocks, i % blocks * COLUMNS, b);
}
