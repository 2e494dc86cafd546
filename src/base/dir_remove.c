/* SPDX-License-Identifier: Apache-2.0 */
/* Removing folders: see fileio.h.
 *
 * Every step is relative to a folder that is open, and a folder is opened without following links
 * and entered only if it is the one that was looked at. Whoever swaps names meanwhile can make this
 * fail, not lead it elsewhere. */
#define _GNU_SOURCE /* statx */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/retry.h"

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int dir_open(const char *path) {
    int fd = -1;
    RETRY(fd, open(path, FOLDER_FLAGS));
    return fd;
}

const char *dir_fixed(int fd) {
    bool mount = false, known = false;
#ifdef STATX_ATTR_MOUNT_ROOT
    struct statx now;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &now) == 0) {
        if (now.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))
            return "it is marked immutable";
        known = now.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT;
        mount = now.stx_attributes & STATX_ATTR_MOUNT_ROOT;
    }
#endif
    struct stat here, above;
    if (!known && fstat(fd, &here) == 0 && fstatat(fd, "..", &above, 0) == 0)
        mount = here.st_dev != above.st_dev || here.st_ino == above.st_ino;
    return mount ? "something is mounted there" : NULL;
}

static enum llmq_status not_removed(const char *path, int fd, llmq_error *err) {
    return error_set(err, LLMQ_E_IO, "%s: not removed: %s", path, dir_fixed(fd));
}

static enum llmq_status cannot_remove(const char *path, llmq_error *err) {
    return errno == ENOENT ? LLMQ_OK : error_output(err, "%s: cannot remove", path);
}

/* Empty the folder `name` of `fd`, and remove it. `seen` is what was found under the name. */
static enum llmq_status remove_folder(int fd, const char *name, const struct stat *seen,
                                      const char *path, llmq_error *err) {
    struct stat opened;
    int folder = -1;
    RETRY(folder, openat(fd, name, FOLDER_FLAGS));
    if (folder < 0)
        return cannot_remove(path, err);
    enum llmq_status status = LLMQ_OK;
    if (fstat(folder, &opened) != 0 || opened.st_dev != seen->st_dev ||
        opened.st_ino != seen->st_ino)
        status = error_set(err, LLMQ_E_IO, "%s: changed while it was being removed", path);
    else if (dir_fixed(folder))
        status = not_removed(path, folder, err);
    else
        status = dir_clear(folder, path, NULL, err);
    close(folder);
    if (status == LLMQ_OK && unlinkat(fd, name, AT_REMOVEDIR) != 0)
        status = cannot_remove(path, err);
    return status;
}

static enum llmq_status remove_entry(int fd, const char *name, const char *path, llmq_error *err) {
    struct stat seen;
    if (fstatat(fd, name, &seen, AT_SYMLINK_NOFOLLOW) != 0)
        return cannot_remove(path, err);
    if (S_ISDIR(seen.st_mode))
        return remove_folder(fd, name, &seen, path, err);
    return unlinkat(fd, name, 0) == 0 ? LLMQ_OK : cannot_remove(path, err);
}

static bool is_kept(const char *name, const char *const *keep) {
    while (keep && *keep && strcmp(*keep, name) != 0)
        keep++;
    return keep && *keep;
}

enum llmq_status dir_clear(int fd, const char *path, const char *const *keep, llmq_error *err) {
    struct dir_list list = {0};
    enum llmq_status status = dir_list_read_at(fd, path, &list, err);
    for (size_t i = 0; status == LLMQ_OK && i < list.count; i++) {
        if (is_kept(list.names[i], keep))
            continue;
        char *entry = path_join(path, list.names[i], err);
        status = entry ? remove_entry(fd, list.names[i], entry, err) : LLMQ_E_MEMORY;
        free(entry);
    }
    dir_list_free(&list);
    return status;
}

enum llmq_status dir_remove(const char *path, llmq_error *err) {
    const int fd = dir_open(path);
    if (fd < 0)
        return cannot_remove(path, err);
    enum llmq_status status = LLMQ_OK;
    if (dir_fixed(fd))
        status = not_removed(path, fd, err);
    else
        status = dir_clear(fd, path, NULL, err);
    close(fd);
    if (status == LLMQ_OK && rmdir(path) != 0)
        status = cannot_remove(path, err);
    return status;
}
