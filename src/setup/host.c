/* SPDX-License-Identifier: Apache-2.0 */
/* What a process should be started with: see llmq/host.h. */
#include "llmq/host.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "linalg/linalg.h"
#include "setup/blas_check.h"

/* OpenBLAS' kernels reach 70 to 95 % of the multiply-add rate on processors they were written for;
 * half of it is what kernels with half as wide registers reach. */
#define GOOD 0.5

/* Kernels are slow when they are so often. */
#define TRIES 5

#define CORE "OPENBLAS_CORETYPE"

/* With the level that they take; aarch64's are told apart by more than that, but run everywhere. */
#if defined(__x86_64__)
static const char *const cores[] = {"SkylakeX", "Haswell", "Nehalem", NULL};
static const enum cpu_level levels[] = {CPU_AVX512, CPU_AVX2, CPU_REF};
#elif defined(__aarch64__)
static const char *const cores[] = {"NEOVERSEN1", "ARMV8", NULL};
static const enum cpu_level levels[] = {CPU_NEONDOT, CPU_NEON};
#else
static const char *const cores[] = {NULL};
static const enum cpu_level levels[] = {CPU_REF};
#endif

const char *llmq_blas_name(void) {
    return linalg_backend();
}

const char *const *blas_cores(void) {
    size_t first = 0;
    while (cores[first] && levels[first] > cpu_level_best())
        first++;
    return cores + first;
}

enum llmq_status blas_refuse(llmq_error *err) {
    const char *oldest = NULL;
    for (const char *const *core = blas_cores(); *core; core++)
        oldest = *core;
    error_set(err, LLMQ_E_UNSUPPORTED, "BLAS computes wrong products on this processor (%s)",
              llmq_blas_name());
    if (oldest)
        error_hint(err, "set " CORE " to kernels it can run, such as %s", oldest);
    return LLMQ_E_UNSUPPORTED;
}

/* --- advice ----------------------------------------------------------------------------------- */

static void advise(llmq_host_report *r, const char *variable, const char *value, const char *why) {
    r->advice[r->advice_count++] = (llmq_host_advice){variable, value, why};
}

/* The widest kernels that are not those in use, or the oldest where these are wrong. */
static void advise_core(llmq_host_report *r) {
    const bool wrong = !(r->blas_efficiency > 0);
    const char *best = NULL;
    if (getenv(CORE) || r->blas_efficiency >= GOOD)
        return;
    for (const char *const *core = r->blas_cores; *core && (wrong || !best); core++)
        if (!strstr(llmq_blas_name(), *core))
            best = *core;
    if (best)
        advise(r, CORE, best,
               wrong ? "the kernels that OpenBLAS chose compute wrong products on this processor"
                     : "the kernels that OpenBLAS chose are slow on this processor");
}

static void advise_waiting(llmq_host_report *r) {
    static const char why[] = "threads that wait spin for milliseconds, which makes a run on a "
                              "machine with other work many times slower";
    static const char *const chosen[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME",
                                         "KMP_LIBRARY"};
    for (size_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++)
        if (getenv(chosen[i]))
            return;
#ifdef __clang__
    advise(r, "KMP_BLOCKTIME", "0", why);
#else
    advise(r, "GOMP_SPINCOUNT", "1000", why);
#endif
}

enum llmq_status llmq_host_check(llmq_host_report *report, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *report = (llmq_host_report){.blas_cores = blas_cores()};
    for (int i = 0; i < TRIES && report->blas_efficiency < GOOD; i++) {
        double found = 0;
        LLMQ_TRY(blas_efficiency(&found, err));
        if (!(found > 0)) { /* not slow, but wrong, be it once */
            report->blas_efficiency = 0;
            break;
        }
        report->blas_efficiency = found > report->blas_efficiency ? found : report->blas_efficiency;
    }
    advise_core(report);
    advise_waiting(report);
cleanup:
    return status;
}
