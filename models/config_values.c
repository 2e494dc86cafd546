/* SPDX-License-Identifier: Apache-2.0 */
/* Typed access to the members of config.json: see config_parts.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "models/config_parts.h"

/* Of an object, or an entry of a list in it: "key[2]". */
static const struct json *member(const struct json *object, const char *key) {
    char list[sizeof((struct config_key *)0)->name];
    const char *bracket = strchr(key, '[');
    if (!bracket)
        return json_get(object, key);
    (void)snprintf(list, sizeof list, "%.*s", (int)(bracket - key), key);
    const struct json *entry = json_first(json_get(object, list));
    for (long i = strtol(bracket + 1, NULL, 10); entry && i > 0; i--)
        entry = json_next(entry);
    return entry;
}

const struct json *config_value(const struct json *object, const char *key) {
    const struct json *v = member(object, key);
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

static bool same_value(const struct json *a, const struct json *b) {
    double x = 0, y = 0;
    bool p = false, q = false;
    if (json_as_bool(a, &p) && json_as_bool(b, &q))
        return p == q;
    return json_as_double(a, &x) && json_as_double(b, &y) && !(x < y || x > y);
}

/* What a list says for each layer, where it says the same for all; the value itself where it is no
 * such list. */
static const struct json *common(const struct json *value) {
    const struct json *first = json_type(value) == JSON_ARRAY ? json_first(value) : NULL;
    for (const struct json *v = first; v; v = json_next(v))
        if (!same_value(v, first))
            return value;
    return first ? first : value;
}

enum llmq_status config_int(const struct json *object, const char *key, int64_t fallback,
                            int64_t min, int64_t *out, llmq_error *err) {
    const struct json *v = common(config_value(object, key));
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

enum llmq_status config_limit(const struct json *object, const char *key, double *out,
                              llmq_error *err) {
    const struct json *v = config_value(object, key);
    if (!v || (json_as_limit(v, out) && *out >= 0))
        return LLMQ_OK;
    return refuse(key, v, "a non-negative number or Infinity", err);
}

enum llmq_status config_bool(const struct json *object, const char *key, bool fallback, bool *out,
                             llmq_error *err) {
    const struct json *v = config_value(object, key);
    *out = fallback;
    return !v || json_as_bool(v, out) ? LLMQ_OK : refuse(key, v, "true or false", err);
}

static bool same_text(const struct json *a, const struct json *b) {
    char *x = json_print(a, false), *y = json_print(b, false);
    const bool same = x && y && strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

/* The member of that name; of "*" any one of those of an object, which have to be the same. */
static const struct json *step_into(const struct json *object, const char *name) {
    const struct json *first = json_first(object);
    if (strcmp(name, "*") != 0)
        return config_value(object, name);
    for (const struct json *v = first; v; v = json_next(v))
        if (!same_text(first, v))
            return NULL;
    return first;
}

/* The next alternative of "a|b.c": where it would be, and what it is called there. Returns the rest
 * of the list. */
static const char *next_key(const struct json *json, const char *keys, struct config_key *out) {
    const char *end = keys + strcspn(keys, "|"), *dot = NULL;
    out->object = json;
    while ((dot = memchr(keys, '.', (size_t)(end - keys)))) {
        (void)snprintf(out->name, sizeof out->name, "%.*s", (int)(dot - keys), keys);
        out->object = step_into(out->object, out->name);
        keys = dot + 1;
    }
    (void)snprintf(out->name, sizeof out->name, "%.*s", (int)(end - keys), keys);
    return *end ? end + 1 : NULL;
}

/* "key[2/5]" becomes "key[2]": the list has to have 5 entries, none of them null. */
static enum llmq_status check_entry(struct config_key *key, llmq_error *err) {
    char *bracket = strchr(key->name, '['), *slash = bracket ? strchr(bracket, '/') : NULL;
    if (!slash)
        return LLMQ_OK;
    const size_t count = (size_t)strtol(slash + 1, NULL, 10);
    char text[CONFIG_TEXT_MAX], list[sizeof key->name];
    (void)snprintf(slash, 2, "]");
    (void)snprintf(list, sizeof list, "%.*s", (int)(bracket - key->name), key->name);
    const struct json *value = config_value(key->object, list);
    if (!value)
        return LLMQ_OK;
    if (json_type(value) != JSON_ARRAY || json_count(value) != count)
        return error_set(err, LLMQ_E_INPUT, "config.json: '%s' is %s: expected a list of %zu", list,
                         config_text(value, text), count);
    if (!config_value(key->object, key->name))
        return error_set(err, LLMQ_E_INPUT, "config.json: '%s' is null: expected a number",
                         key->name);
    return LLMQ_OK;
}

enum llmq_status config_find(const struct json *json, const char *keys, struct config_key *out,
                             llmq_error *err) {
    char first[CONFIG_TEXT_MAX], second[CONFIG_TEXT_MAX];
    bool absent = true;
    *out = (struct config_key){.absent = true};
    while (keys) {
        struct config_key key = {0};
        keys = next_key(json, keys, &key);
        const enum llmq_status status = check_entry(&key, err);
        if (status != LLMQ_OK)
            return status;
        const struct json *value = config_value(key.object, key.name);
        absent = absent && !member(key.object, key.name);
        if (value && out->found &&
            !same_value(common(config_value(out->object, out->name)), common(value)))
            return error_set(err, LLMQ_E_INPUT,
                             "config.json: '%s' is %s and '%s' is %s: expected one of them, or the "
                             "same",
                             out->name, config_text(config_value(out->object, out->name), first),
                             key.name, config_text(value, second));
        if (value && !out->found) {
            *out = key;
            out->found = true;
        }
        if (!out->found)
            memcpy(out->name, key.name, sizeof key.name);
    }
    out->absent = absent;
    return LLMQ_OK;
}
