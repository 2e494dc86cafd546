/* SPDX-License-Identifier: Apache-2.0 */
/* What a quantization config says of a module: is it packed, and with which settings. Every format
 * has its own way of naming modules (names, parts of names, regular expressions, classes, in its
 * own order); all of them come down to one list of which the first entry that matches counts. */
#ifndef LLMQ_FORMATS_LAYOUTS_MODULE_RULES_H
#define LLMQ_FORMATS_LAYOUTS_MODULE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/regex.h"
#include "llmq/error.h"

struct layout;
struct layout_config;

struct module_setting {
    bool packed;
    /* When it is packed: */
    int bits;
    int64_t group; /* -1: one group per row */
    bool sym;
    /* The entry of the config that says so, or "": nothing but its general settings. */
    const char *entry;
};

enum module_match {
    MATCH_NAME,   /* the whole name */
    MATCH_PART,   /* a part of the name, wherever it stands */
    MATCH_PREFIX, /* the beginning of the name */
    MATCH_LAST,   /* the last part of the name between dots */
    MATCH_REGEX,
    MATCH_LINEAR, /* every linear */
};

struct module_rule {
    enum module_match match;
    char *text;
    struct regex *regex;
    struct module_setting setting;
};

struct module_rules {
    struct module_rule *items;
    size_t count;
};

/* The rules of a config; `settings` is what the layout's config_read made of it. Release with
 * module_rules_free, also after an error. LLMQ_E_INPUT or LLMQ_E_UNSUPPORTED: an expression or
 * settings that no loader can use. A layout without rules has its general settings everywhere. */
LLMQ_NODISCARD enum llmq_status module_rules_read(const struct json *quantization_config,
                                                  const struct layout *layout,
                                                  const struct layout_config *settings,
                                                  struct module_rules *out, llmq_error *err);
void module_rules_free(struct module_rules *rules); /* accepts a zeroed struct */

/* What the rules say of a module. A linear that none of them covers is not packed. setting->entry
 * points into the rules. */
LLMQ_NODISCARD enum llmq_status module_rules_find(const struct module_rules *rules,
                                                  const char *module,
                                                  struct module_setting *setting, llmq_error *err);

/* --- for the layouts' readers ----------------------------------------------------------------- */

/* Append a rule; the text is copied, and is the setting's entry (MATCH_LINEAR has none). */
LLMQ_NODISCARD enum llmq_status module_rules_add(struct module_rules *rules,
                                                 enum module_match match, const char *text,
                                                 const struct module_setting *setting,
                                                 llmq_error *err);
LLMQ_NODISCARD enum llmq_status
module_rules_add_regex(struct module_rules *rules, const char *expression, enum regex_start start,
                       const char *entry, const struct module_setting *setting, llmq_error *err);

/* A module that is not packed, and the config's general settings. */
extern const struct module_setting module_plain;
struct module_setting module_general(const struct layout_config *settings);

#endif
