/* SPDX-License-Identifier: Apache-2.0 */
/* JSON documents as trees: see json.h. `struct json` is cJSON's node under a name of our own. */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json_check.h"
#include "base/json_scan.h"
#include "base/lfs.h"
#include "base/strbuf.h"

#define JSON_EXACT 9007199254740992.0 /* 2^53: integers up to here are exact doubles */

static const cJSON *node(const struct json *v) {
    return (const cJSON *)v;
}

/* A byte order mark at the beginning says nothing about UTF-8 and is passed over. */
static void skip_mark(const char **text, size_t *len) {
    if (*len >= 3 && memcmp(*text, "\xef\xbb\xbf", 3) == 0) {
        *text += 3;
        *len -= 3;
    }
}

static void scan_again(struct json_scan *scan, const char *text, size_t len) {
    json_scan_init(scan, text, len, JSON_MAX_DEPTH);
    scan->nonfinite = true;
}

/* The next NaN, Infinity or -Infinity; false at the end. The text is known to be sound. */
static bool next_nonfinite(struct json_scan *scan, struct json_token *token) {
    const size_t before = scan->nonfinite_count;
    while (json_scan_next(scan, token, NULL) == LLMQ_OK && token->type != JSON_TOKEN_END)
        if (scan->nonfinite_count > before)
            return true;
    return false;
}

/* cJSON reads neither NaN nor Infinity: the same document with null, and with a number too large
 * for a double, in their places. */
static char *replace_nonfinite(const char *text, size_t len) {
    struct json_scan scan;
    struct json_token token;
    struct strbuf out = {0};
    size_t done = 0;
    scan_again(&scan, text, len);
    while (next_nonfinite(&scan, &token)) {
        const char first = text[token.begin];
        strbuf_append(&out, text + done, token.begin - done);
        strbuf_puts(&out, first == 'N' ? "null" : first == '-' ? "-1e999" : "1e999");
        done = token.begin + token.len;
    }
    strbuf_append(&out, text + done, len - done);
    return strbuf_take(&out);
}

/* cJSON ends a string at U+0000: the same document with C0 80 in its place. What the scan accepts
 * has backslashes in strings only, each before the character it belongs to. */
static char *pack_nul(const char *text, size_t len) {
    struct strbuf out = {0};
    size_t done = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\\')
            continue;
        if (len - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0) {
            strbuf_append(&out, text + done, i - done);
            strbuf_append(&out, "\xc0\x80", 2);
            done = i + 6;
        }
        i++;
    }
    strbuf_append(&out, text + done, len - done);
    return strbuf_take(&out);
}

static bool has_nul(const char *text, size_t len) {
    const char *end = text + len;
    while ((text = memchr(text, '\\', (size_t)(end - text))) && end - text >= 6) {
        if (memcmp(text, "\\u0000", 6) == 0)
            return true;
        text++;
    }
    return false;
}

/* Give cJSON the document, rewritten where it would not understand it. */
static cJSON *build(const char *text, size_t len, bool nonfinite) {
    char *finite = nonfinite ? replace_nonfinite(text, len) : NULL;
    cJSON *root = NULL;
    if (finite) {
        text = finite;
        len = strlen(finite);
    }
    char *packed = has_nul(text, len) ? pack_nul(text, len) : NULL;
    if ((finite || !nonfinite) && (packed || !has_nul(text, len)))
        root = cJSON_ParseWithLength(packed ? packed : text, packed ? strlen(packed) : len);
    free(packed);
    free(finite);
    return root;
}

/* cJSON is lenient; the check makes sure that only documents with one meaning reach it. */
static enum llmq_status parse(const char *text, size_t len, size_t most_values, struct json **out,
                              llmq_error *err) {
    struct json_scan scan;
    scan_again(&scan, text, len);
    scan.most_values = most_values;
    enum llmq_status status = json_check(&scan, err);
    if (status != LLMQ_OK)
        return status;
    *out = (struct json *)build(text, len, scan.nonfinite_count > 0);
    return *out ? LLMQ_OK : error_memory(err, "the JSON tree");
}

static enum llmq_status parse_named(const char *text, size_t len, const char *what,
                                    size_t most_values, struct json **out, llmq_error *err) {
    struct json *root = NULL;
    skip_mark(&text, &len);
    enum llmq_status status = parse(text, len, most_values, &root, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "%s", what);
    *out = root;
    return LLMQ_OK;
}

