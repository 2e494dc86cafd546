/* See hugemem.h. */
#define _DEFAULT_SOURCE /* madvise and MADV_HUGEPAGE are not in POSIX */
#include "base/hugemem.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/checked.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define LINE      ((size_t)64)

void *huge_malloc(size_t bytes) {
    const size_t unit = bytes < HUGE_PAGE ? LINE : HUGE_PAGE;
    size_t padded = 0;
    if (!checked_add_size(bytes, unit - 1, &padded))
        return NULL;
    padded -= padded % unit;
    void *p = aligned_alloc(unit, padded ? padded : unit);
    if (p && unit == HUGE_PAGE)
        (void)madvise(p, padded, MADV_HUGEPAGE); /* a wish: without it only speed is lost */
    return p;
}
