/* Speed of the quantized product beside what bounds it, measured in one run: a streaming read of
 * memory and the library's sgemm, each on as many threads as OMP_NUM_THREADS says, measured again
 * for each shape. Only ratios within a run mean something. Run by `meson test --benchmark`;
 * LLMQ_CPU picks the instruction set. */
#define _DEFAULT_SOURCE /* madvise */

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/kernels.h"
#include "llmq/matmul.h"

enum {
    GROUP = 128,
    STREAM_BYTES = 256 << 20, /* more than the caches hold */
    REPEATS = 5,              /* at least; more while SECONDS have not passed */
    COPIES_MAX = 32,
};

#define SECONDS 0.5

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static float random_float(uint64_t *state) {
    return (float)(int32_t)(random_next(state) >> 32) * 0x1p-31F;
}

/* Best of repeated timings: the least disturbed one. */
struct timing {
    double begin, start, best;
    int count;
};

static bool timing_next(struct timing *t) {
    if (t->count == 0)
        *t = (struct timing){.begin = now(), .best = (double)INFINITY};
    else
        t->best = fmin(t->best, now() - t->start);
    bool more = t->count++ < REPEATS || now() - t->begin < SECONDS;
    t->start = now();
    return more;
}

static void *must(void *p) {
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return p;
}

static float *random_floats(int64_t count, uint64_t *state) {
    float *p = must(malloc((size_t)count * sizeof *p));
    for (int64_t i = 0; i < count; i++)
        p[i] = random_float(state);
    return p;
}

/* GB/s of reading on huge pages. */
static double stream_rate(void) {
    const int64_t words = STREAM_BYTES / 8;
    uint64_t *p = must(aligned_alloc(2 << 20, STREAM_BYTES));
    (void)madvise(p, STREAM_BYTES, MADV_HUGEPAGE);
    for (int64_t i = 0; i < words; i++)
        p[i] = (uint64_t)i;
    struct timing t = {0};
    volatile uint64_t sink = 0;
    while (timing_next(&t)) {
        uint64_t sum = 0;
#pragma omp parallel for schedule(static) default(none) shared(p, words) reduction(^ : sum)
        for (size_t i = 0; i < (size_t)words; i += 8)
            sum ^=
                p[i] ^ p[i + 1] ^ p[i + 2] ^ p[i + 3] ^ p[i + 4] ^ p[i + 5] ^ p[i + 6] ^ p[i + 7];
        sink = sum;
    }
    (void)sink;
    free(p);
    return STREAM_BYTES / t.best * 1e-9;
}

/* GF/s of sgemm. */
static double sgemm_rate(void) {
    enum { N = 1536 };
    uint64_t seed = 1;
    float *a = random_floats(N * N, &seed), *b = random_floats(N * N, &seed);
    float *c = random_floats(N * N, &seed);
    struct timing t = {0};
    openblas_set_num_threads(omp_get_max_threads());
    while (timing_next(&t))
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1, a, N, b, N, 0, c, N);
    free(a);
    free(b);
    free(c);
    return 2.0 * N * N * N / t.best * 1e-9;
}

struct matrices {
    int64_t n, k;
    int copies; /* equal matrices used in turn, so that weights come from memory */
    llmq_qmat *q[COPIES_MAX];
    uint8_t *codes;
    float *scales;
    uint8_t *zeros;
};

static void matrices_create(struct matrices *s, int bits) {
    uint64_t seed = 7;
    const int64_t groups = s->k / GROUP;
    s->codes = must(malloc((size_t)(s->n * s->k)));
    s->scales = random_floats(s->n * groups, &seed);
    s->zeros = must(malloc((size_t)(s->n * groups)));
    for (int64_t i = 0; i < s->n * s->k; i++)
        s->codes[i] = (uint8_t)(random_next(&seed) >> 40 & ((1U << bits) - 1));
    for (int64_t i = 0; i < s->n * groups; i++)
        s->zeros[i] = (uint8_t)(random_next(&seed) >> 40 & ((1U << bits) - 1));
    llmq_qmat_desc desc = {s->n, s->k, bits, GROUP, s->codes, s->scales, s->zeros, NULL};
    llmq_error err = {0};
    s->copies = 0;
    do {
        if (llmq_qmat_create(&desc, &s->q[s->copies], &err) != LLMQ_OK) {
            fprintf(stderr, "%s\n", err.message);
            exit(1);
        }
        s->copies++;
    } while (s->copies < COPIES_MAX && llmq_qmat_bytes(s->q[0]) * (size_t)s->copies < STREAM_BYTES);
}

static void matrices_free(struct matrices *s) {
    for (int i = 0; i < s->copies; i++)
        llmq_qmat_free(&s->q[i]);
    free(s->codes);
    free(s->scales);
    free(s->zeros);
}

/* Largest |y - reference| / sum |w x| over a sample of outputs. */
static double relative_error(const struct matrices *s, const float *x, int64_t m, const float *y) {
    const int64_t groups = s->k / GROUP;
    double worst = 0;
    for (int64_t i = 0; i < 200; i++) {
        int64_t row = i * 7919 % s->n, r = i % m;
        double sum = 0, magnitude = 0;
        for (int64_t c = 0; c < s->k; c++) {
            int64_t g = row * groups + c / GROUP;
            double w = (s->codes[row * s->k + c] - s->zeros[g]) * (double)s->scales[g];
            sum += w * (double)x[r * s->k + c];
            magnitude += fabs(w * (double)x[r * s->k + c]);
        }
        worst = fmax(worst, fabs(sum - (double)y[r * s->n + row]) / magnitude);
    }
    return worst;
}

static void bench_product(const struct matrices *s, int64_t m, enum llmq_activations act,
                          double stream, double sgemm) {
    uint64_t seed = 11;
    float *x = random_floats(m * s->k, &seed);
    float *y = must(calloc((size_t)(m * s->n), sizeof *y));
    struct timing t = {0};
    while (timing_next(&t))
        if (llmq_qmat_matmul(s->q[t.count % s->copies], x, m, act, y, NULL) != LLMQ_OK)
            exit(1);
    double gbps = (double)llmq_qmat_bytes(s->q[0]) / t.best * 1e-9;
    double gflops = 2.0 * (double)(m * s->n * s->k) / t.best * 1e-9;
    printf("%6lld x %6lld  M %4lld  %7.2f GB/s (%3.0f %% of stream)  %7.1f GF/s (%3.0f %% of "
           "sgemm)  error %.1e\n",
           (long long)s->n, (long long)s->k, (long long)m, gbps, 100 * gbps / stream, gflops,
           100 * gflops / sgemm, relative_error(s, x, m, y));
    free(x);
    free(y);
}

int main(void) {
    static const int64_t shapes[][2] = {{4096, 4096}, {11008, 4096}, {4096, 11008}};
    static const int64_t rows[] = {1, 4, 8, 16, 128, 512};
    printf("kernels %s, %d threads\n", llmq_cpu_name(), omp_get_max_threads());
    for (int bits = 4; bits <= 8; bits += 4)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            struct matrices s = {.n = shapes[i][0], .k = shapes[i][1]};
            matrices_create(&s, bits);
            double stream = stream_rate(), sgemm = sgemm_rate();
            printf("%d bits; stream %.1f GB/s, sgemm %.1f GF/s\n", bits, stream, sgemm);
            for (size_t j = 0; j < sizeof rows / sizeof rows[0]; j++)
                for (int a = 0; a < 2; a++)
                    bench_product(&s, rows[j], (enum llmq_activations)a, stream, sgemm);
            matrices_free(&s);
        }
    return 0;
}
