/* SPDX-License-Identifier: Apache-2.0 */
/* Norms: see norm.h. */
#include "graph/norm.h"

#include <math.h>

#include "kernels/kernels.h"

const float *norm_weight(enum norm kind, const float *stored, int64_t count, float *scratch) {
    if (norm_has_weight(kind) && !norm_adds_one(kind))
        return stored;
    for (int64_t i = 0; i < count; i++)
        scratch[i] = norm_has_weight(kind) ? 1 + stored[i] : 1;
    return scratch;
}

/* Partial sums, so that the compiler may add several at once in an order that is fixed. */
enum { LANES = 8 };

static double lanes_sum(double lane[LANES]) {
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    return lane[0];
}

static double sum(const float *x, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)x[i + l];
    for (int l = 0; i + l < n; l++)
        lane[l] += (double)x[i + l];
    return lanes_sum(lane);
}

static double sum_squares(const float *x, double mean, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += ((double)x[i + l] - mean) * ((double)x[i + l] - mean);
    for (int l = 0; i + l < n; l++)
        lane[l] += ((double)x[i + l] - mean) * ((double)x[i + l] - mean);
    return lanes_sum(lane);
}

static void layer_norm(const float *x, const float *weight, double eps, int64_t n, float *out) {
    const double mean = sum(x, n) / (double)n;
    const double scale = 1 / sqrt(sum_squares(x, mean, n) / (double)n + eps);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(((double)x[i] - mean) * scale) * weight[i];
}

static void to_length_one(const float *x, double eps, int64_t n, float *out) {
    const double scale = 1 / sqrt(sum_squares(x, 0, n) + eps);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)((double)x[i] * scale);
}

void norm_rows(const struct norm_rule *rule, int64_t rows, const float *x, float *out) {
    const struct llmq_kernels *kernels = kernels_get();
    const int64_t width = rule->width, pieces = rows * rule->groups;
#pragma omp parallel for schedule(static) default(none) shared(rule, kernels, x, out, width, pieces)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t own = rule->each ? p % rule->groups * width : 0;
        const float *from = x + p * width, *weight = rule->weight + own;
        float *to = out + p * width;
        if (norm_has_mean(rule->kind))
            layer_norm(from, weight, rule->eps, width, to);
        else if (rule->kind == NORM_LENGTH)
            to_length_one(from, rule->eps, width, to);
        else
            kernels->rmsnorm_row(from, weight, rule->eps, width, to);
        for (int64_t i = 0; rule->bias && i < width; i++)
            to[i] += rule->bias[own + i];
    }
}
