/* SPDX-License-Identifier: Apache-2.0 */
/* The marker of a result: see marker.h. */
#include "pipeline/marker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/input.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/strbuf.h"
#include "base/tally.h"
#include "llmq/host.h"
#include "llmq/matmul.h"
#include "llmq/model.h"
#include "llmq/version.h"
#include "pipeline/card.h"
#include "pipeline/companion_rule.h"
#include "pipeline/journal.h"

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* --- walking a result ------------------------------------------------------------------------- */

/* A walk over all files of a folder and its folders, in the order of names. `visit` is told of each
 * by its path from the top; what it returns ends the walk unless it is LLMQ_OK. */
struct walk {
    enum llmq_status (*visit)(struct walk *w, const char *path, llmq_error *err);
    struct json *list;                   /* writing: where files are added */
    const struct companions *companions; /* writing: what came with the model */
    const struct json *known;            /* checking: the files that are the result's */
};

/* Names at the top that belong to the run and not to what it made. */
static bool is_own(const char *path) {
    static const char *const own[] = {MARKER_NAME, MARKER_LOCK_NAME, JOURNAL_NAME,
                                      JOURNAL_UNDO_NAME};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(path, own[i]) == 0)
            return true;
    return false;
}

static enum llmq_status walk_folder(struct walk *w, int fd, const char *prefix, llmq_error *err);

static enum llmq_status walk_entry(struct walk *w, int fd, const char *name, const char *path,
                                   llmq_error *err) {
    struct stat st;
    if (is_own(path))
        return LLMQ_OK;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) /* what vanished meanwhile is nobody's */
        return errno == ENOENT ? LLMQ_OK : error_output(err, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return w->visit(w, path, err);
    int folder = -1;
    RETRY(folder, openat(fd, name, FOLDER_FLAGS));
    if (folder < 0)
        return error_output(err, "%s", path);
    enum llmq_status status = walk_folder(w, folder, path, err);
    close(folder);
    return status;
}

