/* SPDX-License-Identifier: Apache-2.0 */
/* Where a result goes: the folder is chosen and checked before anything is done, and prepared. See
 * output.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/location.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "pipeline/calibration.h"
#include "pipeline/companion_rule.h"
#include "pipeline/marker.h"
#include "pipeline/origin.h"
#include "pipeline/output.h"
#include "pipeline/place.h"
#include "pipeline/report.h"

/* --- names ------------------------------------------------------------------------------------ */

static char *default_name(const llmq_quantize_options *o, const char *model_dir) {
    struct origin origin = {0};
    struct strbuf b = {0};
    if (origin_find(o->model, model_dir, &origin, NULL) != LLMQ_OK)
        return NULL;
    const struct layout *layout = o->format ? layout_find(o->format) : NULL;
    const bool floats = layout && layout->number != NUMBER_INT;
    strbuf_printf(&b, "%s-%s-%s%d", origin.name, report_method(o), floats ? "fp" : "w", o->bits);
    origin_free(&origin);
    for (size_t i = 0; b.data && i < b.len; i++) /* hosts of models take no plus sign in a name */
        if (b.data[i] == '+')
            b.data[i] = '-';
    if (o->group == -1)
        strbuf_puts(&b, "row");
    else
        strbuf_printf(&b, "g%" PRId64, o->group);
    return strbuf_take(&b);
}

/* Takes `final_dir`, which may be NULL when memory is short. */
static enum llmq_status name_folders(char *final_dir, struct output *out, llmq_error *err) {
    struct strbuf partial = {0};
    out->final_dir = final_dir;
    if (!final_dir)
        return error_memory(err, "a path");
    path_trim(final_dir);
    strbuf_printf(&partial, "%s.partial", final_dir);
    out->partial_dir = strbuf_take(&partial);
    if (!out->partial_dir)
        return error_memory(err, "a path");
    if (final_dir[0] == '\0')
        return error_set(err, LLMQ_E_USAGE, "--out: the folder's name is empty");
    return LLMQ_OK;
}

/* --- may it be there, and can it? ------------------------------------------------------------- */

static enum llmq_status not_a_folder(const char *dir, const struct stat *st, llmq_error *err) {
    if (!S_ISLNK(st->st_mode)) {
        error_set(err, LLMQ_E_IO, "%s exists and is not a folder", dir);
        error_hint(err, "choose another --out: what is not a result of llmq is not replaced");
        return LLMQ_E_IO;
    }
    char *target = realpath(dir, NULL);
    error_set(err, LLMQ_E_IO, "%s is a link, which the result cannot take the place of", dir);
    error_hint(err, "give the folder itself: --out %s", target ? target : "FOLDER");
    free(target);
    return LLMQ_E_IO;
}

/* In a folder with the sticky bit only owners may rename. */
static bool may_rename(const char *dir, const struct stat *st) {
    char *above = path_join(dir, "..", NULL);
    struct stat parent = {0};
    const bool sticky = above && stat(above, &parent) == 0 && (parent.st_mode & S_ISVTX);
    free(above);
    return !sticky || geteuid() == 0 || geteuid() == st->st_uid || geteuid() == parent.st_uid;
}

/* What has the name of the result must be a folder that can give way; whether it may is
 * check_free's to say. */
static enum llmq_status check_final(struct output *out, llmq_error *err) {
    struct stat st;
    struct dir_list list = {0};
    enum llmq_status status = LLMQ_OK;
    if (lstat(out->final_dir, &st) != 0)
        return errno == ENOENT ? LLMQ_OK : error_output(err, "%s", out->final_dir);
    if (!S_ISDIR(st.st_mode))
        return not_a_folder(out->final_dir, &st, err);
    const int fd = dir_open(out->final_dir);
    if (fd < 0)
        return error_output(err, "%s", out->final_dir);
    const char *fixed = dir_fixed(fd);
    if (fixed) {
        error_set(err, LLMQ_E_IO, "%s: %s", out->final_dir, fixed);
        error_hint(err, "choose a folder inside it: --out %s/NAME", out->final_dir);
        LLMQ_TRY(LLMQ_E_IO);
    }
    if (!may_rename(out->final_dir, &st))
        LLMQ_TRY(error_set(err, LLMQ_E_IO,
                           "%s belongs to somebody else, in a folder where only "
                           "owners may rename",
                           out->final_dir));
    LLMQ_TRY(dir_list_read_at(fd, out->final_dir, &list, err));
    out->exists = true;
    out->was_empty = list.count == 0;

cleanup:
    dir_list_free(&list);
    close(fd);
    return status;
}

