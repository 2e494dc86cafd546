/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernel table this process uses: decided once, from the machine and LLMQ_CPU. The choice is
 * the one mutable global of the kernels. */
#include <pthread.h>

#include "base/error.h"
#include "kernels/kernel_levels.h"
#include "kernels/kernels_tables.h"
#include "llmq/matmul.h"

static struct {
    pthread_once_t once;
    const struct llmq_kernels *table;
    enum llmq_status status;
    llmq_error err;
} choice = {.once = PTHREAD_ONCE_INIT};

const struct llmq_kernels *kernels_for_level(enum cpu_level level) {
#if KERNELS_HAVE_AVX512BF16
    if (level >= CPU_AVX512BF16)
        return &kernels_avx512bf16;
#endif
#if KERNELS_HAVE_AVX512VNNI
    if (level >= CPU_AVX512VNNI)
        return &kernels_avx512vnni;
#endif
#if KERNELS_HAVE_AVX512
    if (level >= CPU_AVX512)
        return &kernels_avx512;
#endif
#if KERNELS_HAVE_AVX2
    if (level >= CPU_AVX2)
        return &kernels_avx2;
#endif
#if KERNELS_HAVE_NEONDOT
    if (level >= CPU_NEONDOT)
        return &kernels_neondot;
#endif
#if KERNELS_HAVE_NEON
    if (level >= CPU_NEON)
        return &kernels_neon;
#endif
    (void)level;
    return &kernels_ref;
}

/* A failed detection leaves plain C, which runs everywhere. */
static void choose(void) {
    enum cpu_level level = CPU_REF;
    choice.status = cpu_level_get(&level, &choice.err);
    choice.table = kernels_for_level(choice.status == LLMQ_OK ? level : CPU_REF);
}

enum llmq_status kernels_init(llmq_error *err) {
    pthread_once(&choice.once, choose);
    if (choice.status != LLMQ_OK && err)
        *err = choice.err;
    return choice.status;
}

const struct llmq_kernels *kernels_get(void) {
    pthread_once(&choice.once, choose);
    return choice.table;
}

const char *llmq_cpu_name(void) {
    return kernels_get()->name;
}
