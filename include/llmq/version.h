/* SPDX-License-Identifier: Apache-2.0 */
/* Which library this is: the one that a program was compiled for, and the one that it runs with.
 *
 * Versions are semantic. Until 1.0 interfaces may change with MINOR; where programs that were
 * compiled before would not run any more, the name of the shared library (its soname) changes, too.
 * PATCH changes none. What stays the same while the name does is in llmq/llmq.h, "Growth". */
#ifndef LLMQ_VERSION_H
#define LLMQ_VERSION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LLMQ_VERSION_MAJOR 0
#define LLMQ_VERSION_MINOR 2
#define LLMQ_VERSION_PATCH 0
#define LLMQ_VERSION       "0.2.0"

/* As a number, for comparisons by the preprocessor. */
#define LLMQ_VERSION_MAKE(major, minor, patch) ((major)*10000 + (minor)*100 + (patch))
#define LLMQ_VERSION_NUMBER                                                                        \
    LLMQ_VERSION_MAKE(LLMQ_VERSION_MAJOR, LLMQ_VERSION_MINOR, LLMQ_VERSION_PATCH)

/* The same of the library that runs: "0.1.0", in static storage, and LLMQ_VERSION_NUMBER. */
const char *llmq_version(void);
int llmq_version_number(void);

/* The commit that this libllmq was built from, with "-dirty" behind it where files differed from
 * it; NULL where it was not built from a repository. */
const char *llmq_commit(void);

/* Hash of the machine code and constants of this libllmq as it lies in memory: another build, be it
 * of other sources, by another compiler or with other flags, has another one. The same sources
 * built alike have the same. */
uint64_t llmq_build_id(void);

#ifdef __cplusplus
}
#endif
#endif
