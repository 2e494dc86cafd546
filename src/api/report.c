/* SPDX-License-Identifier: Apache-2.0 */
/* Reports: see llmq/report.h. */
#include "llmq/report.h"

#include <stdlib.h>
#include <string.h>

#include "api/comparison.h"
#include "api/output_file.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/strbuf.h"
#include "llmq/model.h"
#include "llmq/version.h"
#include "pipeline/place.h"
#include "report/report.h"
#include "verify/record.h"

struct llmq_report {
    llmq_compare_result *figures; /* [count] */
    struct json **made;           /* [count] */
    char **names;                 /* [count] */
    struct report_result *results;
    struct report page;
    size_t bytes;
};

void llmq_report_options_init_sized(llmq_report_options *options, size_t size) {
    const llmq_report_options usual = {.out = NULL};
    sized_write(&usual, sizeof usual, options, size);
}

void llmq_report_free(llmq_report **report) {
    llmq_report *r = *report;
    if (!r)
        return;
    for (size_t i = 0; i < r->page.count; i++) {
        llmq_compare_result_free(&r->figures[i]);
        json_free(&r->made[i]);
        free(r->names[i]);
    }
    free((char *)(uintptr_t)r->page.reference);
    free(r->figures);
    free(r->made);
    free(r->names);
    free(r->results);
    free(r);
    *report = NULL;
}

static enum llmq_status allocate(size_t count, llmq_report **out, llmq_error *err) {
    llmq_report *r = *out = calloc(1, sizeof *r);
    if (!r)
        return error_memory(err, "a report");
    r->figures = calloc(count, sizeof *r->figures);
    r->made = calloc(count, sizeof *r->made);
    r->names = calloc(count, sizeof *r->names);
    r->results = calloc(count, sizeof *r->results);
    if (!r->figures || !r->made || !r->names || !r->results)
        return error_memory(err, "a report");
    r->page = (struct report){.results = r->results, .count = count, .version = llmq_version()};
    return LLMQ_OK;
}

/* --- before the run ----------------------------------------------------------------------------
 */

static enum llmq_status guard(const char *place, const char *spec, llmq_error *err) {
    struct place_inputs inputs = {NULL, NULL};
    char *dir = NULL;
    enum path_kind kind = PATH_ABSENT;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(path_look(spec, &kind, err));
    if (kind == PATH_FILE) /* a kept reference */
        inputs.text = spec;
    else
        LLMQ_TRY(llmq_model_resolve(spec, &dir, err));
    inputs.model = dir;
    LLMQ_TRY(place_check(place, &inputs, err));
cleanup:
    free(dir);
    return status;
}

/* The page goes nowhere where something is read. */
static enum llmq_status choose_place(const char *path, const char *reference,
                                     const char *const *models, size_t count,
                                     struct output_file *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!path)
        return LLMQ_OK;
    LLMQ_TRY(output_file_choose("out", path, NULL, out, err));
    if (out->stream)
        return LLMQ_OK;
    LLMQ_TRY(guard(out->path, reference, err));
    for (size_t i = 0; i < count; i++)
        LLMQ_TRY(guard(out->path, models[i], err));
cleanup:
    return status;
}

/* --- behind it ---------------------------------------------------------------------------------
 */

/* The last part of a path; the caller frees. */
static char *name_of(const char *path) {
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return strndup(path + begin, len - begin);
}

/* What the result's folder says of how it was made: nothing is fine, and what is no JSON is as good
 * as nothing. */
static enum llmq_status read_record(const char *dir, const llmq_context *ctx, struct json **made,
                                    llmq_error *err) {
    char *path = path_join(dir, RECORD_NAME, err);
    bool exists = false;
    llmq_error unread = {0};
    enum llmq_status status = path ? LLMQ_OK : LLMQ_E_MEMORY;
    if (path)
        status = file_exists(path, &exists, &unread);
    if (exists)
        status = json_read_as(path, INPUT_RECORD, made, &unread);
    free(path);
    if (status == LLMQ_E_INPUT)
        log_message(ctx, LLMQ_LOG_WARNING, "%s", unread.message);
    else if (unread.code != LLMQ_OK && err)
        *err = unread;
    return status == LLMQ_E_INPUT ? LLMQ_OK : status;
}

