/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for large arrays. */
#ifndef LLMQ_BASE_HUGEMEM_H
#define LLMQ_BASE_HUGEMEM_H

#include <stddef.h>

/* `bytes` bytes, 64-byte aligned and not cleared, on huge pages where they are many and the system
 * has such pages: streams then run past the 4 KiB at which the hardware prefetcher stops, most
 * misses of the address cache are gone, and the first touch costs a fraction. free() releases it;
 * NULL when memory is short. */
void *huge_malloc(size_t bytes);

/* Huge pages for the whole ones in [begin, end), memory that is about to be used. What reaches
 * beyond would become resident with its first byte, all of a page: it stays on small ones. Returns
 * where that begins. */
void *huge_advise(void *begin, void *end);

#endif
