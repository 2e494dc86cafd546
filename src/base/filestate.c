/* SPDX-License-Identifier: Apache-2.0 */
/* See filestate.h. */
#include "base/filestate.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/error.h"

#define HASH_BUFFER ((size_t)1 << 20)

static int64_t nanoseconds(const struct timespec *t) {
    return (int64_t)t->tv_sec * 1000000000 + (int64_t)t->tv_nsec;
}

static struct file_stamp stamp_of(const struct stat *st) {
    return (struct file_stamp){.size = (uint64_t)st->st_size,
                               .modified = nanoseconds(&st->st_mtim),
                               .changed = nanoseconds(&st->st_ctim),
                               .device = (uint64_t)st->st_dev,
                               .inode = (uint64_t)st->st_ino};
}

enum llmq_status file_stamp_read(const char *path, struct file_stamp *out, llmq_error *err) {
    struct stat st;
    if (stat(path, &st) != 0)
        return error_errno(err, "%s", path);
    *out = stamp_of(&st);
    return LLMQ_OK;
}

enum llmq_status file_stamp_open(const struct file *f, struct file_stamp *out, llmq_error *err) {
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return error_errno(err, "%s", f->path);
    *out = stamp_of(&st);
    return LLMQ_OK;
}

bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b) {
    return a->size == b->size && a->modified == b->modified && a->changed == b->changed &&
           a->device == b->device && a->inode == b->inode;
}

/* Of at most `most` bytes; `stamp` may be NULL. */
static enum llmq_status hash_content(const char *path, uint64_t most, struct file_stamp *stamp,
                                     char hash[SHA256_TEXT], llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct file f = {.fd = -1};
    struct sha256 sum;
    char *buffer = malloc(HASH_BUFFER);
    hash[0] = '\0';
    sha256_begin(&sum);
    if (!buffer)
        return error_memory(err, path);
    LLMQ_TRY(file_open_read(path, &f, err));
    if (stamp)
        LLMQ_TRY(file_stamp_open(&f, stamp, err));
    const uint64_t len = f.size < most ? f.size : most;
    for (uint64_t at = 0; at < len;) {
        const size_t part = len - at < HASH_BUFFER ? (size_t)(len - at) : HASH_BUFFER;
        LLMQ_TRY(file_pread(&f, buffer, part, at, err));
        sha256_add(&sum, buffer, part);
        at += part;
    }
    sha256_end(&sum, hash);
cleanup:
    free(buffer);
    file_close(&f, NULL);
    return status;
}

enum llmq_status file_hash(const char *path, struct file_stamp *stamp, char hash[SHA256_TEXT],
                           llmq_error *err) {
    return hash_content(path, UINT64_MAX, stamp, hash, err);
}

enum llmq_status file_hash_head(const char *path, uint64_t len, char hash[SHA256_TEXT],
                                llmq_error *err) {
    return hash_content(path, len, NULL, hash, err);
}
