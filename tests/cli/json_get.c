/* SPDX-License-Identifier: Apache-2.0 */
/* json_get PATH: read strict JSON on stdin and print the value at PATH, for the tests in sh.
 *
 * PATH is keys and array indices joined by dots; "" is the document. Strings and numbers print as
 * they are, true, false and null as words, arrays and objects as the count of their members.
 * Exits with 1 when the input is not JSON or has no such path. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { INPUT_MAX = 1 << 24, KEY_MAX = 128 };

static const struct json *child_at(const struct json *node, const char *key) {
    if (json_type(node) == JSON_OBJECT)
        return json_get(node, key);
    char *end = NULL;
    unsigned long index = strtoul(key, &end, 10);
    if (json_type(node) != JSON_ARRAY || *end)
        return NULL;
    const struct json *child = json_first(node);
    while (child && index-- > 0)
        child = json_next(child);
    return child;
}

static const struct json *walk(const struct json *node, const char *path) {
    while (node && *path) {
        char key[KEY_MAX];
        size_t len = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)len, path);
        node = child_at(node, key);
        path += len + (path[len] == '.');
    }
    return node;
}

static void print_value(const struct json *node) {
    bool truth = false;
    double number = 0;
    if (json_type(node) == JSON_STRING)
        puts(json_string(node));
    else if (json_as_double(node, &number))
        printf("%.15g\n", number);
    else if (json_as_bool(node, &truth))
        puts(truth ? "true" : "false");
    else if (json_type(node) == JSON_NULL)
        puts("null");
    else
        printf("%zu\n", json_count(node));
}

int main(int argc, char **argv) {
    llmq_error err = {.code = LLMQ_OK};
    struct json *document = NULL;
    const struct json *node = NULL;
    char *text = malloc(INPUT_MAX);
    size_t len = text ? fread(text, 1, INPUT_MAX, stdin) : 0;
    if (argc != 2 || len == 0)
        fputs("usage: json_get PATH < JSON\n", stderr);
    else if (json_parse(text, len, "stdin", &document, &err) != LLMQ_OK)
        fprintf(stderr, "%s\n", err.message);
    else if (!(node = walk(document, argv[1])))
        fprintf(stderr, "no '%s'\n", argv[1]);
    else
        print_value(node);
    int code = node ? EXIT_SUCCESS : EXIT_FAILURE;
    json_free(&document);
    free(text);
    return code;
}
