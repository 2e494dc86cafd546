/* SPDX-License-Identifier: Apache-2.0 */
/* GPTQ of one linear layer, measured: see bench.h. */
#include <stdlib.h>

#include "base/error.h"
#include "base/hugemem.h"
#include "base/tally.h"
#include "bench/bench.h"
#include "linalg/linalg.h"
#include "quant/gptq.h"
#include "setup/setup.h"

enum { TOKENS = 512 };

static const struct quant_grid grid = {
    .bits = 4, .group = BENCH_GROUP, .sym = true, .zmax = 15, .storage = SCALE_DUAL};

struct layer {
    int64_t n, k;
    float *W, *H;
};

/* Seconds of each sample. */
struct samples {
    double factor[BENCH_SAMPLES], columns[BENCH_SAMPLES], whole[BENCH_SAMPLES];
};

/* H [k, k] = X^T X of some random inputs and a strong diagonal: positive definite and full. `x`
 * [TOKENS, k] is scratch. */
static void make_hessian(int64_t k, float *x, float *H) {
    bench_random(3, TOKENS * k, x);
    linalg_gemm_tn(k, k, TOKENS, 1.0F / TOKENS, x, k, x, k, 0, H, k);
    for (int64_t i = 0; i < k; i++)
        H[i * k + i] += 0.1F;
}

/* The column loop alone. */
static enum llmq_status time_columns(const struct layer *l, const struct gptq_factor *factor,
                                     double *seconds, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct qlinear q = {0};
    LLMQ_TRY(qlinear_alloc(l->n, l->k, grid.bits, grid.group, &q, err));
    double start = tally_now();
    LLMQ_TRY(gptq_solve(&grid, factor, l->W, PARAMS_FITTED, &q, NULL, err));
    *seconds = tally_now() - start;
cleanup:
    qlinear_free(&q);
    return status;
}

static enum llmq_status take_sample(const struct layer *l, int i, struct samples *s,
                                    llmq_error *err) {
    const struct quant_options options = {.act_order = ACT_ORDER_NONE, .damp = 0.01};
    enum llmq_status status = LLMQ_OK;
    struct gptq_factor *factor = NULL;
    struct quant_outcome outcome;
    struct qlinear q = {0};
    double start = tally_now();
    LLMQ_TRY(gptq_factor_create(l->H, l->k, BENCH_GROUP, &options, &factor, err));
    double factored = tally_now();
    LLMQ_TRY(gptq_quantize(&grid, factor, l->W, l->H, l->n, &q, &outcome, err));
    s->factor[i] = factored - start;
    s->whole[i] = tally_now() - start;
    LLMQ_TRY(time_columns(l, factor, &s->columns[i], err));
cleanup:
    qlinear_free(&q);
    gptq_factor_free(&factor);
    return status;
}

/* Multiplications and additions of the factor and the column loop. */
static double operations(int64_t n, int64_t k) {
    double rows = (double)n, columns = (double)k;
    return 2 * columns * columns * columns / 3 + rows * columns * columns;
}

enum llmq_status bench_solve(int64_t n, int64_t k, llmq_bench_report *report, llmq_error *err) {
    const double sgemm = 1e9 * report->limits[report->limit_count - 1].sgemm_gflops;
    struct layer l = {n, k, huge_malloc((size_t)(n * k) * sizeof *l.W),
                      huge_malloc((size_t)(k * k) * sizeof *l.H)};
    float *x = huge_malloc((size_t)(TOKENS * k) * sizeof *x);
    struct samples s;
    enum llmq_status status = LLMQ_OK;
    if (!l.H || !l.W || !x)
        LLMQ_TRY(error_memory(err, "a layer to quantize"));
    make_hessian(k, x, l.H);
    bench_random(4, n * k, l.W);
    for (int i = 0; i < BENCH_SAMPLES; i++)
        LLMQ_TRY(take_sample(&l, i, &s, err));
    llmq_bench_solve *solve = &report->solves[report->solve_count++];
    *solve = (llmq_bench_solve){n,
                                k,
                                bench_median(s.factor, BENCH_SAMPLES),
                                bench_median(s.columns, BENCH_SAMPLES),
                                0,
                                bench_median(s.whole, BENCH_SAMPLES)};
    solve->fraction = operations(n, k) / (solve->factor_seconds + solve->column_seconds) / sgemm;
cleanup:
    free(l.H);
    free(l.W);
    free(x);
    return status;
}