/* No component may be longer than file systems take; the last one grows by ".partial". */
static enum llmq_status check_lengths(const char *path, const char *existing, llmq_error *err) {
    const long most = pathconf(existing, _PC_NAME_MAX);
    for (const char *p = path; *p;) {
        const size_t len = strcspn(p, "/");
        if (most > 0 && len > (size_t)most)
            return error_set(err, LLMQ_E_IO, "%s: a name of %zu bytes, at most %ld are possible",
                             path, len, most);
        p += len + (p[len] == '/');
    }
    return LLMQ_OK;
}

/* The length of the first part of a path that is no folder: up to a slash, or the whole. */
static size_t first_missing(char *path) {
    for (char *p = path + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        const bool there = path_is_dir(path);
        *p = '/';
        if (!there)
            return (size_t)(p - path);
    }
    return strlen(path);
}

/* Whether a folder can be made is known when one was made: permissions, read-only and virtual file
 * systems, quotas. It is the first that the run would make, and gone again at once; killed in
 * between, it is what a run that was killed then leaves. */
static enum llmq_status probe(const struct output *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct location at = {0};
    const char *final_base = path_base(out->final_dir);
    char *parent = final_base == out->final_dir
                       ? strdup(".")
                       : strndup(out->final_dir, (size_t)(final_base - out->final_dir));
    char *first = strdup(out->partial_dir);
    if (!parent || !first)
        LLMQ_TRY(error_memory(err, "a path"));
    LLMQ_TRY(location_find(parent, &at, err));
    LLMQ_TRY(check_lengths(out->partial_dir, at.existing, err));
    first[first_missing(first)] = '\0';
    if (mkdir(first, 0777) == 0)
        (void)rmdir(first);
    else if (errno != EEXIST || access(at.existing, W_OK | X_OK) != 0)
        LLMQ_TRY(error_output(err, "%s: no folder can be made in %s", out->final_dir, at.existing));

cleanup:
    free(parent);
    free(first);
    location_free(&at);
    return status;
}

static enum llmq_status check_place(struct output *out, const struct place_inputs *inputs,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(place_check(out->final_dir, inputs, err));
    LLMQ_TRY(place_check(out->partial_dir, inputs, err));
    if (strcmp(path_base(out->final_dir), "..") == 0)
        LLMQ_TRY(error_set(err, LLMQ_E_USAGE, "--out %s: expected the name of a folder at the end",
                           out->final_dir));
    LLMQ_TRY(check_final(out, err));
    LLMQ_TRY(claim_look(out->partial_dir, &out->partial, err));
    LLMQ_TRY(probe(out, err));

cleanup:
    return status;
}

/* --- is it free? ------------------------------------------------------------------------------ */

static enum llmq_status check_replaceable(const struct output *out, llmq_error *err) {
    const int fd = dir_open(out->final_dir);
    if (fd < 0)
        return error_output(err, "%s", out->final_dir);
    enum llmq_status status = marker_check(fd, out->final_dir, err);
    close(fd);
    if (status == LLMQ_OK && access(out->final_dir, W_OK | X_OK) != 0)
        status = error_output(err, "%s: cannot be replaced", out->final_dir);
    return status;
}

/* Has a run been here that was killed while it gave its result the name, or was about to? */
static bool was_interrupted(const struct output *out) {
    return out->partial != CLAIM_ABSENT || claim_was_held(out->final_dir);
}

