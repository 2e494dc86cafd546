/* SPDX-License-Identifier: Apache-2.0 */
/* What is left to do, by what an earlier run has left: see output.h, which has the states. A result
 * is known by its marker: who made it, from what, and that all its files are there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "pipeline/identity.h"
#include "pipeline/marker.h"
#include "pipeline/output.h"

/* --- whose result is it? ---------------------------------------------------------------------- */

/* Weights are compared by their sizes, and by whether they have been left alone since: copies with
 * older times are noticed, too. */
static enum llmq_status check_since(const char *dir, const struct output_run *run,
                                    llmq_error *err) {
    struct file_stamp made;
    char *path = path_join(dir, MARKER_NAME, err);
    if (!path)
        return LLMQ_E_MEMORY;
    enum llmq_status status = file_stamp_read(path, &made, err);
    free(path);
    for (int i = 0; status == LLMQ_OK && i < st_shard_count(run->model->tensors); i++)
        if (run->source->shards[i].changed > made.modified)
            status = error_set(err, LLMQ_E_INPUT, "%s was changed, replaced or copied since",
                               path_base(st_shard_path(run->model->tensors, i)));
    return status;
}

/* Is the folder the whole result of this run? LLMQ_E_INPUT: of another one, the message says how it
 * differs. LLMQ_E_NOT_FOUND: it is no whole result. */
static enum llmq_status check_result(const char *dir, const struct output_run *run,
                                     llmq_error *err) {
    const int fd = dir_open(dir);
    if (fd < 0)
        return error_errno(err, "%s", dir);
    enum llmq_status status = LLMQ_OK;
    struct json *marker = marker_read_whole(fd);
    if (marker)
        status = identity_compare_result(marker, run->record, err);
    else
        status = error_set(err, LLMQ_E_NOT_FOUND, "%s: not a whole result", dir);
    if (status == LLMQ_OK)
        status = check_since(dir, run, err);
    json_free(&marker);
    close(fd);
    return status;
}

/* --- bringing things to their end ------------------------------------------------------------- */

static bool is_whole(const char *dir) {
    const int fd = dir_open(dir);
    const bool whole = fd >= 0 && marker_whole(fd);
    if (fd >= 0)
        close(fd);
    return whole;
}

/* A run that let folders change places in steps was killed between two: go back one, or on. */
static enum llmq_status settle_aside(struct output *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *aside = output_aside(out);
    if (!aside)
        return error_memory(err, "a path");
    if (!claim_was_held(aside) || !is_whole(aside))
        goto cleanup; /* nothing, or somebody's */
    if (!out->exists) {
        LLMQ_TRY(path_rename(aside, out->final_dir, err));
        out->exists = true;
    } else if (out->partial == CLAIM_ABSENT) {
        LLMQ_TRY(path_rename(aside, out->partial_dir, err));
        out->partial = CLAIM_COMPLETE;
    }
cleanup:
    free(aside);
    return status;
}

/* The result has its name: remove what its run did not come to remove. */
static enum llmq_status tidy(struct output *out, llmq_error *err) {
    struct claim left = {0};
    enum llmq_status status = claim_tidy(out->final_dir, err);
    if (status != LLMQ_OK || out->partial == CLAIM_ABSENT)
        return status;
    status = claim_take(out->partial_dir, &left, err);
    return status == LLMQ_OK ? claim_remove(&left, out->partial_dir, err) : status;
}

static enum llmq_status name_result(struct output *out, llmq_error *err) {
    enum llmq_status status = output_check_room(out, err);
    if (status == LLMQ_OK)
        status = claim_take(out->partial_dir, &out->claim, err);
    return status == LLMQ_OK ? output_commit(out, err) : status;
}

/* --- judging ---------------------------------------------------------------------------------- */

static enum llmq_status another_run(const char *dir, llmq_error *err) {
    error_prefix(err, LLMQ_E_INPUT, "%s holds the complete result of another run", dir);
    error_hint(err, "repeat that one with --resume to give the result its name, or start over with "
                    "--force");
    return LLMQ_E_INPUT;
}

/* <out>.partial is a whole result: this run's that wants its name, or what was replaced. */
static enum llmq_status settle_complete(struct output *out, const struct output_run *run,
                                        bool named, llmq_error *err) {
    enum llmq_status status = check_result(out->partial_dir, run, err);
    if (named && (status == LLMQ_OK || !claim_replaces(out->partial_dir)))
        return tidy(out, err);
    if (status == LLMQ_OK)
        return name_result(out, err);
    return status == LLMQ_E_INPUT ? another_run(out->partial_dir, err) : status;
}

/* Nothing is there to go on from: is the place free? Another run's result is told from this one's.
 */
static enum llmq_status check_begin(const struct output *out, enum llmq_status found,
                                    const llmq_error *why, llmq_error *err) {
    enum llmq_status status = output_check_room(out, err);
    if (status == LLMQ_E_USAGE && found == LLMQ_E_INPUT && !out->force) {
        error_set(err, status, "%s exists, and is the result of another run: %s", out->final_dir,
                  why->message);
        error_hint(err, "give --force, too, to replace it, or choose another --out");
    }
    return status;
}

enum llmq_status output_settle(struct output *out, const struct output_run *run,
                               enum output_task *task, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    llmq_error why = {0};
    *task = OUTPUT_MAKE;
    if (out->resume || out->force)
        LLMQ_TRY(settle_aside(out, err));
    if (!out->resume)
        return LLMQ_OK;
    out->force = out->force || claim_replaces(out->partial_dir);
    if (out->partial == CLAIM_RECORDED) {
        *task = OUTPUT_CONTINUE;
        return output_check_room(out, err);
    }
    enum llmq_status found = out->exists ? check_result(out->final_dir, run, &why) : LLMQ_E_INPUT;
    if (found != LLMQ_OK && found != LLMQ_E_INPUT && found != LLMQ_E_NOT_FOUND) {
        if (err)
            *err = why;
        return found;
    }
    if (out->partial != CLAIM_COMPLETE && found != LLMQ_OK)
        return check_begin(out, found, &why, err);
    *task = OUTPUT_DONE;
    LLMQ_TRY(out->partial == CLAIM_COMPLETE ? settle_complete(out, run, found == LLMQ_OK, err)
                                            : tidy(out, err));
cleanup:
    return status;
}
