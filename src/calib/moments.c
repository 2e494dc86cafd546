/* SPDX-License-Identifier: Apache-2.0 */
/* See moments.h. */
#include "calib/moments.h"

#include <string.h>

#include "linalg/linalg.h"

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

/* Entries that are turned into float32 before the first is written. */
enum { CHUNK = 512 };

/* `count` doubles from entry `from` on become float32 from entry `to` on, `to` no later in memory:
 * it is the bytes that move, as one memory holds both types. */
static void narrow(double *sum, double factor, int64_t from, int64_t to, int64_t count) {
    double in[CHUNK];
    float out[CHUNK];
    for (int64_t at = 0; at < count; at += CHUNK) {
        const int64_t these = count - at < CHUNK ? count - at : CHUNK;
        memcpy(in, sum + from + at, (size_t)these * sizeof *in);
        for (int64_t i = 0; i < these; i++)
            out[i] = (float)(factor * in[i]);
        memcpy((char *)sum + (size_t)(to + at) * sizeof *out, out, (size_t)these * sizeof *out);
    }
}

/* Entry i ends where entry i / 2 was. So [n, 2n) does not reach into itself once all below n are
 * done, and its chunks are independent of each other. */
float *moment_finish(const struct moment *m, int64_t count, double factor) {
    double *sum = m->sum;
    narrow(sum, factor, 0, 0, count < CHUNK ? count : CHUNK);
    for (int64_t done = CHUNK; done < count; done *= 2) {
        const int64_t end = count < 2 * done ? count : 2 * done;
#pragma omp parallel for schedule(static) default(none) shared(sum, factor, done, end)
        for (int64_t at = done; at < end; at += CHUNK)
            narrow(sum, factor, at, at, end < at + CHUNK ? end - at : CHUNK);
    }
    return (float *)sum;
}

/* Edge of the tiles that are mirrored. */
enum { TILE = 64 };

static void mirror_tile(float *H, int64_t k, int64_t row, int64_t col) {
    const int64_t end = row + TILE < k ? row + TILE : k;
    for (int64_t i = row; i < end; i++)
        for (int64_t j = col; j < col + TILE && j < i; j++)
            H[i * k + j] = H[j * k + i];
}

/* Row i of float32 begins where 4 i k bytes lie, and packed where 4 i (2 k - i + 1) do, which is no
 * earlier: from the first row on, none is written over before it was read. */
float *moment_finish_square(const struct moment *m, int64_t k, double factor) {
    float *H = (float *)m->sum;
    for (int64_t i = 0; i < k; i++)
        narrow(m->sum, factor, linalg_upper(k, i, i), i * k + i, k - i);
#pragma omp parallel for schedule(dynamic) default(none) shared(H, k)
    for (int64_t row = 0; row < k; row += TILE)
        for (int64_t col = 0; col <= row; col += TILE)
            mirror_tile(H, k, row, col);
    return H;
}
