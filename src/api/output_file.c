/* SPDX-License-Identifier: Apache-2.0 */
/* See output_file.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "api/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/output_temp.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/location.h"
#include "base/retry.h"
#include "pipeline/place.h"

/* --- choosing --------------------------------------------------------------------------------- */

/* The shell has opened the file for what is printed. */
static bool is_own_output(const struct stat *st) {
    struct stat own;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino)
            return true;
    return false;
}

static enum llmq_status refuse(const struct output_file *place, const char *path, const char *why,
                               llmq_error *err) {
    error_set(err, LLMQ_E_IO, "--%s %s: %s", place->option, path, why);
    error_hint(err, "give the name of a new file, or of a file to replace");
    return LLMQ_E_IO;
}

static enum llmq_status choose_existing(const char *path, const struct stat *st,
                                        struct output_file *out, llmq_error *err) {
    if (S_ISDIR(st->st_mode))
        return refuse(out, path, "is a folder", err);
    out->stream = S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode);
    if (!out->stream && !S_ISREG(st->st_mode))
        return refuse(out, path, "is neither a file nor a pipe", err);
    if (!out->stream && is_own_output(st))
        return error_set(err, LLMQ_E_USAGE, "--%s %s: what is printed already goes into this file",
                         out->option, path);
    if (access(path, W_OK) != 0)
        return error_output(err, "--%s %s", out->option, path);
    out->mode = st->st_mode & 07777;
    out->path = out->stream ? strdup(path) : realpath(path, NULL);
    return out->path ? LLMQ_OK : error_output(err, "--%s %s", out->option, path);
}

static enum llmq_status choose_new(const char *path, struct output_file *out, llmq_error *err) {
    struct location at;
    enum llmq_status status = location_find(path, &at, err); /* links to nothing fail here */
    if (status != LLMQ_OK)
        return error_prefix(err, status, "--%s", out->option);
    const char *name = path_base(path);
    if (at.missing != 1)
        status = refuse(out, path, "its folder does not exist", err);
    else if (!*name)
        status = refuse(out, path, "is the name of a folder", err);
    else if (!(out->path = path_join(at.existing, name, err)))
        status = LLMQ_E_MEMORY;
    location_free(&at);
    return status;
}

/* A new file beside the place; *temp is freed by the caller. */
static enum llmq_status create_beside(const struct output_file *place, char **temp, int *fd,
                                      llmq_error *err) {
    *fd = output_temp_create(place->path, temp);
    if (*fd < 0 && !*temp)
        return error_memory(err, "a path");
    return *fd >= 0 ? LLMQ_OK
                    : error_output(err, "--%s %s: cannot write there", place->option, place->path);
}

/* Whether a file can be made there is known when one was made. */
static enum llmq_status probe(const struct output_file *place, llmq_error *err) {
    char *temp = NULL;
    int fd = -1;
    output_temp_sweep(place->path);
    enum llmq_status status = create_beside(place, &temp, &fd, err);
    if (status == LLMQ_OK) {
        close(fd);
        unlink(temp);
    }
    free(temp);
    return status;
}

enum llmq_status output_file_choose(const char *option, const char *path, const char *model_dir,
                                    struct output_file *out, llmq_error *err) {
    struct stat st;
    enum llmq_status status = LLMQ_OK;
    *out = (struct output_file){.option = option, .fd = -1};
    if (!*path)
        return error_set(err, LLMQ_E_USAGE, "--%s: the file's name is empty", option);
    if (stat(path, &st) == 0)
        LLMQ_TRY(choose_existing(path, &st, out, err));
    else
        LLMQ_TRY(choose_new(path, out, err));
    if (!out->stream) {
        LLMQ_TRY(place_check(out->path, &(struct place_inputs){model_dir, NULL}, err));
        LLMQ_TRY(probe(out, err));
    }

cleanup:
    if (status != LLMQ_OK)
        output_file_free(out);
    return status;
}

void output_file_free(struct output_file *place) {
    if (place->fd >= 0) {
        close(place->fd);
        if (place->temp)
            unlink(place->temp);
    }
    free(place->temp);
    free(place->path);
    *place = (struct output_file){.fd = -1};
}

/* --- writing ---------------------------------------------------------------------------------- */

enum llmq_status output_file_begin(struct output_file *place, llmq_error *err) {
    if (!place->stream)
        return create_beside(place, &place->temp, &place->fd, err);
    RETRY(place->fd, open(place->path, O_WRONLY | O_NOCTTY | O_CLOEXEC));
    return place->fd >= 0 ? LLMQ_OK : error_output(err, "--%s %s", place->option, place->path);
}

enum llmq_status output_file_put(const struct output_file *place, const void *data, size_t len,
                                 llmq_error *err) {
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(place->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_output(err, "%s: writing %zu bytes", place->path, len);
        p += n;
        len -= (size_t)n;
    }
    return LLMQ_OK;
}

/* Sync and rename; only onto a file, or onto nothing. */
enum llmq_status output_file_finish(struct output_file *place, llmq_error *err) {
    struct stat st;
    int synced = 0;
    if (place->stream)
        return LLMQ_OK;
    if (place->mode != 0 && fchmod(place->fd, place->mode) != 0)
        return error_output(err, "%s", place->temp);
    RETRY(synced, fsync(place->fd));
    if (synced != 0)
        return error_output(err, "%s: fsync", place->temp);
    if (lstat(place->path, &st) == 0 && !S_ISREG(st.st_mode))
        return refuse(place, place->path, "appeared meanwhile, and is no file", err);
    enum llmq_status status = path_rename(place->temp, place->path, err);
    if (status == LLMQ_OK) {
        free(place->temp);
        place->temp = NULL;
    }
    return status;
}
