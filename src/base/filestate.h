/* SPDX-License-Identifier: Apache-2.0 */
/* What tells one state of a file from another: its stamp, without reading it, and the hash of its
 * content. */
#ifndef LLMQ_BASE_FILESTATE_H
#define LLMQ_BASE_FILESTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fileio.h"
#include "base/sha256.h"
#include "llmq/error.h"

/* As the system keeps it. `changed` moves with every write, also when whoever wrote sets `modified`
 * back; device and inode tell a file from another one that took its name. */
struct file_stamp {
    uint64_t size;
    int64_t modified, changed; /* nanoseconds since 1970 */
    uint64_t device, inode;
};

/* Of the file at a path, links followed, and of an open one. */
LLMQ_NODISCARD enum llmq_status file_stamp_read(const char *path, struct file_stamp *out,
                                                llmq_error *err);
LLMQ_NODISCARD enum llmq_status file_stamp_open(const struct file *f, struct file_stamp *out,
                                                llmq_error *err);

/* The same file, and nobody wrote to it in between. */
bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b);

/* SHA-256 of a file's content, links followed, and the stamp that it had before it was read. */
LLMQ_NODISCARD enum llmq_status file_hash(const char *path, struct file_stamp *stamp,
                                          char hash[SHA256_TEXT], llmq_error *err);

/* The same of its first `len` bytes, or of all where it has no more. */
LLMQ_NODISCARD enum llmq_status file_hash_head(const char *path, uint64_t len,
                                               char hash[SHA256_TEXT], llmq_error *err);

#endif
