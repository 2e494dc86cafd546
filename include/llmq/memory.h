/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the library hands out. */
#ifndef LLMQ_MEMORY_H
#define LLMQ_MEMORY_H

#ifdef __cplusplus
extern "C" {
#endif

/* Release what a function of the library gave the caller by a plain pointer: texts, paths, ids. It
 * comes from the library's own allocator, which need not be the caller's. NULL is fine. What has a
 * release function of its own (reports, results, handles) goes there instead. */
void llmq_free(void *memory);

#ifdef __cplusplus
}
#endif
#endif
