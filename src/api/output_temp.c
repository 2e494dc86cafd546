/* SPDX-License-Identifier: Apache-2.0 */
/* See output_temp.h. */
#define _DEFAULT_SOURCE /* flock */
#include "api/output_temp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/retry.h"
#include "base/strbuf.h"

#define PREFIX ".llmq-"

static int folder_length(const char *path) {
    return (int)(path_base(path) - path);
}

static bool take_lock(int fd) {
    int rc = 0;
    RETRY(rc, flock(fd, LOCK_EX | LOCK_NB));
    return rc == 0;
}

/* It is still there: another process has not taken it for a leftover before it was locked. */
static bool has_name(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* --- one's own -------------------------------------------------------------------------------- */

int output_temp_create(const char *path, char **temp) {
    enum { ATTEMPTS = 1000 };
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    *temp = NULL;
    for (int i = 0; i < ATTEMPTS; i++) {
        struct strbuf name = {0};
        int fd = -1;
        strbuf_printf(&name, "%.*s" PREFIX "%ld-%d", folder_length(path), path, (long)getpid(), i);
        free(*temp);
        *temp = strbuf_take(&name);
        if (!*temp) {
            errno = ENOMEM;
            return -1;
        }
        RETRY(fd, open(*temp, flags, 0666));
        if (fd < 0 && errno != EEXIST)
            return -1;
        if (fd < 0)
            continue;
        (void)take_lock(fd); /* where there are no locks nobody removes it either */
        if (has_name(fd))
            return fd;
        close(fd);
    }
    return -1;
}

/* --- those of others -------------------------------------------------------------------------- */

static bool is_temp(const char *name) {
    const size_t length = sizeof PREFIX - 1;
    if (strncmp(name, PREFIX, length) != 0)
        return false;
    const char *rest = name + length;
    const size_t process = strspn(rest, "0123456789");
    const size_t number = rest[process] == '-' ? strspn(rest + process + 1, "0123456789") : 0;
    return process > 0 && number > 0 && rest[process + 1 + number] == '\0';
}

static void remove_unlocked(const char *path) {
    struct stat st;
    int fd = -1;
    RETRY(fd, open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && take_lock(fd))
        unlink(path);
    close(fd);
}

void output_temp_sweep(const char *path) {
    struct dir_list list = {0};
    struct strbuf dir = {0};
    strbuf_printf(&dir, "%.*s.", folder_length(path), path);
    char *folder = strbuf_take(&dir);
    if (folder && dir_list_read(folder, &list, NULL) == LLMQ_OK)
        for (size_t i = 0; i < list.count; i++) {
            char *entry = is_temp(list.names[i]) ? path_join(folder, list.names[i], NULL) : NULL;
            if (entry)
                remove_unlocked(entry);
            free(entry);
        }
    dir_list_free(&list);
    free(folder);
}
