/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of rules, as text and as JSON: see recipe.h. */
#include "pipeline/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

enum llmq_status llmq_recipe_create(llmq_recipe **out, llmq_error *err) {
    *out = calloc(1, sizeof **out);
    return *out ? LLMQ_OK : error_memory(err, "the rules for modules");
}

static void rule_free(struct recipe_rule *rule) {
    free(rule->match);
    regex_free(&rule->regex);
}

void llmq_recipe_free(llmq_recipe **recipe) {
    if (!*recipe)
        return;
    for (size_t i = 0; i < (*recipe)->count; i++)
        rule_free(&(*recipe)->rules[i]);
    free((*recipe)->rules);
    free(*recipe);
    *recipe = NULL;
}

/* --- building --------------------------------------------------------------------------------- */

/* Append the rule with its expression, whose strings the recipe owns afterwards; on failure they
 * are freed. */
static enum llmq_status append(llmq_recipe *recipe, struct recipe_rule *rule, llmq_error *err) {
    struct recipe_rule *rules = NULL;
    enum llmq_status status = LLMQ_OK;
    if (!rule->match)
        LLMQ_TRY(error_memory(err, "the rules for modules"));
    if (!*rule->match || !rule->given)
        LLMQ_TRY(error_set(err, LLMQ_E_USAGE, "expected an expression and settings, found no %s",
                           *rule->match ? "settings" : "expression"));
    status = regex_compile(rule->match, REGEX_ANYWHERE, &rule->regex, err);
    if (status == LLMQ_E_INPUT && err)
        status = err->code = LLMQ_E_USAGE;
    LLMQ_TRY(status);
    rules = realloc(recipe->rules, (recipe->count + 1) * sizeof *rules);
    if (!rules)
        LLMQ_TRY(error_memory(err, "the rules for modules"));
    recipe->rules = rules;
    rules[recipe->count++] = *rule;
cleanup:
    if (status != LLMQ_OK)
        rule_free(rule);
    return status;
}

enum llmq_status llmq_recipe_keep(llmq_recipe *recipe, const char *expression, llmq_error *err) {
    struct recipe_rule rule = {.match = strdup(expression), .given = RECIPE_KEEP};
    const enum llmq_status status = append(recipe, &rule, err);
    return status == LLMQ_OK ? status : error_prefix(err, status, "--keep '%.80s'", expression);
}

/* --- "REGEX:key=value,..." -------------------------------------------------------------------- */

/* The colon between expression and settings: the last one that a word follows, since expressions
 * and sizes of groups have colons too. NULL: there is none. */
static const char *find_settings(const char *rule) {
    for (const char *at = rule + strlen(rule); at-- > rule;) {
        const size_t word = strspn(at + 1, "abcdefghijklmnopqrstuvwxyz_");
        const char after = at[1 + word];
        if (*at == ':' && word > 0 && (after == '=' || after == ',' || after == '\0'))
            return at;
    }
    return NULL;
}

/* The settings, in place. */
static enum llmq_status parse_settings(char *text, struct recipe_rule *rule, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (char *next = NULL; status == LLMQ_OK && text; text = next) {
        next = strchr(text, ',');
        if (next)
            *next++ = '\0';
        char *value = strchr(text, '=');
        if (value)
            *value++ = '\0';
        status = recipe_set(rule, text, value, err);
    }
    return status;
}

