/* What this machine can do: instruction sets and the cores this process may use. */
#ifndef LLMQ_BASE_CPU_H
#define LLMQ_BASE_CPU_H

#include <stdint.h>

#include "llmq/error.h"

/* Levels are cumulative on their architecture: each implies those listed before it. */
enum cpu_level {
    CPU_REF,        /* plain C */
    CPU_AVX2,       /* AVX2, FMA, F16C */
    CPU_AVX512,     /* AVX-512 F, BW, DQ, VL */
    CPU_AVX512VNNI, /* AVX-512 VNNI on top */
    CPU_AVX512BF16, /* AVX-512 BF16 on top */
};

/* The best level this machine has, capped by the environment variable LLMQ_CPU
 * (ref|avx2|avx512|avx512vnni|avx512bf16). An unknown value is LLMQ_E_USAGE; a level the machine
 * lacks is LLMQ_E_UNSUPPORTED. */
LLMQ_NODISCARD enum llmq_status cpu_level_get(enum cpu_level *level, llmq_error *err);

/* Cores this process may use: affinity mask and cgroup quota (v1 and v2) both respected, >= 1. */
int cpu_count(void);

/* Bytes of memory this process could take now: what the kernel calls available, within the limit
 * of its cgroup. 0 when it cannot be told. */
uint64_t memory_available(void);

/* Most resident memory this process ever had, in bytes. */
uint64_t memory_peak(void);

#endif
