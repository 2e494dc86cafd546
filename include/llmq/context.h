/* SPDX-License-Identifier: Apache-2.0 */
/* What a caller lends to a long-running call: where messages go, how to stop, how many threads.
 *
 * Threads are OpenMP's, and how they wait for each other is the process' affair: GCC's runtime
 * reads OMP_WAIT_POLICY and GOMP_SPINCOUNT, Clang's KMP_BLOCKTIME, when it is loaded, before main.
 * By default they spin for milliseconds before they sleep, which on a machine with other work makes
 * calls many times slower. The llmq program starts itself with GOMP_SPINCOUNT=1000; a host that
 * shares its machine does well to be started with the same. The library changes no environment. */
#ifndef LLMQ_CONTEXT_H
#define LLMQ_CONTEXT_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum llmq_log_level { LLMQ_LOG_WARNING, LLMQ_LOG_INFO, LLMQ_LOG_DETAIL };

/* A sink for messages and progress. Functions may be NULL: then nothing is delivered. They are
 * called from the thread that called the library, never concurrently. */
typedef struct llmq_sink {
    void *user;
    void (*message)(void *user, enum llmq_log_level level, const char *text);
    /* `what` names the stage ("block 3/32"), done and total count its steps. */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
} llmq_sink;

typedef struct llmq_context {
    size_t size; /* of this struct, see llmq/llmq.h */
    llmq_sink sink;
    const volatile sig_atomic_t *interrupt; /* non-zero: stop soon; NULL: never */
    int threads;                            /* <= 0: all cores this process may use */
} llmq_context;

/* Nothing is lent, as where a NULL is given for one: all cores, no messages, no way to stop. */
void llmq_context_init_sized(llmq_context *context, size_t size);
static inline void llmq_context_init(llmq_context *context) {
    llmq_context_init_sized(context, sizeof *context);
}

#ifdef __cplusplus
}
#endif
#endif