static enum llmq_status fill(llmq_report *r, const llmq_context *ctx, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    r->page.reference = name_of(r->figures[0].reference);
    bool complete = r->page.reference != NULL;
    for (size_t i = 0; i < r->page.count; i++) {
        r->names[i] = name_of(r->figures[i].model);
        LLMQ_TRY(read_record(r->figures[i].model, ctx, &r->made[i], err));
        r->results[i] = (struct report_result){&r->figures[i], r->names[i], r->made[i]};
        complete = complete && r->names[i];
    }
    status = complete ? LLMQ_OK : error_memory(err, "a report");
cleanup:
    return status;
}

static enum llmq_status write_page(llmq_report *r, const char *name, struct output_file *place,
                                   llmq_error *err) {
    char *text = text_ends_with(name, ".svg") ? report_svg(&r->page) : report_html(&r->page);
    enum llmq_status status = LLMQ_OK;
    if (!text)
        return error_memory(err, "a report");
    r->bytes = strlen(text);
    if (r->bytes == 0)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: there is no " RECORD_NAME " that lists modules: nothing to show",
                           r->figures[0].model));
    LLMQ_TRY(output_file_begin(place, err));
    LLMQ_TRY(output_file_put(place, text, r->bytes, err));
    LLMQ_TRY(output_file_finish(place, err));
cleanup:
    free(text);
    return status;
}

static enum llmq_status make_report(const llmq_report_options *options, const char *const *models,
                                    size_t count, const llmq_context *ctx, llmq_report **out,
                                    llmq_error *err) {
    struct output_file place = OUTPUT_FILE_NONE;
    llmq_compare_options compare;
    enum llmq_status status = LLMQ_OK;
    llmq_compare_options_init(&compare);
    LLMQ_TRY(SIZED_READ(llmq_compare_options, options->compare, &compare, err));
    if (count == 0)
        return error_set(err, LLMQ_E_USAGE, "there is no result to report on");
    LLMQ_TRY(allocate(count, out, err));
    LLMQ_TRY(choose_place(options->out, compare.reference, models, count, &place, err));
    LLMQ_TRY(llmq_compare_all(&compare, models, count, ctx, (*out)->figures, err));
    LLMQ_TRY(fill(*out, ctx, err));
    if (options->out)
        LLMQ_TRY(write_page(*out, options->out, &place, err));
cleanup:
    output_file_free(&place);
    if (status != LLMQ_OK)
        llmq_report_free(out);
    return status;
}

enum llmq_status llmq_report_make(const llmq_report_options *given, const char *const *models,
                                  size_t count, const llmq_context *lent, llmq_report **out,
                                  llmq_error *err) {
    llmq_report_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *out = NULL;
    llmq_report_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_report_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = make_report(&options, models, count, &ctx, out, err);
cleanup:
    return status;
}

/* --- numbers -----------------------------------------------------------------------------------
 */

size_t llmq_report_bytes(const llmq_report *report) {
    return report->bytes;
}

char *llmq_report_csv(const llmq_report *report) {
    return report_csv(&report->page);
}

static void add_copy(struct json *o, const char *key, const struct json *from) {
    if (from)
        json_add(o, key, json_copy(from));
    else
        json_add_null(o, key);
}

char *llmq_report_json(const llmq_report *report) {
    struct json *root = json_new_object(), *results = json_new_array();
    for (size_t i = 0; i < report->page.count; i++) {
        struct json *o = compare_object(&report->figures[i]);
        add_copy(o, "modules", json_get(report->made[i], "modules"));
        add_copy(o, "run", json_get(report->made[i], "run"));
        json_add(results, NULL, o);
    }
    json_add_int64(root, "schema", 1);
    json_add_string(root, "reference", report->page.reference);
    json_add(root, "results", results);
    return json_print_and_free(root);
}