enum llmq_status llmq_recipe_add(llmq_recipe *recipe, const char *text, llmq_error *err) {
    const char *colon = find_settings(text);
    char *copy = strdup(text);
    struct recipe_rule rule = {0};
    enum llmq_status status = LLMQ_OK;
    if (!copy)
        LLMQ_TRY(error_memory(err, "a rule"));
    if (!colon) {
        status = error_set(err, LLMQ_E_USAGE,
                           "expected an expression and settings, found no settings behind a colon");
        error_hint(err, "as in 'down_proj:bits=8,group=64' or 'layers\\.0\\.:keep'");
        goto cleanup;
    }
    copy[colon - text] = '\0';
    LLMQ_TRY(parse_settings(copy + (colon - text) + 1, &rule, err));
    rule.match = strdup(copy);
    LLMQ_TRY(append(recipe, &rule, err));
cleanup:
    free(copy);
    return status == LLMQ_OK ? status : error_prefix(err, status, "--set '%.80s'", text);
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* A value of a key, in the type that JSON has for it, as text; false: of another type. */
static bool value_text(const struct json *v, bool *word, char buf[RECIPE_VALUE]) {
    int64_t number = 0;
    *word = json_as_bool(v, word) && *word;
    if (json_string(v))
        return snprintf(buf, RECIPE_VALUE, "%s", json_string(v)) < RECIPE_VALUE;
    if (json_as_int64(v, &number))
        return snprintf(buf, RECIPE_VALUE, "%" PRId64, number) > 0;
    return json_type(v) == JSON_BOOL;
}

/* "sym": false is asym; a key with true is the word by itself. */
static enum llmq_status parse_member(const struct json *v, struct recipe_rule *rule,
                                     llmq_error *err) {
    char value[RECIPE_VALUE] = "";
    bool word = false;
    const char *key = json_key(v);
    if (!value_text(v, &word, value))
        return error_set(err, LLMQ_E_USAGE, "%.40s: a value of the wrong type", key);
    if (json_type(v) != JSON_BOOL)
        return recipe_set(rule, key, value, err);
    if (!word && strcmp(key, "sym") == 0)
        return recipe_set(rule, "asym", NULL, err);
    if (!word)
        return error_set(err, LLMQ_E_USAGE, "%.40s: expected true or no such key, found false",
                         key);
    return recipe_set(rule, key, NULL, err);
}

static enum llmq_status parse_rule(llmq_recipe *recipe, const struct json *object,
                                   llmq_error *err) {
    struct recipe_rule rule = {0};
    const char *match = json_string(json_get(object, "match"));
    enum llmq_status status = LLMQ_OK;
    if (json_type(object) != JSON_OBJECT || !match)
        return error_set(err, LLMQ_E_USAGE,
                         "expected an object with a key match that holds an expression");
    for (const struct json *v = json_first(object); status == LLMQ_OK && v; v = json_next(v))
        if (strcmp(json_key(v), "match") != 0)
            status = parse_member(v, &rule, err);
    if (status != LLMQ_OK)
        return status;
    rule.match = strdup(match);
    return append(recipe, &rule, err);
}

static enum llmq_status parse_rules(llmq_recipe *recipe, const struct json *root, llmq_error *err) {
    const struct json *rules = json_get(root, "rules");
    enum llmq_status status = LLMQ_OK;
    int64_t number = 0;
    if (json_type(root) != JSON_OBJECT || json_type(rules) != JSON_ARRAY || json_count(root) != 1) {
        error_set(err, LLMQ_E_INPUT, "expected an object with the key rules, a list, and no other");
        error_hint(err, "{\"rules\": [{\"match\": \"down_proj\", \"bits\": 8}]}");
        return LLMQ_E_INPUT;
    }
    for (const struct json *r = json_first(rules); status == LLMQ_OK && r; r = json_next(r)) {
        number++;
        status = parse_rule(recipe, r, err);
        if (status == LLMQ_E_USAGE && err)
            status = err->code = LLMQ_E_INPUT;
        if (status != LLMQ_OK)
            error_prefix(err, status, "rule %" PRId64, number);
    }
    return status;
}

enum llmq_status llmq_recipe_read(llmq_recipe *recipe, const char *path, llmq_error *err) {
    struct json *root = NULL;
    enum llmq_status status = json_read(path, &root, err);
    if (status != LLMQ_OK)
        return status;
    status = parse_rules(recipe, root, err);
    json_free(&root);
    return status == LLMQ_OK ? status : error_prefix(err, status, "%s", path);
}

static struct json *rule_json(const struct recipe_rule *rule) {
    struct json *o = json_new_object();
    char value[RECIPE_VALUE];
    const char *key;
    json_add_string(o, "match", rule->match);
    for (int i = 0; (key = recipe_get(rule, i, value)); i++) {
        const bool number =
            strcmp(key, "bits") == 0 || (strcmp(key, "group") == 0 && !rule->group_fit);
        if (strcmp(key, "asym") == 0)
            json_add_bool(o, "sym", false);
        else if (!*value)
            json_add_bool(o, key, true);
        else if (number)
            json_add_int64(o, key, key[0] == 'b' ? rule->bits : rule->group);
        else
            json_add_string(o, key, value);
    }
    return o;
}

struct json *recipe_rules_json(const struct llmq_recipe *recipe) {
    struct json *rules = json_new_array();
    for (size_t i = 0; i < recipe->count; i++)
        json_add(rules, NULL, rule_json(&recipe->rules[i]));
    return rules;
}

char *llmq_recipe_json(const llmq_recipe *recipe) {
    struct json *root = json_new_object();
    json_add(root, "rules", recipe_rules_json(recipe));
    return json_print_and_free(root);
}

const char *recipe_show(const struct recipe_rule *rule, char buf[RECIPE_SHOWN]) {
    struct strbuf text = {0};
    char value[RECIPE_VALUE];
    const char *key;
    strbuf_printf(&text, "%s:", rule->match);
    for (int i = 0; (key = recipe_get(rule, i, value)); i++)
        strbuf_printf(&text, "%s%s%s%s", i ? "," : "", key, *value ? "=" : "", value);
    (void)snprintf(buf, RECIPE_SHOWN, "'%.*s'", RECIPE_SHOWN - 3, text.data ? text.data : "");
    strbuf_free(&text);
    return buf;
}
