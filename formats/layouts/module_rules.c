/* SPDX-License-Identifier: Apache-2.0 */
/* See module_rules.h. */
#include "formats/layouts/module_rules.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/layouts/auto_round.h"
#include "formats/layouts/layout.h"

const struct module_setting module_plain = {.packed = false, .entry = ""};

struct module_setting module_general(const struct layout_config *settings) {
    return (struct module_setting){.packed = true,
                                   .bits = settings->bits,
                                   .group = settings->group,
                                   .sym = settings->sym,
                                   .entry = ""};
}

/* --- building --------------------------------------------------------------------------------- */

enum llmq_status module_rules_add(struct module_rules *rules, enum module_match match,
                                  const char *text, const struct module_setting *setting,
                                  llmq_error *err) {
    struct module_rule *items = realloc(rules->items, (rules->count + 1) * sizeof *items);
    if (!items)
        return error_memory(err, "the rules for modules");
    rules->items = items;
    struct module_rule *rule = &items[rules->count];
    *rule = (struct module_rule){.match = match, .text = strdup(text), .setting = *setting};
    if (!rule->text)
        return error_memory(err, "the rules for modules");
    rule->setting.entry = rule->text;
    rules->count++;
    return LLMQ_OK;
}

enum llmq_status module_rules_add_regex(struct module_rules *rules, const char *expression,
                                        enum regex_start start, const char *entry,
                                        const struct module_setting *setting, llmq_error *err) {
    struct regex *regex = NULL;
    enum llmq_status status = regex_compile(expression, start, &regex, err);
    if (status == LLMQ_OK)
        status = module_rules_add(rules, MATCH_REGEX, entry, setting, err);
    if (status == LLMQ_OK)
        rules->items[rules->count - 1].regex = regex;
    else
        regex_free(&regex);
    return status;
}

enum llmq_status module_rules_read(const struct json *quantization_config,
                                   const struct layout *layout,
                                   const struct layout_config *settings, struct module_rules *out,
                                   llmq_error *err) {
    *out = (struct module_rules){0};
    if (auto_round_config(quantization_config))
        return auto_round_rules(quantization_config, settings, out, err);
    if (layout->rules)
        return layout->rules(quantization_config, settings, out, err);
    const struct module_setting general = module_general(settings);
    return module_rules_add(out, MATCH_LINEAR, "", &general, err);
}

void module_rules_free(struct module_rules *rules) {
    for (size_t i = 0; i < rules->count; i++) {
        free(rules->items[i].text);
        regex_free(&rules->items[i].regex);
    }
    free(rules->items);
    *rules = (struct module_rules){0};
}

/* --- finding ---------------------------------------------------------------------------------- */

static enum llmq_status rule_matches(const struct module_rule *rule, const char *module,
                                     bool *matches, llmq_error *err) {
    const char *dot = strrchr(module, '.');
    *matches = false;
    switch (rule->match) {
    case MATCH_NAME:
        *matches = strcmp(module, rule->text) == 0;
        break;
    case MATCH_PART:
        *matches = strstr(module, rule->text) != NULL;
        break;
    case MATCH_PREFIX:
        *matches = strncmp(module, rule->text, strlen(rule->text)) == 0;
        break;
    case MATCH_LAST:
        *matches = strcmp(dot ? dot + 1 : module, rule->text) == 0;
        break;
    case MATCH_REGEX:
        return regex_matches(rule->regex, module, matches, err);
    case MATCH_LINEAR:
        *matches = true;
        break;
    }
    return LLMQ_OK;
}

enum llmq_status module_rules_find(const struct module_rules *rules, const char *module,
                                   struct module_setting *setting, llmq_error *err) {
    *setting = module_plain;
    for (size_t i = 0; i < rules->count; i++) {
        bool matches = false;
        enum llmq_status status = rule_matches(&rules->items[i], module, &matches, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "'%.120s'", rules->items[i].text);
        if (matches) {
            *setting = rules->items[i].setting;
            return LLMQ_OK;
        }
    }
    return LLMQ_OK;
}
