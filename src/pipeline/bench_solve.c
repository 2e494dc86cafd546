/* GPTQ of one linear layer, measured: see bench.h. */
#include <stdlib.h>

#include "base/error.h"
#include "base/tally.h"
#include "linalg/linalg.h"
#include "pipeline/bench.h"
#include "pipeline/setup.h"
#include "quant/quant.h"

enum { TOKENS = 512 };

/* H [k, k] = X^T X of some random inputs and a strong diagonal: positive definite and full. `x`
 * [TOKENS, k] is scratch. */
static void make_hessian(int64_t k, float *x, float *H) {
    bench_random(3, TOKENS * k, x);
    linalg_gemm_tn(k, k, TOKENS, 1.0F / TOKENS, x, k, x, k, 0, H, k);
    for (int64_t i = 0; i < k; i++)
        H[i * k + i] += 0.1F;
}

enum llmq_status bench_solve(int64_t n, int64_t k, llmq_bench_report *report, llmq_error *err) {
    const struct quant_grid grid = {
        .bits = 4, .group = BENCH_GROUP, .sym = true, .zmax = 15, .storage = SCALE_DUAL};
    const struct quant_options options = {.act_order = ACT_ORDER_NONE, .damp = 0.01};
    struct gptq_factor *factor = NULL;
    struct qlinear q = {0};
    struct quant_outcome outcome;
    enum llmq_status status = LLMQ_OK;
    float *H = malloc((size_t)(k * k) * sizeof *H), *W = malloc((size_t)(n * k) * sizeof *W);
    float *x = malloc((size_t)(TOKENS * k) * sizeof *x);
    if (!H || !W || !x) {
        status = error_memory(err, "a layer to quantize");
        goto cleanup;
    }
    make_hessian(k, x, H);
    bench_random(4, n * k, W);
    double start = tally_now();
    LLMQ_TRY(gptq_factor_create(H, k, BENCH_GROUP, &options, &factor, err));
    LLMQ_TRY(gptq_quantize(&grid, factor, W, H, n, &q, &outcome, err));
    report->solves[report->solve_count++] =
        (llmq_bench_solve){.n = n, .k = k, .seconds = tally_now() - start};
cleanup:
    qlinear_free(&q);
    gptq_factor_free(&factor);
    free(H);
    free(W);
    free(x);
    return status;
}
