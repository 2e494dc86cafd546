/* SPDX-License-Identifier: Apache-2.0 */
/* Products with INT4 weights, measured in turns with what bounds them: see bench.h. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/tally.h"
#include "bench/bench.h"
#include "setup/setup.h"
#include "tensor/qlinear.h"

#define SAMPLE_SECONDS 5e-4 /* at least: about as long as a sample of the limits takes */

enum { COPIES_MAX = 64, ROWS_MAX = 512, CHECKED = 200 };

static const int64_t row_counts[] = {1, 16, 128, ROWS_MAX};

/* One matrix, packed several times over: used in turn, weights come from memory. */
struct weights {
    struct qlinear neutral;
    llmq_qmat *packed[COPIES_MAX];
    int copies;
    float *x; /* [ROWS_MAX, k] */
    float *y; /* [ROWS_MAX, n] */
};

static void weights_free(struct weights *w) {
    for (int i = 0; i < w->copies; i++)
        llmq_qmat_free(&w->packed[i]);
    qlinear_free(&w->neutral);
    free(w->x);
    free(w->y);
}

/* Codes, scales and zeros of any value: their distribution does not show in the time. */
static void fill_neutral(struct qlinear *q) {
    uint32_t state = 1;
    for (int64_t i = 0; i < q->n * q->k; i++) {
        state = state * 1664525U + 1013904223U; /* Numerical Recipes, 2nd edition, 7.1 */
        q->codes[i] = (uint8_t)(state >> 28);
    }
    for (int64_t i = 0; i < q->n * q->groups; i++) {
        q->scales[i] = 0.01F * (float)(1 + i % 7);
        q->zeros[i] = 8;
    }
}

/* As many copies as fill `size` bytes. */
static enum llmq_status weights_create(int64_t n, int64_t k, size_t size, struct weights *w,
                                       llmq_error *err) {
    struct qlinear *q = &w->neutral;
    enum llmq_status status = qlinear_alloc(n, k, 4, BENCH_GROUP, q, err);
    if (status != LLMQ_OK)
        return status;
    w->x = malloc((size_t)(ROWS_MAX * k) * sizeof *w->x);
    w->y = malloc((size_t)(ROWS_MAX * n) * sizeof *w->y);
    if (!w->x || !w->y)
        return error_memory(err, "activations");
    fill_neutral(q);
    bench_random(2, ROWS_MAX * k, w->x);
    llmq_qmat_desc desc = {sizeof desc, n,         k,        q->bits, q->group,
                           q->codes,    q->scales, q->zeros, NULL};
    do {
        status = llmq_qmat_create(&desc, &w->packed[w->copies], err);
        if (status != LLMQ_OK)
            return status;
        w->copies++;
    } while (w->copies < COPIES_MAX && llmq_qmat_bytes(w->packed[0]) * (size_t)w->copies < size);
    return LLMQ_OK;
}

/* Root mean square of y - W x over that of W x, on a sample of the outputs. */
static double relative_error(const struct weights *w, int64_t m) {
    const struct qlinear *q = &w->neutral;
    double error = 0, norm = 0;
    for (int64_t i = 0; i < CHECKED; i++) {
        const int64_t row = i * 7919 % q->n, r = i % m;
        double sum = 0;
        for (int64_t c = 0; c < q->k; c++) {
            int64_t g = row * q->groups + c / q->group;
            sum += (q->codes[row * q->k + c] - q->zeros[g]) * (double)q->scales[g] *
                   (double)w->x[r * q->k + c];
        }
        double off = (double)w->y[r * q->n + row] - sum;
        error += off * off;
        norm += sum * sum;
    }
    return sqrt(error / norm);
}

static double limit_now(const llmq_bench_product *p, int turn, const struct limits_memory *memory) {
    if (p->m == 1)
        return limits_read(memory, turn, p->threads);
    return p->activations == LLMQ_ACTIVATIONS_INT8 ? limits_int8(p->threads)
                                                   : limits_fma(p->threads);
}

/* Calls a second, from as many calls as a clock can time; `turn` says where to begin. */
static enum llmq_status time_calls(const struct weights *w, const llmq_bench_product *p, int turn,
                                   double *rate, llmq_error *err) {
    const double start = tally_now();
    double seconds = 0;
    for (int calls = 0; seconds < SAMPLE_SECONDS; calls++) {
        const llmq_qmat *q = w->packed[(turn + calls) % w->copies];
        enum llmq_status status = llmq_qmat_matmul(q, w->x, p->m, p->activations, w->y, err);
        if (status != LLMQ_OK)
            return status;
        seconds = tally_now() - start;
        *rate = (calls + 1) / seconds;
    }
    return LLMQ_OK;
}

/* Fill in the rates of a product whose shape is set. */
static enum llmq_status measure(const struct weights *w, const struct limits_memory *memory,
                                llmq_bench_product *p, llmq_error *err) {
    struct bench_samples s = {.begin = tally_now()};
    for (; !bench_enough(&s); s.count++) {
        s.limit[s.count] = limit_now(p, s.count, memory);
        enum llmq_status status = time_calls(w, p, s.count, &s.rate[s.count], err);
        if (status != LLMQ_OK)
            return status;
    }
    const double calls = bench_median(s.rate, s.count), limit = bench_median(s.limit, s.count);
    const double scales = (double)(p->n * p->k / BENCH_GROUP) * sizeof(float);
    const double bytes = (double)(p->n * p->k) / 2 + scales;
    const double work = 2 * (double)(p->m * p->n * p->k);
    p->gbps = calls * bytes * 1e-9;
    p->gflops = calls * work * 1e-9;
    p->fraction = calls * (p->m == 1 ? bytes : work) / limit;
    p->relerr = relative_error(w, p->m);
    return LLMQ_OK;
}

/* Every product on `threads` threads. */
static enum llmq_status measure_all(const struct weights *w, int threads,
                                    const struct limits_memory *memory, llmq_bench_report *report,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    omp_set_num_threads(threads);
    for (int mode = 0; mode < 2; mode++)
        for (int i = 0; i < 4 && status == LLMQ_OK; i++) {
            llmq_bench_product *p = &report->products[report->product_count++];
            *p = (llmq_bench_product){
                .activations = mode ? LLMQ_ACTIVATIONS_INT8 : LLMQ_ACTIVATIONS_EXACT,
                .n = w->neutral.n,
                .k = w->neutral.k,
                .m = row_counts[i],
                .threads = threads,
            };
            status = measure(w, memory, p, err);
        }
    return status;
}

enum llmq_status bench_products(int64_t n, int64_t k, int threads,
                                const struct limits_memory *memory, llmq_bench_report *report,
                                llmq_error *err) {
    const int before = omp_get_max_threads();
    struct weights w = {0};
    enum llmq_status status = weights_create(n, k, memory->size, &w, err);
    if (status == LLMQ_OK)
        status = measure_all(&w, 1, memory, report, err);
    if (status == LLMQ_OK && threads > 1)
        status = measure_all(&w, threads, memory, report, err);
    omp_set_num_threads(before);
    weights_free(&w);
    return status;
}
