/* How long the solve takes: factorisation (load, potrf, trtri, flip) and the whole of
 * gptq_quantize, beside the sgemm rate of the same run.
 *
 *     bench_solve [abc]     shapes to run: a 4096 x 4096, b 11008 x 4096, c 4096 x 11008 (slow)
 */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "quant/gptq_private.h"
#include "quant/quant.h"

static const struct {
    char name;
    int64_t n, k;
} shapes[] = {{'a', 4096, 4096}, {'b', 11008, 4096}, {'c', 4096, 11008}};

static float *random_matrix(int64_t count) {
    float *A = malloc((size_t)count * sizeof *A);
    if (!A)
        abort();
    uint32_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525U + 1013904223U;
        A[i] = (float)(state >> 8) / (float)(1 << 23) - 1.0F;
    }
    return A;
}

static double sgemm_rate(void) {
    enum { N = 4096, ROWS = 2048 };
    float *A = random_matrix((int64_t)ROWS * N), *B = random_matrix((int64_t)N * N);
    float *C = random_matrix((int64_t)ROWS * N);
    double best = 0;
    for (int run = 0; run < 3; run++) {
        double start = omp_get_wtime();
        linalg_gemm_nt(ROWS, N, N, 1, A, N, B, N, 0, C, N);
        double rate = 2.0 * ROWS * N * N / (omp_get_wtime() - start);
        best = rate > best ? rate : best;
    }
    free(A);
    free(B);
    free(C);
    return best;
}

/* X^T X of 512 random inputs and a strong diagonal: positive definite, with all elements filled. */
static float *make_hessian(int64_t k) {
    enum { TOKENS = 512 };
    float *X = random_matrix(TOKENS * k), *H = malloc((size_t)(k * k) * sizeof *H);
    if (!H)
        abort();
    linalg_gemm_tn(k, k, TOKENS, 1.0F / TOKENS, X, k, X, k, 0, H, k);
    for (int64_t i = 0; i < k; i++)
        H[i * k + i] += 0.1F;
    free(X);
    return H;
}

static void bench(char name, int64_t n, int64_t k, double rate) {
    struct quant_grid grid = {4, 128, true, 0, 15, SCALE_DUAL, RANGE_MINMAX};
    struct quant_options options = {.act_order = ACT_ORDER_NONE, .damp = 0.01};
    struct gptq_factor *factor = NULL;
    struct quant_outcome outcome;
    struct qlinear q;
    float *H = make_hessian(k), *W = random_matrix(n * k);
    double start = omp_get_wtime();
    if (gptq_factor_create(H, k, 128, &options, &factor, NULL) != LLMQ_OK)
        abort();
    double factored = omp_get_wtime();
    if (qlinear_alloc(n, k, 4, 128, &q, NULL) != LLMQ_OK ||
        gptq_solve(&grid, factor, W, PARAMS_FITTED, &q, NULL) != LLMQ_OK)
        abort();
    double solved = omp_get_wtime();
    qlinear_free(&q);
    if (gptq_quantize(&grid, factor, W, H, n, &q, &outcome, NULL) != LLMQ_OK)
        abort();
    double done = omp_get_wtime();
    double K = (double)k, flops = 2 * K * K * K / 3 + (double)n * K * K;
    printf(
        "%c [%lld, %lld]: factor %.3f s, columns %.3f s, solve %.3f s = %.0f %% of sgemm's rate; "
        "gptq_quantize %.3f s\n",
        name, (long long)n, (long long)k, factored - start, solved - factored, solved - start,
        100 * flops / rate / (solved - start), done - solved);
    qlinear_free(&q);
    gptq_factor_free(&factor);
    free(H);
    free(W);
}

int main(int argc, char **argv) {
    const char *wanted = argc > 1 ? argv[1] : "ab";
    linalg_init();
    double rate = sgemm_rate();
    printf("%s\n%d threads, sgemm %.1f GF/s\n", linalg_backend(), omp_get_max_threads(),
           rate / 1e9);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strchr(wanted, shapes[i].name))
            bench(shapes[i].name, shapes[i].n, shapes[i].k, rate);
    return EXIT_SUCCESS;
}
