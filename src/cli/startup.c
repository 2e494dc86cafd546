/* SPDX-License-Identifier: Apache-2.0 */
/* Before the libraries start.
 *
 * OpenBLAS and OpenMP read the environment and OpenBLAS maps its first memory in constructors,
 * which run before main. What has to be settled earlier is settled here: the dynamic linker calls
 * what the program lists in .preinit_array before any constructor. Where a setting is missing in
 * the environment, the program starts again with it; the second time nothing is missing.
 *
 * Waiting threads. libgomp's spin for 20 ms before they sleep, libomp's for 200. On a machine with
 * other work a spinning thread burns the time slice of the one it waits for: a run of seconds takes
 * minutes. A thousand turns are some 50 microseconds, what it takes to wake a thread up: waiting
 * never costs more than twice the better choice, and small products still find their threads awake.
 *
 * Memory. OpenBLAS maps a buffer for every thread that OpenMP would start. Until 0.3.30 it tries
 * again for ever when it may not (ulimit -v), --version included. One buffer is the least it takes,
 * with OMP_NUM_THREADS=1; nothing here reads that, and llmq names its threads itself. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "llmq/error.h"

#define SELF      "/proc/self/exe"
#define PATH_MOST 4096

enum { VARIABLES_MOST = 3, TEXT_MOST = 256 };

/* A buffer of OpenBLAS, the largest of its architectures, and what else its start may take. */
#define BUFFER_BYTES ((size_t)128 << 20)
#define START_BYTES  ((size_t)4 << 20)

/* Settings of how threads wait: who made one of them chose. */
static const char *const waiting[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME",
                                      "KMP_LIBRARY"};

/* The value of a variable; getenv works from the first constructor on only. */
static const char *value_of(const char *name, char **env) {
    size_t len = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    return NULL;
}

static bool chose_waiting(char **env) {
    for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++)
        if (value_of(waiting[i], env))
            return true;
    return false;
}

static bool fits(size_t buffers) {
    if (buffers > (SIZE_MAX >> 1) / BUFFER_BYTES)
        return false;
    const size_t bytes = buffers * BUFFER_BYTES + START_BYTES;
    void *trial = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (trial == MAP_FAILED)
        return false;
    munmap(trial, bytes);
    return true;
}

/* Threads that OpenMP would start, or more. */
static size_t threads_at_start(char **env) {
    const char *named = value_of("OMP_NUM_THREADS", env);
    long count = named ? strtol(named, NULL, 10) : 0;
    if (count < 1)
        count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (size_t)count : 1;
}

/* Start again with `count` more variables in place of others of their names. Returns where that
 * cannot be done: a program that was given to the dynamic linker as an argument, as bundles of a
 * program and its libraries do, has the linker for its own file, and no base of another one. */
static void start_again(char **argv, char **env, char *const *more, size_t count) {
    static char path[PATH_MOST];
    size_t old = 0, kept = 0;
    if (getauxval(AT_BASE) == 0)
        return;
    while (env[old])
        old++;
    char **all = calloc(old + count + 1, sizeof *all);
    if (!all)
        return;
    for (size_t i = 0; i < old; i++) {
        bool replaced = false;
        for (size_t j = 0; j < count; j++) {
            size_t name = (size_t)(strchr(more[j], '=') + 1 - more[j]);
            replaced = replaced || strncmp(env[i], more[j], name) == 0;
        }
        if (!replaced)
            all[kept++] = env[i];
    }
    memcpy(all + kept, more, count * sizeof *more);
    /* By its own path where it can be: the process is then listed by the program's name. */
    ssize_t len = readlink(SELF, path, sizeof path - 1);
    if (len > 0 && path[len - 1] != ')') /* "... (deleted)" */
        execve(path, argv, all);
    execve(SELF, argv, all);
    free(all);
}

static void end_without_memory(void) {
    char text[TEXT_MOST];
    struct rlimit space = {.rlim_cur = RLIM_INFINITY}, data = space;
    getrlimit(RLIMIT_AS, &space);
    getrlimit(RLIMIT_DATA, &data);
    const bool by_data = data.rlim_cur < space.rlim_cur;
    const struct rlimit *limit = by_data ? &data : &space;
    const char *name = by_data ? "-d" : "-v";
    int len =
        limit->rlim_cur == RLIM_INFINITY
            ? snprintf(text, sizeof text,
                       "llmq: BLAS cannot map the %zu MiB that it starts with\n"
                       "hint: free memory, or allow more of it to be promised\n",
                       BUFFER_BYTES >> 20)
            : snprintf(text, sizeof text,
                       "llmq: BLAS cannot map the %zu MiB that it starts with: the limit is "
                       "%llu KiB (ulimit %s)\nhint: raise it, as with 'ulimit %s unlimited'\n",
                       BUFFER_BYTES >> 20, (unsigned long long)limit->rlim_cur >> 10, name, name);
    for (int done = 0; done < len;) {
        ssize_t n = write(STDERR_FILENO, text + done, (size_t)(len - done));
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (int)n : 0;
    }
    _exit(llmq_exit_code(LLMQ_E_MEMORY));
}

static void before_libraries(int argc, char **argv, char **env) {
    static char spins[] = "GOMP_SPINCOUNT=1000", blocktime[] = "KMP_BLOCKTIME=0",
                one[] = "OMP_NUM_THREADS=1";
    char *more[VARIABLES_MOST];
    size_t count = 0;
    (void)argc;
    if (!chose_waiting(env)) {
        more[count++] = spins;
        more[count++] = blocktime;
    }
    /* As many again are for the threads' own products. */
    const size_t threads = threads_at_start(env);
    if (threads > 1 && !fits(2 * threads))
        more[count++] = one;
    if (!fits(1))
        end_without_memory();
    if (count > 0)
        start_again(argv, env, more, count);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const hook)(int, char **, char **) = before_libraries;