enum llmq_status json_parse(const char *text, size_t len, const char *what, struct json **out,
                            llmq_error *err) {
    return json_parse_as(text, len, what, INPUT_SETTINGS, out, err);
}

enum llmq_status json_parse_as(const char *text, size_t len, const char *what,
                               enum input_purpose purpose, struct json **out, llmq_error *err) {
    return parse_named(text, len, what, input_limit(purpose)->values, out, err);
}

enum llmq_status json_read_as(const char *path, enum input_purpose purpose, struct json **out,
                              llmq_error *err) {
    char *text = NULL;
    size_t len = 0;
    enum llmq_status status = input_read(path, purpose, &text, &len, err);
    if (status == LLMQ_OK)
        status = lfs_check(path, text, len, err);
    if (status == LLMQ_OK)
        status = parse_named(text, len, path, input_limit(purpose)->values, out, err);
    free(text);
    return status;
}

enum llmq_status json_read(const char *path, struct json **out, llmq_error *err) {
    return json_read_as(path, INPUT_SETTINGS, out, err);
}

void json_free(struct json **root) {
    cJSON_Delete((cJSON *)*root);
    *root = NULL;
}

/* --- reading ---------------------------------------------------------------------------------- */

enum json_type json_type(const struct json *v) {
    switch (v ? node(v)->type & 0xff : cJSON_NULL) {
    case cJSON_True:
    case cJSON_False:
        return JSON_BOOL;
    case cJSON_Number:
        return JSON_NUMBER;
    case cJSON_String:
        return JSON_STRING;
    case cJSON_Array:
        return JSON_ARRAY;
    case cJSON_Object:
        return JSON_OBJECT;
    default:
        return JSON_NULL;
    }
}

const struct json *json_get(const struct json *object, const char *key) {
    return (const struct json *)cJSON_GetObjectItemCaseSensitive(node(object), key);
}

const struct json *json_first(const struct json *v) {
    enum json_type type = json_type(v);
    return type == JSON_ARRAY || type == JSON_OBJECT ? (const struct json *)node(v)->child : NULL;
}

const struct json *json_next(const struct json *child) {
    return (const struct json *)node(child)->next;
}

const char *json_key(const struct json *child) {
    return node(child)->string;
}

size_t json_count(const struct json *v) {
    size_t n = 0;
    for (const struct json *c = json_first(v); c; c = json_next(c))
        n++;
    return n;
}

const char *json_string(const struct json *v) {
    return json_type(v) == JSON_STRING ? node(v)->valuestring : NULL;
}

bool json_as_double(const struct json *v, double *out) {
    if (json_type(v) != JSON_NUMBER || !isfinite(node(v)->valuedouble))
        return false;
    *out = node(v)->valuedouble;
    return true;
}

bool json_as_limit(const struct json *v, double *out) {
    const char *word = json_count(v) == 1 ? json_string(json_get(v, "__float__")) : NULL;
    const bool negative = word && *word == '-';
    if (json_type(v) == JSON_NUMBER) {
        *out = node(v)->valuedouble;
        return true;
    }
    if (!word || strcmp(word + negative, "Infinity") != 0)
        return false;
    *out = negative ? -(double)INFINITY : (double)INFINITY;
    return true;
}

bool json_as_int64(const struct json *v, int64_t *out) {
    double d = 0;
    if (!json_as_double(v, &d) || d != floor(d) || fabs(d) > JSON_EXACT)
        return false;
    *out = (int64_t)d;
    return true;
}

bool json_as_bool(const struct json *v, bool *out) {
    if (json_type(v) != JSON_BOOL)
        return false;
    *out = cJSON_IsTrue(node(v));
    return true;
}

/* --- building --------------------------------------------------------------------------------- */

struct json *json_new_object(void) {
    return (struct json *)cJSON_CreateObject();
}

struct json *json_copy(const struct json *v) {
    return (struct json *)cJSON_Duplicate(node(v), true);
}

struct json *json_new_array(void) {
    return (struct json *)cJSON_CreateArray();
}

/* Containers do not use valueint: there it marks a tree whose building ran out of memory. */
static void poison(cJSON *parent) {
    if (parent)
        parent->valueint = 1;
}

