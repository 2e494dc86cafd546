/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for results of llmq: their files are those that the record lists, unchanged. See record.h.
 *
 * They come before anything is opened, so that a file that was damaged is named as such, whatever
 * else it makes impossible. A folder without a record is held to none of them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/input.h"
#include "base/log.h"
#include "verify/record.h"
#include "verify/verify.h"

#define ON_PURPOSE "if that was meant, take " RECORD_NAME " away: all other rules stay"

static void found_as(struct verify *v, const char *rule) {
    v->rule = verify_rule_find(rule);
}

/* --- files that are listed -------------------------------------------------------------------- */

/* The sum and size that an entry states; false: none. */
static bool stated(const struct json *entry, const char **sum, int64_t *bytes) {
    *sum = json_string(json_get(entry, "sha256"));
    return *sum && json_as_int64(json_get(entry, "bytes"), bytes);
}

static void judge_file(struct verify *v, const struct json *entry, const struct record_file *file) {
    const char *sum = NULL;
    int64_t bytes = 0;
    if (file->status == LLMQ_E_NOT_FOUND) {
        found_as(v, "file-missing");
        verify_found(v, file->name, NULL, NULL, "it was part of the result, and is gone");
    } else if (file->status != LLMQ_OK) {
        found_as(v, "file-changed");
        verify_found(v, file->name, NULL, NULL, "it cannot be read as a file");
    } else if (stated(entry, &sum, &bytes) && file->bytes != (uint64_t)bytes) {
        found_as(v, "file-changed");
        verify_found(v, file->name, NULL, ON_PURPOSE,
                     "it had %" PRId64 " bytes when it was written, and has %" PRIu64, bytes,
                     file->bytes);
    } else if (sum && strcmp(sum, file->sha256) != 0) {
        found_as(v, "file-changed");
        verify_found(v, file->name, NULL, ON_PURPOSE,
                     "its content was changed since it was written: SHA-256 was %.12s..., is "
                     "%.12s...",
                     sum, file->sha256);
    }
}

/* A name that leads out of the folder is no file of a result. */
static bool leads_out(const char *name) {
    const size_t len = strlen(name);
    return name[0] == '/' || strcmp(name, "..") == 0 || strncmp(name, "../", 3) == 0 ||
           strstr(name, "/../") || (len >= 3 && strcmp(name + len - 3, "/..") == 0);
}

static enum llmq_status check_listed(struct verify *v, const struct json *list, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t count = 0;
    struct record_file *files = calloc(json_count(list) + 1, sizeof *files);
    if (!files)
        return error_memory(err, "the result's files");
    for (const struct json *e = json_first(list); e; e = json_next(e), count++) {
        const char *name = record_file_name(e);
        files[count].name = name && !leads_out(name) ? name : "";
    }
    log_progress(v->ctx, 0, 1, "reading files");
    LLMQ_TRY(record_hash(v->dir, files, count, v->ctx, err));
    size_t i = 0;
    for (const struct json *e = json_first(list); e; e = json_next(e), i++)
        judge_file(v, e, &files[i]);
cleanup:
    free(files);
    return status;
}

/* --- files that are not ----------------------------------------------------------------------- */

static bool is_listed(const struct json *list, const char *name) {
    for (const struct json *e = json_first(list); e; e = json_next(e))
        if (record_file_name(e) && strcmp(record_file_name(e), name) == 0)
            return true;
    return false;
}

enum { DEPTH_MOST = 16 };

/* Hidden files are those of version control and of hubs. */
static enum llmq_status find_added(struct verify *v, const struct json *list, const char *below,
                                   int depth, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct dir_list names = {0};
    char *folder = path_join(v->dir, below, err), *name = NULL, *path = NULL;
    if (!folder)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(dir_list_read(folder, &names, err));
    for (size_t i = 0; i < names.count; i++) {
        struct stat st;
        free(name);
        free(path);
        name = path_join(below, names.names[i], err);
        path = path_join(folder, names.names[i], err);
        if (!name || !path)
            LLMQ_TRY(LLMQ_E_MEMORY);
        if (names.names[i][0] == '.' || strcmp(name, RECORD_NAME) == 0)
            continue;
        if (depth < DEPTH_MOST && lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            LLMQ_TRY(find_added(v, list, name, depth + 1, err));
        else if (!is_listed(list, name))
            verify_found(v, name, NULL, NULL, "the run that made the result did not write it");
    }
cleanup:
    free(folder);
    free(name);
    free(path);
    dir_list_free(&names);
    return status;
}

/* --- the record ------------------------------------------------------------------------------- */

/* Were weights of norms moved down a gradient, and by nothing else? */
static bool tunes_norms(const struct json *record) {
    const char *tune = json_string(json_get(json_get(record, "options"), "tune"));
    const struct json *report = json_get(record, "report");
    return tune && strcmp(tune, "norms") == 0 && json_count(json_get(report, "folded")) == 0;
}

static enum llmq_status check_text(struct verify *v, const char *text, size_t len,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *record = record_parse(text, len);
    const struct json *files = json_get(record, "files");
    found_as(v, "record");
    if (record_check_seal(text, len) == RECORD_BROKEN)
        verify_found(v, RECORD_NAME, NULL, ON_PURPOSE,
                     "the record of the result was changed since it was written");
    v->norms_tuned = tunes_norms(record);
    if (record) {
        LLMQ_TRY(check_listed(v, files, err));
        found_as(v, "file-added");
        LLMQ_TRY(find_added(v, files, "", 0, err));
    }
cleanup:
    json_free(&record);
    return status;
}

enum llmq_status verify_record(struct verify *v, llmq_error *err) {
    char *path = path_join(v->dir, RECORD_NAME, err), *text = NULL;
    size_t len = 0;
    bool exists = false;
    enum llmq_status status = LLMQ_OK;
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(file_exists(path, &exists, err));
    if (!exists)
        goto cleanup;
    LLMQ_TRY(file_read(path, input_limit(INPUT_RECORD)->bytes, &text, &len, err));
    LLMQ_TRY(check_text(v, text, len, err));
    if (v->out_of_memory)
        status = error_memory(err, "the findings");
cleanup:
    free(path);
    free(text);
    return status;
}

bool verify_record_broken(const struct verify *v) {
    static const char *const rules[] = {"record", "file-changed", "file-missing"};
    const llmq_findings *found = &v->report->violations;
    for (size_t i = 0; i < found->count; i++)
        for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++)
            if (strcmp(found->items[i].rule, rules[r]) == 0)
                return true;
    return false;
}

/* Checked by verify_record. */
const struct verify_rule verify_record_rules[] = {
    {"record", VERIFY_VIOLATION, VERIFY_CONTENTS, "llmq.json of a result is as the run wrote it",
     NULL, NULL},
    {"file-changed", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "every file of a result has the size and the SHA-256 that llmq.json states", NULL, NULL},
    {"file-missing", VERIFY_VIOLATION, VERIFY_CONTENTS, "every file that llmq.json lists is there",
     NULL, NULL},
    {"file-added", VERIFY_WARNING, VERIFY_CONTENTS,
     "a result has no other files than those that llmq.json lists", NULL, NULL},
    {.id = NULL},
};
