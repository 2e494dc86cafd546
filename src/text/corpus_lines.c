/* Lines of JSON: see corpus_lines.h. */
#include "text/corpus_lines.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_check.h"
#include "base/strbuf.h"

struct line {
    const char *text;
    size_t len;
    const struct corpus_file *file;
};

static void scan_line(struct json_scan *scan, const struct line *line) {
    json_scan_init(scan, line->text, line->len, JSON_MAX_DEPTH);
    scan->nonfinite = true; /* in members that are passed over */
}

static const char chat_hint[] =
    "chats are not read as they are: write each as the model's chat template renders it, one "
    "{\"text\": ...} a line";

/* What makes texts, or windows, of lines that have `key` for another. */
static const struct remedy {
    const char *key, *hint; /* as corpus_file_hint takes it */
} remedies[] = {
    {"messages", chat_hint},
    {"conversations", chat_hint},
    {"input_ids", "ids are read as an array of arrays: jq -s 'map(.input_ids)' %s > windows.json"},
    {NULL, "name the text: jq -c '{text: .KEY}' %s > text.jsonl"},
};

static const struct remedy *find_remedy(const struct json_scan *scan,
                                        const struct json_token *key) {
    const struct remedy *r = remedies;
    while (r->key && !json_token_is(scan, key, r->key))
        r++;
    return r;
}

/* A line without "text": which keys it has, and what usually makes a text of them. */
static enum llmq_status no_text(const struct line *line, llmq_error *err) {
    enum { SHOWN = 8 };
    enum llmq_status status = LLMQ_OK;
    const struct remedy *remedy = &remedies[sizeof remedies / sizeof remedies[0] - 1];
    struct json_scan scan;
    struct json_token token;
    struct strbuf keys = {0};
    scan_line(&scan, line);
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    for (int n = 0; n < SHOWN; n++) {
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (token.type != JSON_TOKEN_KEY)
            break;
        strbuf_printf(&keys, "%s\"%.*s\"", n ? ", " : "", token.len < 40 ? (int)token.len : 40,
                      line->text + token.begin);
        if (!remedy->key)
            remedy = find_remedy(&scan, &token);
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        LLMQ_TRY(json_scan_skip(&scan, &token, err));
    }
    status = LLMQ_E_INPUT;
    error_set(err, LLMQ_E_INPUT, "no \"text\": expected {\"text\": ...}, found %s%s",
              keys.data ? "the keys " : "no keys", keys.data ? keys.data : "");
    corpus_file_hint(line->file, remedy->hint, err);
cleanup:
    strbuf_free(&keys);
    return status;
}

/* A line that is no object: windows, perhaps, one a line. */
static enum llmq_status no_object(const struct line *line, const struct json_token *token,
                                  llmq_error *err) {
    error_set(err, LLMQ_E_INPUT, "not a JSON object: expected {\"text\": ...}");
    if (token->type == JSON_TOKEN_STRING)
        corpus_file_hint(line->file, "name the text: jq -c '{text: .}' %s > text.jsonl", err);
    if (token->type == JSON_TOKEN_ARRAY_BEGIN)
        corpus_file_hint(line->file,
                         "windows of token ids are one array of arrays: jq -s . %s > windows.json",
                         err);
    return LLMQ_E_INPUT;
}

static enum llmq_status no_string(const struct line *line, const struct json_token *token,
                                  llmq_error *err) {
    error_set(err, LLMQ_E_INPUT, "\"text\" is %s, not a string",
              token->type == JSON_TOKEN_NULL           ? "null"
              : token->type == JSON_TOKEN_NUMBER       ? "a number"
              : token->type == JSON_TOKEN_ARRAY_BEGIN  ? "an array"
              : token->type == JSON_TOKEN_OBJECT_BEGIN ? "an object"
                                                       : "true or false");
    corpus_file_hint(line->file,
                     "leave such lines out: jq -c 'select(.text | type == \"string\")' %s > "
                     "text.jsonl",
                     err);
    return LLMQ_E_INPUT;
}

/* The value of "text"; the caller frees *text. */
static enum llmq_status read_text_member(const struct line *line, char **text, size_t *text_len,
                                         llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json_scan scan;
    struct json_token token = {.type = JSON_TOKEN_NULL};
    scan_line(&scan, line);
    LLMQ_TRY(json_check(&scan, err));
    scan_line(&scan, line);
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    if (token.type != JSON_TOKEN_OBJECT_BEGIN)
        return no_object(line, &token, err);
    for (;;) {
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (token.type != JSON_TOKEN_KEY)
            return no_text(line, err);
        bool is_text = json_token_is(&scan, &token, "text");
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (is_text)
            break;
        LLMQ_TRY(json_scan_skip(&scan, &token, err));
    }
    if (token.type != JSON_TOKEN_STRING)
        return no_string(line, &token, err);
    status = json_scan_unescape(&scan, &token, text, text_len, err);
cleanup:
    return status;
}

static bool is_blank(const struct line *line) {
    for (size_t i = 0; i < line->len; i++)
        if (!strchr(" \t\r", line->text[i]) || line->text[i] == '\0')
            return false;
    return true;
}

/* The line at `at`, without a byte order mark, which files put together leave inside. */
static struct line line_at(const struct corpus_file *file, size_t at, size_t *next) {
    static const char mark[] = "\xef\xbb\xbf";
    struct line line = {.text = file->text + at, .file = file};
    line.len = strcspn(line.text, "\n");
    *next = at + line.len + 1;
    if (strncmp(line.text, mark, sizeof mark - 1) == 0) {
        line.text += sizeof mark - 1;
        line.len -= sizeof mark - 1;
    }
    return line;
}

enum llmq_status corpus_lines_encode(const struct corpus_file *file, struct document_reader *reader,
                                     struct id_list *ids, llmq_error *err) {
    size_t number = 0;
    for (size_t at = 0, next = 0; at < file->len; at = next) {
        const struct line line = line_at(file, at, &next);
        number++;
        if (is_blank(&line))
            continue;
        char *text = NULL;
        size_t text_len = 0;
        enum llmq_status status = read_text_member(&line, &text, &text_len, err);
        if (status == LLMQ_OK)
            status = document_encode(reader, text, text_len, ids, err);
        free(text);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "line %zu", number);
    }
    return LLMQ_OK;
}
