/* SPDX-License-Identifier: Apache-2.0 */
/* CPU level and core count: see cpu.h. */
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT */
#include "base/cpu.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "base/cgroup.h"
#include "base/error.h"

enum { LEVELS_MAX = 5 };

static const struct architecture {
    const char *name;
    const char *levels[LEVELS_MAX + 1]; /* as in enum cpu_level there; NULL ends them */
} architectures[] = {
    {"x86-64", {"ref", "avx2", "avx512", "avx512vnni", "avx512bf16"}},
    {"aarch64", {"ref", "neon", "neondot"}},
    {"this architecture", {"ref"}},
};
enum { X86_64, AARCH64, ANY_OTHER, ARCHITECTURES };

#if defined(__x86_64__)
enum { HERE = X86_64 };
static enum cpu_level detect(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return CPU_REF;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return CPU_AVX2;
    if (!__builtin_cpu_supports("avx512vnni"))
        return CPU_AVX512;
    return __builtin_cpu_supports("avx512bf16") ? CPU_AVX512BF16 : CPU_AVX512VNNI;
}
#elif defined(__aarch64__)
enum { HERE = AARCH64 };
static enum cpu_level detect(void) {
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? CPU_NEONDOT : CPU_NEON;
}
#else
enum { HERE = ANY_OTHER };
static enum cpu_level detect(void) {
    return CPU_REF;
}
#endif

enum cpu_level cpu_level_best(void) {
    return detect();
}

/* The level of that name on an architecture, -1 where it has none. */
static int level_named(const struct architecture *a, const char *name) {
    for (int l = 0; a->levels[l]; l++)
        if (strcmp(a->levels[l], name) == 0)
            return l;
    return -1;
}

/* The levels that this CPU has, in words. */
static void hint_levels(enum cpu_level best, llmq_error *err) {
    const struct architecture *here = &architectures[HERE];
    char words[LEVELS_MAX * 16] = "";
    size_t used = 0;
    for (int l = 0; l <= (int)best; l++)
        used += (size_t)snprintf(words + used, sizeof words - used, "%s%s",
                                 l == 0           ? ""
                                 : l == (int)best ? " or "
                                                  : ", ",
                                 here->levels[l]);
    error_hint(err, "use %s", words);
}

/* Say why `cap` cannot be had. */
static enum llmq_status refuse_level(const char *cap, enum cpu_level best, llmq_error *err) {
    const struct architecture *here = &architectures[HERE];
    enum llmq_status status = LLMQ_OK;
    if (level_named(here, cap) >= 0)
        status = error_set(err, LLMQ_E_UNSUPPORTED, "LLMQ_CPU=%s: this CPU offers %s at most", cap,
                           here->levels[best]);
    for (int a = 0; a < ARCHITECTURES && status == LLMQ_OK; a++)
        if (level_named(&architectures[a], cap) >= 0)
            status = error_set(err, LLMQ_E_UNSUPPORTED, "LLMQ_CPU=%s: a level of %s, not of %s",
                               cap, architectures[a].name, here->name);
    if (status == LLMQ_OK)
        status = error_set(err, LLMQ_E_USAGE, "LLMQ_CPU=%s: unknown CPU level", cap);
    hint_levels(best, err);
    return status;
}

enum llmq_status cpu_level_get(enum cpu_level *level, llmq_error *err) {
    const enum cpu_level best = detect();
    const char *cap = getenv("LLMQ_CPU");
    *level = best;
    if (!cap || !*cap)
        return LLMQ_OK;
    const int named = level_named(&architectures[HERE], cap);
    if (named < 0 || named > (int)best)
        return refuse_level(cap, best, err);
    *level = (enum cpu_level)named;
    return LLMQ_OK;
}

int cpu_count(void) {
    int cores = 0;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cores = CPU_COUNT(&set);
    if (cores < 1) /* more cores than a cpu_set_t holds */
        cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    struct cgroup_limits groups;
    cgroup_read("", &groups);
    if (groups.cores > 0 && groups.cores < cores)
        cores = groups.cores;
    return cores > 0 ? cores : 1;
}

/* "MemAvailable:  123 kB" of /proc/meminfo, in bytes. */
static uint64_t available_in_system(void) {
    char line[256];
    uint64_t bytes = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && bytes == 0 && fgets(line, sizeof line, f))
        if (strncmp(line, "MemAvailable:", 13) == 0)
            bytes = strtoull(line + 13, NULL, 10) * 1024;
    if (f)
        fclose(f);
    return bytes;
}

/* Pages of address space and of data this process has (/proc/self/statm); 0 where not told. */
static void pages_mapped(uint64_t *space, uint64_t *data) {
    unsigned long long all = 0, own = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%llu %*u %*u %*u %*u %llu", &all, &own) != 2)
        all = own = 0;
    if (f)
        fclose(f);
    *space = all;
    *data = own;
}

/* What `used` pages leave of a limit. */
static uint64_t left_of(const struct rlimit *limit, uint64_t used) {
    used *= (uint64_t)sysconf(_SC_PAGESIZE);
    if (limit->rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit->rlim_cur > used ? limit->rlim_cur - used : 0;
}

uint64_t memory_mappable(const char **limit) {
    struct rlimit space = {.rlim_cur = RLIM_INFINITY}, data = space;
    uint64_t space_used = 0, data_used = 0;
    getrlimit(RLIMIT_AS, &space);
    getrlimit(RLIMIT_DATA, &data);
    pages_mapped(&space_used, &data_used);
    uint64_t space_left = left_of(&space, space_used), data_left = left_of(&data, data_used);
    if (space_left <= data_left) {
        *limit = space_left < UINT64_MAX ? "ulimit -v" : NULL;
        return space_left;
    }
    *limit = "ulimit -d";
    return data_left;
}

uint64_t memory_available(void) {
    uint64_t bytes = available_in_system();
    struct cgroup_limits groups;
    cgroup_read("", &groups);
    if (groups.memory < UINT64_MAX && (bytes == 0 || groups.memory < bytes))
        bytes = groups.memory ? groups.memory : 1;
    const char *own = NULL;
    uint64_t mappable = memory_mappable(&own);
    if (own && (bytes == 0 || mappable < bytes))
        bytes = mappable ? mappable : 1;
    return bytes;
}

uint64_t memory_resident(void) {
    unsigned long long pages = 0;
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t memory_peak(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (uint64_t)usage.ru_maxrss * 1024;
}
