/* SPDX-License-Identifier: Apache-2.0 */
/* Records: see record.h.
 *
 * A text is taken out of the line where it stands; only for a conversation is the whole line read
 * as values, which templates compute with. */
#include "text/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_check.h"
#include "base/strbuf.h"
#include "chat/format.h"
#include "text/conversation.h"

struct line {
    const char *text;
    size_t len;
    const struct record_reader *reader;
};

static void scan_line(struct json_scan *scan, const struct line *line) {
    json_scan_init(scan, line->text, line->len, JSON_MAX_DEPTH);
    scan->nonfinite = true; /* in members that are passed over */
}

static const char *member_of(const struct line *line) {
    return line->reader->field ? line->reader->field : "text";
}

/* The value of the member `key` of the object that is begun; where there is none, *token is its
 * end. */
static enum llmq_status find_member(struct json_scan *scan, const char *key,
                                    struct json_token *token, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (;;) {
        LLMQ_TRY(json_scan_next(scan, token, err));
        if (token->type != JSON_TOKEN_KEY)
            break; /* JSON_TOKEN_OBJECT_END */
        const bool found = json_token_is(scan, token, key);
        LLMQ_TRY(json_scan_next(scan, token, err));
        if (found)
            break;
        LLMQ_TRY(json_scan_skip(scan, token, err));
    }
cleanup:
    return status;
}

/* --- what is no text -------------------------------------------------------------------------- */

static bool has_key(const struct line *line, const char *key) {
    struct json_scan scan;
    struct json_token token;
    scan_line(&scan, line);
    return json_scan_next(&scan, &token, NULL) == LLMQ_OK &&
           find_member(&scan, key, &token, NULL) == LLMQ_OK && token.type != JSON_TOKEN_OBJECT_END;
}

/* The first keys of a line, as they are written. */
static enum llmq_status list_keys(const struct line *line, struct strbuf *keys, llmq_error *err) {
    enum { SHOWN = 8 };
    enum llmq_status status = LLMQ_OK;
    struct json_scan scan;
    struct json_token token;
    scan_line(&scan, line);
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    for (int n = 0; n < SHOWN; n++) {
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (token.type != JSON_TOKEN_KEY)
            break;
        strbuf_printf(keys, "%s\"%.*s\"", n ? ", " : "", token.len < 40 ? (int)token.len : 40,
                      line->text + token.begin);
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        LLMQ_TRY(json_scan_skip(&scan, &token, err));
    }
cleanup:
    return status;
}

/* A line without a text: which keys it has, and what usually makes a text of them. */
static enum llmq_status no_text(const struct line *line, llmq_error *err) {
    struct strbuf keys = {0};
    enum llmq_status status = list_keys(line, &keys, err);
    if (status == LLMQ_OK) {
        status = LLMQ_E_INPUT;
        error_set(err, LLMQ_E_INPUT, "no \"%s\": expected {\"%s\": ...}%s, found %s%s",
                  member_of(line), member_of(line),
                  line->reader->field ? "" : " or {\"messages\": [...]}",
                  keys.data ? "the keys " : "no keys", keys.data ? keys.data : "");
        if (has_key(line, "input_ids"))
            corpus_file_hint(line->reader->file,
                             "ids are read as an array of arrays: jq -s 'map(.input_ids)' %s > "
                             "windows.json",
                             err);
        else if (line->reader->field_option)
            error_hint(err, "name the member that holds the text: %s KEY",
                       line->reader->field_option);
    }
    strbuf_free(&keys);
    return status;
}

/* A line that is no object: windows, perhaps, one a line. */
static enum llmq_status no_object(const struct line *line, const struct json_token *token,
                                  llmq_error *err) {
    error_set(err, LLMQ_E_INPUT, "not a JSON object: expected {\"%s\": ...}", member_of(line));
    if (token->type == JSON_TOKEN_STRING)
        corpus_file_hint(line->reader->file, "name the text: jq -c '{text: .}' %s > text.jsonl",
                         err);
    if (token->type == JSON_TOKEN_ARRAY_BEGIN)
        corpus_file_hint(line->reader->file,
                         "windows of token ids are one array of arrays: jq -s . %s > windows.json",
                         err);
    return LLMQ_E_INPUT;
}

