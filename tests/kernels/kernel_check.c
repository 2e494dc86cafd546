/* SPDX-License-Identifier: Apache-2.0 */
/* See kernel_check.h. */
#include "kernel_check.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GUARD_BYTES = 256, GUARD_FILL = 0xff /* a float of these is NaN */ };

int check_tables(const struct llmq_kernels *tables[CPU_LEVELS]) {
    char *cap = getenv("LLMQ_CPU");
    char *saved = cap ? strdup(cap) : NULL;
    enum cpu_level best = CPU_REF;
    unsetenv("LLMQ_CPU");
    if (cpu_level_get(&best, NULL) != LLMQ_OK)
        abort();
    if (saved)
        setenv("LLMQ_CPU", saved, 1);
    free(saved);
    int count = 0;
    for (int level = CPU_REF; level <= (int)best; level++) {
        const struct llmq_kernels *table = kernels_for_level((enum cpu_level)level);
        if (count == 0 || tables[count - 1] != table)
            tables[count++] = table;
    }
    return count;
}

uint64_t check_seed(void) {
    static uint64_t seed;
    if (!seed) {
        const char *given = getenv("LLMQ_TEST_SEED");
        seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
        seed |= !seed;
        printf("LLMQ_TEST_SEED=%llu\n", (unsigned long long)seed);
        fflush(stdout);
    }
    return seed * 0x9e3779b97f4a7c15U;
}

float random_float(uint64_t *state) {
    return (float)(int32_t)(random_next(state) >> 32 & 0xffffff00U) * 0x1p-31F;
}

struct guarded guarded_create(int64_t n, int shift) {
    struct guarded g = {.n = n};
    g.raw_bytes = (2 * GUARD_BYTES + (n + shift) * (int64_t)sizeof(float) + 63) / 64 * 64;
    g.raw = aligned_alloc(64, (size_t)g.raw_bytes);
    if (!g.raw)
        abort();
    memset(g.raw, GUARD_FILL, (size_t)g.raw_bytes);
    g.data = (float *)(void *)(g.raw + GUARD_BYTES) + shift;
    memset(g.data, 0, (size_t)n * sizeof(float));
    return g;
}

bool guarded_intact(const struct guarded *g) {
    const unsigned char *begin = (const unsigned char *)g->data;
    const unsigned char *end = begin + g->n * (int64_t)sizeof(float);
    for (const unsigned char *p = g->raw; p < g->raw + g->raw_bytes; p++)
        if ((p < begin || p >= end) && *p != GUARD_FILL)
            return false;
    return true;
}

void guarded_free(struct guarded *g) {
    free(g->raw);
    *g = (struct guarded){0};
}

void fill_floats(enum fill kind, float limit, uint64_t *state, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        switch (kind) {
        case FILL_RANDOM:
            x[i] = limit * random_float(state);
            break;
        case FILL_MIN:
            x[i] = -limit;
            break;
        case FILL_MAX:
            x[i] = limit;
            break;
        case FILL_WIDE: /* magnitudes over ten octaves */
            x[i] = limit * ldexpf(random_float(state), -(int)(random_next(state) >> 60));
            break;
        case FILL_ZERO:
        case FILL_COUNT:
            x[i] = 0;
            break;
        }
}
