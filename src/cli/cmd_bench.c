/* SPDX-License-Identifier: Apache-2.0 */
/* llmq bench: how fast the kernels are on this machine. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "llmq/bench.h"
#include "llmq/host.h"
#include "llmq/model.h"

struct bench_args {
    struct common_args common;
    bool quick;
};

static const struct option bench_options[] = {
    {.name = "quick",
     .kind = OPTION_ON,
     .offset = offsetof(struct bench_args, quick),
     .help = "the smallest of the three shapes only"},
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", bench_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void print_limits(const llmq_bench_report *r) {
    printf("kernels %s, BLAS %s\n\n", llmq_cpu_name(), llmq_blas_name());
    printf("limits    threads  DRAM GB/s  FMA GF/s  int8 Gop/s  sgemm GF/s\n");
    for (size_t i = 0; i < r->limit_count; i++) {
        const llmq_bench_limits *l = &r->limits[i];
        printf("          %7d  %9.1f  %8.1f  %10.1f  %10.1f\n", l->threads, l->dram_gbps,
               l->fma_gflops, l->vnni_gops, l->sgemm_gflops);
    }
}

static void print_product(const llmq_bench_product *p) {
    const bool int8 = p->activations == LLMQ_ACTIVATIONS_INT8;
    const char *limit = p->m == 1 ? "DRAM"
                        : int8    ? "int8"
                                  : "FMA"; /* a token reads, a batch counts */
    printf("%5lld x %5lld  %-5s %5lld  %7d  %8.2f  %8.1f  %3.0f %% of %-4s  %.1e\n",
           (long long)p->n, (long long)p->k, int8 ? "int8" : "exact", (long long)p->m, p->threads,
           p->gbps, p->gflops, 100 * p->fraction, limit, p->relerr);
}

static void print_solve(const llmq_bench_solve *s) {
    printf("%5lld x %5lld  %7.2f s %7.2f s  %8.0f %%  %10.2f s\n", (long long)s->n, (long long)s->k,
           s->factor_seconds, s->column_seconds, 100 * s->fraction, s->seconds);
}

static void print_report(const llmq_bench_report *r) {
    print_limits(r);
    printf("\nINT4          mode   rows  threads      GB/s      GF/s  of limit       error\n");
    for (size_t i = 0; i < r->product_count; i++)
        print_product(&r->products[i]);
    printf("\nGPTQ             factor   columns    of sgemm   with errors\n");
    for (size_t i = 0; i < r->solve_count; i++)
        print_solve(&r->solves[i]);
}

static enum llmq_status bench_run(const void *args, const volatile sig_atomic_t *interrupt,
                                  llmq_error *err) {
    const struct bench_args *a = args;
    llmq_bench_options options;
    llmq_bench_report report;
    llmq_bench_options_init(&options);
    options.quick = a->quick;
    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->common, interrupt);
    enum llmq_status status = llmq_bench(&options, &ctx, &report, err);
    progress_end(&progress);
    if (status != LLMQ_OK)
        return status;
    if (a->common.json)
        return console_json(llmq_bench_json(&report), err);
    print_report(&report);
    return LLMQ_OK;
}

const struct command command_bench = {
    .name = "bench",
    .summary = "how fast the kernels are on this machine, beside what it can do at most",
    .synopsis = "bench [--quick] [options]",
    .description =
        "Measures what the machine can do: reading memory, multiply-adds in float32 and int8, "
        "BLAS. Then the products with INT4 weights in groups of 128, with float32 activations "
        "(exact) and with activations rounded to 8 bits (int8), on one and on all threads, and "
        "GPTQ of the same shapes: its factor, its column loop, and the whole with "
        "round-to-nearest beside it and the errors of both. Rates are medians, compared with "
        "the median of their limit, measured in turns: reading memory for one row of "
        "activations, arithmetic for more. The error is that of the results, root mean square.",
    .examples = {{"llmq bench --quick", "one shape, some seconds"},
                 {"llmq bench --json --threads 2 >bench.json", "everything, for a script"}},
    .groups = groups,
    .args_size = sizeof(struct bench_args),
    .run = bench_run,
    .computes = computes_always,
};
