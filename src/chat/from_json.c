/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to values, keeping what a tree of doubles loses: whole numbers apart from others. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_check.h"
#include "base/json_scan.h"
#include "chat/format.h"
#include "chat/literal.h"

static struct jinja_value read_value(struct jinja_run *run, struct json_scan *scan,
                                     const struct json_token *token);

static bool next(struct jinja_run *run, struct json_scan *scan, struct json_token *token) {
    if (!jinja_failed(run))
        run->status = json_scan_next(scan, token, run->err);
    return !jinja_failed(run);
}

static struct jinja_value read_text(struct jinja_run *run, const struct json_scan *scan,
                                    const struct json_token *token) {
    char *text = NULL;
    size_t len = 0;
    if (!jinja_failed(run))
        run->status = json_scan_unescape(scan, token, &text, &len, run->err);
    struct jinja_value v = jinja_copy(run, text, len);
    free(text);
    return v;
}

static struct jinja_value read_number(struct jinja_run *run, struct jinja_text text) {
    int64_t integer = 0;
    double real = 0;
    for (size_t i = 0; i < text.len; i++)
        if (strchr(".eEIN", text.at[i]))
            return jinja_text_to_float(text, &real)
                       ? jinja_float(real)
                       : jinja_fail(run, LLMQ_E_INPUT, "a number of %zu digits", text.len);
    if (jinja_text_to_int(text, 10, &integer))
        return jinja_int(integer);
    return jinja_fail(run, LLMQ_E_UNSUPPORTED, "the number %.*s is too large",
                      (int)(text.len < 40 ? text.len : 40), text.at);
}

static struct jinja_value read_array(struct jinja_run *run, struct json_scan *scan) {
    struct jinja_value list = jinja_new_list(run);
    struct json_token token;
    while (next(run, scan, &token) && token.type != JSON_TOKEN_ARRAY_END)
        jinja_push(run, &list, read_value(run, scan, &token));
    return list;
}

/* Keys are known to differ. */
static struct jinja_value read_object(struct jinja_run *run, struct json_scan *scan) {
    struct jinja_value dict = jinja_new_dict(run);
    struct json_token token;
    while (next(run, scan, &token) && token.type != JSON_TOKEN_OBJECT_END) {
        const struct jinja_value key = read_text(run, scan, &token);
        if (next(run, scan, &token))
            jinja_put(run, &dict, key, read_value(run, scan, &token));
    }
    return dict;
}

static struct jinja_value read_value(struct jinja_run *run, struct json_scan *scan,
                                     const struct json_token *token) {
    switch (token->type) {
    case JSON_TOKEN_OBJECT_BEGIN:
        return read_object(run, scan);
    case JSON_TOKEN_ARRAY_BEGIN:
        return read_array(run, scan);
    case JSON_TOKEN_STRING:
        return read_text(run, scan, token);
    case JSON_TOKEN_NUMBER:
        return read_number(run, (struct jinja_text){scan->text + token->begin, token->len});
    case JSON_TOKEN_TRUE:
    case JSON_TOKEN_FALSE:
        return jinja_bool(token->type == JSON_TOKEN_TRUE);
    case JSON_TOKEN_KEY:
    case JSON_TOKEN_OBJECT_END:
    case JSON_TOKEN_ARRAY_END:
    case JSON_TOKEN_NULL:
    case JSON_TOKEN_END:
        break;
    }
    return jinja_none();
}

struct jinja_value jinja_from_json(struct jinja_run *run, const char *text, size_t len) {
    struct json_scan scan;
    struct json_token token;
    struct jinja_value value = jinja_none();
    json_scan_init(&scan, text, len, JSON_MAX_DEPTH);
    scan.nonfinite = true;
    if (!jinja_failed(run))
        run->status = json_check(&scan, run->err);
    json_scan_init(&scan, text, len, JSON_MAX_DEPTH);
    scan.nonfinite = true;
    if (next(run, &scan, &token))
        value = read_value(run, &scan, &token);
    return value;
}
