/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of token ids: see corpus_windows.h. */
#include "text/corpus_windows.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_check.h"

enum { NUMBER_MOST = 64 };

static void begin(const struct corpus_file *file, struct json_scan *scan) {
    json_scan_init(scan, file->text, file->len, JSON_MAX_DEPTH);
    scan->nonfinite = true; /* they are no ids, which shows later */
}

/* What to do about a document that holds something else; `root` and its first member or element. */
static enum llmq_status not_windows(const struct corpus_file *file, const struct json_token *root,
                                    const struct json_token *first, llmq_error *err) {
    error_set(err, LLMQ_E_INPUT, "%s: not an array of arrays of token ids", file->path);
    if (root->type == JSON_TOKEN_OBJECT_BEGIN)
        corpus_file_hint(file, "write one {\"text\": ...} a line: jq -c . %s > text.jsonl", err);
    else if (first->type == JSON_TOKEN_OBJECT_BEGIN)
        corpus_file_hint(file, "write one {\"text\": ...} a line: jq -c '.[]' %s > text.jsonl",
                         err);
    else if (first->type == JSON_TOKEN_STRING)
        corpus_file_hint(
            file, "write one {\"text\": ...} a line: jq -c '.[] | {text: .}' %s > text.jsonl", err);
    else if (first->type == JSON_TOKEN_NUMBER)
        error_hint(err, "a single window is an array in an array: [[1, 2, 3]]");
    return LLMQ_E_INPUT;
}

/* The document is sound and an array whose first element, if any, is an array. */
static enum llmq_status check_document(const struct corpus_file *file, llmq_error *err) {
    struct json_scan scan;
    struct json_token root, first;
    begin(file, &scan);
    enum llmq_status status = json_check(&scan, err);
    if (status != LLMQ_OK) {
        error_prefix(err, status, "%s", file->path);
        if (!strchr("[{", file->text[strspn(file->text, " \t\r\n")]))
            error_hint(err, "a text needs another name, such as text.txt");
        return status;
    }
    begin(file, &scan);
    LLMQ_TRY(json_scan_next(&scan, &root, err));
    LLMQ_TRY(json_scan_next(&scan, &first, err));
    if (root.type != JSON_TOKEN_ARRAY_BEGIN ||
        (first.type != JSON_TOKEN_ARRAY_BEGIN && first.type != JSON_TOKEN_ARRAY_END))
        status = not_windows(file, &root, &first, err);
cleanup:
    return status;
}

/* Elements of the array that the scanner is about to read. */
static enum llmq_status count_elements(struct json_scan scan, size_t *count, llmq_error *err) {
    struct json_token token;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    for (*count = 0;; ++*count) {
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (token.type == JSON_TOKEN_ARRAY_END)
            break;
        LLMQ_TRY(json_scan_skip(&scan, &token, err));
    }
cleanup:
    return status;
}

enum llmq_status windows_open(const struct corpus_file *file, struct windows_reader *out,
                              llmq_error *err) {
    struct json_token root;
    enum llmq_status status = check_document(file, err);
    *out = (struct windows_reader){.count = 0};
    if (status != LLMQ_OK)
        return status;
    begin(file, &out->scan);
    status = count_elements(out->scan, &out->count, err);
    return status == LLMQ_OK ? json_scan_next(&out->scan, &root, err) : status;
}

/* An integer of 32 bits, however it is written. */
static bool read_id(const struct json_scan *scan, const struct json_token *token, int32_t *id) {
    char text[NUMBER_MOST + 1];
    if (token->type != JSON_TOKEN_NUMBER || token->len > NUMBER_MOST)
        return false;
    memcpy(text, scan->text + token->begin, token->len);
    text[token->len] = '\0';
    const double value = strtod(text, NULL);
    if (!(value >= INT32_MIN && value <= INT32_MAX) || value != floor(value))
        return false;
    *id = (int32_t)value;
    return true;
}

enum llmq_status windows_next(struct windows_reader *r, struct id_list *ids, bool *more,
                              llmq_error *err) {
    const long long number = (long long)r->read;
    struct json_token token;
    long long position = 0;
    enum llmq_status status = LLMQ_OK;
    *more = r->read < r->count;
    if (!*more)
        return LLMQ_OK;
    LLMQ_TRY(json_scan_next(&r->scan, &token, err));
    if (token.type != JSON_TOKEN_ARRAY_BEGIN)
        return error_set(err, LLMQ_E_INPUT, "window %lld is not an array", number);
    for (;; position++) {
        int32_t id = 0;
        LLMQ_TRY(json_scan_next(&r->scan, &token, err));
        if (token.type == JSON_TOKEN_ARRAY_END)
            break;
        if (!read_id(&r->scan, &token, &id))
            return error_set(err, LLMQ_E_INPUT, "window %lld, position %lld: not a token id",
                             number, position);
        LLMQ_TRY(id_list_push(ids, id, err));
    }
    r->read++;
    if (position < WINDOW_MIN)
        return error_set(err, LLMQ_E_INPUT, "window %lld has %lld tokens, at least %d are needed",
                         number, position, WINDOW_MIN);
cleanup:
    return status;
}
