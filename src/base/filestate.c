/* See filestate.h. */
#include "base/filestate.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/hash.h"

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

enum llmq_status file_hash(const char *path, struct file_stamp *stamp, uint64_t *hash,
                           llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct file f = {.fd = -1};
    char *buffer = malloc(HASH_BUFFER);
    *hash = HASH_INIT;
    if (!buffer)
        return error_memory(err, path);
    LLMQ_TRY(file_open_read(path, &f, err));
    LLMQ_TRY(file_stamp_open(&f, stamp, err));
    for (uint64_t at = 0; at < f.size;) {
        size_t part = f.size - at < HASH_BUFFER ? (size_t)(f.size - at) : HASH_BUFFER;
        LLMQ_TRY(file_pread(&f, buffer, part, at, err));
        *hash = hash_array(*hash, buffer, part);
        at += part;
    }
cleanup:
    free(buffer);
    file_close(&f, NULL);
    return status;
}
