/* Lines of JSON: see corpus_lines.h. */
#include "text/corpus_lines.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_check.h"
#include "base/strbuf.h"

static void scan_line(struct json_scan *scan, const char *line, size_t len) {
    json_scan_init(scan, line, len, JSON_MAX_DEPTH);
    scan->nonfinite = true; /* in members that are passed over */
}

/* A line without "text": which keys it has, and what usually makes a text of them. */
static enum llmq_status no_text(const char *line, size_t len, llmq_error *err) {
    enum { SHOWN = 8 };
    enum llmq_status status = LLMQ_OK;
    struct json_scan scan;
    struct json_token token;
    struct strbuf keys = {0};
    bool chat = false;
    scan_line(&scan, line, len);
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    for (int n = 0; n < SHOWN; n++) {
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (token.type != JSON_TOKEN_KEY)
            break;
        strbuf_printf(&keys, "%s\"%.*s\"", n ? ", " : "", token.len < 40 ? (int)token.len : 40,
                      line + token.begin);
        chat = chat || json_token_is(&scan, &token, "messages") ||
               json_token_is(&scan, &token, "conversations");
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        LLMQ_TRY(json_scan_skip(&scan, &token, err));
    }
    status = LLMQ_E_INPUT;
    error_set(err, LLMQ_E_INPUT, "no \"text\": expected {\"text\": ...}, found %s%s",
              keys.data ? "the keys " : "no keys", keys.data ? keys.data : "");
    if (chat)
        error_hint(err, "chats are not read as they are: write each as the model's chat template "
                        "renders it, one {\"text\": ...} a line");
    else
        error_hint(err, "name the text: jq -c '{text: .KEY}' FILE > text.jsonl");
cleanup:
    strbuf_free(&keys);
    return status;
}

/* The value of "text"; the caller frees *text. */
static enum llmq_status read_text_member(const char *line, size_t len, char **text,
                                         size_t *text_len, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json_scan scan;
    struct json_token token = {.type = JSON_TOKEN_NULL};
    scan_line(&scan, line, len);
    LLMQ_TRY(json_check(&scan, err));
    scan_line(&scan, line, len);
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    if (token.type != JSON_TOKEN_OBJECT_BEGIN)
        return error_set(err, LLMQ_E_INPUT, "not a JSON object: expected {\"text\": ...}");
    for (;;) {
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (token.type != JSON_TOKEN_KEY)
            return no_text(line, len, err);
        bool is_text = json_token_is(&scan, &token, "text");
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (is_text)
            break;
        LLMQ_TRY(json_scan_skip(&scan, &token, err));
    }
    if (token.type != JSON_TOKEN_STRING)
        return error_set(err, LLMQ_E_INPUT, "\"text\" is not a string");
    status = json_scan_unescape(&scan, &token, text, text_len, err);
cleanup:
    return status;
}

static bool is_blank(const char *line, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r", line[i]) || line[i] == '\0')
            return false;
    return true;
}

enum llmq_status corpus_lines_encode(const struct corpus_file *file, struct document_reader *reader,
                                     struct id_list *ids, llmq_error *err) {
    size_t number = 0;
    for (size_t at = 0, next = 0; at < file->len; at = next) {
        const char *line = file->text + at, *newline = memchr(line, '\n', file->len - at);
        const size_t len = newline ? (size_t)(newline - line) : file->len - at;
        next = at + len + 1;
        number++;
        if (is_blank(line, len))
            continue;
        char *text = NULL;
        size_t text_len = 0;
        enum llmq_status status = read_text_member(line, len, &text, &text_len, err);
        if (status == LLMQ_OK)
            status = document_encode(reader, text, text_len, ids, err);
        free(text);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "line %zu", number);
    }
    return LLMQ_OK;
}
