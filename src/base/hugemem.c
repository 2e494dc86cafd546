/* SPDX-License-Identifier: Apache-2.0 */
/* See hugemem.h. */
#define _DEFAULT_SOURCE /* madvise and MADV_HUGEPAGE are not in POSIX */
#include "base/hugemem.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define LINE      ((size_t)64)

void *huge_advise(void *begin, void *end) {
    char *last = (char *)end - (uintptr_t)end % HUGE_PAGE;
    if (last <= (char *)begin)
        return begin;
    (void)madvise(begin, (size_t)(last - (char *)begin), MADV_HUGEPAGE); /* a wish: for speed */
    return last;
}

void *huge_malloc(size_t bytes) {
    const size_t unit = bytes < HUGE_PAGE ? LINE : HUGE_PAGE;
    void *p = NULL;
    if (bytes > PTRDIFF_MAX) /* nor is it asked for: sanitizers end the program */
        return NULL;
    if (posix_memalign(&p, unit, bytes ? bytes : unit) != 0)
        return NULL;
    if (unit == HUGE_PAGE)
        (void)huge_advise(p, (char *)p + bytes);
    return p;
}
