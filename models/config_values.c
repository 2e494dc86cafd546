/* Typed access to the members of config.json: see config_parts.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "models/config_parts.h"

const struct json *config_value(const struct json *object, const char *key) {
    const struct json *v = json_get(object, key);
    return json_type(v) == JSON_NULL ? NULL : v;
}

const char *config_text(const struct json *value, char out[CONFIG_TEXT_MAX]) {
    char *text = value ? json_print(value, false) : NULL;
    const int len = snprintf(out, CONFIG_TEXT_MAX, "%s", text ? text : "null");
    if (len >= CONFIG_TEXT_MAX)
        (void)snprintf(out + CONFIG_TEXT_MAX - 4, 4, "...");
    free(text);
    return out;
}

static enum llmq_status refuse(const char *key, const struct json *value, const char *expected,
                               llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    return error_set(err, LLMQ_E_INPUT, "config.json: '%s' is %s: expected %s", key,
                     config_text(value, text), expected);
}

enum llmq_status config_int(const struct json *object, const char *key, int64_t fallback,
                            int64_t min, int64_t *out, llmq_error *err) {
    const struct json *v = config_value(object, key);
    char expected[48];
    *out = fallback;
    if (!v || (json_as_int64(v, out) && *out >= min && *out <= INT32_MAX))
        return LLMQ_OK;
    (void)snprintf(expected, sizeof expected, "an integer in [%" PRId64 ", 2^31)", min);
    return refuse(key, v, expected, err);
}

enum llmq_status config_double(const struct json *object, const char *key, double fallback,
                               double *out, llmq_error *err) {
    const struct json *v = config_value(object, key);
    *out = fallback;
    if (!v || (json_as_double(v, out) && isfinite(*out) && *out >= 0))
        return LLMQ_OK;
    return refuse(key, v, "a non-negative number", err);
}

enum llmq_status config_bool(const struct json *object, const char *key, bool fallback, bool *out,
                             llmq_error *err) {
    const struct json *v = config_value(object, key);
    *out = fallback;
    return !v || json_as_bool(v, out) ? LLMQ_OK : refuse(key, v, "true or false", err);
}