static enum llmq_status walk_folder(struct walk *w, int fd, const char *prefix, llmq_error *err) {
    struct dir_list list = {0};
    enum llmq_status status = dir_list_read_at(fd, prefix, &list, err);
    for (size_t i = 0; status == LLMQ_OK && i < list.count; i++) {
        char *path = path_join(prefix, list.names[i], err);
        status = path ? walk_entry(w, fd, list.names[i], path, err) : LLMQ_E_MEMORY;
        free(path);
    }
    dir_list_free(&list);
    return status;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Is this a file that the run has written? */
static bool is_written(const struct walk *w, const char *path) {
    const enum companion_kind kind = companion_kind_by_name(path, true);
    for (size_t i = 0; i < w->companions->count; i++)
        if (strcmp(w->companions->files[i].name, path) == 0)
            return true;
    return !strchr(path, '/') &&
           (kind == COMPANION_OURS || kind == COMPANION_WEIGHTS || strcmp(path, CARD_NAME) == 0);
}

static enum llmq_status add_file(struct walk *w, const char *path, llmq_error *err) {
    (void)err;
    if (is_written(w, path))
        json_add_string(w->list, NULL, path);
    return LLMQ_OK;
}

/* Their names, as an array. */
static enum llmq_status list_files(const char *dir, const struct companions *companions,
                                   struct json *names, llmq_error *err) {
    struct walk walk = {.visit = add_file, .list = names, .companions = companions};
    const int fd = dir_open(dir);
    if (fd < 0)
        return error_output(err, "%s", dir);
    enum llmq_status status = walk_folder(&walk, fd, "", err);
    close(fd);
    return status == LLMQ_OK && !json_complete(names) ? error_memory(err, "the result's files")
                                                      : status;
}

static struct json *file_json(const struct record_file *file) {
    struct json *o = json_new_object();
    json_add_string(o, "name", file->name);
    json_add_int64(o, "bytes", (int64_t)file->bytes);
    json_add_string(o, "sha256", file->sha256);
    return o;
}

enum llmq_status marker_files(const char *dir, const struct companions *companions,
                              const llmq_context *ctx, struct json **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *names = json_new_array(), *rows = json_new_array();
    struct record_file *files = NULL;
    size_t count = 0;
    *out = NULL;
    LLMQ_TRY(list_files(dir, companions, names, err));
    files = calloc(json_count(names) + 1, sizeof *files);
    if (!files)
        LLMQ_TRY(error_memory(err, "the result's files"));
    for (const struct json *name = json_first(names); name; name = json_next(name))
        files[count++].name = json_string(name);
    LLMQ_TRY(record_hash(dir, files, count, ctx, err));
    for (size_t i = 0; i < count; i++) {
        if (files[i].status != LLMQ_OK)
            LLMQ_TRY(error_set(err, LLMQ_E_IO, "%s/%s: cannot be read back", dir, files[i].name));
        json_add(rows, NULL, file_json(&files[i]));
    }
    *out = rows;
    rows = NULL;
cleanup:
    json_free(&names);
    json_free(&rows);
    free(files);
    return status;
}

struct json *marker_record(const char *command, struct json *options, struct json *made_from) {
    struct json *o = json_new_object();
    json_add_string(o, "llmq", LLMQ_VERSION);
    json_add_string(o, "commit", llmq_commit());
    json_add_string(o, "command", command);
    json_add(o, "options", options);
    json_add(o, "made_from", made_from);
    return o;
}

struct json *marker_run(double start, const llmq_context *ctx) {
    struct json *o = json_new_object();
    char build[17];
    (void)snprintf(build, sizeof build, "%016" PRIx64, llmq_build_id());
    json_add_double(o, "seconds", tally_now() - start);
    json_add_int64(o, "peak_rss_bytes", (int64_t)memory_peak());
    json_add_int64(o, "threads", context_threads(ctx));
    json_add_string(o, "kernels", llmq_cpu_name());
    json_add_string(o, "blas", llmq_blas_name());
    json_add_string(o, "build", build);
    return o;
}

enum llmq_status marker_write(const char *dir, const struct json *record, struct marker_end *end,
                              llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *o = json_copy(record);
    char *path = path_join(dir, MARKER_NAME, err), *text = NULL;
    json_add(o, "report", end->report);
    if (end->modules)
        json_add(o, "modules", end->modules);
    json_add(o, "files", end->files);
    json_add(o, "run", end->run);
    *end = (struct marker_end){0};
    text = record_print(o);
    if (!path || !text)
        LLMQ_TRY(error_memory(err, "the marker"));
    LLMQ_TRY(file_write_atomic(path, text, strlen(text), err));

cleanup:
    json_free(&o);
    free(path);
    free(text);
    return status;
}

/* --- checking --------------------------------------------------------------------------------- */

static enum llmq_status is_known(struct walk *w, const char *path, llmq_error *err) {
    for (const struct json *c = json_first(w->known); c; c = json_next(c))
        if (record_file_name(c) && strcmp(record_file_name(c), path) == 0)
            return LLMQ_OK;
    return error_set(err, LLMQ_E_USAGE, "'%s'", path);
}

/* The first few names in a folder, for a message. */
static void list_names(int fd, struct strbuf *out) {
    enum { MOST = 4 };
    struct dir_list list = {0};
    if (dir_list_read_at(fd, "", &list, NULL) != LLMQ_OK)
        return;
    for (size_t i = 0; i < list.count && i < MOST; i++)
        strbuf_printf(out, "%s'%s'", i > 0 ? ", " : "", list.names[i]);
    if (list.count > MOST)
        strbuf_printf(out, " and %zu more", list.count - MOST);
    dir_list_free(&list);
}

static enum llmq_status refuse(int fd, const char *dir, llmq_error *err) {
    struct strbuf names = {0};
    list_names(fd, &names);
    error_set(err, LLMQ_E_USAGE,
              "%s is not replaced: no " MARKER_NAME
              " marks it as a result of llmq, and it holds %s",
              dir, strbuf_ok(&names) && names.data ? names.data : "files");
    error_hint(err, "choose another --out, or remove the folder yourself if you do not need it");
    strbuf_free(&names);
    return LLMQ_E_USAGE;
}

/* The text of a regular file that is open, no larger than a record; NULL when it cannot be had. */
static char *read_text(const struct file *f, size_t *len) {
    struct stat st;
    if (fstat(f->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
        (uint64_t)st.st_size > input_limit(INPUT_RECORD)->bytes)
        return NULL;
    *len = (size_t)st.st_size;
    char *text = malloc(*len + 1);
    if (text && file_pread(f, text, *len, 0, NULL) != LLMQ_OK) {
        free(text);
        text = NULL;
    }
    if (text)
        text[*len] = '\0';
    return text;
}

/* NULL when there is none that can be read. A link is no marker. */
static struct json *read_marker(int fd) {
    struct json *root = NULL;
    struct file f = {.path = strdup(MARKER_NAME), .fd = -1};
    size_t len = 0;
    if (!f.path)
        return NULL;
    RETRY(f.fd, openat(fd, MARKER_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    char *text = f.fd < 0 ? NULL : read_text(&f, &len);
    if (text)
        root = record_parse(text, len);
    free(text);
    file_close(&f, NULL);
    return root;
}

struct json *marker_read_whole(int fd) {
    struct json *root = read_marker(fd);
    bool whole = true;
    for (const struct json *c = json_first(json_get(root, "files")); whole && c; c = json_next(c)) {
        struct stat st;
        const char *name = record_file_name(c);
        whole = name && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    }
    if (!whole)
        json_free(&root);
    return root;
}

bool marker_whole(int fd) {
    struct json *root = marker_read_whole(fd);
    const bool whole = root != NULL;
    json_free(&root);
    return whole;
}

enum llmq_status marker_check(int fd, const char *dir, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *root = read_marker(fd);
    const struct json *files = json_get(root, "files");
    llmq_error found = {0};
    if (!root)
        LLMQ_TRY(refuse(fd, dir, err));
    struct walk walk = {.visit = is_known, .known = files};
    status = walk_folder(&walk, fd, "", &found);
    if (status == LLMQ_E_USAGE) {
        error_set(err, LLMQ_E_USAGE, "%s is not replaced: it holds %s, which is not of the result",
                  dir, found.message);
        error_hint(err, "move it away, or choose another --out");
    } else if (status != LLMQ_OK && err) {
        *err = found;
        error_prefix(err, status, "%s", dir);
    }

cleanup:
    json_free(&root);
    return status;
}
