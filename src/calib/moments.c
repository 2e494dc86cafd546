/* See moments.h. */
#include "calib/moments.h"

#include <string.h>

#include "linalg/linalg.h"

enum llmq_status moment_alloc(size_t count, bool held, struct arena *arena, struct moment *out,
                              llmq_error *err) {
    out->sum = arena_alloc(arena, count, sizeof(double), err);
    if (held)
        out->held = arena_alloc(arena, count, sizeof(float), err);
    return out->sum && (out->held || !held) ? LLMQ_OK : LLMQ_E_MEMORY;
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
        linalg_gemm_tn_accumulate(rows, width, k, A, width, X, k, m->sum, m->scratch);
}

void moment_add_square(const struct moment *m, bool held, int64_t rows, const float *X, int64_t k) {
    if (held)
        moment_add_product(m, held, rows, X, k, X, k);
    else
        linalg_syrk_accumulate(rows, k, X, k, m->sum, m->scratch);
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

/* Entries that are turned into float32 before the first is written. */
enum { CHUNK = 512 };

/* Entries [begin, end) of float32 take the place of doubles that were read before: it is the bytes
 * that move, as one memory holds both types. */
static void narrow_range(double *sum, const float *held, double factor, int64_t begin,
                         int64_t end) {
    double in[CHUNK];
    float out[CHUNK];
    for (int64_t at = begin; at < end; at += CHUNK) {
        const int64_t count = end - at < CHUNK ? end - at : CHUNK;
        memcpy(in, sum + at, (size_t)count * sizeof *in);
        for (int64_t i = 0; i < count; i++)
            out[i] = (float)(factor * (in[i] + (held ? (double)held[at + i] : 0)));
        memcpy((char *)sum + (size_t)at * sizeof *out, out, (size_t)count * sizeof *out);
    }
}

/* Entry i ends where entry i / 2 was. So [n, 2n) does not reach into itself once all below n are
 * done, and its chunks are independent of each other. */
static void narrow(double *sum, const float *held, double factor, int64_t count) {
    narrow_range(sum, held, factor, 0, count < CHUNK ? count : CHUNK);
    for (int64_t done = CHUNK; done < count; done *= 2) {
        const int64_t end = count < 2 * done ? count : 2 * done;
#pragma omp parallel for schedule(static) default(none) shared(sum, held, factor, done, end)
        for (int64_t at = done; at < end; at += CHUNK)
            narrow_range(sum, held, factor, at, end < at + CHUNK ? end : at + CHUNK);
    }
}

const float *moment_finish(const struct moment *m, int64_t count,
                           const struct moment_tokens *tokens) {
    const float part = tokens->held > 0 ? (float)(2.0 / (double)tokens->held) : 0;
    float *held = m->held;
    narrow(m->sum, held, 2.0 / (double)tokens->all, count);
#pragma omp parallel for schedule(static) default(none) shared(count, held, part)
    for (int64_t i = 0; i < (held ? count : 0); i++)
        held[i] *= part;
    return (const float *)m->sum;
}