static bool poisoned(const cJSON *v) {
    if (!v || ((cJSON_IsArray(v) || cJSON_IsObject(v)) && v->valueint))
        return true;
    for (const cJSON *c = v->child; c; c = c->next)
        if (poisoned(c))
            return true;
    return false;
}

bool json_complete(const struct json *v) {
    return !poisoned(node(v));
}

void json_add(struct json *parent, const char *key, struct json *child) {
    cJSON *p = (cJSON *)parent, *c = (cJSON *)child;
    bool ok = p && c && (key ? cJSON_AddItemToObject(p, key, c) : cJSON_AddItemToArray(p, c));
    if (!ok) {
        cJSON_Delete(c);
        poison(p);
    }
}

void json_add_string(struct json *parent, const char *key, const char *text) {
    json_add(parent, key, (struct json *)(text ? cJSON_CreateString(text) : cJSON_CreateNull()));
}

void json_add_double(struct json *parent, const char *key, double value) {
    json_add(parent, key, (struct json *)cJSON_CreateNumber(value));
}

void json_add_int64(struct json *parent, const char *key, int64_t value) {
    json_add(parent, key, (struct json *)cJSON_CreateNumber((double)value));
}

void json_add_bool(struct json *parent, const char *key, bool value) {
    json_add(parent, key, (struct json *)cJSON_CreateBool(value));
}

void json_add_null(struct json *parent, const char *key) {
    json_add(parent, key, (struct json *)cJSON_CreateNull());
}

size_t json_unpack(char *text) {
    size_t len = 0;
    for (const char *p = text; *p; p++) {
        bool nul = (unsigned char)p[0] == 0xc0 && (unsigned char)p[1] == 0x80;
        text[len++] = nul ? '\0' : *p;
        p += nul;
    }
    text[len] = '\0';
    return len;
}

/* Text that was packed on reading is an escape again. */
static char *escape_packed(const char *text) {
    struct strbuf out = {0};
    for (const char *at = NULL; (at = strstr(text, "\xc0\x80")); text = at + 2) {
        strbuf_append(&out, text, (size_t)(at - text));
        strbuf_puts(&out, "\\u0000");
    }
    strbuf_puts(&out, text);
    return strbuf_take(&out);
}

/* cJSON indents with tabs and puts one after each colon; strings hold none, they are escaped. */
static char *spaces_for_tabs(const char *text) {
    struct strbuf out = {0};
    for (const char *p = text; *p; p++) {
        if (*p == '\t')
            strbuf_puts(&out, p > text && p[-1] == ':' ? " " : "  ");
        else
            strbuf_append(&out, p, 1);
    }
    strbuf_puts(&out, "\n");
    return strbuf_take(&out);
}

char *json_print(const struct json *v, bool pretty) {
    if (poisoned(node(v)))
        return NULL;
    char *text = pretty ? cJSON_Print(node(v)) : cJSON_PrintUnformatted(node(v));
    if (text && strstr(text, "\xc0\x80")) {
        char *escaped = escape_packed(text);
        free(text);
        text = escaped;
    }
    if (!text || !pretty)
        return text;
    char *spaced = spaces_for_tabs(text);
    free(text);
    return spaced;
}

char *json_print_and_free(struct json *v) {
    char *text = json_print(v, true);
    json_free(&v);
    return text;
}

/* --- editing text ----------------------------------------------------------------------------- */

/* Where a top-level member's value lies, or, when the key is absent, where to insert one. */
struct member_span {
    bool found;
    size_t begin, end; /* of the value */
    size_t after;      /* end of the value before, or just after '{' of the first member */
    bool first;
    size_t insert_at; /* just after the last value, or after '{' of an empty object */
    bool empty;
};

static enum llmq_status find_member(const char *text, size_t len, const char *key,
                                    struct member_span *span, llmq_error *err) {
    struct json_scan scan;
    struct json_token token;
    enum llmq_status status = LLMQ_OK;
    scan_again(&scan, text, len);
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    if (token.type != JSON_TOKEN_OBJECT_BEGIN)
        return error_set(err, LLMQ_E_INPUT, "JSON: expected an object");
    *span = (struct member_span){.empty = true, .insert_at = scan.pos};
    for (;;) {
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (token.type != JSON_TOKEN_KEY)
            break;
        bool wanted = json_token_is(&scan, &token, key);
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        size_t begin = token.begin - (token.type == JSON_TOKEN_STRING);
        LLMQ_TRY(json_scan_skip(&scan, &token, err));
        if (wanted) {
            span->found = true;
            span->after = span->insert_at;
            span->first = span->empty;
            span->begin = begin;
            span->end = scan.pos;
        }
        span->empty = false;
        span->insert_at = scan.pos;
    }
    LLMQ_TRY(json_scan_next(&scan, &token, err)); /* nothing may follow the object */
cleanup:
    return status;
}

