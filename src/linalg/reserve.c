/* SPDX-License-Identifier: Apache-2.0 */
/* Threads and BLAS' memory, made sure of before the work: see linalg.h.
 *
 * libgomp ends the process when a thread cannot be made, and OpenBLAS (until 0.3.30) asks the
 * system for a buffer again and again for ever when it gets none. So both are tried here first,
 * where failure is an error, and then taken for good: the threads wait in OpenMP's pool, the
 * buffers in OpenBLAS'. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/cpu.h"
#include "base/error.h"
#include "linalg/linalg.h"

/* What a call of OpenBLAS maps for itself on each thread: the largest of its architectures. Address
 * space; memory only as far as it is used. */
#define BUFFER_BYTES ((size_t)128 << 20)

/* A thread's stack and the memory for its small allocations, about. */
#define STACK_BYTES ((size_t)16 << 20)

/* Buffers that are taken for good: OpenBLAS keeps two for each of the 64 threads that builds of it
 * usually allow, one of them for threads of its own. */
#define BUFFERS_KEPT 64

/* Exported by OpenBLAS though not in its header; a build that hides them only loses the certainty
 * that nobody else takes the memory between the trial and the first product. */
extern void *blas_memory_alloc(int procpos) __attribute__((weak));
extern void blas_memory_free(void *buffer) __attribute__((weak));

/* What OpenMP and OpenBLAS, of which a process has one each, hold already. */
static struct {
    int threads; /* the caller's counted */
    int buffers;
} taken = {.threads = 1};

/* --- threads ---------------------------------------------------------------------------------- */

static void *wait_at(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* Threads that can be made at once, `wanted` at most. */
static int try_threads(pthread_t *made, int wanted) {
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int count = 0;
    pthread_mutex_lock(&gate);
    while (count < wanted && pthread_create(&made[count], NULL, wait_at, &gate) == 0)
        count++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < count; i++)
        pthread_join(made[i], NULL);
    return count;
}

/* Fill OpenMP's pool. */
static void start_pool(int threads) {
    int started = 0;
#pragma omp parallel default(none) shared(started) num_threads(threads)
    {
#pragma omp atomic
        started++;
    }
    (void)started;
}

/* Of `possible` threads, those whose buffers and stacks the address space has room for too. */
static int threads_that_fit(int possible) {
    const char *limit = NULL;
    const uint64_t each = BUFFER_BYTES + STACK_BYTES, room = memory_mappable(&limit) / each;
    if (limit && room < (uint64_t)possible)
        possible = (int)room;
    return possible > 1 ? possible : 1;
}

static enum llmq_status take_threads(int threads, llmq_error *err) {
    pthread_t *made = calloc((size_t)threads, sizeof(pthread_t));
    if (!made)
        return error_memory(err, "threads");
    int possible = taken.threads + try_threads(made, threads - taken.threads);
    free(made);
    if (possible < threads) {
        error_set(err, LLMQ_E_MEMORY, "cannot start %d threads: the system refuses more than %d",
                  threads, possible);
        error_hint(err,
                   "give --threads %d, or raise the limit on processes (ulimit -u) or on address "
                   "space (ulimit -v)",
                   threads_that_fit(possible));
        return LLMQ_E_MEMORY;
    }
    start_pool(threads);
    taken.threads = threads;
    return LLMQ_OK;
}

enum llmq_status linalg_reserve_threads(int threads, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
#pragma omp critical(linalg_reserve)
    if (threads > taken.threads)
        status = take_threads(threads, err);
    return status;
}

/* --- buffers ---------------------------------------------------------------------------------- */

/* Could that many more be mapped now? */
static bool fits(int buffers) {
    if (buffers <= 0)
        return true;
    size_t bytes = (size_t)buffers * BUFFER_BYTES;
    void *trial = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (trial == MAP_FAILED)
        return false;
    munmap(trial, bytes);
    return true;
}

static void keep_buffers(int count) {
    void *buffers[BUFFERS_KEPT];
    if (!blas_memory_alloc || !blas_memory_free)
        return;
    for (int i = 0; i < count; i++)
        buffers[i] = blas_memory_alloc(0);
    for (int i = count - 1; i >= 0; i--)
        if (buffers[i])
            blas_memory_free(buffers[i]);
    taken.buffers = count;
}

static enum llmq_status refuse_buffers(int threads, llmq_error *err) {
    const char *limit = NULL;
    uint64_t left = memory_mappable(&limit);
    int fewer = threads - 1;
    while (fewer > 0 && !fits(fewer - taken.buffers))
        fewer--;
    char room[64] = "the system refuses it";
    if (limit)
        snprintf(room, sizeof room, "the limit (%s) leaves %" PRIu64 " MiB", limit, left >> 20);
    error_set(err, LLMQ_E_MEMORY, "BLAS on %d thread%s needs %zu MiB more of address space; %s",
              threads, threads == 1 ? "" : "s",
              (size_t)(threads - taken.buffers) * (BUFFER_BYTES >> 20), room);
    if (fewer > 0)
        error_hint(err, "give --threads %d, or raise the limit", fewer);
    else
        error_hint(err, "raise the limit, as with '%s unlimited'", limit ? limit : "ulimit -v");
    return LLMQ_E_MEMORY;
}

enum llmq_status linalg_reserve(int threads, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
#pragma omp critical(linalg_reserve)
    if (!fits(threads - taken.buffers))
        status = refuse_buffers(threads, err);
    else if (threads > taken.buffers)
        keep_buffers(threads < BUFFERS_KEPT ? threads : BUFFERS_KEPT);
    return status;
}
