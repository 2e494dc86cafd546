/* SPDX-License-Identifier: Apache-2.0 */
/* Products in bfloat16 against the rate of their instruction on registers alone, for the linears of
 * a 7B model and of a small one: medians and the best of some samples, taken in turns. Packing of
 * both operands is part of a product. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/limits.h"
#include "kernels/bf16.h"
#include "linalg/linalg.h"

enum { SAMPLES = 5, M = 4096 };

static const struct {
    int64_t n, k;
} shapes[] = {{4096, 4096}, {11008, 4096}, {4096, 11008}, {512, 512}, {288, 288}, {768, 288}};

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float *random_matrix(int64_t count) {
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; x && i < count; i++)
        x[i] = (float)(i * 2654435761 % 65536) / 32768 - 1;
    return x;
}

/* Operations a second of products repeated for a fifth of a second or more. */
static double product(int64_t n, int64_t k, const float *x, const float *w, float *y,
                      void *scratch) {
    const int64_t repeats = 1 + 100000000000 / (2 * M * n * k);
    double start = omp_get_wtime();
    for (int64_t i = 0; i < repeats; i++)
        bf16_matmul(kernels_get(), M, n, k, x, w, y, scratch);
    return 2.0 * M * (double)(n * k * repeats) / (omp_get_wtime() - start);
}

static int measure(int64_t n, int64_t k, int threads) {
    double rates[SAMPLES], limits[SAMPLES];
    omp_set_num_threads(threads);
    float *x = random_matrix(M * k), *w = random_matrix(n * k), *y = random_matrix(M * n);
    void *scratch = aligned_alloc(64, (bf16_scratch_bytes(M, k) + 63) / 64 * 64);
    bool ready = x && w && y && scratch;
    for (int i = 0; ready && i < SAMPLES; i++) {
        limits[i] = limits_bf16(threads);
        rates[i] = product(n, k, x, w, y, scratch);
    }
    if (ready) {
        qsort(rates, SAMPLES, sizeof *rates, ascending);
        qsort(limits, SAMPLES, sizeof *limits, ascending);
        printf(
            "%5lld x %5lld  T%d  %7.1f GF/s (best %7.1f), limit %7.1f: %3.0f %% (best %3.0f %%)\n",
            (long long)n, (long long)k, threads, rates[SAMPLES / 2] * 1e-9,
            rates[SAMPLES - 1] * 1e-9, limits[SAMPLES - 1] * 1e-9,
            100 * rates[SAMPLES / 2] / limits[SAMPLES / 2],
            100 * rates[SAMPLES - 1] / limits[SAMPLES - 1]);
    }
    free(x);
    free(w);
    free(y);
    free(scratch);
    return ready ? 0 : 1;
}

int main(void) {
    int failed = 0, most = omp_get_max_threads();
    if (kernels_init(NULL) != LLMQ_OK || !bf16_supported(kernels_get())) {
        printf("%s has no products of bfloat16\n", kernels_get()->name);
        return 77; /* what meson takes for skipped */
    }
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int threads = 1; threads <= most; threads *= 2)
            failed |= measure(shapes[i].n, shapes[i].k, threads);
    return failed;
}
