/* See moments.h. */
#include "calib/moments.h"

#include <string.h>

enum llmq_status moment_alloc(size_t count, struct arena *arena, struct moment *out,
                              llmq_error *err) {
    out->sum = arena_alloc(arena, count, sizeof(double), err);
    return out->sum ? LLMQ_OK : LLMQ_E_MEMORY;
}

void moment_clear(const struct moment *m, int64_t count) {
    if (m->sum)
        memset(m->sum, 0, (size_t)count * sizeof *m->sum);
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
static void narrow_range(double *sum, double factor, int64_t begin, int64_t end) {
    double in[CHUNK];
    float out[CHUNK];
    for (int64_t at = begin; at < end; at += CHUNK) {
        const int64_t count = end - at < CHUNK ? end - at : CHUNK;
        memcpy(in, sum + at, (size_t)count * sizeof *in);
        for (int64_t i = 0; i < count; i++)
            out[i] = (float)(factor * in[i]);
        memcpy((char *)sum + (size_t)at * sizeof *out, out, (size_t)count * sizeof *out);
    }
}

/* Entry i ends where entry i / 2 was. So [n, 2n) does not reach into itself once all below n are
 * done, and its chunks are independent of each other. */
float *moment_finish(const struct moment *m, int64_t count, int64_t tokens) {
    const double factor = 2.0 / (double)tokens;
    double *sum = m->sum;
    narrow_range(sum, factor, 0, count < CHUNK ? count : CHUNK);
    for (int64_t done = CHUNK; done < count; done *= 2) {
        const int64_t end = count < 2 * done ? count : 2 * done;
#pragma omp parallel for schedule(static) default(none) shared(sum, factor, done, end)
        for (int64_t at = done; at < end; at += CHUNK)
            narrow_range(sum, factor, at, end < at + CHUNK ? end : at + CHUNK);
    }
    return (float *)sum;
}
