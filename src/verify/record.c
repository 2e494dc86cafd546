/* SPDX-License-Identifier: Apache-2.0 */
/* See record.h. */
#include "verify/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/filestate.h"
#include "base/input.h"
#include "base/log.h"
#include "base/strbuf.h"

/* What stands between the text that is summed and the sum, and behind it. */
#define SEAL_BEGIN ",\n  \"sha256\": \""
#define SEAL_END   "\"\n}\n"

enum { SEAL_LEN = sizeof SEAL_BEGIN - 1 + SHA256_TEXT - 1 + sizeof SEAL_END - 1 };

/* --- writing ---------------------------------------------------------------------------------- */

static bool has_rows(const struct json *v) {
    return json_type(v) == JSON_ARRAY && json_type(json_first(v)) == JSON_OBJECT;
}

/* A mixture of experts has tens of thousands of modules: each is a line. */
static void put_rows(struct strbuf *b, const struct json *array) {
    strbuf_puts(b, "[");
    for (const struct json *row = json_first(array); row; row = json_next(row)) {
        char *text = json_print(row, false);
        strbuf_printf(b, "%s\n    ", row == json_first(array) ? "" : ",");
        strbuf_puts(b, text ? text : "");
        b->failed = b->failed || !text;
        free(text);
    }
    strbuf_puts(b, "\n  ]");
}

/* A value, two columns further in than it is printed by itself. */
static void put_value(struct strbuf *b, const struct json *v) {
    char *text = json_print(v, true);
    size_t len = text ? strlen(text) : 0;
    b->failed = b->failed || !text;
    for (size_t at = 0; at < len;) {
        const size_t line = strcspn(text + at, "\n");
        strbuf_append(b, text + at, line);
        at += line + 1;
        if (at < len)
            strbuf_puts(b, "\n  ");
    }
    free(text);
}

static void put_member(struct strbuf *b, const struct json *member) {
    struct json *key = json_new_array();
    json_add_string(key, NULL, json_key(member));
    char *quoted = json_print(json_first(key), false);
    strbuf_printf(b, "\n  %s: ", quoted ? quoted : "");
    b->failed = b->failed || !quoted;
    free(quoted);
    json_free(&key);
    if (has_rows(member))
        put_rows(b, member);
    else
        put_value(b, member);
}

char *record_print(const struct json *object) {
    struct strbuf b = {0};
    char sum[SHA256_TEXT];
    if (!json_complete(object))
        return NULL;
    strbuf_puts(&b, "{");
    for (const struct json *m = json_first(object); m; m = json_next(m)) {
        strbuf_puts(&b, m == json_first(object) ? "" : ",");
        put_member(&b, m);
    }
    if (strbuf_ok(&b))
        sha256_text(b.data, b.len, sum);
    else
        sum[0] = '\0';
    strbuf_printf(&b, SEAL_BEGIN "%s" SEAL_END, sum);
    return strbuf_take(&b);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The last place of `part` in a text, or NULL. */
static const char *find_last(const char *text, size_t len, const char *part) {
    const size_t size = strlen(part);
    for (size_t at = len < size ? 0 : len - size + 1; at > 0; at--)
        if (memcmp(text + at - 1, part, size) == 0)
            return text + at - 1;
    return NULL;
}

/* What is left of a seal that was damaged is one, too: every record that has sums has a seal. */
static bool has_sums(const char *text, size_t len) {
    struct json *root = record_parse(text, len);
    const bool sums = json_type(json_first(json_get(root, "files"))) == JSON_OBJECT;
    const bool unread = !root;
    json_free(&root);
    return sums || unread;
}

enum record_seal record_check_seal(const char *text, size_t len) {
    const char *seal = find_last(text, len, SEAL_BEGIN);
    char sum[SHA256_TEXT];
    if (!seal || (size_t)(text + len - seal) != SEAL_LEN)
        return has_sums(text, len) ? RECORD_BROKEN : RECORD_UNSEALED;
    sha256_text(text, (size_t)(seal - text), sum);
    const char *stated = seal + sizeof SEAL_BEGIN - 1;
    const bool holds = memcmp(stated, sum, SHA256_TEXT - 1) == 0 &&
                       memcmp(stated + SHA256_TEXT - 1, SEAL_END, sizeof SEAL_END - 1) == 0;
    return holds ? RECORD_SEALED : RECORD_BROKEN;
}

struct json *record_parse(const char *text, size_t len) {
    struct json *root = NULL;
    if (json_parse_as(text, len, RECORD_NAME, INPUT_RECORD, &root, NULL) != LLMQ_OK)
        return NULL;
    if (!json_string(json_get(root, "llmq")) || json_type(json_get(root, "files")) != JSON_ARRAY)
        json_free(&root);
    return root;
}

const char *record_file_name(const struct json *entry) {
    return json_string(entry) ? json_string(entry) : json_string(json_get(entry, "name"));
}

/* --- hashing ---------------------------------------------------------------------------------- */

/* What is there and is no file says so in its entry; what cannot be read is an error. */
static enum llmq_status hash_one(const char *dir, struct record_file *file, llmq_error *err) {
    struct file_stamp stamp = {0};
    char *path = path_join(dir, file->name, err);
    if (!path)
        return LLMQ_E_MEMORY;
    file->status = file_hash(path, &stamp, file->sha256, err);
    file->bytes = stamp.size;
    free(path);
    const bool told = file->status == LLMQ_E_NOT_FOUND || file->status == LLMQ_E_INPUT;
    return told ? LLMQ_OK : file->status;
}

enum llmq_status record_hash(const char *dir, struct record_file *files, size_t count,
                             const llmq_context *ctx, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
#pragma omp parallel for schedule(dynamic) default(none) shared(dir, files, count, ctx, err, status)
    for (size_t i = 0; i < count; i++) {
        llmq_error mine = {0};
        enum llmq_status found = interrupt_check(ctx, &mine);
        if (found == LLMQ_OK)
            found = hash_one(dir, &files[i], &mine);
        error_keep_first(&status, err, found, &mine);
    }
    return status;
}
