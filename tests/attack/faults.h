/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the preloaded library share: see faults.c for what it does.
 *
 * Only calls of llmq and of its small libraries count: what BLAS, OpenMP, the C library and the
 * linker do for themselves is theirs. Everything is a system call or an inner name of glibc, since
 * dlsym allocates; for 64-bit Linux. */
#ifndef LLMQ_TESTS_FAULTS_H
#define LLMQ_TESTS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

#define EXPORT      __attribute__((visibility("default")))
#define ALIAS(name) __attribute__((visibility("default"), alias(name)))
#define CALLER      __builtin_return_address(0)

enum class {
    MALLOC,
    MAP,
    OPEN,
    READ,
    WRITE,
    SYNC,
    RENAME,
    CLOSE,
    STAT,
    MAKE,
    REMOVE,
    RESERVE,
    LOCK,
    CLASSES
};

/* Is it a call that counts? */
bool counts(const void *caller);

/* Count a call of a class: does it fail? Sets errno. */
bool fails(enum class class, const char *name);

/* Count a call that a signal may interrupt: is it? Sets errno. zlib reads regular files, which no
 * signal interrupts, and does not expect it. */
bool interrupted(const char *name);
bool is_zlib(const void *caller);

/* Count a call that changes something: is it the one that is killed? die kills, change both. */
bool is_last(void);
void die(void);
void change(void);

bool kills(void);                /* the fault is a kill */
bool exchange_is_possible(void); /* LLMQ_FAULT_STEPS is not set */

/* Bytes that one call moves. */
size_t at_most(size_t len);

/* Blocks of memory that live, for the report (fault_memory.c). */
long blocks_alive(void);

#endif
