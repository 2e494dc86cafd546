/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can do: instruction sets and the cores this process may use. */
#ifndef LLMQ_BASE_CPU_H
#define LLMQ_BASE_CPU_H

#include <stdint.h>

#include "llmq/error.h"

/* The levels of the architecture this is compiled for. They are cumulative: each implies those
 * listed before it. Their names are these in lower case, without CPU_. */
enum cpu_level {
    CPU_REF, /* plain C */
#if defined(__x86_64__)
    CPU_AVX2,       /* AVX2, FMA, F16C */
    CPU_AVX512,     /* AVX-512 F, BW, DQ, VL */
    CPU_AVX512VNNI, /* AVX-512 VNNI on top */
    CPU_AVX512BF16, /* AVX-512 BF16 on top */
#elif defined(__aarch64__)
    CPU_NEON,    /* Advanced SIMD, which every such machine has */
    CPU_NEONDOT, /* dot products of bytes on top */
#endif
    CPU_LEVELS, /* how many */
};

/* The best level this machine has. */
enum cpu_level cpu_level_best(void);

/* The same capped by the environment variable LLMQ_CPU, which names one.
 * An unknown name is LLMQ_E_USAGE; a level the machine lacks, or one of another architecture, is
 * LLMQ_E_UNSUPPORTED. */
LLMQ_NODISCARD enum llmq_status cpu_level_get(enum cpu_level *level, llmq_error *err);

/* Cores this process may use: affinity mask and quotas of control groups both respected, >= 1. */
int cpu_count(void);

/* Bytes of memory this process could take now: what the kernel calls available, within the limits
 * of its control groups and its own. 0 when it cannot be told. */
uint64_t memory_available(void);

/* Bytes this process may still map under its limits on address space and data, UINT64_MAX without
 * one; *limit: the shell's name for the nearer limit, "ulimit -v", or NULL. */
uint64_t memory_mappable(const char **limit);

/* Resident memory of this process now, in bytes, after memory that was freed and kept for reuse is
 * given back to the system. 0 where not told. */
uint64_t memory_resident(void);

/* Most resident memory this process ever had, in bytes. */
uint64_t memory_peak(void);

#endif