/* A value as a top-level member: its further lines indented by one level, no newline at its end. */
static void put_indented(struct strbuf *b, const char *value) {
    for (const char *line = value, *end; *line; line = end + (*end == '\n')) {
        end = line + strcspn(line, "\n");
        strbuf_puts(b, line == value ? "" : "\n  ");
        strbuf_append(b, line, (size_t)(end - line));
    }
}

enum llmq_status json_text_set(const char *text, size_t len, const char *key, const char *value,
                               char **out, llmq_error *err) {
    struct member_span span = {0};
    skip_mark(&text, &len);
    enum llmq_status status = find_member(text, len, key, &span, err);
    if (status != LLMQ_OK)
        return status;
    struct strbuf b = {0};
    if (span.found) {
        strbuf_append(&b, text, span.begin);
        put_indented(&b, value);
        strbuf_append(&b, text + span.end, len - span.end);
    } else {
        strbuf_append(&b, text, span.insert_at);
        strbuf_printf(&b, "%s\n  \"%s\": ", span.empty ? "" : ",", key);
        put_indented(&b, value);
        strbuf_puts(&b, span.empty ? "\n" : "");
        strbuf_append(&b, text + span.insert_at, len - span.insert_at);
    }
    *out = strbuf_take(&b);
    return *out ? LLMQ_OK : error_memory(err, "edited JSON");
}

enum llmq_status json_text_remove(const char *text, size_t len, const char *key, char **out,
                                  llmq_error *err) {
    struct member_span span = {0};
    skip_mark(&text, &len);
    enum llmq_status status = find_member(text, len, key, &span, err);
    if (status != LLMQ_OK)
        return status;
    size_t end = span.end;
    if (span.found && span.first) { /* its comma is the one behind it, if there is one */
        const size_t blank = end + strspn(text + end, " \t\r\n");
        end = text[blank] == ',' ? blank + 1 : end;
    }
    struct strbuf b = {0};
    strbuf_append(&b, text, span.found ? span.after : len);
    if (span.found)
        strbuf_append(&b, text + end, len - end);
    *out = strbuf_take(&b);
    return *out ? LLMQ_OK : error_memory(err, "edited JSON");
}

/* The text with an edit of the object at `part`. */
static enum llmq_status edit_part(const char *text, size_t len, const struct member_span *part,
                                  const char *key, const char *value, char **out, llmq_error *err) {
    struct member_span member = {0};
    char *inner = strndup(text + part->begin, part->end - part->begin), *edited = NULL;
    if (!inner)
        return error_memory(err, "edited JSON");
    const size_t inner_len = strlen(inner);
    enum llmq_status status = find_member(inner, inner_len, key, &member, err);
    if (status == LLMQ_OK && member.found)
        status = value ? json_text_set(inner, inner_len, key, value, &edited, err)
                       : json_text_remove(inner, inner_len, key, &edited, err);
    struct strbuf b = {0};
    if (status == LLMQ_OK) {
        strbuf_append(&b, text, part->begin);
        strbuf_puts(&b, edited ? edited : inner);
        strbuf_append(&b, text + part->end, len - part->end);
        *out = strbuf_take(&b);
        status = *out ? LLMQ_OK : error_memory(err, "edited JSON");
    }
    free(inner);
    free(edited);
    return status;
}

enum llmq_status json_text_edit_within(const char *text, size_t len, const char *within,
                                       const char *key, const char *value, char **out,
                                       llmq_error *err) {
    struct member_span part = {0};
    skip_mark(&text, &len);
    enum llmq_status status = find_member(text, len, within, &part, err);
    if (status != LLMQ_OK)
        return status;
    if (part.found && text[part.begin] == '{')
        return edit_part(text, len, &part, key, value, out, err);
    *out = strndup(text, len);
    return *out ? LLMQ_OK : error_memory(err, "edited JSON");
}
