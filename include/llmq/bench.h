/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the kernels are on this machine, beside what the machine can do at most.
 *
 * Rates are medians. A fraction is a product's median over that of its limit, the two measured in
 * turns: where others use the machine too, fractions hold longer than rates. */
#ifndef LLMQ_BENCH_H
#define LLMQ_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmq_bench_options {
    size_t size; /* of this struct, see llmq/llmq.h */
    bool quick;  /* the smallest shape only */
} llmq_bench_options;

void llmq_bench_options_init_sized(llmq_bench_options *options, size_t size);
static inline void llmq_bench_options_init(llmq_bench_options *options) {
    llmq_bench_options_init_sized(options, sizeof *options);
}

/* What some threads can do at most, with the instruction set the kernels use. */
typedef struct llmq_bench_limits {
    int threads;
    double dram_gbps;  /* reading memory on huge pages, 10^9 bytes a second */
    double fma_gflops; /* float32 multiply-adds on registers, two operations each, 10^9 a second */
    double vnni_gops;  /* the same with int8, by VNNI where the CPU has it */
    double sgemm_gflops; /* BLAS, 1024 x 1024 x 1024 tokens, outputs and inputs */
} llmq_bench_limits;

/* y [m, n] = x [m, k] * W^T with INT4 weights in groups of 128. */
typedef struct llmq_bench_product {
    enum llmq_activations activations;
    int64_t n, k, m;
    int threads;
    double gbps;     /* packed weights and scales, 10^9 bytes a second */
    double gflops;   /* 2 m n k operations */
    double fraction; /* of what the machine can do: m = 1, of reading memory; else of arithmetic */
    double relerr;   /* root mean square of the error over that of the result */
} llmq_bench_product;

/* GPTQ of one linear layer [n, k] on all threads; medians. */
typedef struct llmq_bench_solve {
    int64_t n, k;
    double factor_seconds; /* the factor of the Hessian's inverse */
    double column_seconds; /* the column loop */
    double fraction;       /* of BLAS' rate that the operations of these two reach */
    double seconds;        /* the whole: with round-to-nearest beside it and the errors of both */
} llmq_bench_solve;

#define LLMQ_BENCH_SHAPES   3 /* [n, k] = [4096, 4096], [11008, 4096], [4096, 11008] */
#define LLMQ_BENCH_PRODUCTS 48

typedef struct llmq_bench_report {
    llmq_bench_limits limits[2]; /* one thread, all threads */
    size_t limit_count;          /* 1 where all is one */
    llmq_bench_product products[LLMQ_BENCH_PRODUCTS];
    size_t product_count;
    llmq_bench_solve solves[LLMQ_BENCH_SHAPES];
    size_t solve_count;
} llmq_bench_report;

/* Takes some minutes, `quick` some seconds, on an idle machine. */
LLMQ_NODISCARD enum llmq_status llmq_bench(const llmq_bench_options *options,
                                           const llmq_context *ctx, llmq_bench_report *report,
                                           llmq_error *err);

/* The report as a JSON object, to be released with llmq_free; NULL when memory is short. */
char *llmq_bench_json(const llmq_bench_report *report);

#ifdef __cplusplus
}
#endif
#endif
