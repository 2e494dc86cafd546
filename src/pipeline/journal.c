/* The journal of a run: see journal.h. */
#include "pipeline/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "pipeline/report.h"

#define JOURNAL_MAX_BYTES ((size_t)256 << 20)

struct journal {
    struct file file;
    uint64_t end; /* bytes of whole lines */
};

/* --- opening
 * ------------------------------------------------------------------------------------------------
 */

static enum llmq_status append(struct journal *j, const char *line, llmq_error *err) {
    size_t len = strlen(line);
    enum llmq_status status = file_pwrite(&j->file, line, len, j->end, err);
    if (status == LLMQ_OK)
        status = file_sync(&j->file, err);
    if (status == LLMQ_OK)
        j->end += len;
    return status;
}

/* `create` truncates, otherwise the file must exist. */
static enum llmq_status open_file(const char *dir, bool create, struct journal **out,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct journal *j = calloc(1, sizeof *j);
    char *path = path_join(dir, JOURNAL_NAME, err);
    if (!j || !path) {
        status = error_memory(err, "the journal");
        goto cleanup;
    }
    j->file.fd = -1;
    LLMQ_TRY(create ? file_create(path, 0, &j->file, err) : file_open_update(path, &j->file, err));
    *out = j;
    j = NULL;
cleanup:
    free(path);
    journal_close(&j);
    return status;
}

enum llmq_status journal_create(const char *dir, uint64_t fingerprint, struct journal **out,
                                llmq_error *err) {
    char line[64];
    enum llmq_status status = open_file(dir, true, out, err);
    if (status != LLMQ_OK)
        return status;
    snprintf(line, sizeof line, "{\"fingerprint\":\"%016" PRIx64 "\"}\n", fingerprint);
    status = append(*out, line, err);
    if (status != LLMQ_OK)
        journal_close(out);
    return status;
}

void journal_close(struct journal **j) {
    if (!*j)
        return;
    file_close(&(*j)->file, NULL);
    free(*j);
    *j = NULL;
}

/* --- reading back ----------------------------------------------------------------------------- */

struct reader {
    struct journal_blocks *blocks;
    llmq_quantize_report *report;
};

static enum llmq_status read_fingerprint(const struct json *line, uint64_t expected,
                                         llmq_error *err) {
    const char *text = json_string(json_get(line, "fingerprint"));
    if (text && strtoull(text, NULL, 16) == expected)
        return LLMQ_OK;
    error_set(err, LLMQ_E_INPUT,
              "the interrupted run had other inputs or options, or ran on another machine type");
    error_hint(err, "repeat its exact options, or start over with --force");
    return LLMQ_E_INPUT;
}

static uint64_t read_hash(const struct json *value) {
    const char *text = json_string(value);
    return text ? strtoull(text, NULL, 16) : 0;
}

static enum llmq_status read_block(const struct json *line, struct reader *r, llmq_error *err) {
    int64_t block = -1;
    const struct json *modules = json_get(line, "modules");
    struct journal_blocks *b = r->blocks;
    if (!json_as_int64(json_get(line, "block"), &block) || block != b->done || block >= b->count ||
        json_count(modules) != b->modules)
        return error_set(err, LLMQ_E_INPUT, "the record of block %" PRId64 " is malformed",
                         b->done);
    uint64_t *hash = b->hashes + (size_t)block * b->modules;
    b->folded[block] = read_hash(json_get(line, "folded"));
    for (const struct json *m = json_first(modules); m; m = json_next(m)) {
        llmq_module_report module;
        enum llmq_status status = report_module_parse(m, &module, err);
        if (status == LLMQ_OK)
            status = report_add_module(r->report, &module, err);
        if (status != LLMQ_OK)
            return status;
        *hash++ = read_hash(json_get(m, "hash"));
    }
    b->done++;
    return LLMQ_OK;
}

static enum llmq_status read_line(const char *text, size_t len, bool first, uint64_t fingerprint,
                                  struct reader *r, llmq_error *err) {
    struct json *line = NULL;
    enum llmq_status status = json_parse(text, len, "record", &line, err);
    if (status == LLMQ_OK)
        status = first ? read_fingerprint(line, fingerprint, err) : read_block(line, r, err);
    json_free(&line);
    return status;
}

static enum llmq_status read_all(const struct file *file, char **text, size_t *len,
                                 llmq_error *err) {
    if (file->size > JOURNAL_MAX_BYTES)
        return error_set(err, LLMQ_E_INPUT, "%" PRIu64 " bytes are no journal", file->size);
    *len = (size_t)file->size;
    *text = malloc(*len + 1);
    if (!*text)
        return error_memory(err, "the journal");
    return file_pread(file, *text, *len, 0, err);
}

enum llmq_status journal_resume(const char *dir, uint64_t fingerprint,
                                struct journal_blocks *blocks, llmq_quantize_report *report,
                                struct journal **out, llmq_error *err) {
    struct reader r = {blocks, report};
    enum llmq_status status = LLMQ_OK;
    char *text = NULL;
    size_t len = 0;
    blocks->done = 0;
    LLMQ_TRY(open_file(dir, false, out, err));
    LLMQ_TRY(read_all(&(*out)->file, &text, &len, err));
    bool first = true;
    for (const char *line = text, *end; (end = memchr(line, '\n', len - (size_t)(line - text)));
         line = end + 1) {
        LLMQ_TRY(read_line(line, (size_t)(end - line), first, fingerprint, &r, err));
        first = false;
        (*out)->end = (uint64_t)(end + 1 - text);
    }
    if (first)
        status = error_set(err, LLMQ_E_INPUT, "no run was recorded");
cleanup:
    free(text);
    if (status != LLMQ_OK && *out) {
        error_prefix(err, status, "%s", (*out)->file.path);
        journal_close(out);
    }
    return status;
}

/* --- writing
 * ------------------------------------------------------------------------------------------------
 */

static void add_hash(struct json *object, const char *key, uint64_t hash) {
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    json_add_string(object, key, text);
}

enum llmq_status journal_add(struct journal *j, int64_t block, const llmq_module_report *modules,
                             const struct journal_blocks *blocks, llmq_error *err) {
    struct json *o = json_new_object(), *array = json_new_array();
    struct strbuf line = {0};
    for (size_t i = 0; i < blocks->modules; i++) {
        struct json *m = report_module_json(&modules[i]);
        add_hash(m, "hash", blocks->hashes[(size_t)block * blocks->modules + i]);
        json_add(array, NULL, m);
    }
    json_add_int64(o, "block", block);
    add_hash(o, "folded", blocks->folded[block]);
    json_add(o, "modules", array);
    char *text = json_print(o, false);
    strbuf_puts(&line, text ? text : "");
    strbuf_puts(&line, "\n");
    enum llmq_status status =
        text && strbuf_ok(&line) ? append(j, line.data, err) : error_memory(err, "the journal");
    free(text);
    strbuf_free(&line);
    json_free(&o);
    return status;
}
