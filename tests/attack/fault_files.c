/* SPDX-License-Identifier: Apache-2.0 */
/* Files and their names: see faults.h. */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* the names as they are, without and with 64 */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- files ------------------------------------------------------------------------------------ */

static int open_at(int dir, const char *path, int flags, mode_t permissions, const void *caller) {
    if (counts(caller)) {
        if (fails(OPEN, "open") || interrupted("open"))
            return -1;
        if (flags & (O_CREAT | O_TRUNC))
            change();
    }
    return (int)syscall(SYS_openat, dir, path, flags, permissions);
}

static mode_t permissions_of(int flags, va_list more) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

EXPORT int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t permissions = permissions_of(flags, more);
    va_end(more);
    return open_at(AT_FDCWD, path, flags, permissions, CALLER);
}
int open64(const char *path, int flags, ...) ALIAS("open");

EXPORT int openat(int dir, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t permissions = permissions_of(flags, more);
    va_end(more);
    return open_at(dir, path, flags, permissions, CALLER);
}
int openat64(int dir, const char *path, int flags, ...) ALIAS("openat");

EXPORT ssize_t read(int fd, void *to, size_t len) {
    if (counts(CALLER)) {
        if (fails(READ, "read") || (!is_zlib(CALLER) && interrupted("read")))
            return -1;
        len = at_most(len);
    }
    return syscall(SYS_read, fd, to, len);
}

EXPORT ssize_t pread(int fd, void *to, size_t len, off_t at) {
    if (counts(CALLER)) {
        if (fails(READ, "pread") || interrupted("pread"))
            return -1;
        len = at_most(len);
    }
    return syscall(SYS_pread64, fd, to, len, at);
}
ssize_t pread64(int fd, void *to, size_t len, off_t at) ALIAS("pread");

EXPORT ssize_t write(int fd, const void *from, size_t len) {
    if (counts(CALLER) && fd > STDERR_FILENO) {
        if (fails(WRITE, "write") || interrupted("write"))
            return -1;
        len = at_most(len);
        if (is_last()) {
            (void)!syscall(SYS_write, fd, from, len / 2);
            die();
        }
    }
    return syscall(SYS_write, fd, from, len);
}

EXPORT ssize_t pwrite(int fd, const void *from, size_t len, off_t at) {
    if (counts(CALLER)) {
        if (fails(WRITE, "pwrite") || interrupted("pwrite"))
            return -1;
        len = at_most(len);
        if (is_last()) {
            (void)!syscall(SYS_pwrite64, fd, from, len / 2, at);
            die();
        }
    }
    return syscall(SYS_pwrite64, fd, from, len, at);
}
ssize_t pwrite64(int fd, const void *from, size_t len, off_t at) ALIAS("pwrite");

/* Linux has closed the file also when it says that it was interrupted. */
EXPORT int close(int fd) {
    const bool counted = counts(CALLER) && fd > STDERR_FILENO;
    if (counted && kills())
        change();
    const int result = (int)syscall(SYS_close, fd);
    return counted && (fails(CLOSE, "close") || interrupted("close")) ? -1 : result;
}

EXPORT int fsync(int fd) {
    if (counts(CALLER)) {
        if (fails(SYNC, "fsync") || interrupted("fsync"))
            return -1;
        change();
    }
    return (int)syscall(SYS_fsync, fd);
}

EXPORT int ftruncate(int fd, off_t len) {
    if (counts(CALLER)) {
        if (fails(RESERVE, "ftruncate") || interrupted("ftruncate"))
            return -1;
        change();
    }
    return (int)syscall(SYS_ftruncate, fd, len);
}
int ftruncate64(int fd, off_t len) ALIAS("ftruncate");

EXPORT int posix_fallocate(int fd, off_t at, off_t len) {
    const int before = errno;
    if (counts(CALLER)) {
        if (fails(RESERVE, "posix_fallocate") || interrupted("posix_fallocate"))
            return errno;
        change();
    }
    int result = (int)syscall(SYS_fallocate, fd, 0, at, len) == 0 ? 0 : errno;
    if (result == EOPNOTSUPP)
        result = (int)syscall(SYS_ftruncate, fd, at + len) == 0 ? 0 : errno;
    errno = before;
    return result;
}
int posix_fallocate64(int fd, off_t at, off_t len) ALIAS("posix_fallocate");

