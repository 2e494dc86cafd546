/* SPDX-License-Identifier: Apache-2.0 */
/* Files and folders: see fileio.h. */
#define _GNU_SOURCE /* sync_file_range */
#include "base/fileio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/retry.h"

#define COPY_BUFFER ((size_t)1 << 20)

char *path_join(const char *dir, const char *name, llmq_error *err) {
    size_t dir_len = strlen(dir), name_len = strlen(name);
    bool slash = dir_len > 0 && dir[dir_len - 1] != '/';
    char *path = malloc(dir_len + slash + name_len + 1);
    if (!path) {
        error_memory(err, "a path");
        return NULL;
    }
    memcpy(path, dir, dir_len);
    if (slash)
        path[dir_len] = '/';
    memcpy(path + dir_len + slash, name, name_len + 1);
    return path;
}

const char *path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void path_trim(char *path) {
    size_t len = strlen(path);
    while (len > 1 &&
           (path[len - 1] == '/' || (len > 2 && path[len - 1] == '.' && path[len - 2] == '/')))
        path[--len] = '\0';
}

bool path_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool path_is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static enum path_kind kind_of(const struct stat *st) {
    return S_ISREG(st->st_mode) ? PATH_FILE : S_ISDIR(st->st_mode) ? PATH_FOLDER : PATH_OTHER;
}

/* A link that cannot be followed: what a cache holds of a file that was removed or never came. Not
 * LLMQ_E_NOT_FOUND, which some take for leave to go on without. */
static enum llmq_status broken_link(const char *path, llmq_error *err) {
    char target[PATH_MAX];
    ssize_t len = readlink(path, target, sizeof target - 1);
    target[len > 0 ? len : 0] = '\0';
    error_set(err, LLMQ_E_INPUT, "%s: a link to %.200s, which is not there", path, target);
    error_hint(err, "complete the download of the model, or remove the link");
    return LLMQ_E_INPUT;
}

enum llmq_status path_look(const char *path, enum path_kind *kind, llmq_error *err) {
    struct stat st;
    *kind = PATH_ABSENT;
    if (stat(path, &st) == 0) {
        *kind = kind_of(&st);
        return LLMQ_OK;
    }
    if (errno != ENOENT && errno != ENOTDIR)
        return error_errno(err, "%s", path);
    /* The name itself is absent, or what it links to. */
    if (lstat(path, &st) == 0)
        return broken_link(path, err);
    return errno == ENOENT || errno == ENOTDIR ? LLMQ_OK : error_errno(err, "%s", path);
}

static enum llmq_status not_regular(const char *path, enum path_kind kind, llmq_error *err) {
    const bool folder = kind == PATH_FOLDER;
    error_set(err, LLMQ_E_INPUT, "%s: expected a regular file, found %s", path,
              folder ? "a folder" : "a device or pipe");
    if (!folder)
        error_hint(err, "write what comes from it into a file first");
    return LLMQ_E_INPUT;
}

enum llmq_status file_exists(const char *path, bool *exists, llmq_error *err) {
    enum path_kind kind = PATH_ABSENT;
    enum llmq_status status = path_look(path, &kind, err);
    *exists = kind == PATH_FILE;
    if (status == LLMQ_OK && kind != PATH_FILE && kind != PATH_ABSENT)
        status = not_regular(path, kind, err);
    return status;
}

/* --- positioned access ---------------------------------------------------------------------------
 */

