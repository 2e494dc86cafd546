/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for modules: as a file of JSON, which read again says the same, and as they are written on
 * the command line, a rule in each line. */
#include <string.h>

#include "llmq/recipe.h"
#include "tests/fuzz/fuzz.h"

static char *read_rules(const char *text, size_t len) {
    llmq_error err = {0};
    llmq_recipe *recipe = NULL;
    const char *path = fuzz_put("recipe.json", text, len);
    MUST(llmq_recipe_create(&recipe, &err) == LLMQ_OK);
    const enum llmq_status status = llmq_recipe_read(recipe, path, &err);
    fuzz_check(status, &err);
    char *rules = status == LLMQ_OK ? llmq_recipe_json(recipe) : NULL;
    MUST((status == LLMQ_OK) == (rules != NULL));
    llmq_recipe_free(&recipe);
    return rules;
}

static void read_file(const uint8_t *data, size_t len) {
    char *first = read_rules((const char *)data, len);
    char *second = first ? read_rules(first, strlen(first)) : NULL;
    MUST(!first || (second && strcmp(first, second) == 0));
    free(first);
    free(second);
}

static void read_lines(char *text) {
    llmq_error err = {0};
    llmq_recipe *recipe = NULL;
    MUST(llmq_recipe_create(&recipe, &err) == LLMQ_OK);
    for (char *line = text, *end; line; line = end ? end + 1 : NULL) {
        end = strchr(line, '\n');
        if (end)
            *end = '\0';
        fuzz_check(llmq_recipe_add(recipe, line, &err), &err);
    }
    char *rules = llmq_recipe_json(recipe);
    MUST(rules);
    char *again = read_rules(rules, strlen(rules));
    MUST(again && strcmp(rules, again) == 0);
    free(again);
    free(rules);
    llmq_recipe_free(&recipe);
}

void fuzz_recipe(const uint8_t *data, size_t len) {
    char *text = malloc(len + 1);
    MUST(text);
    memcpy(text, data, len);
    text[len] = '\0';
    read_file(data, len);
    read_lines(text);
    free(text);
}
