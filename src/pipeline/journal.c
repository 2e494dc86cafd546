/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of a run: see journal.h. */
#include "pipeline/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "formats/safetensors/safetensors_watch.h"
#include "pipeline/identity.h"
#include "pipeline/report.h"

#define JOURNAL_MAX_BYTES ((size_t)256 << 20)

struct journal {
    struct file file;
    uint64_t end; /* bytes of whole lines */
    bool kept;    /* has the line of the tensors that are copied */
};

/* --- opening ---------------------------------------------------------------------------------- */

/* A document as a line of text. */
static enum llmq_status format_line(const struct json *document, struct strbuf *line,
                                    llmq_error *err) {
    char *text = json_print(document, false);
    strbuf_printf(line, "%s\n", text ? text : "");
    enum llmq_status status = text && strbuf_ok(line) ? LLMQ_OK : error_memory(err, "the journal");
    free(text);
    return status;
}

static enum llmq_status append(struct journal *j, const struct json *document, llmq_error *err) {
    struct strbuf line = {0};
    enum llmq_status status = format_line(document, &line, err);
    if (status == LLMQ_OK)
        status = file_pwrite(&j->file, line.data, line.len, j->end, err);
    if (status == LLMQ_OK)
        status = file_sync(&j->file, err);
    if (status == LLMQ_OK)
        j->end += line.len;
    strbuf_free(&line);
    return status;
}

static enum llmq_status open_file(const char *path, struct journal **out, llmq_error *err) {
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return error_memory(err, "the journal");
    enum llmq_status status = file_open_update(path, &j->file, err);
    if (status == LLMQ_OK)
        *out = j;
    else
        free(j);
    return status;
}

/* The file appears with its first line in it, or not at all. */
enum llmq_status journal_create(const char *dir, const struct json *identity, struct journal **out,
                                llmq_error *err) {
    struct strbuf line = {0};
    enum llmq_status status = LLMQ_OK;
    char *path = path_join(dir, JOURNAL_NAME, err);
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(format_line(identity, &line, err));
    LLMQ_TRY(file_write_atomic(path, line.data, line.len, err));
    LLMQ_TRY(open_file(path, out, err));
    (*out)->end = line.len;
cleanup:
    strbuf_free(&line);
    free(path);
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
    const struct json *identity; /* of the run that continues; NULL once it is compared */
    struct journal_blocks *blocks;
    llmq_quantize_report *report;
    bool kept;
};

static uint64_t read_hash(const struct json *value) {
    const char *text = json_string(value);
    return text ? strtoull(text, NULL, 16) : 0;
}

/* Hold the run to what was read of the source before. */
static enum llmq_status note_tensors(const struct json *hashes, const struct st_set *source,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *h = json_first(hashes); status == LLMQ_OK && h; h = json_next(h)) {
        const struct st_tensor *t = st_find(source, json_key(h));
        if (!t)
            return error_set(err, LLMQ_E_INPUT, "tensor '%.200s' is recorded, and not in the model",
                             json_key(h));
        status = st_note(source, t, read_hash(h), err);
    }
    return status;
}

static enum llmq_status read_block(const struct json *line, struct reader *r, llmq_error *err) {
    int64_t block = -1;
    const struct json *modules = json_get(line, "modules");
    struct journal_blocks *b = r->blocks;
    if (!json_as_int64(json_get(line, "block"), &block) || block != b->done || block >= b->count ||
        json_count(modules) != (size_t)graph_module_count(model_graph(b->source, block)))
        return error_set(err, LLMQ_E_INPUT, "the record of block %" PRId64 " is malformed",
                         b->done);
    uint64_t *hash = b->hashes + b->source->blocks->first[block];
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
    return note_tensors(json_get(line, "source"), b->source->tensors, err);
}