EXPORT int flock(int fd, int operation) {
    if (counts(CALLER) && (fails(LOCK, "flock") || interrupted("flock")))
        return -1;
    return (int)syscall(SYS_flock, fd, operation);
}

/* --- names ------------------------------------------------------------------------------------ */

static int rename_at(int from_dir, const char *from, int to_dir, const char *to, unsigned flags,
                     const void *caller) {
    if (counts(caller)) {
        if (fails(RENAME, "rename"))
            return -1;
        if (flags && !exchange_is_possible()) {
            errno = EINVAL;
            return -1;
        }
        change();
    }
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

EXPORT int rename(const char *from, const char *to) {
    return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0, CALLER);
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return rename_at(from_dir, from, to_dir, to, 0, CALLER);
}

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return rename_at(from_dir, from, to_dir, to, flags, CALLER);
}

static int remove_at(int dir, const char *path, int flags, const void *caller) {
    if (counts(caller)) {
        if (fails(REMOVE, "unlink"))
            return -1;
        change();
    }
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}

EXPORT int unlink(const char *path) {
    return remove_at(AT_FDCWD, path, 0, CALLER);
}

EXPORT int unlinkat(int dir, const char *path, int flags) {
    return remove_at(dir, path, flags, CALLER);
}

EXPORT int rmdir(const char *path) {
    return remove_at(AT_FDCWD, path, AT_REMOVEDIR, CALLER);
}

EXPORT int mkdir(const char *path, mode_t permissions) {
    if (counts(CALLER)) {
        if (fails(MAKE, "mkdir"))
            return -1;
        change();
    }
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, permissions);
}

EXPORT char *mkdtemp(char *name) {
    static long serial;
    if (counts(CALLER)) {
        if (fails(MAKE, "mkdtemp"))
            return NULL;
        change();
    }
    (void)snprintf(name + strlen(name) - 6, 7, "%06ld",
                   (syscall(SYS_getpid) * 10 + serial++) % 1000000);
    return syscall(SYS_mkdirat, AT_FDCWD, name, 0700) == 0 ? name : NULL;
}

static int stat_at(int dir, const char *path, struct stat *out, int flags, const void *caller) {
    if (counts(caller) && fails(STAT, "stat"))
        return -1;
    return (int)syscall(SYS_newfstatat, dir, path, out, flags);
}

EXPORT int stat(const char *path, struct stat *out) {
    return stat_at(AT_FDCWD, path, out, 0, CALLER);
}
int stat64(const char *path, struct stat64 *out);
EXPORT int stat64(const char *path, struct stat64 *out) {
    return stat_at(AT_FDCWD, path, (struct stat *)out, 0, CALLER);
}

EXPORT int lstat(const char *path, struct stat *out) {
    return stat_at(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW, CALLER);
}
EXPORT int lstat64(const char *path, struct stat64 *out) {
    return stat_at(AT_FDCWD, path, (struct stat *)out, AT_SYMLINK_NOFOLLOW, CALLER);
}

EXPORT int fstat(int fd, struct stat *out) {
    return stat_at(fd, "", out, AT_EMPTY_PATH, CALLER);
}
EXPORT int fstat64(int fd, struct stat64 *out) {
    return stat_at(fd, "", (struct stat *)out, AT_EMPTY_PATH, CALLER);
}

EXPORT int fstatat(int dir, const char *path, struct stat *out, int flags) {
    return stat_at(dir, path, out, flags, CALLER);
}
EXPORT int fstatat64(int dir, const char *path, struct stat64 *out, int flags) {
    return stat_at(dir, path, (struct stat *)out, flags, CALLER);
}

EXPORT int statx(int dir, const char *restrict path, int flags, unsigned mask,
                 struct statx *restrict out) {
    if (counts(CALLER) && fails(STAT, "statx"))
        return -1;
    return (int)syscall(SYS_statx, dir, path, flags, mask, out);
}
