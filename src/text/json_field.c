/* SPDX-License-Identifier: Apache-2.0 */
/* Typed members of JSON objects: see json_field.h. */
#include "text/json_field.h"

#include <string.h>

#include "base/error.h"

/* The component's own name for messages: its "type" where it has one. */
static const char *component_name(const struct json *object) {
    const char *type = json_string(json_get(object, "type"));
    return type ? type : "object";
}

enum llmq_status field_string(const struct json *object, const char *key, const char **out,
                              llmq_error *err) {
    *out = json_string(json_get(object, key));
    if (!*out)
        return error_set(err, LLMQ_E_INPUT, "%s: '%s' must be a string", component_name(object),
                         key);
    return LLMQ_OK;
}

enum llmq_status text_copy(const char *string, char **out, size_t *len, llmq_error *err) {
    *out = strdup(string);
    if (!*out)
        return error_memory(err, "the tokenizer");
    *len = json_unpack(*out);
    return LLMQ_OK;
}

enum llmq_status field_text(const struct json *object, const char *key, char **out, size_t *len,
                            llmq_error *err) {
    const char *string = NULL;
    enum llmq_status status = field_string(object, key, &string, err);
    return status == LLMQ_OK ? text_copy(string, out, len, err) : status;
}

enum llmq_status field_bool(const struct json *object, const char *key, bool fallback, bool *out,
                            llmq_error *err) {
    const struct json *value = json_get(object, key);
    *out = fallback;
    if (json_type(value) != JSON_NULL && !json_as_bool(value, out))
        return error_set(err, LLMQ_E_INPUT, "%s: '%s' must be true or false",
                         component_name(object), key);
    return LLMQ_OK;
}

enum llmq_status field_array(const struct json *object, const char *key, const struct json **out,
                             llmq_error *err) {
    *out = json_get(object, key);
    if (json_type(*out) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "%s: '%s' must be an array", component_name(object),
                         key);
    return LLMQ_OK;
}

enum llmq_status json_token_id(const struct json *value, const char *what, int32_t *out,
                               llmq_error *err) {
    int64_t id = 0;
    if (!json_as_int64(value, &id))
        return error_set(err, LLMQ_E_INPUT, "the id of '%.60s' is not an integer", what);
    if (id < 0 || id > TOKEN_ID_MAX)
        return error_set(err, LLMQ_E_INPUT, "the id of '%.60s' is %lld, not in [0, %d]", what,
                         (long long)id, TOKEN_ID_MAX);
    *out = (int32_t)id;
    return LLMQ_OK;
}
