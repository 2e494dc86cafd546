/* SPDX-License-Identifier: Apache-2.0 */
/* See companions.h. */
#include "pipeline/companions.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "pipeline/companion_rule.h"

/* --- finding ---------------------------------------------------------------------------------- */

/* The walk through the model's folder. */
struct walk {
    const char *root;
    struct companions *out;
    struct file_stamp above[COMPANION_MAX_DEPTH + 1]; /* the folders that the walk is in */
};

static enum llmq_status make_room(void **items, size_t count, size_t *cap, size_t size,
                                  llmq_error *err) {
    if (count < *cap)
        return LLMQ_OK;
    size_t wanted = *cap ? 2 * *cap : 16;
    void *larger = realloc(*items, wanted * size);
    if (!larger)
        return error_memory(err, "the files beside the weights");
    *items = larger;
    *cap = wanted;
    return LLMQ_OK;
}

static enum llmq_status leave(struct companions *c, const char *name, bool folder, const char *why,
                              llmq_error *err) {
    struct strbuf b = {0};
    void *items = c->left;
    enum llmq_status status = make_room(&items, c->left_count, &c->left_cap, sizeof *c->left, err);
    if (status != LLMQ_OK)
        return status;
    c->left = items;
    strbuf_printf(&b, "%s%s", name, folder ? "/" : "");
    char *text = strbuf_take(&b);
    if (!text)
        return error_memory(err, "a path");
    c->left[c->left_count++] = (struct companion_left){text, why};
    return LLMQ_OK;
}

static enum llmq_status add(struct companions *c, const char *path, const char *name,
                            llmq_error *err) {
    void *items = c->files;
    if (c->count == COMPANION_MAX_COUNT) {
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "%s: the model's folder has more than %d files beside its weights", path,
                  COMPANION_MAX_COUNT);
        error_hint(err, "all of them would be copied: give the model a folder of its own");
        return LLMQ_E_UNSUPPORTED;
    }
    enum llmq_status status = make_room(&items, c->count, &c->cap, sizeof *c->files, err);
    if (status != LLMQ_OK)
        return status;
    c->files = items;
    struct companion *f = &c->files[c->count];
    *f = (struct companion){.name = strdup(name)};
    if (!f->name)
        return error_memory(err, "a path");
    c->count++;
    return file_hash(path, &f->stamp, f->hash, err);
}

static enum llmq_status add_file(struct walk *w, const char *path, const char *name,
                                 llmq_error *err) {
    struct file_stamp stamp;
    enum llmq_status status = file_stamp_read(path, &stamp, err);
    if (status != LLMQ_OK)
        return status;
    const char *base = path_base(name);
    if (companion_kind(base, base == name, stamp.size) == COMPANION_WEIGHTS)
        return leave(w->out, name, false, NULL, err);
    if (!utf8_valid(name, strlen(name))) /* the journal and the marker are JSON */
        return leave(w->out, name, false, "its name is not UTF-8", err);
    if (stamp.size > COMPANION_MAX_BYTES)
        return leave(w->out, name, false, "too large for a file beside the weights", err);
    return add(w->out, path, name, err);
}

static bool is_model_in_another_form(const struct dir_list *list) {
    bool weights = false;
    for (size_t i = 0; i < list->count; i++) {
        if (companion_apart_from_weights(list->names[i]))
            return false;
        weights = weights || companion_kind_by_name(list->names[i], false) == COMPANION_WEIGHTS;
    }
    return weights;
}

static enum llmq_status walk_folder(struct walk *w, const char *folder, int depth, llmq_error *err);

/* Why not to enter a folder; NULL: enter it. */
static enum llmq_status enter_folder(struct walk *w, const char *path, int depth, const char **why,
                                     llmq_error *err) {
    struct file_stamp *stamp = &w->above[depth < COMPANION_MAX_DEPTH ? depth : COMPANION_MAX_DEPTH];
    *why = depth > COMPANION_MAX_DEPTH ? "too deep" : NULL;
    enum llmq_status status = file_stamp_read(path, stamp, err);
    for (int i = 0; status == LLMQ_OK && !*why && i < depth; i++)
        if (w->above[i].device == stamp->device && w->above[i].inode == stamp->inode)
            *why = "a link to a folder that it lies in";
    return status;
}

/* An entry that may travel. A folder's name counts first: nothing of onnx/ needs to be readable. */
static enum llmq_status visit(struct walk *w, const char *path, const char *name, int depth,
                              llmq_error *err) {
    enum path_kind kind = PATH_ABSENT;
    const char *why = NULL;
    enum llmq_status status = path_look(path, &kind, err);
    if (status != LLMQ_OK || kind == PATH_ABSENT) /* gone since the folder was listed */
        return status;
    if (kind == PATH_FILE)
        return add_file(w, path, name, err);
    if (kind != PATH_FOLDER)
        return leave(w->out, name, false, "neither a file nor a folder", err);
    status = enter_folder(w, path, depth + 1, &why, err);
    if (status != LLMQ_OK)
        return status;
    return why ? leave(w->out, name, true, why, err) : walk_folder(w, name, depth + 1, err);
}

static enum llmq_status visit_entry(struct walk *w, const char *folder, const char *entry,
                                    int depth, llmq_error *err) {
    enum companion_kind kind = companion_kind_by_name(entry, depth == 0);
    enum llmq_status status = LLMQ_OK;
    char *name = NULL, *path = NULL;
    if (kind == COMPANION_PRIVATE || kind == COMPANION_OURS)
        return LLMQ_OK;
    name = path_join(folder, entry, err);
    path = name ? path_join(w->root, name, err) : NULL;
    if (!path)
        status = LLMQ_E_MEMORY;
    else if (kind == COMPANION_WEIGHTS || companion_folder_of_weights(entry))
        status = leave(w->out, name, kind != COMPANION_WEIGHTS, NULL, err);
    else
        status = visit(w, path, name, depth, err);
    free(name);
    free(path);
    return status;
}