static enum llmq_status exists(const struct output *out, llmq_error *err) {
    llmq_error why = {0};
    error_set(err, LLMQ_E_USAGE, "%s exists", out->final_dir);
    if (check_replaceable(out, &why) != LLMQ_OK)
        error_hint(err, "choose another --out; --force would not help: %s", why.message);
    else if (was_interrupted(out) && !out->resume)
        error_hint(err, "a run was interrupted here: give --resume to bring it to its end, --force "
                        "to replace the result, or choose another --out");
    else
        error_hint(err, "choose another --out, or give --force to replace it");
    return LLMQ_E_USAGE;
}

static enum llmq_status interrupted_run(const struct output *out, llmq_error *err) {
    const bool complete = out->partial == CLAIM_COMPLETE;
    error_set(err, LLMQ_E_USAGE, "%s holds %s", out->partial_dir,
              complete ? "the complete result of an interrupted run" : "an interrupted run");
    error_hint(err, "%s",
               complete                         ? "give --resume to give it its name, or --force "
                                                  "to start over"
               : out->partial == CLAIM_RECORDED ? "give --resume to continue it, or --force to "
                                                  "start over"
                                                : "give --resume or --force to start over: it "
                                                  "had not done anything yet");
    return LLMQ_E_USAGE;
}

enum llmq_status output_check_room(const struct output *out, llmq_error *err) {
    if (!out->exists || out->was_empty)
        return LLMQ_OK;
    return out->force ? check_replaceable(out, err) : exists(out, err);
}

/* What stands in the way of a result, and what would do about it. What a run that is to be resumed
 * has left is output_settle's to judge. */
static enum llmq_status check_free(const struct output *out, llmq_error *err) {
    if (out->partial == CLAIM_BUSY)
        return claim_busy(out->partial_dir, err);
    if (out->resume)
        return LLMQ_OK;
    enum llmq_status status = output_check_room(out, err);
    if (status != LLMQ_OK)
        return status;
    return out->partial != CLAIM_ABSENT && !out->force ? interrupted_run(out, err) : LLMQ_OK;
}

/* Is the place free of the model and of every file that is calibrated on? */
static enum llmq_status check_inputs(struct output *out, const llmq_quantize_options *options,
                                     const char *model_dir, llmq_error *err) {
    const size_t count = calibration_count(options);
    struct place_inputs inputs = {model_dir, NULL};
    enum llmq_status status = count == 0 ? check_place(out, &inputs, err) : LLMQ_OK;
    for (size_t i = 0; i < count && status == LLMQ_OK; i++) {
        char *path = NULL;
        double weight = 0;
        status = calibration_part(calibration_given(options, i), &path, &weight, err);
        inputs.text = path;
        if (status == LLMQ_OK)
            status = check_place(out, &inputs, err);
        free(path);
    }
    return status;
}

enum llmq_status output_choose(const llmq_quantize_options *options, const char *model_dir,
                               const llmq_context *ctx, struct output *out, llmq_error *err) {
    llmq_error taken = {0};
    enum llmq_status status = LLMQ_OK;
    *out = (struct output){.force = options->force, .resume = options->resume, .resumable = true};
    LLMQ_TRY(name_folders(options->out ? strdup(options->out) : default_name(options, model_dir),
                          out, err));
    LLMQ_TRY(check_inputs(out, options, model_dir, err));
    status = check_free(out, &taken);
    if (status != LLMQ_OK && options->dry_run && !options->force && status != LLMQ_E_MEMORY) {
        log_message(ctx, LLMQ_LOG_WARNING, "a run would be refused: %s%s%s", taken.message,
                    taken.hint[0] ? "; " : "", taken.hint);
        status = LLMQ_OK;
    } else if (status != LLMQ_OK && err) {
        *err = taken;
    }

cleanup:
    if (status != LLMQ_OK)
        output_free(out);
    return status;
}

enum llmq_status output_follow(const llmq_quantize_options *options, const char *model_dir,
                               const llmq_context *ctx, struct output *out, llmq_error *err) {
    (void)ctx;
    *out = (struct output){.force = options->force, .resume = options->resume};
    return name_folders(options->out ? strdup(options->out) : default_name(options, model_dir), out,
                        err);
}