static enum llmq_status no_string(const struct line *line, const struct json_token *token,
                                  llmq_error *err) {
    error_set(err, LLMQ_E_INPUT, "\"%s\" is %s, not a string", member_of(line),
              token->type == JSON_TOKEN_NULL           ? "null"
              : token->type == JSON_TOKEN_NUMBER       ? "a number"
              : token->type == JSON_TOKEN_ARRAY_BEGIN  ? "an array"
              : token->type == JSON_TOKEN_OBJECT_BEGIN ? "an object"
                                                       : "true or false");
    if (!line->reader->field)
        corpus_file_hint(line->reader->file,
                         "leave such lines out: jq -c 'select(.text | type == \"string\")' %s > "
                         "text.jsonl",
                         err);
    return LLMQ_E_INPUT;
}

/* --- conversations ---------------------------------------------------------------------------- */

/* What the record says to the template beside the messages. */
static void define_others(struct jinja_run *run, const struct jinja_dict *record) {
    const struct jinja_value *tools = jinja_dict_get(record, "tools");
    const struct jinja_value *more = jinja_dict_get(record, "chat_template_kwargs");
    if (tools && tools->type == JINJA_LIST)
        jinja_define(run, "tools", *tools);
    for (size_t i = 0; more && more->type == JINJA_DICT && i < more->dict->count; i++)
        jinja_assign(run, more->dict->pairs[i].key.text, more->dict->pairs[i].value);
}

/* The messages of the line; false when it has none. */
static bool find_messages(struct jinja_run *run, const struct line *line,
                          struct jinja_value *messages) {
    const struct jinja_value record = jinja_from_json(run, line->text, line->len);
    if (jinja_failed(run))
        return true;
    define_others(run, record.dict);
    if (!line->reader->field)
        return conversation_of_record(run, &record, messages);
    const struct jinja_value *list = jinja_dict_get(record.dict, line->reader->field);
    *messages = conversation_of_list(run, list);
    return true;
}

static enum llmq_status read_chat(struct record_reader *reader, const struct line *line,
                                  struct record *out, llmq_error *err) {
    struct strbuf text = {0};
    struct jinja_value messages = jinja_none();
    struct jinja_run *run = chat_template_begin(reader->chat, err);
    if (!find_messages(run, line, &messages))
        return no_text(line, err);
    jinja_define(run, "messages", messages);
    enum llmq_status status = run->status;
    if (status == LLMQ_OK)
        status = chat_template_write(reader->chat, &text, err);
    if (status == LLMQ_OK) {
        out->len = text.len;
        out->is_chat = true;
        out->text = strbuf_take(&text);
        reader->chats++;
        status = out->text ? LLMQ_OK : error_memory(err, "a conversation");
    }
    strbuf_free(&text);
    return status;
}

/* --- lines ------------------------------------------------------------------------------------ */

enum llmq_status record_read(struct record_reader *reader, const char *text, size_t len,
                             struct record *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct line line = {text, len, reader};
    struct json_scan scan;
    struct json_token token = {.type = JSON_TOKEN_NULL};
    *out = (struct record){0};
    scan_line(&scan, &line);
    LLMQ_TRY(json_check(&scan, err));
    scan_line(&scan, &line);
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    if (token.type != JSON_TOKEN_OBJECT_BEGIN)
        return no_object(&line, &token, err);
    LLMQ_TRY(find_member(&scan, member_of(&line), &token, err));
    if (token.type == JSON_TOKEN_STRING)
        return json_scan_unescape(&scan, &token, &out->text, &out->len, err);
    const bool absent = token.type == JSON_TOKEN_OBJECT_END;
    if (reader->chat && (reader->field ? token.type == JSON_TOKEN_ARRAY_BEGIN : absent))
        return read_chat(reader, &line, out, err);
    status = absent ? no_text(&line, err) : no_string(&line, &token, err);
cleanup:
    return status;
}