/* `folder` is "" for the model's own. */
static enum llmq_status walk_folder(struct walk *w, const char *folder, int depth,
                                    llmq_error *err) {
    struct dir_list list = {0};
    enum llmq_status status = LLMQ_OK;
    char *path = path_join(w->root, folder, err);
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(dir_list_read(path, &list, err));
    if (depth > 0 && is_model_in_another_form(&list)) {
        status = leave(w->out, folder, true, NULL, err);
        goto cleanup;
    }
    for (size_t i = 0; i < list.count; i++)
        LLMQ_TRY(visit_entry(w, folder, list.names[i], depth, err));
cleanup:
    free(path);
    dir_list_free(&list);
    return status;
}

enum llmq_status companions_find(const char *dir, struct companions *out, llmq_error *err) {
    struct walk w = {.root = dir, .out = out};
    *out = (struct companions){0};
    enum llmq_status status = file_stamp_read(dir, &w.above[0], err);
    if (status == LLMQ_OK)
        status = walk_folder(&w, "", 0, err);
    if (status != LLMQ_OK)
        companions_free(out);
    return status;
}

void companions_free(struct companions *c) {
    for (size_t i = 0; i < c->count; i++)
        free(c->files[i].name);
    for (size_t i = 0; i < c->left_count; i++)
        free(c->left[i].name);
    free(c->files);
    free(c->left);
    *c = (struct companions){0};
}

/* --- telling ---------------------------------------------------------------------------------- */

/* The weights that are read, and the index that names them. */
static bool is_read(const char *name, const struct st_set *weights) {
    for (int i = 0; i < st_shard_count(weights); i++)
        if (strcmp(path_base(st_shard_path(weights, i)), name) == 0)
            return true;
    return strcmp(name, "model.safetensors.index.json") == 0;
}

void companions_tell(const struct companions *c, const struct st_set *weights,
                     const llmq_context *ctx) {
    enum { SHOWN = 8 };
    struct strbuf names = {0};
    size_t count = 0;
    for (size_t i = 0; i < c->left_count; i++) {
        const struct companion_left *left = &c->left[i];
        if (left->why)
            log_message(ctx, LLMQ_LOG_WARNING, "left behind: %s: %s", left->name, left->why);
        else if (!is_read(left->name, weights) && count++ < SHOWN)
            strbuf_printf(&names, "%s%s", count > 1 ? ", " : "", left->name);
    }
    if (count > SHOWN)
        strbuf_printf(&names, " and %zu more", count - SHOWN);
    if (count > 0 && strbuf_ok(&names))
        log_message(ctx, LLMQ_LOG_INFO, "left behind, as weights in other forms: %s", names.data);
    strbuf_free(&names);
}

/* --- copying ---------------------------------------------------------------------------------- */

/* A folder that is no link: what is written below it stays in the result. */
static enum llmq_status make_folder(const char *path, llmq_error *err) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        error_set(err, LLMQ_E_IO, "%s: expected a folder of the result, found a link", path);
        error_hint(err, "remove the link");
        return LLMQ_E_IO;
    }
    return dir_make(path, true, err);
}

/* The folders on the way to `name` below `to`. */
static enum llmq_status make_folders(const char *to, const char *name, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *path = path_join(to, name, err);
    if (!path)
        return LLMQ_E_MEMORY;
    for (char *slash = strchr(path + strlen(to) + 1, '/'); status == LLMQ_OK && slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        status = make_folder(path, err);
        *slash = '/';
    }
    free(path);
    return status;
}

/* Is the copy there, as it should be? */
static bool is_copied(const char *target, const struct companion *c) {
    struct stat st;
    struct file_stamp stamp;
    char hash[SHA256_TEXT];
    return lstat(target, &st) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == c->stamp.size &&
           file_hash(target, &stamp, hash, NULL) == LLMQ_OK && strcmp(hash, c->hash) == 0;
}

static enum llmq_status copy_one(const struct companion *c, const char *from, const char *to,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *source = path_join(from, c->name, err), *target = path_join(to, c->name, err);
    if (!source || !target)
        LLMQ_TRY(LLMQ_E_MEMORY);
    if (is_copied(target, c))
        goto cleanup;
    if (unlink(target) != 0 && errno != ENOENT)
        LLMQ_TRY(error_output(err, "%s: cannot replace", target));
    LLMQ_TRY(file_copy(source, target, err));
cleanup:
    free(source);
    free(target);
    return status;
}

/* Make the entries of the folder that holds `name` durable. */
static enum llmq_status sync_folder(const char *to, const char *name, llmq_error *err) {
    const size_t len = (size_t)(path_base(name) - name);
    char *path = path_join(to, name, err);
    if (!path)
        return LLMQ_E_MEMORY;
    path[strlen(path) - strlen(name) + len] = '\0';
    enum llmq_status status = dir_sync(path, err);
    free(path);
    return status;
}

static bool same_folder(const char *a, const char *b) {
    const size_t len = (size_t)(path_base(a) - a);
    return (size_t)(path_base(b) - b) == len && strncmp(a, b, len) == 0;
}

enum llmq_status companions_copy(const struct companions *c, const char *from, const char *to,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < c->count; i++) {
        const char *name = c->files[i].name;
        const bool last = i + 1 == c->count || !same_folder(name, c->files[i + 1].name);
        LLMQ_TRY(make_folders(to, name, err));
        LLMQ_TRY(copy_one(&c->files[i], from, to, err));
        if (last)
            LLMQ_TRY(sync_folder(to, name, err));
    }
cleanup:
    return status;
}
