/* SPDX-License-Identifier: Apache-2.0 */
/* Git LFS: a clone without the large files has small texts in their place, which name them. */
#ifndef LLMQ_BASE_LFS_H
#define LLMQ_BASE_LFS_H

#include <stddef.h>

#include "llmq/error.h"

/* Bytes of a file that lfs_check looks at, and the most that a pointer has. */
#define LFS_HEAD_BYTES  64
#define LFS_MAX_POINTER 1024

/* LLMQ_E_INPUT, with the command that helps, when a file that begins with these bytes is a Git LFS
 * pointer and not the file itself. Source: git-lfs/git-lfs docs/spec.md, "The Pointer". */
LLMQ_NODISCARD enum llmq_status lfs_check(const char *path, const char *text, size_t len,
                                          llmq_error *err);

#endif
