/* SPDX-License-Identifier: Apache-2.0 */
/* What the library and the process that it runs in have to do with each other.
 *
 * Calls that take an llmq_context change these things of the process and leave them changed:
 *   OpenMP  the number of threads (omp_set_num_threads) becomes context->threads for the thread
 *           that called, and regions are not nested (omp_set_max_active_levels(1))
 *   BLAS    OpenBLAS runs single-threaded (openblas_set_num_threads(1)): the library divides the
 *           work itself. A program that uses it, too, sets its number again
 *   memory  OpenMP's threads and OpenBLAS' buffers, once taken, stay; what was freed goes back to
 *           the system from time to time (malloc_trim)
 * They change no environment, no signal handler, no locale, no rounding mode, no limits and no
 * allocator. (The llmq program gives freed memory back to the system at once, by
 * mallopt(M_MMAP_THRESHOLD): plans of memory count on that. In a program with other settings peaks
 * may be a few per cent higher.) Variables of the environment that the library reads are LLMQ_CPU,
 * LLMQ_MODELS, those of the Hugging Face cache (llmq/model.h), HOME and TMPDIR.
 *
 * What a process cannot change any more is settled when its libraries are loaded, before main:
 * which kernels OpenBLAS runs on (OPENBLAS_CORETYPE), and how OpenMP's threads wait for each other
 * (OMP_WAIT_POLICY and GOMP_SPINCOUNT for GCC's runtime, KMP_BLOCKTIME for Clang's). The llmq
 * program starts itself again where these are missing; for another one, llmq_host_check says what
 * it should be started with. */
#ifndef LLMQ_HOST_H
#define LLMQ_HOST_H

#include <stddef.h>

#include "llmq/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The BLAS in use, e.g. "OpenBLAS 0.3.21 SkylakeX"; static storage. (The instruction set of the
 * library's own kernels: llmq_cpu_name in llmq/matmul.h.) */
const char *llmq_blas_name(void);

/* A variable of the environment that the program had better be started with; texts are static. */
typedef struct llmq_host_advice {
    const char *variable, *value;
    const char *why; /* one sentence */
} llmq_host_advice;

#define LLMQ_HOST_ADVICE_MOST 4

/* BLAS in this process, and what to change. */
typedef struct llmq_host_report {
    /* The best rate of a float32 product of BLAS on one core over that of multiply-adds on
     * registers. OpenBLAS reaches .7 to .95 with kernels made for the processor; 0: its products or
     * factors are wrong. */
    double blas_efficiency;
    /* Values of OPENBLAS_CORETYPE that this processor may run, those with the widest registers
     * first, NULL behind the last; static. One that it cannot run ends the process. */
    const char *const *blas_cores;
    llmq_host_advice advice[LLMQ_HOST_ADVICE_MOST];
    size_t advice_count; /* 0: all is well */
} llmq_host_report;

/* Look at what can only be changed before a start. Takes some 10 ms, and, where BLAS is slow, some
 * 50. A variable that is set is the user's choice, and no advice. With wrong BLAS the call still
 * succeeds, and those that compute fail with LLMQ_E_UNSUPPORTED. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status llmq_host_check(llmq_host_report *report, llmq_error *err);

#ifdef __cplusplus
}
#endif
#endif