enum llmq_status output_choose_at(const char *dir, const char *model_dir, bool force, bool resume,
                                  struct output *out, llmq_error *err) {
    const struct place_inputs inputs = {model_dir, NULL};
    enum llmq_status status = LLMQ_OK;
    *out = (struct output){.force = force, .resume = resume};
    LLMQ_TRY(name_folders(strdup(dir), out, err));
    LLMQ_TRY(check_place(out, &inputs, err));
    LLMQ_TRY(check_free(out, err));

cleanup:
    if (status != LLMQ_OK)
        output_free(out);
    return status;
}

void output_free(struct output *out) {
    claim_release(&out->claim);
    free(out->final_dir);
    free(out->partial_dir);
    *out = (struct output){0};
}

/* --- beginning -------------------------------------------------------------------------------- */

static enum llmq_status make_parents(const char *path, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *part = strdup(path);
    if (!part)
        return error_memory(err, "a path");
    for (char *p = part + 1; status == LLMQ_OK && (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (!path_is_dir(part))
            status = dir_make(part, true, err);
        *p = '/';
    }
    free(part);
    return status;
}

/* Between looking and locking another run may have been here, and ended. */
static enum llmq_status check_still_free(struct output *out, enum output_task task,
                                         llmq_error *err) {
    enum claim_state state = CLAIM_EMPTY;
    enum llmq_status status = claim_look_held(&out->claim, out->partial_dir, &state, err);
    if (status != LLMQ_OK || (out->force && !out->resume))
        return status;
    out->partial = state;
    const bool expected = task == OUTPUT_CONTINUE ? state == CLAIM_RECORDED
                          : out->resume           ? state == CLAIM_EMPTY || state == CLAIM_BEGUN
                                                  : state == CLAIM_EMPTY;
    return expected ? LLMQ_OK : interrupted_run(out, err);
}

/* Is this what a write that was killed leaves: a file of ours, or activations, under the name that
 * it has until it is whole? */
static bool is_unfinished(const char *name) {
    static const char *const others[] = {MARKER_NAME, JOURNAL_NAME, JOURNAL_UNDO_NAME,
                                         "config.json", "activations"};
    char stem[NAME_MAX + 1];
    const size_t len = strlen(name), end = strlen(".tmp");
    if (len <= end || len > NAME_MAX || strcmp(name + len - end, ".tmp") != 0)
        return false;
    memcpy(stem, name, len - end);
    stem[len - end] = '\0';
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(stem, others[i]) == 0)
            return true;
    const enum companion_kind kind = companion_kind_by_name(stem, true);
    return kind == COMPANION_OURS || kind == COMPANION_WEIGHTS;
}

static enum llmq_status sweep(const struct output *out, llmq_error *err) {
    struct dir_list list = {0};
    const int fd = out->claim.folder;
    enum llmq_status status = dir_list_read_at(fd, out->partial_dir, &list, err);
    for (size_t i = 0; status == LLMQ_OK && i < list.count; i++)
        if (is_unfinished(list.names[i]) && unlinkat(fd, list.names[i], 0) != 0)
            status = error_output(err, "%s/%s: cannot remove", out->partial_dir, list.names[i]);
    dir_list_free(&list);
    return status;
}

enum llmq_status output_prepare(struct output *out, enum output_task task, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(make_parents(out->final_dir, err));
    LLMQ_TRY(claim_take(out->partial_dir, &out->claim, err));
    LLMQ_TRY(check_still_free(out, task, err));
    if (out->force)
        LLMQ_TRY(claim_allow_replacing(&out->claim, out->partial_dir, err));
    LLMQ_TRY(task == OUTPUT_CONTINUE ? sweep(out, err)
                                     : claim_clear(&out->claim, out->partial_dir, err));

cleanup:
    if (status != LLMQ_OK)
        claim_release(&out->claim); /* not ours to discard */
    return status;
}

enum llmq_status output_discard(struct output *out, llmq_error *err) {
    return out->claim.held ? claim_remove(&out->claim, out->partial_dir, err) : LLMQ_OK;
}
