/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator's names, and mmap: see faults.h. */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* the names as they are, without and with 64 */
#include "faults.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

/* --- blocks of memory that live --------------------------------------------------------------- */

#define TABLE ((size_t)1 << 20)

static uintptr_t table[TABLE]; /* 0: free; 1: was freed */
static atomic_flag table_lock = ATOMIC_FLAG_INIT;
static long live;

static size_t slot_of(uintptr_t p) {
    return (size_t)((p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 44);
}

static void remember(const void *p) {
    while (atomic_flag_test_and_set(&table_lock))
        continue;
    size_t i = slot_of((uintptr_t)p), tries = 0;
    while (table[i] > 1 && tries++ < TABLE)
        i = (i + 1) % TABLE;
    table[i] = (uintptr_t)p;
    live++;
    atomic_flag_clear(&table_lock);
}

static void forget(const void *p) {
    while (atomic_flag_test_and_set(&table_lock))
        continue;
    size_t i = slot_of((uintptr_t)p), tries = 0;
    while (table[i] != 0 && table[i] != (uintptr_t)p && tries++ < TABLE)
        i = (i + 1) % TABLE;
    if (table[i] == (uintptr_t)p) {
        table[i] = 1;
        live--;
    }
    atomic_flag_clear(&table_lock);
}

long blocks_alive(void) {
    return live;
}

/* --- memory ----------------------------------------------------------------------------------- */

static void *kept(void *p, bool counted) {
    if (p && counted)
        remember(p);
    return p;
}

EXPORT void *malloc(size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "malloc"))
        return NULL;
    return kept(__libc_malloc(size), counted);
}

EXPORT void *calloc(size_t count, size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "calloc"))
        return NULL;
    return kept(__libc_calloc(count, size), counted);
}

EXPORT void *realloc(void *old, size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "realloc"))
        return NULL;
    void *p = __libc_realloc(old, size);
    if (p && old)
        forget(old);
    return kept(p, counted);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "aligned_alloc"))
        return NULL;
    return kept(__libc_memalign(alignment, size), counted);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "posix_memalign"))
        return ENOMEM;
    void *p = kept(__libc_memalign(alignment, size), counted);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

EXPORT char *strndup(const char *text, size_t most) {
    const bool counted = counts(CALLER);
    const size_t len = strnlen(text, most);
    if (counted && fails(MALLOC, "strndup"))
        return NULL;
    char *copy = kept(__libc_malloc(len + 1), counted);
    if (copy) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

EXPORT char *strdup(const char *text) {
    const bool counted = counts(CALLER);
    const size_t len = strlen(text);
    if (counted && fails(MALLOC, "strdup"))
        return NULL;
    char *copy = kept(__libc_malloc(len + 1), counted);
    if (copy)
        memcpy(copy, text, len + 1);
    return copy;
}

EXPORT void free(void *p) {
    if (p)
        forget(p);
    __libc_free(p);
}

EXPORT void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset) {
    if (counts(CALLER) && fails(MAP, "mmap"))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}
void *mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset) ALIAS("mmap");
