/* The file of logits: see logits.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "api/logits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/location.h"
#include "base/retry.h"
#include "base/strbuf.h"
#include "formats/safetensors/safetensors.h"
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

static enum llmq_status refuse(const char *path, const char *why, llmq_error *err) {
    error_set(err, LLMQ_E_IO, "--logits %s: %s", path, why);
    error_hint(err, "give the name of a new file, or of a file to replace");
    return LLMQ_E_IO;
}

static enum llmq_status choose_existing(const char *path, const struct stat *st,
                                        struct logits_place *out, llmq_error *err) {
    if (S_ISDIR(st->st_mode))
        return refuse(path, "is a folder", err);
    out->stream = S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode);
    if (!out->stream && !S_ISREG(st->st_mode))
        return refuse(path, "is neither a file nor a pipe", err);
    if (!out->stream && is_own_output(st))
        return error_set(err, LLMQ_E_USAGE,
                         "--logits %s: what is printed already goes into this file", path);
    if (access(path, W_OK) != 0)
        return error_output(err, "--logits %s", path);
    out->mode = st->st_mode & 07777;
    out->path = out->stream ? strdup(path) : realpath(path, NULL);
    return out->path ? LLMQ_OK : error_output(err, "--logits %s", path);
}

static enum llmq_status choose_new(const char *path, struct logits_place *out, llmq_error *err) {
    struct location at;
    enum llmq_status status = location_find(path, &at, err); /* links to nothing fail here */
    if (status != LLMQ_OK)
        return error_prefix(err, status, "--logits");
    const char *name = path_base(path);
    if (at.missing != 1)
        status = refuse(path, "its folder does not exist", err);
    else if (!*name)
        status = refuse(path, "is the name of a folder", err);
    else if (!(out->path = path_join(at.existing, name, err)))
        status = LLMQ_E_MEMORY;
    location_free(&at);
    return status;
}

/* A new file beside the place, under a name that nothing has; *temp is freed by the caller. */
static enum llmq_status create_beside(const struct logits_place *place, char **temp, int *fd,
                                      llmq_error *err) {
    enum { ATTEMPTS = 1000 };
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    const size_t dir_len = (size_t)(path_base(place->path) - place->path);
    *fd = -1;
    for (int i = 0; *fd < 0 && i < ATTEMPTS; i++) {
        struct strbuf name = {0};
        strbuf_printf(&name, "%.*s.llmq-%ld-%d", (int)dir_len, place->path, (long)getpid(), i);
        free(*temp);
        *temp = strbuf_take(&name);
        if (!*temp)
            return error_memory(err, "a path");
        RETRY(*fd, open(*temp, flags, 0666));
        if (*fd < 0 && errno != EEXIST)
            break;
    }
    return *fd >= 0 ? LLMQ_OK : error_output(err, "--logits %s: cannot write there", place->path);
}

/* Whether a file can be made there is known when one was made. */
static enum llmq_status probe(const struct logits_place *place, llmq_error *err) {
    char *temp = NULL;
    int fd = -1;
    enum llmq_status status = create_beside(place, &temp, &fd, err);
    if (status == LLMQ_OK) {
        close(fd);
        unlink(temp);
    }
    free(temp);
    return status;
}

enum llmq_status logits_choose(const char *path, const char *model_dir, struct logits_place *out,
                               llmq_error *err) {
    struct stat st;
    enum llmq_status status = LLMQ_OK;
    *out = (struct logits_place){0};
    if (!*path)
        return error_set(err, LLMQ_E_USAGE, "--logits: the file's name is empty");
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
        logits_free(out);
    return status;
}

void logits_free(struct logits_place *place) {
    free(place->path);
    *place = (struct logits_place){0};
}

/* --- writing ---------------------------------------------------------------------------------- */

static enum llmq_status write_all(int fd, const char *path, const void *data, size_t len,
                                  llmq_error *err) {
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_output(err, "%s: writing %zu bytes", path, len);
        p += n;
        len -= (size_t)n;
    }
    return LLMQ_OK;
}

/* Sync and rename; only onto a file, or onto nothing. */
static enum llmq_status put_in_place(const struct logits_place *place, int fd, const char *temp,
                                     llmq_error *err) {
    struct stat st;
    int synced = 0;
    if (place->mode != 0 && fchmod(fd, place->mode) != 0)
        return error_output(err, "%s", temp);
    RETRY(synced, fsync(fd));
    if (synced != 0)
        return error_output(err, "%s: fsync", temp);
    if (lstat(place->path, &st) == 0 && !S_ISREG(st.st_mode))
        return refuse(place->path, "appeared meanwhile, and is no file", err);
    return path_rename(temp, place->path, err);
}

static enum llmq_status write_rows(int fd, const char *path, const struct acts *logits,
                                   llmq_error *err) {
    const size_t bytes = (size_t)logits->width * sizeof(float);
    float *row = NULL, *buffer = malloc(bytes);
    enum llmq_status status = buffer ? LLMQ_OK : error_memory(err, "a row of logits");
    for (int64_t r = 0; r < logits->rows && status == LLMQ_OK; r++) {
        status = acts_load(logits, r, 1, buffer, &row, err);
        if (status == LLMQ_OK)
            status = write_all(fd, path, row, bytes, err);
    }
    free(buffer);
    return status;
}

enum llmq_status logits_write(const struct logits_place *place, const struct acts *logits,
                              llmq_error *err) {
    const struct st_spec spec = {.name = "logits",
                                 .dtype = DTYPE_F32,
                                 .rank = 2,
                                 .shape = {(uint64_t)logits->rows, (uint64_t)logits->width}};
    enum llmq_status status = LLMQ_OK;
    struct strbuf head = {0};
    char *temp = NULL;
    int fd = -1;
    LLMQ_TRY(st_single_head(&spec, &head, err));
    if (place->stream)
        RETRY(fd, open(place->path, O_WRONLY | O_NOCTTY | O_CLOEXEC));
    else
        LLMQ_TRY(create_beside(place, &temp, &fd, err));
    if (fd < 0)
        LLMQ_TRY(error_output(err, "--logits %s", place->path));
    LLMQ_TRY(write_all(fd, place->path, head.data, head.len, err));
    LLMQ_TRY(write_rows(fd, place->path, logits, err));
    if (!place->stream)
        LLMQ_TRY(put_in_place(place, fd, temp, err));

cleanup:
    if (fd >= 0)
        close(fd);
    if (status != LLMQ_OK && fd >= 0 && temp)
        unlink(temp);
    free(temp);
    strbuf_free(&head);
    return status;
}
