/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring the machine and the kernels: see llmq/bench.h. */
#include "llmq/bench.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/tally.h"
#include "bench/bench.h"
#include "linalg/linalg.h"
#include "setup/setup.h"

static const struct {
    int64_t n, k;
} shapes[LLMQ_BENCH_SHAPES] = {{4096, 4096}, {11008, 4096}, {4096, 11008}};

void llmq_bench_options_init_sized(llmq_bench_options *options, size_t size) {
    const llmq_bench_options usual = {.quick = false};
    sized_write(&usual, sizeof usual, options, size);
}

/* --- samples ---------------------------------------------------------------------------------- */

bool bench_enough(const struct bench_samples *s) {
    return s->count == BENCH_SAMPLES_MAX ||
           (s->count >= BENCH_SAMPLES && tally_now() - s->begin >= BENCH_SECONDS);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* xorshift64 (Marsaglia, Journal of Statistical Software 8(14), 2003). */
void bench_random(uint64_t seed, int64_t count, float *out) {
    uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
    for (int64_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out[i] = (float)(int32_t)(state >> 40) * 0x1p-23F - 1;
    }
}

/* --- limits ----------------------------------------------------------------------------------- */

/* Operations a second of one BLAS product; matrix [3][N, N] is its memory. */
static double sgemm_rate(int64_t size, float *matrix, int threads) {
    const int64_t square = size * size;
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    double start = tally_now();
    linalg_gemm_nt(size, size, size, 1, matrix, size, matrix + square, size, 0, matrix + 2 * square,
                   size);
    double seconds = tally_now() - start;
    omp_set_num_threads(before);
    return 2.0 * (double)(square * size) / seconds;
}

static enum llmq_status measure_limits(int threads, const struct limits_memory *memory,
                                       llmq_bench_limits *out, llmq_error *err) {
    enum { SIZE = 1024 };
    struct bench_samples s = {.begin = tally_now()};
    double read[BENCH_SAMPLES_MAX], sgemm[BENCH_SAMPLES_MAX];
    float *matrix = malloc((size_t)3 * SIZE * SIZE * sizeof *matrix);
    if (!matrix)
        return error_memory(err, "matrices");
    bench_random(1, (int64_t)3 * SIZE * SIZE, matrix);
    for (; !bench_enough(&s); s.count++) {
        read[s.count] = limits_read(memory, s.count, threads);
        s.rate[s.count] = limits_fma(threads);
        s.limit[s.count] = limits_int8(threads);
        sgemm[s.count] = sgemm_rate(SIZE, matrix, threads);
    }
    free(matrix);
    *out = (llmq_bench_limits){.threads = threads,
                               .dram_gbps = bench_median(read, s.count) * 1e-9,
                               .fma_gflops = bench_median(s.rate, s.count) * 1e-9,
                               .vnni_gops = bench_median(s.limit, s.count) * 1e-9,
                               .sgemm_gflops = bench_median(sgemm, s.count) * 1e-9};
    return LLMQ_OK;
}

/* --- the run ---------------------------------------------------------------------------------- */

static enum llmq_status measure(const llmq_bench_options *options, const llmq_context *ctx,
                                llmq_bench_report *report, llmq_error *err) {
    const int shape_count = options->quick ? 1 : LLMQ_BENCH_SHAPES, total = 2 * shape_count + 1;
    struct limits_memory memory = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(setup_compute(ctx, err));
    const int threads = context_threads(ctx);
    LLMQ_TRY(limits_memory_create(&memory, err));
    log_progress(ctx, 0, total, "limits");
    for (int i = 0; i < (threads > 1 ? 2 : 1); i++)
        LLMQ_TRY(
            measure_limits(i ? threads : 1, &memory, &report->limits[report->limit_count++], err));
    for (int i = 0; i < shape_count; i++) {
        LLMQ_TRY(interrupt_check(ctx, err));
        log_progress(ctx, 1 + i, total, "products with a matrix of %lld x %lld",
                     (long long)shapes[i].n, (long long)shapes[i].k);
        LLMQ_TRY(bench_products(shapes[i].n, shapes[i].k, threads, &memory, report, err));
    }
    for (int i = 0; i < shape_count; i++) {
        LLMQ_TRY(interrupt_check(ctx, err));
        log_progress(ctx, 1 + shape_count + i, total, "GPTQ of a matrix of %lld x %lld",
                     (long long)shapes[i].n, (long long)shapes[i].k);
        LLMQ_TRY(bench_solve(shapes[i].n, shapes[i].k, report, err));
    }
    log_progress(ctx, total, total, "done");
cleanup:
    limits_memory_free(&memory);
    return status;
}

enum llmq_status llmq_bench(const llmq_bench_options *given, const llmq_context *lent,
                            llmq_bench_report *report, llmq_error *err) {
    llmq_bench_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *report = (llmq_bench_report){0};
    llmq_bench_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_bench_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = measure(&options, &ctx, report, err);
cleanup:
    return status;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static struct json *limits_json(const llmq_bench_limits *l) {
    struct json *o = json_new_object();
    json_add_int64(o, "threads", l->threads);
    json_add_double(o, "dram_gbps", l->dram_gbps);
    json_add_double(o, "fma_gflops", l->fma_gflops);
    json_add_double(o, "vnni_gops", l->vnni_gops);
    json_add_double(o, "sgemm_gflops", l->sgemm_gflops);
    return o;
}

static struct json *product_json(const llmq_bench_product *p) {
    struct json *o = json_new_object();
    json_add_string(o, "mode", setup_activations_name(p->activations));
    json_add_int64(o, "n", p->n);
    json_add_int64(o, "k", p->k);
    json_add_int64(o, "m", p->m);
    json_add_int64(o, "threads", p->threads);
    json_add_double(o, "gbps", p->gbps);
    json_add_double(o, "gflops", p->gflops);
    json_add_double(o, "fraction", p->fraction);
    json_add_double(o, "relerr", p->relerr);
    return o;
}

static struct json *solve_json(const llmq_bench_solve *s) {
    struct json *o = json_new_object();
    json_add_int64(o, "n", s->n);
    json_add_int64(o, "k", s->k);
    json_add_double(o, "factor_seconds", s->factor_seconds);
    json_add_double(o, "column_seconds", s->column_seconds);
    json_add_double(o, "fraction", s->fraction);
    json_add_double(o, "seconds", s->seconds);
    return o;
}

char *llmq_bench_json(const llmq_bench_report *r) {
    struct json *o = json_new_object(), *products = json_new_array(), *solves = json_new_array();
    for (size_t i = 0; i < r->product_count; i++)
        json_add(products, NULL, product_json(&r->products[i]));
    for (size_t i = 0; i < r->solve_count; i++)
        json_add(solves, NULL, solve_json(&r->solves[i]));
    json_add_int64(o, "schema", 1);
    json_add_string(o, "kernels", llmq_cpu_name());
    json_add_string(o, "blas", linalg_backend());
    json_add(o, "limits", limits_json(&r->limits[0]));
    if (r->limit_count > 1)
        json_add(o, "limits_all_threads", limits_json(&r->limits[1]));
    json_add(o, "int4", products);
    json_add(o, "solve", solves);
    return json_print_and_free(o);
}
