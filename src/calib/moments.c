/* See moments.h. */
#include "calib/moments.h"

#include <string.h>

#include "linalg/linalg.h"

enum llmq_status moment_alloc(size_t count, bool held, struct arena *arena, struct moment *out,
                              llmq_error *err) {
    out->sum = arena_alloc(arena, count, sizeof(double), err);
    out->mean = arena_alloc(arena, count, sizeof(float), err);
    if (held)
        out->held = arena_alloc(arena, count, sizeof(float), err);
    return out->sum && out->mean && (out->held || !held) ? LLMQ_OK : LLMQ_E_MEMORY;
}

void moment_clear(const struct moment *m, int64_t count) {
    if (m->sum)
        memset(m->sum, 0, (size_t)count * sizeof *m->sum);
    if (m->held)
        memset(m->held, 0, (size_t)count * sizeof *m->held);
}

void moment_add_product(const struct moment *m, bool held, int64_t rows, const float *A,
                        int64_t width, const float *X, int64_t k) {
    if (held)
        linalg_gemm_tn(width, k, rows, 1, A, width, X, k, 1, m->held, k);
    else
        linalg_gemm_tn_accumulate(rows, width, k, A, width, X, k, m->sum, m->mean);
}

void moment_add_square(const struct moment *m, bool held, int64_t rows, const float *X, int64_t k) {
    if (held)
        moment_add_product(m, held, rows, X, k, X, k);
    else
        linalg_syrk_accumulate(rows, k, X, k, m->sum, m->mean);
}

void moment_difference(const float *a, const float *b, const float *scale, int64_t rows,
                       int64_t width, float *diff) {
#pragma omp parallel for schedule(static) default(none) shared(a, b, scale, rows, width, diff)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = r * width; i < (r + 1) * width; i++)
            diff[i] = (scale ? a[i] / scale[i - r * width] : a[i]) - b[i];
}

void moment_mirror(const struct moment *m, int64_t k) {
    double *sum = m->sum;
#pragma omp parallel for schedule(dynamic, 16) default(none) shared(k, sum)
    for (int64_t i = 1; i < k; i++)
        for (int64_t j = 0; j < i; j++)
            sum[i * k + j] = sum[j * k + i];
}

void moment_finish(const struct moment *m, int64_t count, const struct moment_tokens *tokens) {
    const double all = 2.0 / (double)tokens->all;
    const float part = tokens->held > 0 ? (float)(2.0 / (double)tokens->held) : 0;
    const double *sum = m->sum;
    float *mean = m->mean, *held = m->held;
#pragma omp parallel for schedule(static) default(none) shared(count, mean, sum, held, all, part)
    for (int64_t i = 0; i < count; i++) {
        mean[i] = (float)(all * (sum[i] + (held ? (double)held[i] : 0)));
        if (held)
            held[i] *= part;
    }
}