static enum llmq_status read_line(const char *text, size_t len, struct reader *r, llmq_error *err) {
    struct json *line = NULL;
    enum llmq_status status = json_parse(text, len, "record", &line, err);
    if (status != LLMQ_OK)
        return status;
    const struct json *kept = json_get(line, "kept");
    if (r->identity)
        status = identity_compare(line, r->identity, err);
    else
        status =
            kept ? note_tensors(kept, r->blocks->source->tensors, err) : read_block(line, r, err);
    r->identity = NULL;
    r->kept = r->kept || kept;
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

/* The first line is on disk before the file has its name: somebody was here, or the disk lost it.
 */
static enum llmq_status nothing_recorded(llmq_error *err) {
    error_set(err, LLMQ_E_INPUT, "nothing is recorded of a run that could be continued");
    error_hint(err, "start over with --force");
    return LLMQ_E_INPUT;
}

enum llmq_status journal_resume(const char *dir, const struct json *identity,
                                struct journal_blocks *blocks, llmq_quantize_report *report,
                                struct journal **out, llmq_error *err) {
    struct reader r = {identity, blocks, report, false};
    enum llmq_status status = LLMQ_OK;
    char *path = path_join(dir, JOURNAL_NAME, err), *text = NULL;
    size_t len = 0;
    blocks->done = 0;
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(open_file(path, out, err));
    LLMQ_TRY(read_all(&(*out)->file, &text, &len, err));
    for (const char *line = text, *end; (end = memchr(line, '\n', len - (size_t)(line - text)));
         line = end + 1) {
        LLMQ_TRY(read_line(line, (size_t)(end - line), &r, err));
        (*out)->end = (uint64_t)(end + 1 - text);
    }
    (*out)->kept = r.kept;
    if (r.identity)
        status = nothing_recorded(err);
cleanup:
    free(text);
    free(path);
    if (status != LLMQ_OK && *out) {
        error_prefix(err, status, "%s", (*out)->file.path);
        journal_close(out);
    }
    return status;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void add_hash(struct json *object, const char *key, uint64_t hash) {
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    json_add_string(object, key, text);
}

enum llmq_status journal_add_kept(struct journal *j, const struct st_set *source,
                                  char *const *names, size_t count, llmq_error *err) {
    if (j->kept)
        return LLMQ_OK;
    struct json *o = json_new_object(), *kept = json_new_object();
    for (size_t i = 0; i < count; i++)
        add_hash(kept, names[i], st_noted(source, st_find(source, names[i])));
    json_add(o, "kept", kept);
    enum llmq_status status = append(j, o, err);
    j->kept = status == LLMQ_OK;
    json_free(&o);
    return status;
}

/* What was read of the source for a block. */
static struct json *block_source(const struct model *m, int64_t block) {
    struct json *o = json_new_object();
    char prefix[MODEL_NAME_MAX];
    const size_t len = strlen(family_block_name(m->config.family, block, "", "", prefix));
    for (size_t i = 0; i < st_count(m->tensors); i++) {
        const struct st_tensor *t = st_at(m->tensors, i);
        if (strncmp(t->name, prefix, len) == 0 && st_noted(m->tensors, t) != 0)
            add_hash(o, t->name, st_noted(m->tensors, t));
    }
    return o;
}

enum llmq_status journal_add(struct journal *j, int64_t block, const llmq_module_report *modules,
                             const struct journal_blocks *blocks, llmq_error *err) {
    struct json *o = json_new_object(), *array = json_new_array();
    const uint64_t *hashes = blocks->hashes + blocks->source->blocks->first[block];
    for (int64_t i = 0; i < graph_module_count(model_graph(blocks->source, block)); i++) {
        struct json *m = report_module_json(&modules[i]);
        add_hash(m, "hash", hashes[i]);
        json_add(array, NULL, m);
    }
    json_add_int64(o, "block", block);
    add_hash(o, "folded", blocks->folded[block]);
    json_add(o, "source", block_source(blocks->source, block));
    json_add(o, "modules", array);
    enum llmq_status status = append(j, o, err);
    json_free(&o);
    return status;
}