static enum llmq_status open_with(const char *path, int flags, struct file *f, llmq_error *err) {
    *f = (struct file){.fd = -1};
    f->path = strdup(path);
    if (!f->path)
        return error_memory(err, "a path");
    /* without waiting: a pipe that nobody writes to would hold us here, a terminal could become
     * ours */
    RETRY(f->fd, open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat st;
    if (f->fd < 0 || fstat(f->fd, &st) != 0) {
        enum llmq_status status = error_errno(err, "%s", path);
        file_close(f, NULL);
        return status;
    }
    if (!S_ISREG(st.st_mode)) {
        file_close(f, NULL);
        return not_regular(path, kind_of(&st), err);
    }
    f->size = (uint64_t)st.st_size;
    return LLMQ_OK;
}

enum llmq_status file_open_read(const char *path, struct file *f, llmq_error *err) {
    return open_with(path, O_RDONLY, f, err);
}

enum llmq_status file_open_update(const char *path, struct file *f, llmq_error *err) {
    return open_with(path, O_RDWR, f, err);
}

/* posix_fallocate returns its error. */
static int reserve(int fd, uint64_t size) {
    int rc = 0;
    do
        rc = posix_fallocate(fd, 0, (off_t)size);
    while (rc == EINTR);
    return rc;
}

enum llmq_status file_create(const char *path, uint64_t size, struct file *f, llmq_error *err) {
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    *f = (struct file){.fd = -1, .path = strdup(path)};
    if (!f->path)
        return error_memory(err, "a path");
    RETRY(f->fd, open(path, flags, 0666));
    if (f->fd < 0 && errno == EEXIST && unlink(path) == 0)
        RETRY(f->fd, open(path, flags, 0666));
    if (f->fd < 0) {
        enum llmq_status status = error_output(err, "%s: cannot create", path);
        file_close(f, NULL);
        return status;
    }
    int rc = size > 0 ? reserve(f->fd, size) : 0;
    if (rc != 0) {
        errno = rc;
        enum llmq_status status =
            error_output(err, "%s: cannot reserve %llu bytes", path, (unsigned long long)size);
        file_close(f, NULL);
        unlink(path);
        return status;
    }
    f->size = size;
    return LLMQ_OK;
}

/* The file has no byte at `offset`, and `len` are wanted from there on. */
static enum llmq_status ended(const struct file *f, size_t len, uint64_t offset, llmq_error *err) {
    if (f->size < len || offset > f->size - len)
        return error_set(err, LLMQ_E_IO, "%s: ends at byte %llu, %zu more were expected", f->path,
                         (unsigned long long)offset, len);
    error_set(err, LLMQ_E_INPUT,
              "%s: changed while it was being read: it had %llu bytes, and ends at byte %llu now",
              f->path, (unsigned long long)f->size, (unsigned long long)offset);
    error_hint(err, "start over (--force, where a run was interrupted) when nothing writes to it "
                    "any more");
    return LLMQ_E_INPUT;
}

enum llmq_status file_pread(const struct file *f, void *buf, size_t len, uint64_t offset,
                            llmq_error *err) {
    char *p = buf;
    while (len > 0) {
        ssize_t n = pread(f->fd, p, len < SSIZE_MAX ? len : SSIZE_MAX, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "%s: reading %zu bytes at %llu", f->path, len,
                               (unsigned long long)offset);
        if (n == 0)
            return ended(f, len, offset, err);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return LLMQ_OK;
}

enum llmq_status file_pwrite(const struct file *f, const void *buf, size_t len, uint64_t offset,
                             llmq_error *err) {
    const char *p = buf;
    while (len > 0) {
        ssize_t n = pwrite(f->fd, p, len < SSIZE_MAX ? len : SSIZE_MAX, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_output(err, "%s: writing %zu bytes at %llu", f->path, len,
                                (unsigned long long)offset);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return LLMQ_OK;
}

void file_read_ahead(const struct file *f, uint64_t offset, uint64_t len) {
    (void)posix_fadvise(f->fd, (off_t)offset, (off_t)len, POSIX_FADV_WILLNEED);
}

void file_write_out(const struct file *f, uint64_t offset, uint64_t len) {
#ifdef SYNC_FILE_RANGE_WRITE
    (void)sync_file_range(f->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
#else
    (void)f, (void)offset, (void)len;
#endif
}

static enum llmq_status sync_open(int fd, const char *path, llmq_error *err) {
    int rc = 0;
    RETRY(rc, fsync(fd));
    return rc == 0 ? LLMQ_OK : error_output(err, "%s: fsync", path);
}

enum llmq_status file_sync(const struct file *f, llmq_error *err) {
    return sync_open(f->fd, f->path, err);
}

enum llmq_status file_close(struct file *f, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (f->path && f->fd >= 0 && close(f->fd) != 0 && errno != EINTR) /* closed all the same */
        status = error_output(err, "%s: close", f->path);
    free(f->path);
    *f = (struct file){.fd = -1};
    return status;
}

/* --- whole files ------------------------------------------------------------------------------ */

enum llmq_status file_read(const char *path, size_t max, char **data, size_t *len,
                           llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct file f = {.fd = -1};
    char *buf = NULL;
    LLMQ_TRY(file_open_read(path, &f, err));
    if (f.size > max) {
        status = error_set(err, LLMQ_E_INPUT, "%s: %llu bytes, at most %zu are accepted", path,
                           (unsigned long long)f.size, max);
        goto cleanup;
    }
    buf = malloc((size_t)f.size + 1);
    if (!buf) {
        status = error_set(err, LLMQ_E_MEMORY, "%s: out of memory for %llu bytes", path,
                           (unsigned long long)f.size);
        goto cleanup;
    }
    LLMQ_TRY(file_pread(&f, buf, (size_t)f.size, 0, err));
    buf[f.size] = '\0';
    *data = buf;
    *len = (size_t)f.size;
    buf = NULL;
cleanup:
    free(buf);
    file_close(&f, NULL);
    return status;
}

enum llmq_status path_sync_parent(const char *path, llmq_error *err) {
    const char *base = path_base(path);
    if (base == path)
        return dir_sync(".", err);
    char *dir = strndup(path, (size_t)(base - path));
    if (!dir)
        return error_memory(err, "a path");
    enum llmq_status status = dir_sync(dir, err);
    free(dir);
    return status;
}

enum llmq_status file_write_atomic(const char *path, const void *data, size_t len,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct file f = {.fd = -1};
    size_t path_len = strlen(path);
    char *temp = malloc(path_len + sizeof ".tmp");
    if (!temp)
        return error_memory(err, "a path");
    memcpy(temp, path, path_len);
    memcpy(temp + path_len, ".tmp", sizeof ".tmp");
    LLMQ_TRY(file_create(temp, 0, &f, err));
    LLMQ_TRY(file_pwrite(&f, data, len, 0, err));
    LLMQ_TRY(file_sync(&f, err));
    LLMQ_TRY(file_close(&f, err));
    LLMQ_TRY(path_rename(temp, path, err));
cleanup:
    if (status != LLMQ_OK) {
        file_close(&f, NULL);
        unlink(temp);
    }
    free(temp);
    return status;
}

enum llmq_status file_copy(const char *from, const char *to, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct file in = {.fd = -1}, out = {.fd = -1};
    char *buf = malloc(COPY_BUFFER);
    if (!buf)
        return error_memory(err, "a copy buffer");
    LLMQ_TRY(file_open_read(from, &in, err));
    LLMQ_TRY(file_create(to, 0, &out, err));
    for (uint64_t at = 0; at < in.size;) {
        size_t n = in.size - at < COPY_BUFFER ? (size_t)(in.size - at) : COPY_BUFFER;
        LLMQ_TRY(file_pread(&in, buf, n, at, err));
        LLMQ_TRY(file_pwrite(&out, buf, n, at, err));
        at += n;
    }
    LLMQ_TRY(file_sync(&out, err));
    LLMQ_TRY(file_close(&out, err));
cleanup:
    free(buf);
    file_close(&in, NULL);
    file_close(&out, NULL);
    return status;
}

/* --- folders ---------------------------------------------------------------------------------- */

enum llmq_status dir_make(const char *path, bool exist_ok, llmq_error *err) {
    if (mkdir(path, 0777) == 0 || (exist_ok && errno == EEXIST && path_is_dir(path)))
        return LLMQ_OK;
    return error_output(err, "%s: cannot create the folder", path);
}

/* /tmp is memory on many systems. */
char *dir_temporary(const char *what, llmq_error *err) {
    const char *place = getenv("TMPDIR");
    if (!place || !*place)
        place = access("/var/tmp", W_OK) == 0 ? "/var/tmp" : "/tmp";
    char *dir = path_join(place, "llmq-XXXXXX", err);
    if (dir && !mkdtemp(dir)) {
        (void)error_output(err, "%s: cannot create a folder for %s", place, what);
        error_hint(err, "name a folder for them: TMPDIR=...");
        free(dir);
        dir = NULL;
    }
    return dir;
}

enum llmq_status dir_sync(const char *path, llmq_error *err) {
    int fd = -1;
    RETRY(fd, open(*path ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return error_output(err, "%s", path);
    enum llmq_status status = sync_open(fd, path, err);
    close(fd);
    return status;
}

enum llmq_status path_rename(const char *from, const char *to, llmq_error *err) {
    if (rename(from, to) != 0)
        return error_output(err, "%s: cannot rename to %s", from, to);
    return path_sync_parent(to, err);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum llmq_status list_add(struct dir_list *list, const char *name, llmq_error *err) {
    char **names = realloc(list->names, (list->count + 1) * sizeof *names);
    if (!names)
        return error_memory(err, "a folder listing");
    list->names = names;
    names[list->count] = strdup(name);
    if (!names[list->count])
        return error_memory(err, "a folder listing");
    list->count++;
    return LLMQ_OK;
}

/* Closes `dir`, which is NULL, with errno set, when it could not be opened. */
static enum llmq_status list_read(DIR *dir, const char *path, struct dir_list *list,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *list = (struct dir_list){0};
    if (!dir)
        return error_errno(err, "%s", path);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry && errno) {
            status = error_errno(err, "%s: reading the folder", path);
            goto cleanup;
        }
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            LLMQ_TRY(list_add(list, entry->d_name, err));
    }
    if (list->count > 0)
        qsort(list->names, list->count, sizeof *list->names, compare_names);
cleanup:
    closedir(dir);
    if (status != LLMQ_OK)
        dir_list_free(list);
    return status;
}

enum llmq_status dir_list_read(const char *path, struct dir_list *list, llmq_error *err) {
    return list_read(opendir(path), path, list, err);
}

enum llmq_status dir_list_read_at(int fd, const char *path, struct dir_list *list,
                                  llmq_error *err) {
    /* A descriptor of its own: one that is copied would share its place in the listing. */
    int own = -1;
    RETRY(own, openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (own >= 0 && !dir)
        close(own);
    return list_read(dir, path, list, err);
}

void dir_list_free(struct dir_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
    *list = (struct dir_list){0};
}
