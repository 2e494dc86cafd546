/* SPDX-License-Identifier: Apache-2.0 */
/* See config_rows.h. */
#include "models/config_rows.h"

#include <stdio.h>
#include <string.h>

enum llmq_status parse_members(const char *type, const char *members, struct model_config *c,
                               llmq_error *err) {
    struct json *json = NULL;
    char text[2048];
    (void)snprintf(text, sizeof text, "{\"model_type\":\"%s\"%s%s}", type, *members ? "," : "",
                   members);
    *err = (llmq_error){0};
    ck_assert_ok(json_parse(text, strlen(text), "config.json", &json, err), err);
    enum llmq_status status = config_parse(json, c, err);
    json_free(&json);
    return status;
}

void check_rows(const struct row *rows, size_t count) {
    llmq_error err;
    for (size_t i = 0; i < count; i++) {
        struct model_config c = {0};
        const enum llmq_status found = parse_members(rows[i].type, rows[i].members, &c, &err);
        ck_assert_msg(found == rows[i].status, "%s: %s: found %s: %s", rows[i].type,
                      rows[i].members, llmq_status_name(found), err.message);
        ck_assert_msg(!rows[i].part || strstr(err.message, rows[i].part),
                      "%s: the message lacks '%s': %s", rows[i].members, rows[i].part, err.message);
        config_free(&c);
    }
}

trait_set traits_of(const char *type, const char *members, int64_t layer) {
    llmq_error err;
    struct model_config c = {0};
    ck_assert_ok(parse_members(type, members, &c, &err), &err);
    ck_assert_int_lt(layer, c.blocks);
    const trait_set traits = c.layers[layer];
    config_free(&c);
    return traits;
}

int64_t dim_of(const char *type, const char *members, enum dim dim) {
    llmq_error err;
    struct model_config c = {0};
    ck_assert_ok(parse_members(type, members, &c, &err), &err);
    const int64_t size = c.facts.dims[dim];
    config_free(&c);
    return size;
}

double number_of(const char *type, const char *members, enum number number) {
    llmq_error err;
    struct model_config c = {0};
    ck_assert_ok(parse_members(type, members, &c, &err), &err);
    const double found = c.facts.numbers[number];
    config_free(&c);
    return found;
}
