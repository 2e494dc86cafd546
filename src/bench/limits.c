/* SPDX-License-Identifier: Apache-2.0 */
/* See limits.h. */
#include "bench/limits.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hugemem.h"
#include "kernels/kernels.h"

enum {
    MEMORY_BYTES = 256 << 20,
    SLICES = 16,     /* of the memory, read in turn: one is half a millisecond or so */
    ROUNDS = 400000, /* of arithmetic: about a millisecond */
    LINE = 512,      /* what peak_read takes at a time */
};

enum llmq_status limits_memory_create(struct limits_memory *m, llmq_error *err) {
    *m = (struct limits_memory){.size = MEMORY_BYTES};
    m->bytes = huge_malloc(m->size); /* as weights are */
    if (!m->bytes)
        return error_memory(err, "the memory to read");
    memset(m->bytes, 1, m->size);
    return LLMQ_OK;
}

void limits_memory_free(struct limits_memory *m) {
    free(m->bytes);
    *m = (struct limits_memory){0};
}

double limits_read(const struct limits_memory *m, int turn, int threads) {
    const struct llmq_kernels *kernels = kernels_get();
    const int64_t slice = (int64_t)m->size / SLICES, part = slice / threads / LINE * LINE;
    const uint8_t *bytes = m->bytes + turn % SLICES * slice;
    double start = 0;
#pragma omp parallel num_threads(threads) default(none) shared(kernels, bytes, part, start)
    {
        float sink = 0;
#pragma omp barrier
#pragma omp master
        start = omp_get_wtime();
        kernels->peak_read(bytes + part * omp_get_thread_num(), part, &sink);
    }
    return (double)(part * threads) / (omp_get_wtime() - start);
}

/* Rate of `work` on every thread at once. */
static double rate(int64_t (*work)(int64_t rounds, float *sink), int threads) {
    double start = 0;
    int64_t count = 0;
#pragma omp parallel num_threads(threads) default(none) shared(work, start) reduction(+ : count)
    {
        float sink = 0.25F;
#pragma omp barrier
#pragma omp master
        start = omp_get_wtime();
        count += work(ROUNDS, &sink);
    }
    return (double)count / (omp_get_wtime() - start);
}

double limits_fma(int threads) {
    return rate(kernels_get()->peak_fma, threads);
}

double limits_int8(int threads) {
    return rate(kernels_get()->peak_int8, threads);
}

double limits_bf16(int threads) {
    return rate(kernels_get()->peak_bf16, threads);
}
